"""Hyper-parameter search on validation."""
