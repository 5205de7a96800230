"""SUGRM on `mosi_real`: real CMU-MOSI, in the plain layout of docs/data.md.

    python -m msa_jax.prepare mosi_real --from mosi_real.npz
    python -m msa_jax.main --config configs/sugrm_mosi_real.py \\
        --config.seeds=1111,1112,1113

Text: MiniLM-L6, fine-tuned. Audio: 73-d openSMILE vectors, vision: 68-d 3D-CNN vectors,
up to 20 utterances of context; standardised.

Test over seeds 1111, 1112, 1113: MAE .786 (sd .032), Corr .741 (sd .005); ridge on
frozen MiniLM features .884 and .674; Self-MM .704 and .774. 34 minutes on two very busy
CPU cores. Two seeds were at their best in the last epoch allowed. Commit 47be67e.
"""

from msa_jax import config as defaults


def get_config():
    """Return the configuration."""
    config = defaults.sugrm()
    config.data.name = "mosi_real"
    config.data.standardise = "train"
    config.text.max_tokens = 40
    config.optim.accumulate_batches = 1  # 46 steps an epoch instead of 11
    config.optim.groups.bert.rate = 1e-4
    config.optim.groups.bert_no_decay.rate = 1e-4
    config.optim.groups.other.rate = 1e-3
    config.selection.early_stop = 6
    config.selection.max_epochs = 16
    return config
