"""Answers of a finished run for new samples, and exports that travel without it."""
