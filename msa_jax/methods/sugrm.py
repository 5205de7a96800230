"""SUGRM (Hwang and Kim, Findings of EACL 2023): recalibrated modalities, one space.

Like Self-MM a multimodal and three unimodal tasks; sequences are recalibrated by each
other and encoded together, and all features lie in one space, in which its label
generator takes distances for distances between labels.
"""

from functools import partial
from typing import Annotated, Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from msa_jax.config import checks
from msa_jax.config.fields import Share, Size
from msa_jax.ground.names import MODALITIES, TARGETS
from msa_jax.ground.types import Batch, Method, Outputs
from msa_jax.layers import spt
from msa_jax.layers.crossmodal import CrossmodalTransformer
from msa_jax.layers.dense import Linear
from msa_jax.layers.mrm import Recalibration
from msa_jax.layers.recurrent import last_states
from msa_jax.methods import groups, label_rules, multitask
from msa_jax.methods.paper import Paper
from msa_jax.methods.spt import LETTERS
from msa_jax.methods.spt import TORCH as SPT_TORCH
from msa_jax.methods.torch_names import TEXT, Names
from msa_jax.methods.ulgm import Rules


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
    sequence: Annotated[Literal["spt", "lstm", "transformer"], "Table 4"] = "spt"
    recalibrate: Annotated[
        Literal["none", "mean", "masked"], "mean: over padding, too"
    ] = "mean"
    squeeze: Annotated[Size, "bottleneck: sum of the widths divided by this"] = 4
    width: Annotated[Size, "of the common feature space"] = 32
    output_dropout: Share = 0.3
    feature_layers: Annotated[
        Literal[1, 2], "code: Linear-ReLU-Linear; paper: 1, Linear-ReLU"
    ] = 2

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return scores and features of all four targets."""
        text = self.text_encoder(batch.text, train=train)
        sequences = {"text": text, "audio": batch.audio, "vision": batch.vision}
        lengths = batch.lengths()
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
    settings: Any, text_encoder: nn.Module, label_range: tuple[float, float]
) -> Method:
    """Assemble the method; see `Paper.make`."""
    network = Sugrm(text_encoder, spt.Readings(**settings.spt), **{**settings.model})
    widths = {t: settings.model.width for t in TARGETS}
    rule = label_rules.make(
        settings.ulgm, widths, label_range, settings.optim.batch_size
    )
    loss = partial(multitask.loss, **{**settings.loss})
    return label_rules.method(network, rule, loss, group)


# The public code's values for MOSI are the defaults.
# Source: skystarhyw/SUGRM, config/config_regression.py and trains/multiTask; variant
#     paper: SUGRM, sections 3.2 and 3.3, Table 7.
PAPER = Paper(
    name="sugrm",
    title="SUGRM",
    cite="Hwang and Kim, Findings of EACL 2023",
    make=make,
    sections={
        "model": Sugrm,
        "spt": spt.Readings,
        "loss": multitask.loss,
        "ulgm": Rules,
    },
    rates={
        "bert": (5e-5, 1e-3),
        "bert_no_decay": (5e-5, 0.0),  # biases and LayerNorm
        "spt": (5e-4, 1e-3),  # hard-coded there; the paper: 1e-2
        "other": (1e-2, 1e-3),
    },
    common={"ulgm.rule": "sugrm", "optim.accumulate_batches": 4},
    data={
        "mosi": {},
        "mosei": {
            "model.output_dropout": 0.1,
            "spt.heads": 4,
            "spt.relu_dropout": 0.1,
            "spt.residual_dropout": 0.1,
            "spt.embed_dropout": 0.2,
            "optim.groups.other.rate": 1e-3,
            "optim.groups.other.decay": 1e-2,
        },
        "mosei+paper": {"spt.attention_dropout": 0.1, "optim.groups.spt.rate": 1e-3},
        "sims": {"text.max_tokens": 39},
        "mosi_real": {
            "data.standardise": "train",
            "text.max_tokens": 40,
            "optim.accumulate_batches": 1,  # 46 steps an epoch instead of 11
            "optim.groups.bert.rate": 1e-4,
            "optim.groups.bert_no_decay.rate": 1e-4,
            "optim.groups.other.rate": 1e-3,
            "selection.early_stop": 6,
            "selection.max_epochs": 16,
        },
    },
    variants={
        "code": {},  # the public repository, as without a word
        "paper": {
            "model.feature_layers": 1,
            "ulgm.zero_is_positive": False,
            "ulgm.repeat_extremes": False,
            "ulgm.clip_labels": False,
            "spt.attention_dropout": 0.3,
            "spt.input_letters": "SPR",
            "optim.groups.spt.rate": 1e-2,
        },
    },
    reads_padding=groups.reads_padding,
    needs=label_rules.human_labels,
    check=lambda settings: checks.divisible(settings, "spt.embed", "spt.heads"),
    torch=TORCH,
)
