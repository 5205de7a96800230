"""SUGRM on CMU-MOSI as its public code runs it (Findings of EACL 2023, Tables 1 and 2).

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/sugrm_mosi.py \\
        --config.text.weights=bert-base-uncased

Aligned or unaligned follows from the file that was prepared: no length is read.
Variants, after a colon: `code` (default), `paper` (its text where the code differs).
Published, unaligned: MAE .703, Corr .800, Acc-2 84.4 / 86.3; aligned: .723, .798, 82.8
/ 84.5. Not reproduced here yet: the feature files cannot be had where this was written.
Source: config/config_regression.py of skystarhyw/SUGRM; paper, Table 7.
"""

from msa_jax import config as defaults
from msa_jax.errors import UserError


def get_config(variant="code"):
    """Return the configuration of a variant."""
    config = defaults.sugrm()  # holds the public code's values for MOSI
    match variant:
        case "code":
            pass
        case "paper":
            defaults.paper_sugrm(config)
        case other:
            raise UserError(f"variant {other!r}: must be code or paper")
    return config
