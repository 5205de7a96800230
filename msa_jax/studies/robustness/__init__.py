"""What a finished run still knows when modalities are missing or noisy."""
