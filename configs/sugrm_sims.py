"""SUGRM on CH-SIMS, which its paper and code do not cover: MOSI's values, SIMS' range.

    python -m msa_jax.prepare sims --from FILE --label_range=-1,1
    python -m msa_jax.main --config configs/sugrm_sims.py \\
        --config.text.weights=bert-base-chinese

The label generator takes its extremes and its label width from the data set's range,
[-1, 1], where the public code has the constants 3 and 6. Variants, after a colon:
`code` (default), `paper`. Nothing is published to compare with.
"""

from msa_jax import config as defaults
from msa_jax.errors import UserError


def get_config(variant="code"):
    """Return the configuration of a variant."""
    config = defaults.sugrm()
    config.data.name = "sims"
    config.text.max_tokens = 39
    match variant:
        case "code":
            pass
        case "paper":
            defaults.paper_sugrm(config)
        case other:
            raise UserError(f"variant {other!r}: must be code or paper")
    return config
