"""UCRN (EMNLP 2021, Tables 1 to 9).

    python -m msa_jax.prepare mosei --from FILE
    python -m msa_jax.main --config configs/ucrn_mosei.py

configs/ucrn_mosei.py, ucrn_mosi.py, ucrn_mosi_real.py, ucrn_mosei_emotion.py and
ucrn_mosei_tbje.py (TBJE's features, 300 / 80 / 512 wide) are this card with the values
for that data set. Text as word vectors (MulT's and TBJE's pickles: GloVe, 300 wide);
token ids or sentences: --config.text.encoder=bert. Tasks: --config.task=two_class,
seven_class, seven_class_sdk, emotion. No file at hand? `prepare mosei_emotion
--synthetic`, `prepare mosei_tbje --synthetic`.

Variants, after a colon, joined by +: `code` (the public repository's network in place
of the paper's); the rows of Table 6: `no_urm` `no_crm` `no_sqil` `no_mjs`; networks for
fewer modalities (Table 7): `t` `a` `v` `ta` `tv` `av`. Figure 2:
`python -m msa_jax.report runs/ucrn_mosei --beside runs/ucrn_mosei_no_sqil+no_mjs`.

Published, ten runs. MOSEI: MAE .60, Corr .68, Acc-2 82.25, F1 82.30, Acc-7 42.76. MOSI:
.89, .69, 81.71, 82.01. Emotions: 83.25 averaged over six, as accuracy or WA is not
clear (docs/fidelity.md); TBJE's features 82.27, plain accuracy. An emotion is present
where its intensity is above 0; several may be. The metric to trust is WA, the mean of
sensitivity and specificity: answering "absent" to everything has an accuracy of 83 to
92 percent on three of the emotions and a WA of 50. Not reproduced here yet: the feature
files cannot be had where this was written.

`mosi_real` (real CMU-MOSI, in the plain layout of docs/data.md): MiniLM-L6, frozen
(UCRN reads word vectors, it trains no BERT): every transcript is encoded once; 73-d
openSMILE and 68-d 3D-CNN vectors, up to 20 utterances of context; standardised. Test
over ten seeds: MAE .903 (sd .029, 95 % interval .881 to .924), Corr .633 (sd .027);
ridge on the same frozen features .884 and .674. Ten minutes on two CPU cores. Commit
d42ba48. Text alone (`:t`, two seeds, 30 epochs) .776; at rate 2e-3 text and audio .796,
text and vision .905 (two seeds, 25 epochs). The vision vectors were made with labels of
training videos, which may be why they mislead.
"""

from msa_jax.methods.ucrn import PAPER


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return PAPER.config(words)
