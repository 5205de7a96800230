"""A space for UCRN: config field -> values.

Its paper names no search; these ranges are ours, around
their values (rate 1e-3, no decay, both weights of the loss 1, dropout .5). All but the
last share one program.
"""

from msa_jax.studies.search import LogUniform


def get_sweep():
    """Return the space; every combination is a valid configuration."""
    return {
        "optim.groups.other.rate": LogUniform(3e-4, 5e-3),
        "optim.groups.other.decay": (0.0, 1e-5, 1e-4, 1e-3),
        "loss.divergence_weight": LogUniform(0.01, 3),
        "model.output_dropout": (0.3, 0.5),
    }
