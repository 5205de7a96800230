"""TFN (EMNLP 2017), as MMSA runs it.

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/tfn_mosi.py

configs/tfn_mosi.py, tfn_mosei.py, tfn_sims.py and tfn_mosi_real.py are this card with
the values for that data set. Text as frozen BERT's hidden states (MMSA's unaligned
files bring them as `text`), audio and vision as means over time. Token ids or
sentences: --config.text.encoder=bert, which encodes every text once.

MMSA takes padding for contents: its text is the LSTM's state at the padded end, its
means are over all stored steps. Variants, after a colon, joined by +: `v1`, the values
of January 2021, to which MMSA's results table belongs; `sane`, in which padding is not
read and text dropout is applied.

Where they differ, MMSA's way runs, by these fields:

    text          paper and authors: GloVe, 20 steps; MMSA: frozen BERT    text.encoder
    text state    MMSA: behind the padding                        model.text_state
    time means    MMSA: padding included                          model.time_mean
    text dropout  paper .15, authors (PyTorch) .3; MMSA's is void  model.text_dropout
    scores        paper: sigmoid; Keras: 8 s - 4; PyTorch, MMSA: 6 s - 3, for SIMS, too
                                                                  model.output_range
    loss          paper: MSE; Keras: MAE; PyTorch: L1 summed; MMSA: L1    loss.error
    optimiser     paper: Adam 5e-4, L2 .01; Keras: Adamax .01; PyTorch: Adam 1e-3
                                                                  optim.optimiser
    vision        paper and authors: divided by train's maximum; MMSA: as it is
    answers       MMSA: a score; classes, emotions: ours, unbounded logits         task

Published by MMSA (v1; Acc-2 and F1 has0/non0): MOSI 77.99/79.08, F1 77.95/79.11, Acc-5
39.39, Acc-7 34.46, MAE .9473, Corr .6733; MOSEI 78.50/81.89, 78.96/81.74, 53.10, 51.60,
.5726, .7141; SIMS Acc-2 78.38, Acc-3 65.12, Acc-5 39.30, F1 78.62, MAE .4322, Corr
.5910. The paper's own MOSI row (77.1, MAE .87, Corr .70) is cross-validated: not to be
laid beside these. Not reproduced here yet: the feature files cannot be had where this
was written.

`mosi_real` (real CMU-MOSI, in the plain layout of docs/data.md): MiniLM-L6, frozen, and
`sane`, because its padding is ours.
"""

from msa_jax.methods.tfn import PAPER


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return PAPER.config(words)
