"""Self-MM on `mosi_real`: real CMU-MOSI, in the plain layout of docs/data.md.

    python -m msa_jax.prepare mosi_real --from mosi_real.npz
    python -m msa_jax.main --config configs/self_mm_mosi_real.py \\
        --config.seeds=1111,1112,1113

Text: MiniLM-L6, fine-tuned, mean over tokens (it was trained that way; Self-MM reads
[CLS] of bert-base). Audio: 73-d openSMILE vectors, vision: 68-d 3D-CNN vectors, up to
20 utterances of context; standardised.

Test over seeds 1111, 1112, 1113: MAE .704 (sd .013), Corr .774 (sd .008); ridge on
frozen MiniLM features .884 and .674. 23 minutes on two busy CPU cores. Commit 4d9a791.
"""

from msa_jax import config as defaults


def get_config():
    """Return the configuration."""
    config = defaults.base()
    config.data.name = "mosi_real"
    config.data.standardise = "train"
    config.text.pooling = "mean"
    config.text.max_tokens = 40
    config.text.packing = "auto"
    config.optim.accumulate_batches = 1  # 46 steps an epoch instead of 11
    config.optim.groups.bert.rate = 1e-4
    config.optim.groups.bert_no_decay.rate = 1e-4
    config.selection.early_stop = 6
    config.selection.max_epochs = 16
    return config
