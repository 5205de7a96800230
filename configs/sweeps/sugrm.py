"""A space for SUGRM: config field -> values.

Its paper and its code name no search; these are ours, around their values (rates 5e-5,
5e-4 and 1e-2, decay 1e-3, dropout .3). All but the last two share one program.
"""

from msa_jax.studies.search import LogUniform

BERT = ("optim.groups.bert.rate", "optim.groups.bert_no_decay.rate")
DROPOUTS = ("spt.relu_dropout", "spt.residual_dropout", "spt.embed_dropout")


def get_sweep():
    """Return the space; every combination is a valid configuration."""
    return {
        BERT: LogUniform(2e-5, 2e-4),
        "optim.groups.spt.rate": LogUniform(1e-4, 5e-3),
        "optim.groups.other.rate": LogUniform(1e-3, 2e-2),
        "optim.groups.other.decay": (0.0, 1e-4, 1e-3, 1e-2),
        DROPOUTS: (0.1, 0.3),
        "model.output_dropout": (0.1, 0.3),
    }
