"""Replays of reference arrays that the original PyTorch code computed."""
