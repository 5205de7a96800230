"""SUGRM as its public code runs it (Findings of EACL 2023, Tables 1 to 4).

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/sugrm_mosi.py \\
        --config.text.weights=bert-base-uncased

configs/sugrm_mosi.py, sugrm_mosei.py, sugrm_sims.py and sugrm_mosi_real.py are this
card with the values for that data set. Aligned or unaligned follows from the file that
was prepared: no length is read. Variants, after a colon: `code` (default), `paper` (its
text where the code differs).

Published. MOSI, unaligned: MAE .703, Corr .800, Acc-2 84.4 / 86.3; aligned: .723, .798,
82.8 / 84.5. MOSEI, unaligned: .544, .748, 83.7 / 84.4; aligned: .541, .758, 83.9 /
85.0. Not reproduced here yet: the feature files cannot be had where this was written.
CH-SIMS, which paper and code do not cover: MOSI's values; the label generator takes its
extremes and its label width from the range [-1, 1], where the code has the constants 3
and 6 (prepare with --label_range=-1,1; bert-base-chinese).

`mosi_real` (real CMU-MOSI, in the plain layout of docs/data.md): MiniLM-L6, fine-tuned;
73-d openSMILE and 68-d 3D-CNN vectors, up to 20 utterances of context; standardised.
Test over seeds 1111, 1112, 1113: MAE .786 (sd .032), Corr .741 (sd .005); ridge on
frozen MiniLM features .884 and .674; Self-MM .704 and .774. 34 minutes on two very busy
CPU cores. Two seeds were at their best in the last epoch allowed. Commit 47be67e.
"""

from msa_jax.methods.sugrm import PAPER


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return PAPER.config(words)
