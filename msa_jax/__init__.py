"""Multimodal sentiment analysis in JAX: methods, data, and numbers you can check."""

__version__ = "0.1.0"

from msa_jax import signals

if signals.started_as_command():
    signals.end_at_once()
