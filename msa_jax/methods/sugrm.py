"""SUGRM (Hwang and Kim, Findings of EACL 2023): recalibrated modalities, one space.

Like Self-MM a multimodal and three unimodal tasks; sequences are recalibrated by each
other and encoded together, and all features lie in one space, in which its label
generator takes distances for distances between labels.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from msa_jax import multitask
from msa_jax.layers import spt
from msa_jax.layers.crossmodal import CrossmodalTransformer
from msa_jax.layers.dense import Linear
from msa_jax.layers.mrm import Recalibration
from msa_jax.layers.recurrent import last_states
from msa_jax.methods import groups, label_rules
from msa_jax.methods.spt import LETTERS
from msa_jax.methods.spt import TORCH as SPT_TORCH
from msa_jax.methods.torch_names import TEXT, Names
from msa_jax.types import MODALITIES, TARGETS, Batch, Method, Outputs


class CommonSpaceHead(nn.Module):
    """Map a vector into the common space and score it.

    Source: models/multiTask/SELF_MM.py of SUGRM's code: Linear, ReLU, dropout, Linear
        (the feature, without ReLU), Linear.
    Differs: with `layers` 1, as in the paper's section 3.2: Linear, ReLU (the feature),
        Linear; dropout then stands before the score.
    """

    width: int
    dropout: float
    layers: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b d"], *, train: bool
    ) -> tuple[Float[Array, " b"], Float[Array, "b h"]]:
        """Return (score, feature)."""
        drop = nn.Dropout(self.dropout, deterministic=not train)
        hidden = nn.relu(Linear(self.width, name="layer_1")(x))
        if self.layers == 1:
            return Linear(1, name="score")(drop(hidden))[:, 0], hidden
        feature = Linear(self.width, name="layer_2")(drop(hidden))
        return Linear(1, name="score")(feature)[:, 0], feature


class Sugrm(nn.Module):
    """The network: BERT, recalibration, a sequence encoder, four heads.

    Source: SUGRM, section 3.2 and Table 4 (`sequence`, `recalibrate`).
    """

    text_encoder: nn.Module
    readings: spt.Readings
    sequence: str = "spt"
    recalibrate: str = "mean"
    squeeze: int = 4
    width: int = 32
    output_dropout: float = 0.3
    feature_layers: int = 2

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return scores and features of all four targets."""
        text = self.text_encoder(batch.text, train=train)
        sequences = {"text": text, "audio": batch.audio, "vision": batch.vision}
        lengths = {
            "text": batch.text_length,
            "audio": batch.audio_length,
            "vision": batch.vision_length,
        }
        if self.recalibrate != "none":
            masked = self.recalibrate == "masked"
            mrm = Recalibration(self.squeeze, masked, name="recalibration")
            sequences = mrm(sequences, lengths)
        states = self._encode(sequences, lengths, train)
        # Order of the concatenation: the public code's (text, audio, vision).
        fusion = jnp.concatenate([states[m] for m in MODALITIES], axis=-1)
        scores, features = [], {}
        for target in TARGETS:
            head = CommonSpaceHead(
                self.width,
                self.output_dropout,
                self.feature_layers,
                name=f"{target}_head_net",
            )
            state = fusion if target == "fusion" else states[target]
            score, features[target] = head(state, train=train)
            scores.append(score)
        return Outputs(jnp.stack(scores), features)

    def _encode(self, sequences: dict, lengths: dict, train: bool) -> dict[str, Array]:
        match self.sequence:
            case "spt":
                encoder = spt.SparsePhasedTransformer(self.readings, name="spt")
                return encoder(sequences, lengths, train=train)
            case "lstm":
                widths: dict[str, int] = dict.fromkeys(MODALITIES, self.readings.embed)
                return last_states(widths, sequences, lengths)
            case "transformer":
                vanilla = CrossmodalTransformer(self.readings, name="transformer")
                return vanilla(sequences, lengths, train=train)
            case other:
                raise ValueError(f"unknown sequence encoder {other!r}")


# Source: parameter names of skystarhyw/SUGRM.
TORCH = Names(
    {
        **TEXT,
        "recalibration/": "se_model.",
        "squeeze_map/linear/": "wg.",
        "audio_map/linear/": "wa.",
        "vision_map/linear/": "wv.",
        "text_map/linear/": "wl.",
        **{f"{t}_head_net/layer_1/linear/": f"proj1_{k}." for t, k in LETTERS.items()},
        **{f"{t}_head_net/layer_2/linear/": f"proj2_{k}." for t, k in LETTERS.items()},
        **{
            f"{t}_head_net/score/linear/": f"out_layer_{k}." for t, k in LETTERS.items()
        },
        **SPT_TORCH.paths,
    },
    SPT_TORCH.leaves,
)


def group(path: str) -> str:
    """Name the optimiser group of a parameter path.

    Source: SUGRM's trainer: BERT with and without decay, SPT, everything else. The
        norm that self attention never uses gets no gradient there and stays as it is.
    """
    if name := groups.shared(path):
        return name
    return "spt" if "_lstm/" in path or path.startswith("transformer/") else "other"


def make(
    config: Any, text_encoder: nn.Module, label_range: tuple[float, float]
) -> Method:
    """Assemble the method.

    Args:
        config: the run's configuration, see `config.sugrm`.
        text_encoder: module from `text.load_encoder`.
        label_range: lowest and highest label of the data set.
    """
    readings = spt.readings(config.spt)
    network = Sugrm(text_encoder, readings, **{**config.model})
    widths = {t: config.model.width for t in TARGETS}
    rule = label_rules.make(config.ulgm, widths, label_range, config.optim.batch_size)
    loss = partial(multitask.loss, **{**config.loss})
    return assemble(network, rule, loss)


def assemble(
    network: Sugrm,
    rule: label_rules.LabelRule,
    loss: Callable[..., Any] = multitask.loss,
) -> Method:
    """Put a network, label functions and a loss together."""
    return label_rules.method(network, rule, loss, group)
