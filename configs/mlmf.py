"""MLMF (CH-SIMS, ACL 2020), as MMSA runs it.

    python -m msa_jax.prepare sims --from FILE
    python -m msa_jax.main --config configs/mlmf_sims.py

configs/mlmf_sims.py and mlmf_mosi_real.py are this card with the values for that
data set; SIMS v2: --config.data.name=simsv2 on the first. Text as frozen BERT's hidden
states (MMSA's unaligned files bring them as `text`), audio and vision as means over
time. Every modality also learns the label that people gave to it alone. Data without
such labels: --config.loss.unimodal_labels=multimodal, whose label then stands for all
(ours; the public code refuses such data).

MMSA takes padding for contents. Variants, after a colon, joined by +: `v1`, heads and
fusion frozen at their random start, as until March 2022 in MMSA's code, whose results
table is of 2021; `sane`, in which padding is not read and text dropout is
applied,
and the ranks' weights are trained, too.

By these fields:

    text state    MMSA: behind the padding                        model.text_state
    time means    MMSA: padding included                          model.time_mean
    text dropout  MMSA's setting (as audio's) is void             model.text_dropout
    heads         MMSA: frozen for its table, trained since       heads.train_heads
    ranks         MMSA: weights and bias at learning rate 0; LMF's paper has none
                                                              model.fusion_scalars

LMF with a head on each vector. Published by MMSA for SIMS (v1): Acc-2 79.34, Acc-3
68.36, Acc-5 41.05, F1 79.07, MAE .4091, Corr .6390; by the paper (82.32, MAE .4203,
Corr .6313) on other features, epochs chosen by Acc-2.

Not reproduced here yet: the feature files cannot be had where this was written.

`mosi_real` (real CMU-MOSI, in the plain layout of docs/data.md): MiniLM-L6, frozen, and
`sane`, because its padding is ours; its unimodal labels are the multimodal one.
"""

from msa_jax.methods.ch_sims import MLMF


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return MLMF.config(words)
