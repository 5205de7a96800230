"""LF-LSTM: an LSTM for each modality; their last states, or scores, come together late.

Ours: MulT and SUGRM print a row of this name and publish neither code nor sizes.
"""

from typing import Annotated, Literal

import jax.numpy as jnp
from flax import linen as nn

from msa_jax.config.fields import Share, Size
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch, Outputs
from msa_jax.layers.dense import Linear, TwoLayerHead
from msa_jax.layers.recurrent import last_states
from msa_jax.methods import losses
from msa_jax.methods.paper import BERT, PLAIN, Paper, regression


class LfLstm(nn.Module):
    """Three LSTMs over the valid steps of each modality, and what scores their states.

    Source: ours. SUGRM says of it that modalities vote ("vote"); public
        classes of this name concatenate ("concat"), each with other sizes.
    """

    text_encoder: nn.Module
    text_hidden: Annotated[Size, "of the text's LSTM"] = 64
    audio_hidden: Size = 32
    vision_hidden: Size = 32
    fusion: Annotated[
        Literal["concat", "vote"],
        "states side by side into a head, or the mean of a score for each",
    ] = "concat"
    fusion_head: Annotated[Size, "hidden layer, of concat"] = 64
    fusion_head_dropout: Annotated[Share, "behind it, of concat"] = 0.0

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return one row of scores, and the states: side by side "fusion"."""
        x = {m: getattr(batch, m) for m in MODALITIES}
        x["text"] = self.text_encoder(batch.text, train=train)
        widths = {m: getattr(self, f"{m}_hidden") for m in MODALITIES}
        length = batch.lengths()
        states = last_states(widths, x, length)
        fusion = jnp.concatenate([states[m] for m in MODALITIES], axis=-1)
        if self.fusion == "vote":
            votes = [Linear(1, name=f"{m}_score")(states[m]) for m in MODALITIES]
            score = jnp.stack(votes).mean(axis=0)
        else:
            dropout = self.fusion_head_dropout
            score = TwoLayerHead(1, dropout, self.fusion_head, name="head")(
                fusion, train=train
            )
        return Outputs(score.T, states | {"fusion": fusion})


# Source: ours, the sizes too.
PAPER = Paper(
    name="lf_lstm",
    title="LF-LSTM",
    cite="a baseline, ours",
    make=regression(LfLstm),
    sections={"model": LfLstm, "loss": losses.fusion},
    rates=BERT | {"other": (1e-3, 0.0)},
    common={
        "text.encoder": "features",  # BERT's hidden states; frozen bert works, too
        "text.finetune": False,
        "optim.clip_norm": 1.0,
    },
    data={
        "mosi": {},
        "mosei": {},
        "sims": {"text.max_tokens": 39},
        PLAIN: {
            "data.standardise": "train",
            "text.encoder": "bert",
            "text.max_tokens": 40,
        },
    },
    variants={"vote": {"model.fusion": "vote"}},
)
