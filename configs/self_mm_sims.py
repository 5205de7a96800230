"""Self-MM on CH-SIMS, unaligned, as published (AAAI 2021, Table 3).

    python -m msa_jax.prepare sims --from FILE --label_range=-1,1
    python -m msa_jax.main --config configs/self_mm_sims.py \\
        --config.text.weights=bert-base-chinese

Variants, after a colon: `self_mm` (the authors' repository, default), `mmsa`, `paper`.
Published, five seeds: MAE .419, Corr .616, Acc-2 80.74, F1 80.78; MMSA's table: .4250,
.5952, 80.04, 80.44. Not reproduced here yet: the feature file cannot be had where this
was written. Source: config/config_regression.py of thuiar/Self-MM and thuiar/MMSA.
"""

from msa_jax import config as defaults
from msa_jax.errors import UserError


def get_config(variant="self_mm"):
    """Return the configuration of a variant."""
    config = defaults.base()
    config.data.name = "sims"
    config.text.max_tokens = 39
    config.text.packing = "auto"
    config.model.audio_hidden = 16
    config.model.vision_hidden = 64
    config.model.fusion_head_dropout = 0.0
    config.model.text_head_dropout = 0.1
    config.model.audio_head_dropout = 0.1
    config.model.vision_head_dropout = 0.0
    config.optim.groups.audio = defaults.group(5e-3, 1e-2)
    config.optim.groups.vision = defaults.group(5e-3, 1e-2)
    match variant:
        case "self_mm":
            pass
        case "mmsa":
            # MMSA lists the same sizes and rates for SIMS; only its trainer differs.
            defaults.mmsa(config)
        case "paper":
            defaults.paper(config)
        case other:
            raise UserError(f"variant {other!r}: must be self_mm, mmsa or paper")
    return config
