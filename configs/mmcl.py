"""MMCL (Findings of EMNLP 2022, Tables 1 to 5).

    python -m msa_jax.prepare mosei --from FILE
    python -m msa_jax.main --config configs/mmcl_mosei.py \\
        --config.text.weights=bert-base-uncased

configs/mmcl_mosei.py, mmcl_mosi.py, mmcl_sims.py and mmcl_mosi_real.py are this card
with the values for that data set. Files of Table 1 (aligned) and Table 3 (unaligned)
are told apart by their steps. No file at hand? `python -m msa_jax.prepare mosei
--synthetic` makes one up, of true size (--samples 400 for a quick look).

Variants, after a colon, joined by +: `aligned` or `unaligned`, to insist on one kind of
file; and the rows of Table 2 (`linear` `no_uni` `no_icl` `no_cross`
`no_align` `no_uniform` `no_scl` `no_contrast`) and of Table 4 (`a` `v` `t` `av` `ta`
`tv`), for example `configs/mmcl_mosei.py:unaligned+no_contrast`. Table 5:
--config.weights.uni=.6 and so on. The grids searched: configs/sweeps/mmcl.py.

Published, five runs. MOSEI, aligned: MAE .537, Corr .765, Acc-2 84.8 / 85.9, Acc-7
53.6; unaligned: .538, .765, 84.5 / 85.7, 53.4. MOSI, aligned: .705, .797, 84.0 / 86.3,
46.5; unaligned: .692, .800, 83.8 / 85.8, 46.8. Not reproduced here yet: the feature
files cannot be had where this was written, and the authors published no code. CH-SIMS,
which the paper does not use: MOSI's values, MOSEI's rate (prepare with
--label_range=-1,1; bert-base-chinese).

`mosi_real` (real CMU-MOSI, in the plain layout of docs/data.md): MiniLM-L6, fine-tuned,
mean over tokens (it was trained that way); 73-d openSMILE and 68-d 3D-CNN vectors, up
to 20 utterances of context, not aligned with the words; standardised. Test over seeds
1111, 1112, 1113: MAE .714 (sd .024), Corr .773 (sd .012); the same without any
contrastive loss .712 (sd .011) and .772 (sd .011): on these data they make no
difference that three seeds could show. Ridge on frozen MiniLM features .884 and .674.
27 and 40 minutes on two very busy CPU cores. Commit ef0697a.
"""

from msa_jax.methods.mmcl import PAPER


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return PAPER.config(words)
