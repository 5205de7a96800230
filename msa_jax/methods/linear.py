"""Linear regression on time means: the smallest method, and a floor under the others.

It has no recurrence and no attention and compiles in a second: what tests of resuming,
killing, hosts and devices train.
"""

from typing import Annotated

import jax.numpy as jnp
from flax import linen as nn

from msa_jax.config.fields import Modalities, Share
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch, Outputs
from msa_jax.layers.dense import Linear
from msa_jax.methods import losses
from msa_jax.methods.paper import BERT, Paper, regression
from msa_jax.text.encoders import pool


class LinearOnMeans(nn.Module):
    """Means over the valid steps of each modality, side by side, mapped to a score.

    Source: ours; as `experiment.baselines` has it, but trained by gradients.
    """

    text_encoder: nn.Module
    modalities: Annotated[Modalities, "which are read"] = MODALITIES
    dropout: Annotated[Share, "of the means"] = 0.0

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return one row of scores, and the means as feature "fusion"."""
        means = []
        for m in MODALITIES:
            if m not in self.modalities:
                continue
            x = getattr(batch, m)
            if m == "text":
                x = self.text_encoder(x, train=train)
            means.append(pool(x, getattr(batch, f"{m}_length"), "mean"))
        fusion = jnp.concatenate(means, axis=-1)
        kept = nn.Dropout(self.dropout, deterministic=not train)(fusion)
        return Outputs(Linear(1, name="score")(kept).T, {"fusion": fusion})


PAPER = Paper(
    name="linear",
    title="Linear on means",
    cite="ours, a floor",
    make=regression(LinearOnMeans),
    sections={"model": LinearOnMeans, "loss": losses.fusion},
    rates=BERT | {"other": (1e-3, 1e-3)},
    data={
        "mosi": {},
        "mosei": {},
        "sims": {"text.max_tokens": 39},
        "mosi_real": {"data.standardise": "train", "text.finetune": False},
    },
    variants={
        "t": {"model.modalities": ("text",)},
        "a": {"model.modalities": ("audio",)},
        "v": {"model.modalities": ("vision",)},
    },
)
