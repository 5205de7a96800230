"""Self-MM (Yu et al., AAAI 2021): multimodal and unimodal tasks with generated labels.

One model predicts the multimodal label and, from each modality alone, a unimodal label
that ULGM derives from the human multimodal one while training.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from msa_jax import multitask, ulgm
from msa_jax.layers.dense import Linear, ScoreHead
from msa_jax.layers.recurrent import LastStateLstm
from msa_jax.text import pool
from msa_jax.types import TARGETS, Batch, Method, Outputs


class SelfMM(nn.Module):
    """The network: BERT and two LSTMs, their concatenation, four scoring heads.

    Source: Self-MM, "Overall Architecture"; models/multiTask/SELF_MM.py.
    Differs: two hidden layers per head (`head_layers`) and a linear map after each LSTM
        (`project_lstm`), as in the code; the paper has one layer and no map.
    """

    text_encoder: nn.Module
    text_pooling: str = "first"
    audio_hidden: int = 32
    vision_hidden: int = 64
    audio_width: int = 16
    vision_width: int = 32
    audio_dropout: float = 0.0
    vision_dropout: float = 0.0
    fusion_head: int = 128
    text_head: int = 64
    audio_head: int = 16
    vision_head: int = 32
    fusion_head_dropout: float = 0.1
    text_head_dropout: float = 0.0
    audio_head_dropout: float = 0.1
    vision_head_dropout: float = 0.1
    head_layers: int = 2
    project_lstm: bool = True

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return scores and ULGM features of all four targets."""
        hidden = self.text_encoder(batch.text, train=train)
        text = pool(hidden, batch.text_length, self.text_pooling)
        audio = self._sequence("audio", batch.audio, batch.audio_length, train)
        vision = self._sequence("vision", batch.vision, batch.vision_length, train)
        # Order of the concatenation: the public code's (text, audio, vision).
        inputs = {
            "fusion": jnp.concatenate([text, audio, vision], axis=-1),
            "text": text,
            "audio": audio,
            "vision": vision,
        }
        scores, features = [], {}
        for target in TARGETS:
            head = ScoreHead(
                getattr(self, f"{target}_head"),
                getattr(self, f"{target}_head_dropout"),
                self.head_layers,
                name=f"{target}_head_net",
            )
            score, features[target] = head(inputs[target], train=train)
            scores.append(score)
        return Outputs(jnp.stack(scores), features)

    def _sequence(self, name: str, x: Array, length: Array, train: bool) -> Array:
        """Encode one non-verbal modality as its LSTM's last valid state."""
        width = getattr(self, f"{name}_hidden")
        state = LastStateLstm(width, name=f"{name}_lstm")(x, length)
        rate = getattr(self, f"{name}_dropout")
        state = nn.Dropout(rate, deterministic=not train)(state)
        if not self.project_lstm:
            return state
        projected = getattr(self, f"{name}_width")
        return Linear(projected, name=f"{name}_projection")(state)


def group(path: str, frozen: bool = False) -> str:
    """Name the optimiser group of a parameter path; `frozen`: BERT stays as it is.

    Source: trains/multiTask/SELF_MM.py: BERT with and without decay (biases and
        LayerNorm), audio sub-network, vision sub-network, everything else.
    """
    if path.startswith("text_encoder/"):
        if frozen:
            return "frozen"
        spared = "bias" in path or "LayerNorm" in path
        return "bert_no_decay" if spared else "bert"
    for name in ("audio", "vision"):
        if path.startswith((f"{name}_lstm/", f"{name}_projection/")):
            return name
    return "other"


def make(
    model: dict[str, Any], text_encoder: nn.Module, pooling: str, rules: ulgm.Rules
) -> Method:
    """Assemble the method.

    Args:
        model: fields of `SelfMM`, that is `config.model`.
        text_encoder: module from `text.load_encoder`.
        pooling: "first" or "mean", see `text.pool`.
        rules: the ULGM readings chosen by `config.ulgm`.
    """
    network = SelfMM(text_encoder, pooling, **model)
    widths = {t: getattr(network, f"{t}_head") for t in TARGETS}

    def update(labels, outputs, batch, epoch):
        return ulgm.update_tables(
            labels, outputs.feature, batch.index, batch.valid, epoch, rules
        )

    def recorded(labels):
        return {"u_labels": labels.value, "empty_classes": labels.empty_classes}

    return Method(
        model=network,
        loss=multitask.loss,
        init_labels=lambda split, key: ulgm.init_tables(split.label, widths),
        update_labels=update,
        groups=partial(group, frozen=getattr(text_encoder, "frozen", False)),
        label_values=recorded,
    )
