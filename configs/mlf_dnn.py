"""MLF-DNN (CH-SIMS, ACL 2020), as MMSA runs it.

    python -m msa_jax.prepare sims --from FILE
    python -m msa_jax.main --config configs/mlf_dnn_sims.py

configs/mlf_dnn_sims.py and mlf_dnn_mosi_real.py are this card with the values for that
data set; SIMS v2: --config.data.name=simsv2 on the first. Text as frozen BERT's hidden
states (MMSA's unaligned files bring them as `text`), audio and vision as means over
time. Every modality also learns the label that people gave to it alone. Data without
such labels: --config.loss.unimodal_labels=multimodal, whose label then stands for all
(ours; the public code refuses such data).

MMSA takes padding for contents. Variants, after a colon, joined by +: `v1`, heads and
fusion frozen at their random start, as until March 2022 in MMSA's code, whose results
table is of 2021; `sane`, in which padding is not read and text dropout is
applied.

By these fields:

    text state    MMSA: behind the padding                        model.text_state
    time means    MMSA: padding included                          model.time_mean
    text dropout  MMSA's setting (as audio's) is void             model.text_dropout
    heads         MMSA: frozen for its table, trained since       heads.train_heads

LF-DNN with a head on each vector. Published by MMSA for SIMS (v1): Acc-2 80.44, Acc-3
69.37, Acc-5 40.22, F1 80.28, MAE .3958, Corr .6652; by the paper (82.28, MAE .4064,
Corr .6747) on other features, epochs chosen by Acc-2.

Not reproduced here yet: the feature files cannot be had where this was written.

`mosi_real` (real CMU-MOSI, in the plain layout of docs/data.md): MiniLM-L6, frozen, and
`sane`, because its padding is ours; its unimodal labels are the multimodal one.
"""

from msa_jax.methods.ch_sims import MLF_DNN


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return MLF_DNN.config(words)
