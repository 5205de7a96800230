"""What surrounds a training run: statistics over seeds and trivial baselines."""
