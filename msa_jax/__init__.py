"""Multimodal sentiment analysis in JAX: methods, data, and numbers you can check."""

__version__ = "0.1.0"
