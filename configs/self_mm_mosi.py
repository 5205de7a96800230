"""Self-MM on CMU-MOSI, unaligned, as published (AAAI 2021, Table 1).

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/self_mm_mosi.py \\
        --config.text.weights=bert-base-uncased

Variants, after a colon: `self_mm` (the authors' repository, default), `mmsa` (MMSA's
values), `paper` (the paper's text where its code differs). Published, five seeds: MAE
.713, Corr .798, Acc-2 84.00 / 85.98; MMSA's table: .7080, .7963, 83.44 / 85.46.
Not reproduced here yet: the feature files cannot be had where this was written.
Source: config/config_regression.py of thuiar/Self-MM and thuiar/MMSA.
"""

from msa_jax import config as defaults
from msa_jax.errors import UserError


def get_config(variant="self_mm"):
    """Return the configuration of a variant."""
    config = defaults.base()  # holds the authors' values for MOSI
    config.text.packing = "auto"
    match variant:
        case "self_mm":
            pass
        case "mmsa":
            defaults.mmsa(config)
            config.optim.batch_size = 16
            config.optim.groups.audio = defaults.group(5e-3, 1e-3)
            config.optim.groups.vision = defaults.group(5e-3, 1e-3)
            config.model.audio_hidden = 16
            config.model.vision_hidden = 32
            config.model.text_head = 32
            config.model.fusion_head_dropout = 0.0
            config.model.text_head_dropout = 0.1
            config.model.audio_head_dropout = 0.1
            config.model.vision_head_dropout = 0.0
        case "paper":
            defaults.paper(config)
        case other:
            raise UserError(f"variant {other!r}: must be self_mm, mmsa or paper")
    return config
