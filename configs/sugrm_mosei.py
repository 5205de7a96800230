"""SUGRM on CMU-MOSEI as its public code runs it (Findings of EACL 2023, Tables 1, 2).

    python -m msa_jax.prepare mosei --from FILE
    python -m msa_jax.main --config configs/sugrm_mosei.py \\
        --config.text.weights=bert-base-uncased

Aligned or unaligned follows from the file that was prepared: no length is read.
Variants, after a colon: `code` (default), `paper` (its text where the code differs).
Published, unaligned: MAE .544, Corr .748, Acc-2 83.7 / 84.4; aligned: .541, .758, 83.9
/ 85.0. Not reproduced here yet: the feature files cannot be had where this was written.
Source: config/config_regression.py of skystarhyw/SUGRM; paper, Table 7.
"""

from msa_jax import config as defaults
from msa_jax.errors import UserError


def get_config(variant="code"):
    """Return the configuration of a variant."""
    config = defaults.sugrm()
    config.data.name = "mosei"
    config.model.output_dropout = 0.1
    config.spt.heads = 4
    config.spt.relu_dropout = 0.1
    config.spt.residual_dropout = 0.1
    config.spt.embed_dropout = 0.2
    config.optim.groups.other = defaults.group(1e-3, 1e-2)
    match variant:
        case "code":
            pass
        case "paper":
            defaults.paper_sugrm(config)
        case other:
            raise UserError(f"variant {other!r}: must be code or paper")
    return config
