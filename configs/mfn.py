"""MFN (AAAI 2018), as MMSA runs it.

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/mfn_mosi.py

configs/mfn_mosi.py, mfn_mosei.py, mfn_sims.py and mfn_mosi_real.py are this card with
the values for that data set. Text as frozen BERT's hidden states (MMSA's aligned files
bring them as `text`). Token ids or sentences: --config.text.encoder=bert, which encodes
every text once.

MMSA's configuration asks for means over time *and* for alignment: its MFN sees the mean
of audio and of vision, repeated at every step of the text, and no sequence; the
published rows were made so. It takes padding for contents, too. Variants, after a
colon, joined by +: `v1`, the values of January 2021, to which MMSA's results table
belongs; `sane`, in which audio and vision are sequences and padding is not read.

Where they differ, MMSA's way runs, by these fields:

    audio, vision  paper, authors: sequences; MMSA: repeated means model.audio_vision
    steps          MMSA: padding included; SIMS: means of blocks         model.align
    states         MMSA: behind the padding; authors pad in front   model.text_state
    text           authors: GloVe; MMSA: frozen BERT                    text.encoder
    gates          paper: read attended cells; both codes: the memory, too  (codes' way)
    vision         authors: divided by train's maximum; MMSA: as it is

Published by MMSA (v1; Acc-2 and F1 has0/non0): MOSI 77.67/78.87, F1 77.63/78.90, Acc-5
40.47, Acc-7 35.83, MAE .9268, Corr .6702; MOSEI 78.94/82.86, 79.55/82.85, 52.76, 51.34,
.5733, .7182; SIMS Acc-2 77.90, Acc-3 65.73, Acc-5 39.47, F1 77.88, MAE .4349, Corr
.5824. The paper's MOSI row: Acc-2 77.4, F1 77.3, MAE .965, Corr .632. "MFN (B)" in
Self-MM's table is MISA's run of MFM. Not reproduced here yet: the feature files cannot
be had where this was written.

`mosi_real` (real CMU-MOSI, in the plain layout of docs/data.md): MiniLM-L6, frozen, and
`sane`, because its padding is ours.
"""

from msa_jax.methods.mfn import PAPER


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return PAPER.config(words)
