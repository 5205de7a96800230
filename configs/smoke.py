"""Tiny everything: what tests and fault drills run.

    python -m msa_jax.main --config configs/smoke.py

Data: the built-in set, 96 / 32 / 32 samples. Text: a random two-layer BERT, no weights
needed. About 23 s of CPU time the first time, 15 s once its programs are in the
compile cache. Its numbers mean nothing.
"""

from msa_jax.methods.self_mm import PAPER


def get_config():
    """Return the configuration."""
    config = PAPER.config()
    config.seeds = (1, 2)
    config.compilation = "quick"
    config.data.name = "synthetic_tiny"
    config.text.weights = "random"
    config.text.packing = "none"
    config.text.max_tokens = 16
    config.model.audio_hidden = 8
    config.model.vision_hidden = 8
    config.model.audio_width = 8
    config.model.vision_width = 8
    config.model.fusion_head = 16
    config.model.text_head = 16
    config.model.audio_head = 8
    config.model.vision_head = 8
    config.optim.batch_size = 16
    config.optim.accumulate_batches = 2
    config.optim.groups.bert.rate = 1e-3
    config.optim.groups.bert_no_decay.rate = 1e-3
    config.selection.early_stop = 2
    config.selection.max_epochs = 4
    return config
