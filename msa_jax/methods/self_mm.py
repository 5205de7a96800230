"""Self-MM (Yu et al., AAAI 2021): multimodal and unimodal tasks with generated labels.

One model predicts the multimodal label and, from each modality alone, a unimodal label
that ULGM derives from the human multimodal one while training.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from msa_jax import multitask
from msa_jax.layers import spt
from msa_jax.layers.dense import Linear, ScoreHead
from msa_jax.layers.mrm import Recalibration
from msa_jax.layers.recurrent import last_states
from msa_jax.methods import groups, label_rules
from msa_jax.methods.torch_names import TEXT, Names
from msa_jax.text import pool
from msa_jax.types import TARGETS, Batch, Method, Outputs


class SelfMM(nn.Module):
    """The network: BERT and two LSTMs, their concatenation, four scoring heads.

    Source: Self-MM, "Overall Architecture"; models/multiTask/SELF_MM.py.
    Differs: two hidden layers per head (`head_layers`) and a linear map after each LSTM
        (`project_lstm`), as in the code; the paper has one layer and no map. Table 4 of
        SUGRM adds its recalibration (`recalibrate`) or puts SPT in the place of the
        LSTMs (`sequence`); of its three states, audio's and vision's are used then.
    """

    text_encoder: nn.Module
    text_pooling: str = "first"
    readings: spt.Readings = spt.Readings()
    sequence: str = "lstm"
    recalibrate: str = "none"
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
        sequences = {"text": hidden, "audio": batch.audio, "vision": batch.vision}
        lengths = {
            "text": batch.text_length,
            "audio": batch.audio_length,
            "vision": batch.vision_length,
        }
        if self.recalibrate != "none":
            masked = self.recalibrate == "masked"
            sequences = Recalibration(masked=masked, name="recalibration")(
                sequences, lengths
            )
        text = pool(sequences["text"], batch.text_length, self.text_pooling)
        if self.sequence == "spt":
            encoder = spt.SparsePhasedTransformer(self.readings, name="spt")
            states = encoder(sequences, lengths, train=train)
            audio, vision = states["audio"], states["vision"]
        else:
            widths = {m: getattr(self, f"{m}_hidden") for m in ("audio", "vision")}
            states = last_states(widths, sequences, lengths)
            audio, vision = (self._project(m, states[m], train) for m in widths)
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

    def widths(self) -> dict[str, int]:
        """Return the features per target."""
        return {t: getattr(self, f"{t}_head") for t in TARGETS}

    def _project(self, name: str, state: Array, train: bool) -> Array:
        """Map the last valid state of one non-verbal modality to its features."""
        rate = getattr(self, f"{name}_dropout")
        state = nn.Dropout(rate, deterministic=not train)(state)
        if not self.project_lstm:
            return state
        projected = getattr(self, f"{name}_width")
        return Linear(projected, name=f"{name}_projection")(state)


# Source: parameter names of thuiar/Self-MM, models/multiTask/SELF_MM.py and
#     models/subNets/BertTextEncoder.py; there vision is "video".
TORCH = Names(
    {
        **TEXT,
        "audio_lstm/": "audio_model.rnn.",
        "vision_lstm/": "video_model.rnn.",
        "audio_projection/linear/": "audio_model.linear_1.",
        "vision_projection/linear/": "video_model.linear_1.",
        "vision_head_net/": "video_head_net/",
        r"(\w+)_head_net/layer_(\d)/linear/": r"post_\1_layer_\2.",
        r"(\w+)_head_net/score/linear/": r"post_\1_layer_3.",
    }
)


def group(path: str) -> str:
    """Name the optimiser group of a parameter path.

    Source: trains/multiTask/SELF_MM.py: BERT with and without decay (biases and
        LayerNorm), audio sub-network, vision sub-network, everything else.
    """
    if name := groups.shared(path):
        return name
    for name in ("audio", "vision"):
        if path.startswith((f"{name}_lstm/", f"{name}_projection/")):
            return name
    return "other"


def make(
    config: Any, text_encoder: nn.Module, label_range: tuple[float, float]
) -> Method:
    """Assemble the method.

    Args:
        config: the run's configuration, see `config.base`.
        text_encoder: module from `text.load_encoder`.
        label_range: lowest and highest label of the data set.
    """
    readings = spt.readings(config.spt)
    network = SelfMM(text_encoder, config.text.pooling, readings, **{**config.model})
    rule = label_rules.make(
        config.ulgm, network.widths(), label_range, config.optim.batch_size
    )
    return assemble(network, rule, partial(multitask.loss, **{**config.loss}))


def assemble(
    network: SelfMM,
    rule: label_rules.LabelRule,
    loss: Callable[..., Any] = multitask.loss,
) -> Method:
    """Put a network, label functions and a loss together."""
    return label_rules.method(network, rule, loss, group)
