"""UCRN on `mosi_real`: real CMU-MOSI, in the plain layout of docs/data.md.

    python -m msa_jax.prepare mosi_real --from mosi_real.npz
    python -m msa_jax.main --config configs/ucrn_mosi_real.py

Text: MiniLM-L6, frozen (UCRN reads word vectors, it trains no BERT): every transcript
is encoded once. Audio: 73-d openSMILE vectors, vision: 68-d 3D-CNN vectors, up to 20
utterances of context; standardised. Variants as in configs/ucrn_mosei.py.

Test over ten seeds: MAE .903 (sd .029, 95 % interval .881 to .924), Corr .633 (sd
.027); ridge on the same frozen features .884 and .674. Ten minutes on two CPU cores.
Commit d42ba48. Text alone (`:t`, two seeds, 30 epochs) .776; at rate 2e-3 text and
audio .796, text and vision .905 (two seeds, 25 epochs). The vision vectors were made
with labels of training videos, which may be why they mislead.
"""

from msa_jax import config as defaults


def get_config(variant=""):
    """Return the configuration of a variant."""
    config = defaults.ucrn_variant(variant)
    config.data.name = "mosi_real"
    config.data.standardise = "train"
    config.text.encoder = "bert"
    config.text.finetune = False
    config.text.max_tokens = 40
    return config
