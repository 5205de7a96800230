"""MTFN (CH-SIMS, ACL 2020), as MMSA runs it.

    python -m msa_jax.prepare sims --from FILE
    python -m msa_jax.main --config configs/mtfn_sims.py

configs/mtfn_sims.py and mtfn_mosi_real.py are this card with the values for that
data set; SIMS v2: --config.data.name=simsv2 on the first. Text as frozen BERT's hidden
states (MMSA's unaligned files bring them as `text`), audio and vision as means over
time. Every modality also learns the label that people gave to it alone. Data without
such labels: --config.loss.unimodal_labels=multimodal, whose label then stands for all
(ours; the public code refuses such data).

MMSA takes padding for contents. Variants, after a colon, joined by +: `v1`, heads and
fusion frozen at their random start, as until March 2022 in MMSA's code, whose results
table is of 2021; `sane`, in which padding is not read and text dropout is
applied,
and the decay of heads and fusion, too.

By these fields:

    text state    MMSA: behind the padding                        model.text_state
    time means    MMSA: padding included                          model.time_mean
    text dropout  MMSA's setting (as audio's) is void             model.text_dropout
    heads         MMSA: frozen for its table, trained since       heads.train_heads
    decay         MMSA: .005 for heads and fusion, not passed on
                                                          optim.groups.other.decay
    scores        6 s - 3, though labels lie in -1..1; unimodal ones unbounded
                                                                  model.output_range
    audio's task  MMSA's weight for SIMS is 0: its head stays as it is
                                                                  loss.audio_weight

TFN with a head on each vector; on SIMS 140 million weights, of which nearly all are one
matrix. Published by MMSA for SIMS (v1): Acc-2 81.09, Acc-3 68.80, Acc-5 40.31, F1
81.01, MAE .3954, Corr .6658; by the paper (82.45, MAE .4066, Corr .6698) on other
features, epochs chosen by Acc-2.

Not reproduced here yet: the feature files cannot be had where this was written.

`mosi_real` (real CMU-MOSI, in the plain layout of docs/data.md): MiniLM-L6, frozen, and
`sane`, because its padding is ours; its unimodal labels are the multimodal one,
and its sizes are TFN's for MOSI.
"""

from msa_jax.methods.ch_sims import MTFN


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return MTFN.config(words)
