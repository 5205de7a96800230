"""Linear regression on time means, trained by gradients: a floor under the others.

    python -m msa_jax.main --config configs/linear_mosi_real.py

What a method has to beat before it is worth its name; it compiles in a second. Ridge on
pooled features, in closed form, stands in every report beside the methods anyway
(docs/statistics.md). Variants, after a colon: `t` `a` `v`, one modality alone.
"""

from msa_jax.methods.linear import PAPER


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return PAPER.config(words)
