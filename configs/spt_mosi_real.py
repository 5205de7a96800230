"""The standalone SPT on `mosi_real`: real CMU-MOSI, in the layout of docs/data.md.

    python -m msa_jax.prepare mosi_real --from mosi_real.npz
    python -m msa_jax.main --config configs/spt_mosi_real.py

Text: MiniLM-L6, frozen (SPT reads word vectors, it trains no BERT): every transcript
is encoded once. Audio: 73-d openSMILE vectors, vision: 68-d 3D-CNN vectors, up to 20
utterances of context; standardised. Batches of 64: with the 250 of the public command
an epoch would have 6 steps.
"""

from msa_jax import config as defaults


def get_config():
    """Return the configuration."""
    config = defaults.standalone_spt()
    config.data.name = "mosi_real"
    config.data.standardise = "train"
    config.text.encoder = "bert"
    config.text.finetune = False
    config.text.max_tokens = 40
    config.optim.batch_size = 64
    config.spt.respect_lengths = True  # as configs/spt_mosi.py
    return config
