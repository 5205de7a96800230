"""MMCL on CMU-MOSI (Findings of EMNLP 2022, Tables 1 and 3).

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/mmcl_mosi.py \\
        --config.text.weights=bert-base-uncased

Variants as in configs/mmcl_mosei.py: rows of the ablations, `aligned`, `unaligned`,
joined by +. Files of both kinds are told apart by their steps.

Published, five runs: aligned MAE .705, Corr .797, Acc-2 84.0 / 86.3, Acc-7 46.5;
unaligned .692, .800, 83.8 / 85.8, 46.8. Not reproduced here yet: the feature files
cannot be had where this was written, and the authors published no code.
"""

from msa_jax import config as defaults


def get_config(variant=""):
    """Return the configuration of a variant."""
    config = defaults.mmcl()
    config.data.name = "mosi"
    config.optim.groups.other.rate = 5e-3
    config.text.packing = "auto"
    return defaults.mmcl_variant(config, variant)
