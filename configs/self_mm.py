"""Self-MM (AAAI 2021, Tables 1, 3 and 4).

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/self_mm_mosi.py \\
        --config.text.weights=bert-base-uncased

configs/self_mm_mosi.py, self_mm_mosei.py, self_mm_sims.py (bert-base-chinese; prepare
with --label_range=-1,1) and self_mm_mosi_real.py are this card with the values for that
data set. Variants, after a colon: `self_mm` (the authors' repository, default), `mmsa`
(MMSA's values), `paper` (the paper's text where its code differs).

Published, unaligned, five seeds; MMSA's table in brackets. MOSI: MAE .713 (.7080), Corr
.798 (.7963), Acc-2 84.00 / 85.98 (83.44 / 85.46). MOSEI: .530 (.5309), .765 (.7649),
82.81 / 85.17 (83.76 / 85.15). SIMS: .419 (.4250), .616 (.5952), Acc-2 80.74 (80.04), F1
80.78 (80.44). Not reproduced here yet: the feature files cannot be had where this was
written.

`mosi_real` (real CMU-MOSI, in the plain layout of docs/data.md): MiniLM-L6, fine-tuned,
mean over tokens (it was trained that way; Self-MM reads [CLS] of bert-base); audio:
73-d openSMILE vectors, vision: 68-d 3D-CNN vectors, up to 20 utterances of context;
standardised. Test over seeds 1111, 1112, 1113: MAE .704 (sd .013), Corr .774 (sd
.008); ridge on frozen MiniLM features .884 and .674. 23 minutes on two busy CPU cores.
Commit 4d9a791.
"""

from msa_jax.methods.self_mm import PAPER


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return PAPER.config(words)
