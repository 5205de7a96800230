"""The standalone SP-Transformer (Cheng et al., EMNLP 2021): one task, one score.

Three sequences, text as word vectors, are encoded by the sparse phased transformer;
their final states are concatenated and scored. No unimodal tasks, no label tables.
"""

from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from msa_jax import losses, tasks
from msa_jax.layers import spt
from msa_jax.layers.dense import Linear
from msa_jax.methods import groups
from msa_jax.types import MODALITIES, Batch, Method, Outputs


class Spt(nn.Module):
    """The network: a text encoder (or none), SPT, a residual block, a score.

    Source: SP-Transformer's code, its model for sentiment.
    """

    text_encoder: nn.Module
    readings: spt.Readings
    output_dropout: float = 0.1

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return one row of scores and no features."""
        sequences = {
            "text": self.text_encoder(batch.text, train=train),
            "audio": batch.audio,
            "vision": batch.vision,
        }
        lengths = {
            "text": batch.text_length,
            "audio": batch.audio_length,
            "vision": batch.vision_length,
        }
        encoder = spt.SparsePhasedTransformer(self.readings, name="spt")
        states = encoder(sequences, lengths, train=train)
        # Order of the concatenation: the public code's (text, audio, vision).
        state = jnp.concatenate([states[m] for m in MODALITIES], axis=-1)
        width = state.shape[-1]
        hidden = nn.relu(Linear(width, name="layer_1")(state))
        hidden = nn.Dropout(self.output_dropout, deterministic=not train)(hidden)
        state = state + Linear(width, name="layer_2")(hidden)
        return Outputs(Linear(1, name="score")(state).T, {})


def group(path: str) -> str:
    """Name the optimiser group of a parameter path."""
    if name := groups.shared(path):
        return name
    return "other"


def loss(
    outputs: Outputs,
    batch: Batch,
    labels: tuple[()],
    *,
    error: Literal["l1", "l2", "huber"] = "l1",
) -> tuple[Array, dict[str, Array]]:
    """Return the mean error of the valid samples, and the same as "loss_fusion"."""
    del labels
    value = losses.regression_error(outputs.prediction[0], batch.label, error)
    mean = losses.masked_mean(value, batch.valid)
    return mean, {"loss_fusion": mean}


def make(config: Any, text_encoder: nn.Module) -> Method:
    """Assemble the method.

    Args:
        config: the run's configuration, see `config.standalone_spt`.
        text_encoder: module from `text.load_encoder`.
    """
    readings = spt.readings(config.spt)
    network = Spt(text_encoder, readings, **{**config.model})
    return Method(
        task=tasks.SENTIMENT,
        model=network,
        loss=partial(loss, error=config.loss.error),
        init_labels=lambda split, key: (),
        update_labels=lambda labels, outputs, batch, epoch: labels,
        groups=group,
        label_values=lambda labels: {},
    )
