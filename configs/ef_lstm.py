"""EF-LSTM, the baseline of early fusion, as MMSA runs it.

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/ef_lstm_mosi.py

configs/ef_lstm_mosi.py, ef_lstm_mosei.py, ef_lstm_sims.py and ef_lstm_mosi_real.py are
this card with the values for that data set. Text as frozen BERT's hidden states (MMSA's
aligned files bring them as `text`), audio and vision with the text's steps: MOSI and
MOSEI from MMSA's aligned files, SIMS by means of blocks. Token ids or sentences:
--config.text.encoder=bert, which encodes every text once.

MMSA takes padding for contents: the LSTM's state is that at the padded end, blocks are
of all stored steps. Its batch norm has a mean and a variance per *step*, over samples
and all features, 768 of BERT beside unscaled audio; so its weights belong to one number
of steps. On SIMS it answers a constant. Variants, after a colon, joined by +: `v1`, the
values of January 2021, to which MMSA's results table belongs; `sane`, in which padding
is not read and features are normalised.

Where they differ, MMSA's way runs, by these fields:

    batch norm    MultimodalDNN: of features; MMSA: of time steps        model.norm
    text state    MMSA: behind the padding; others pad in front    model.text_state
    steps         MMSA: means of blocks, padding included               model.align
    text          others: GloVe; MMSA: frozen BERT                     text.encoder
    sizes         MultimodalDNN: 1-3 layers of 64; pliang279/MFN: one of 128
                                                      model.layers, model.hidden
    optimiser     pliang279/MFN: Adam .01, 100 epochs; MMSA: below
                                                         optim.groups.other.rate

Published by MMSA (v1; Acc-2 and F1 has0/non0): MOSI 77.38/78.48, F1 77.35/78.51, Acc-5
40.15, Acc-7 35.39, MAE .9488, Corr .6690; MOSEI 77.84/80.79, 78.34/80.67, 51.16, 50.01,
.6005, .6825; SIMS Acc-2 69.37, Acc-3 54.27, Acc-5 21.23, F1 56.82, MAE .5907, Corr
.0545. Rows called EF-LSTM elsewhere (SUGRM, MulT) are of other networks, without public
code. Not reproduced here yet: the feature files cannot be had where this was written.

`mosi_real` (real CMU-MOSI, in the plain layout of docs/data.md): MiniLM-L6, frozen, and
`sane`, because its padding is ours.
"""

from msa_jax.methods.ef_lstm import PAPER


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return PAPER.config(words)
