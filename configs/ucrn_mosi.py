"""UCRN on CMU-MOSI (EMNLP 2021, Tables 2 to 9).

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/ucrn_mosi.py

Text as word vectors (MulT's pickles: GloVe, 300 wide); token ids or sentences:
--config.text.encoder=bert. Variants as in configs/ucrn_mosei.py.

Published, ten runs: MAE .89, Corr .69, Acc-2 81.71, F1 82.01. Not reproduced here yet:
the feature files cannot be had where this was written.
"""

from msa_jax import config as defaults


def get_config(variant=""):
    """Return the configuration of a variant."""
    config = defaults.ucrn_variant(variant)
    config.data.name = "mosi"
    return config
