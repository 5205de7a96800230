"""Self-MM on CMU-MOSEI, unaligned, as published (AAAI 2021, Table 1).

    python -m msa_jax.prepare mosei --from FILE
    python -m msa_jax.main --config configs/self_mm_mosei.py \\
        --config.text.weights=bert-base-uncased

Variants, after a colon: `self_mm` (the authors' repository, default), `mmsa`, `paper`.
Published, five seeds: MAE .530, Corr .765, Acc-2 82.81 / 85.17; MMSA's table: .5309,
.7649, 83.76 / 85.15. Not reproduced here yet: the feature files cannot be had where
this was written. Source: config/config_regression.py of thuiar/Self-MM and thuiar/MMSA.
"""

from msa_jax import config as defaults
from msa_jax.errors import UserError


def get_config(variant="self_mm"):
    """Return the configuration of a variant."""
    config = defaults.base()
    config.data.name = "mosei"
    config.text.packing = "auto"
    config.model.audio_hidden = 32
    config.model.vision_hidden = 32
    config.model.text_head = 32
    config.model.vision_head = 16
    config.model.fusion_head_dropout = 0.0
    config.model.text_head_dropout = 0.1
    config.model.audio_head_dropout = 0.0
    config.model.vision_head_dropout = 0.1
    # Read where model.sequence = spt (SUGRM, Table 4): SUGRM's values for MOSEI.
    config.spt.heads = 4
    config.spt.relu_dropout = 0.1
    config.spt.residual_dropout = 0.1
    config.spt.embed_dropout = 0.2
    config.optim.groups.audio = defaults.group(5e-3, 0.0)
    config.optim.groups.vision = defaults.group(1e-4, 0.0)
    config.optim.groups.other = defaults.group(1e-3, 1e-2)
    match variant:
        case "self_mm":
            pass
        case "mmsa":
            defaults.mmsa(config)
            config.model.audio_hidden = 16
            config.model.vision_head = 32
            config.model.fusion_head_dropout = 0.1
            config.model.text_head_dropout = 0.0
            config.model.audio_head_dropout = 0.0
            config.model.vision_head_dropout = 0.0
        case "paper":
            defaults.paper(config)
        case other:
            raise UserError(f"variant {other!r}: must be self_mm, mmsa or paper")
    return config
