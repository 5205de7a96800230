"""MMCL on CH-SIMS, which its paper does not use: MOSI's values, MOSEI's rate.

    python -m msa_jax.prepare sims --from FILE --label_range=-1,1
    python -m msa_jax.main --config configs/mmcl_sims.py \\
        --config.text.weights=bert-base-chinese

Variants as in configs/mmcl_mosei.py, joined by +. Nothing is published to compare with.
Classes of the sentiment-based loss are the signs of the label, as on the other sets.
"""

from msa_jax import config as defaults


def get_config(variant=""):
    """Return the configuration of a variant."""
    config = defaults.mmcl()
    config.data.name = "sims"
    config.text.max_tokens = 39
    config.text.packing = "auto"
    return defaults.mmcl_variant(config, variant)
