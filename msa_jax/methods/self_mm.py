"""Self-MM (Yu et al., AAAI 2021): multimodal and unimodal tasks with generated labels.

One model predicts the multimodal label and, from each modality alone, a unimodal label
that ULGM derives from the human multimodal one while training.
"""

from functools import partial
from typing import Annotated, Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from msa_jax.config import checks
from msa_jax.config.fields import GIVEN, Share, Size
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import TARGETS
from msa_jax.ground.types import Batch, Method, Outputs
from msa_jax.layers import spt
from msa_jax.layers.dense import Linear, ScoreHead
from msa_jax.layers.mrm import Recalibration
from msa_jax.layers.recurrent import last_states
from msa_jax.methods import groups, label_rules, multitask
from msa_jax.methods.mmsa_fields import GENERATED, Mmsa
from msa_jax.methods.paper import Paper
from msa_jax.methods.torch_names import HEADS, TEXT, Names
from msa_jax.methods.ulgm import Rules
from msa_jax.text.encoders import pool


class SelfMM(nn.Module):
    """The network: BERT and two LSTMs, their concatenation, four scoring heads.

    Source: Self-MM, "Overall Architecture"; models/multiTask/SELF_MM.py.
    Differs: two hidden layers per head (`head_layers`) and a linear map after each LSTM
        (`project_lstm`), as in the code; the paper has one layer and no map. Table 4 of
        SUGRM adds its recalibration (`recalibrate`) or puts SPT in the place of the
        LSTMs (`sequence`); of its three states, audio's and vision's are used then.
    """

    text_encoder: nn.Module
    text_pooling: Annotated[str, GIVEN] = "first"
    readings: spt.Readings = spt.Readings()
    sequence: Annotated[
        Literal["lstm", "spt"], "spt: SUGRM, Table 4: SPT in Self-MM"
    ] = "lstm"
    recalibrate: Annotated[
        Literal["none", "mean", "masked"], "SUGRM, Table 4: MRM added"
    ] = "none"
    audio_hidden: Size = 32
    vision_hidden: Size = 64
    audio_width: Size = 16
    vision_width: Size = 32
    audio_dropout: Share = 0.0
    vision_dropout: Share = 0.0
    fusion_head: Size = 128
    text_head: Size = 64
    audio_head: Size = 16
    vision_head: Size = 32
    fusion_head_dropout: Share = 0.1
    text_head_dropout: Share = 0.0
    audio_head_dropout: Share = 0.1
    vision_head_dropout: Share = 0.1
    head_layers: Annotated[
        Literal[1, 2], "hidden layers per head; the paper says 1, its code 2"
    ] = 2
    project_lstm: Annotated[bool, "map after the LSTMs; code yes, paper no"] = True

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return scores and ULGM features of all four targets."""
        hidden = self.text_encoder(batch.text, train=train)
        sequences = {"text": hidden, "audio": batch.audio, "vision": batch.vision}
        lengths = batch.lengths()
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
        **HEADS,
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
    settings: Any, text_encoder: nn.Module, label_range: tuple[float, float]
) -> Method:
    """Assemble the method; see `Paper.make`."""
    readings = spt.Readings(**settings.spt)
    network = SelfMM(
        text_encoder, settings.text.pooling, readings, **{**settings.model}
    )
    rule = label_rules.make(
        settings.ulgm, network.widths(), label_range, settings.optim.batch_size
    )
    loss = partial(multitask.loss, **{**settings.loss})
    return label_rules.method(network, rule, loss, group)


def check(settings: Any) -> None:
    """Refuse heads of different widths where labels measure between their features."""
    checks.divisible(settings, "spt.embed", "spt.heads")
    widths = [settings.model[f"{t}_head"] for t in TARGETS]
    if settings.ulgm.rule == "sugrm" and len(set(widths)) > 1:
        raise UserError(
            "config.ulgm.rule = 'sugrm' measures distances between features of "
            "different targets, so all of config.model.{fusion,text,audio,vision}"
            f"_head must be equal; they are {widths}"
        )


# The public code's values for MOSI are the defaults.
# Source: config/config_regression.py of thuiar/Self-MM (1786283) and thuiar/MMSA
#     (a94e65d); variant paper: Self-MM, Eq. 1 to 5 and 8, "Overall Architecture",
#     "Experimental Details", which say nothing of accumulation or early stopping.
PAPER = Paper(
    name="self_mm",
    title="Self-MM",
    cite="Yu et al., AAAI 2021",
    make=make,
    sections={
        "model": SelfMM,
        "spt": spt.Readings,  # read where model.sequence = spt
        "loss": multitask.loss,
        "ulgm": Rules,
    },
    rates={
        "bert": (5e-5, 1e-3),
        "bert_no_decay": (5e-5, 0.0),  # biases and LayerNorm
        "audio": (1e-3, 1e-2),
        "vision": (1e-4, 1e-3),
        "spt": (5e-4, 1e-3),  # SUGRM's code; where there is an SPT
        "other": (1e-3, 1e-3),
    },
    common={"optim.accumulate_batches": 4},  # the code; not in the paper
    data={
        "mosi": {"text.packing": "auto"},
        "mosi+mmsa": {
            "optim.batch_size": 16,
            "optim.groups.audio.rate": 5e-3,
            "optim.groups.audio.decay": 1e-3,
            "optim.groups.vision.rate": 5e-3,
            "model.audio_hidden": 16,
            "model.vision_hidden": 32,
            "model.text_head": 32,
            "model.fusion_head_dropout": 0.0,
            "model.text_head_dropout": 0.1,
            "model.vision_head_dropout": 0.0,
        },
        "mosei": {
            "text.packing": "auto",
            "model.vision_hidden": 32,
            "model.text_head": 32,
            "model.vision_head": 16,
            "model.fusion_head_dropout": 0.0,
            "model.text_head_dropout": 0.1,
            "model.audio_head_dropout": 0.0,
            # SUGRM's values for MOSEI.
            "spt.heads": 4,
            "spt.relu_dropout": 0.1,
            "spt.residual_dropout": 0.1,
            "spt.embed_dropout": 0.2,
            "optim.groups.audio.rate": 5e-3,
            "optim.groups.audio.decay": 0.0,
            "optim.groups.vision.decay": 0.0,
            "optim.groups.other.decay": 1e-2,
        },
        "mosei+mmsa": {
            "model.audio_hidden": 16,
            "model.vision_head": 32,
            "model.fusion_head_dropout": 0.1,
            "model.text_head_dropout": 0.0,
            "model.vision_head_dropout": 0.0,
        },
        "sims": {
            "text.max_tokens": 39,
            "text.packing": "auto",
            "model.audio_hidden": 16,
            "model.fusion_head_dropout": 0.0,
            "model.text_head_dropout": 0.1,
            "model.vision_head_dropout": 0.0,
            "optim.groups.audio.rate": 5e-3,
            "optim.groups.vision.rate": 5e-3,
            "optim.groups.vision.decay": 1e-2,
        },
        "mosi_real": {
            "data.standardise": "train",
            "text.pooling": "mean",
            "text.max_tokens": 40,
            "text.packing": "auto",
            "optim.accumulate_batches": 1,  # 46 steps an epoch instead of 11
            "optim.groups.bert.rate": 1e-4,
            "optim.groups.bert_no_decay.rate": 1e-4,
            "selection.early_stop": 6,
            "selection.max_epochs": 16,
        },
    },
    variants={
        "self_mm": {},  # the authors' repository, as without a word
        # Label 0 belongs to no class; the validation loss is rounded.
        "mmsa": {"ulgm.zero_is_positive": False, "selection.round_decimals": 4},
        "paper": {
            "ulgm.zero_is_positive": False,
            "ulgm.scale_distance": True,
            "ulgm.epsilon_in_ratio": False,
            "ulgm.clip_labels": False,
            "model.head_layers": 1,
            "model.project_lstm": False,
            "optim.groups.bert.rate": 5e-5,
            "optim.groups.bert_no_decay.rate": 5e-5,
            "optim.groups.audio.rate": 1e-3,
            "optim.groups.vision.rate": 1e-3,
            "optim.groups.spt.rate": 1e-3,
            "optim.groups.other.rate": 1e-3,
        },
    },
    reads_padding=groups.reads_padding,
    needs=label_rules.human_labels,
    check=check,
    torch=TORCH,
    mmsa=Mmsa(GENERATED, "mmsa"),
)
