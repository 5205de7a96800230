"""The standalone SP-Transformer on CMU-MOSI, word vectors as text (EMNLP 2021).

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/spt_mosi.py

Wants text as features (GloVe, 300 wide). Not reproduced here yet: the feature files
cannot be had where this was written. Source: SP-Transformer's code, its command's
defaults, which are the same for all data sets.
"""

from msa_jax import config as defaults


def get_config():
    """Return the configuration."""
    config = defaults.standalone_spt()
    config.data.name = "mosi"
    # The code reads the last step of files padded in front (MulT's). Data prepared
    # here are padded at the back: there only true lengths let it see the contents.
    config.spt.respect_lengths = True
    return config
