"""LF-DNN (a baseline of CH-SIMS, ACL 2020), as MMSA runs it.

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/lf_dnn_mosi.py

configs/lf_dnn_mosi.py, lf_dnn_mosei.py, lf_dnn_sims.py and lf_dnn_mosi_real.py are this
card with the values for that data set. Text as frozen BERT's hidden states (MMSA's
unaligned files bring them as `text`), audio and vision as means over time. Token ids or
sentences: --config.text.encoder=bert, which encodes every text once.

MMSA takes padding for contents: its text is the LSTM's state at the padded end, its
means are over all stored steps. Variants, after a colon, joined by +: `v1`, the values
of January 2021, to which MMSA's results table belongs; `sane`, in which padding is not
read and text dropout is applied.

By these fields:

    text state    MMSA: behind the padding                        model.text_state
    time means    MMSA: padding included                          model.time_mean
    text dropout  MMSA's setting (as audio's) is void             model.text_dropout

What MMSA cites for it (rhoposit/MultimodalDNN) is another system: each modality's own
score, and a linear map of the three.

Published by MMSA (v1; Acc-2 and F1 has0/non0): MOSI 77.52/78.63, F1 77.46/78.63, Acc-5
38.05, Acc-7 34.52, MAE .9548, Corr .6584; MOSEI 80.60/82.74, 80.85/82.52, 51.97, 50.83,
.5802, .7087; SIMS Acc-2 77.02, Acc-3 64.33, Acc-5 39.74, F1 77.27, MAE .4463, Corr
.5551. CH-SIMS' own row (79.87, MAE .4201, Corr .6123) has other splits and features,
and chose epochs by Acc-2. Not reproduced here yet: the feature files cannot be had
where this was written.

`mosi_real` (real CMU-MOSI, in the plain layout of docs/data.md): MiniLM-L6, frozen, and
`sane`, because its padding is ours.
"""

from msa_jax.methods.lf_dnn import PAPER


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return PAPER.config(words)
