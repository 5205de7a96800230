"""The first run: Self-MM on the built-in data, three seeds. `make demo` runs it.

    python -m msa_jax.main --config configs/demo.py --workdir runs/demo

Data: 600 / 150 / 250 composed sentences with audio and vision that each carry a
sentiment of their own, so the true unimodal labels are known (docs/data.md). Text:
MiniLM-L6, fine-tuned, standing in for bert-base.
"""

from msa_jax.methods.self_mm import PAPER


def get_config():
    """Return the configuration."""
    config = PAPER.config()
    config.seeds = (1111, 1112, 1113)
    config.data.name = "synthetic"
    config.data.standardise = "train"
    config.text.pooling = "mean"
    config.text.packing = "none"
    config.text.max_tokens = 32
    config.optim.accumulate_batches = 1  # 19 steps an epoch instead of 4
    config.selection.early_stop = 3
    config.selection.max_epochs = 10
    return config
