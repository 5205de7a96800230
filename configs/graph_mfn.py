"""Graph-MFN (ACL 2018), as MMSA runs it.

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/graph_mfn_mosi.py

configs/graph_mfn_mosi.py, graph_mfn_mosei.py, graph_mfn_sims.py and
graph_mfn_mosi_real.py are this card with the values for that data set. Text as frozen
BERT's hidden states (MMSA's aligned files bring them as `text`), audio and vision as
sequences with the text's steps: MOSI and MOSEI from MMSA's aligned files, SIMS by means
of blocks. Token ids or sentences: --config.text.encoder=bert, which encodes every text
once.

In MMSA's code, and in the authors' graph before it, the networks of the vertices of two
and three modalities sit in a plain dictionary: no optimiser moves them, no checkpoint
keeps them. They stay as they were drawn; here they are parameters of the group
"frozen", so a model that is read back answers as before. MMSA reads padding, too.
Variants, after a colon, joined by +: `v1`, the values of January 2021, to which MMSA's
results table belongs; `sane`, in which those vertices learn and padding is not read;
`paper`, whose efficacies are sigmoids and whose vertices read cells.

Where they differ, MMSA's way runs, by these fields:

    vertices      of several modalities: paper: trained; codes: never
                                                          model.graph_nodes
    efficacies    paper: sigmoid; both codes: linear, unbounded     model.efficacy
    singletons    paper: LSTM's cells; codes: hidden states  model.singleton_input
    states        MMSA: behind the padding                        model.text_state
    steps         MMSA: padding included; SIMS: means of blocks        model.align
    text          paper: GloVe; MMSA: frozen BERT                     text.encoder
    answers       MMSA: a score; paper: emotions, too; here by the same head       task

Published by MMSA (v1; Acc-2 and F1 has0/non0): MOSI 77.14/78.35, F1 77.08/78.35, Acc-5
38.63, Acc-7 34.64, MAE .9557, Corr .6486; MOSEI 81.28/83.48, 81.48/83.23, 52.69, 51.37,
.5745, .7133; SIMS Acc-2 78.77, Acc-3 65.65, Acc-5 39.82, F1 78.21, MAE .4450, Corr
.5784. The paper's MOSEI row: Acc-2 76.9, F1 77.0, MAE .71, Corr .54, Acc-7 45.0. Not
reproduced here yet: the feature files cannot be had where this was written.

`mosi_real` (real CMU-MOSI, in the plain layout of docs/data.md): MiniLM-L6, frozen, and
`sane`, because its padding is ours.
"""

from msa_jax.methods.graph_mfn import PAPER


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return PAPER.config(words)
