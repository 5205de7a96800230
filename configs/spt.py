"""The standalone SP-Transformer, word vectors as text (Cheng et al., EMNLP 2021).

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/spt_mosi.py

configs/spt_mosi.py, spt_mosei.py and spt_mosi_real.py are this card with the values for
that data set. Wants text as features (GloVe, 300 wide). Not reproduced here yet: the
feature files cannot be had where this was written. Source: SP-Transformer's code, its
command's defaults, which are the same for all data sets.

`mosi_real` (real CMU-MOSI, in the plain layout of docs/data.md): MiniLM-L6, frozen (SPT
reads word vectors, it trains no BERT): every transcript is encoded once; 73-d openSMILE
and 68-d 3D-CNN vectors, up to 20 utterances of context; standardised. Batches of 64:
with the 250 of the public command an epoch would have 6 steps.
"""

from msa_jax.methods.spt import PAPER


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return PAPER.config(words)
