"""LMF (ACL 2018), as MMSA runs it.

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/lmf_mosi.py

configs/lmf_mosi.py, lmf_mosei.py, lmf_sims.py and lmf_mosi_real.py are this card with
the values for that data set. Text as frozen BERT's hidden states (MMSA's unaligned
files bring them as `text`), audio and vision as means over time. Token ids or
sentences: --config.text.encoder=bert, which encodes every text once.

MMSA takes padding for contents, and leaves the ranks' weights and the bias out of its
optimiser: they keep their random start. LMF's author called the same slip in his code a
mistake, and mended it. Variants, after a colon, joined by +: `v1`, the values of
January 2021, to which MMSA's results table belongs; `sane`, in which padding is not
read, text dropout is applied, and all that is drawn is trained.

Where they differ, MMSA's way runs, by these fields:

    text          paper and authors: GloVe, 20 steps; MMSA: frozen BERT    text.encoder
    text state    MMSA: behind the padding                        model.text_state
    time means    MMSA: padding included                          model.time_mean
    text dropout  authors: applied; MMSA's is void                model.text_dropout
    ranks         paper: summed, no bias ("none"); authors: weighted, trained; MMSA:
                  weighted, at random                             model.fusion_scalars
    loss          authors: L1 summed over the batch, so that decay is weaker; MMSA: L1
    selection     authors: patience 20, validation as one batch; MMSA: 8, batch means
                                          selection.early_stop, selection.valid_mean
    answers       MMSA: a score; authors (POM, IEMOCAP): several, as here           task

Published by MMSA (v1; Acc-2 and F1 has0/non0): MOSI 77.90/79.18, F1 77.80/79.15, Acc-5
38.13, Acc-7 33.82, MAE .9504, Corr .6510; MOSEI 80.54/83.48, 80.94/83.36, 52.99, 51.59,
.5757, .7169; SIMS Acc-2 77.77, Acc-3 64.68, Acc-5 40.53, F1 77.88, MAE .4412, Corr
.5759. LMF's own settings for MOSI (76.4, MAE .912, Corr .668) are lost. Not reproduced
here yet: the feature files cannot be had where this was written.

`mosi_real` (real CMU-MOSI, in the plain layout of docs/data.md): MiniLM-L6, frozen, and
`sane`, because its padding is ours.
"""

from msa_jax.methods.lmf import PAPER


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return PAPER.config(words)
