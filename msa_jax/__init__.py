"""Multimodal sentiment analysis in JAX: methods, data, and numbers you can check."""

__version__ = "0.1.0"

import sys

from msa_jax.ground import compiler, signals

if signals.started_as_command():
    signals.end_at_once()
try:
    compiler.keep_right()
except ImportError as error:
    if not signals.started_as_command():
        raise
    print("error:", error, file=sys.stderr)
    sys.exit(2)
