"""UCRN on TBJE-MOSEI: CMU-MOSEI with TBJE's features (EMNLP 2021, Tables 1, 4 and 5).

    python -m msa_jax.prepare mosei_tbje --from FILE --emotions FILE2
    python -m msa_jax.main --config configs/ucrn_mosei_tbje.py

`prepare mosei_tbje --synthetic` makes data up. Six emotions; other tasks:
--config.task=two_class, seven_class_sdk. Variants as in configs/ucrn_mosei.py.
Published: 82.27 averaged over emotions, plain accuracy. Not reproduced here yet: the
feature files cannot be had where this was written.
"""

from msa_jax import config as defaults


def get_config(variant=""):
    """Return the configuration of a variant."""
    config = defaults.ucrn_variant(variant)
    config.data.name = "mosei_tbje"
    config.task = "emotion"
    if "code" not in variant.split("+"):
        config.optim.batch_size = 32
        config.optim.groups.other.rate = 2e-3
    return config
