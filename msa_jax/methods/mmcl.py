"""MMCL (Lin and Hu, Findings of EMNLP 2022): contrastive coding and prediction.

Audio and vision are encoded twice, whole and with channels cut off, and the two views
are contrasted. Text with one of them then predicts the other, whose own code is the
target; predictions, not audio and vision themselves, are fused with the text.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from msa_jax.config import checks
from msa_jax.config.fields import Count, Modalities, Share, Size
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch, Method, Outputs
from msa_jax.layers.cutoff import FeatureCutoff
from msa_jax.layers.dense import Linear
from msa_jax.layers.encoder_stack import EncoderStack, mean_step
from msa_jax.layers.recurrent import BidirectionalLstm, SequenceLstm, run_both_ways
from msa_jax.layers.resample import match_steps
from msa_jax.layers.siamese_cnn import STRIDES, SiameseCnn, mean_position
from msa_jax.methods import contrastive_total, groups, losses, tasks
from msa_jax.methods.contrastive_total import Readings, Views, Weights
from msa_jax.methods.paper import BERT, Paper
from msa_jax.text.encoders import pool

PREDICTED = ("audio", "vision")  # text is never predicted
REDUCTION = math.prod(STRIDES)  # steps that become one position


class TwoLayers(nn.Module):
    """Linear, ReLU, dropout, Linear: the paper's "MLP".

    Source: none; MMCL, section 3.4.1, does not say how many layers.
    """

    hidden: int
    width: int
    dropout: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Apply it to the last axis."""
        x = nn.relu(Linear(self.hidden, name="layer_1")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Linear(self.width, name="layer_2")(x)


class UnimodalCoding(nn.Module):
    """LSTM, cutoff and transformer of one modality: its sequence, seen once or twice.

    encoder: "transformer", or "linear" maps of each step (Table 2).
    lstm: run apart from the call, because all modalities' are run together.

    Source: MMCL, section 3.3, Eq. 2 and 3.
    """

    width: int
    cutoff: float
    encoder: Literal["transformer", "linear"]
    layers: int
    heads: int
    dropout: float

    def setup(self) -> None:
        """Make the LSTM; the other parts are made where they are called."""
        self.lstm = BidirectionalLstm(self.width // 2)

    @nn.compact
    def __call__(
        self,
        hidden: Float[Array, "b t {self.width}"],
        length: Int[Array, " b"],
        *,
        train: bool,
    ) -> Float[Array, "b v t {self.width}"]:
        """Return the views, v: the sequence and, in training, what cutoff left of it.

        The same weights encode both; steps beyond the length are 0.

        Args:
            hidden: what the LSTM put out.
            length: valid steps, in 1..t.
            train: cut off and apply dropout.
        """
        views = [hidden]
        if train:
            views += [FeatureCutoff(self.cutoff)(hidden, train=True)]
        # One pass over all views, a sample's beside each other: the batch axis keeps
        # its order, and so its layout over devices.
        stacked = jnp.stack(views, axis=1)
        rows = stacked.reshape(-1, *hidden.shape[1:])
        valid = jnp.arange(hidden.shape[1])[None] < length[:, None]
        valid = jnp.repeat(valid, len(views), axis=0)
        if self.encoder == "transformer":
            stack = EncoderStack(
                self.layers, self.heads, dropout=self.dropout, name="transformer"
            )
            rows = stack(rows, valid, train=train)
        elif self.encoder == "linear":
            rows = Linear(self.width, name="linear")(rows)
            rows = jnp.where(valid[:, :, None], rows, 0)
        else:
            raise ValueError(f"unknown encoder {self.encoder!r}")
        return rows.reshape(stacked.shape)


class CrossModalPrediction(nn.Module):
    """Predict one modality from text and the other, in a common latent space.

    Source: MMCL, section 3.4.1 and Figure 3; sizes: appendix A.1.
    """

    width: int
    context_width: int
    latent_width: int
    axis: Literal["feature", "time"]
    dropout: float

    @nn.compact
    def __call__(
        self,
        text: Array,
        other: Array,
        target: Array | None,
        length: Int[Array, " b"] | None,
        *,
        train: bool,
    ) -> tuple[Float[Array, "b h"], Float[Array, "b h"] | None]:
        """Return the prediction and the target's code.

        Args:
            text: vectors of the common width (axis "feature") or sequences ("time").
            other: the modality that helps to predict.
            target: the predicted one; None: only the prediction is wanted.
            length: valid steps of the three sequences; None with axis "feature".
            train: apply dropout.
        """
        both = jnp.concatenate([text, other], axis=-1)
        fusion = TwoLayers(self.width, self.width, self.dropout, name="bimodal")
        cnn = partial(SiameseCnn, self.latent_width, self.axis)
        seen = cnn(name="cnn")(fusion(both, train=train), length)
        steps = None if length is None else -(-length // REDUCTION)
        context = SequenceLstm(self.context_width, name="context")(seen, steps).hidden
        predicted = Linear(self.latent_width, name="predictor")(context)
        if target is None:
            return predicted, None
        code = cnn(name="target_cnn")(target, length)
        return predicted, mean_position(code, steps)


class Mmcl(nn.Module):
    """The network; see the classes above for its parts.

    modalities: which are read. The others' representations are zeros (Table 4), of
        text as wide as the common width; what follows them stays, so that predictions
        do not depend on what a data set has of them.

    Source: MMCL, section 3 and Figure 1.
    """

    text_encoder: nn.Module
    pooling: str
    sequence_width: Annotated[Size, "of each LSTM direction"] = 64
    cutoff: Annotated[Share, "of channels, cut off in the second view"] = 0.2
    encoder: Annotated[Literal["transformer", "linear"], "Table 2"] = "transformer"
    layers: Count = 3
    heads: Size = 8
    width: Annotated[Size, "common; at least 159 with cnn_axis feature"] = 768
    cnn_axis: Annotated[
        Literal["feature", "time"], "what the convolutions run along"
    ] = "feature"
    channels: Annotated[Size, "of predictions and targets"] = 256
    context_width: Annotated[Size, "of the LSTM over the convolutions' output"] = 128
    fusion_width: Size = 256
    dropout: Annotated[Share, "grid: .1, .6"] = 0.1
    modalities: Annotated[Modalities, "the others are zeros (Table 4)"] = MODALITIES

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return one row of scores and the fused representation.

        In training also, per predicted modality u, the four vectors of
        `contrastive_total.Views` under the names "u_<field>". Outside training neither
        cut-off views nor codes of targets are computed.
        """
        over_time = self.cnn_axis == "time"
        with_targets = train or self.is_initializing()
        # Over time all sequences have the steps of the first modality that is read.
        first = next(m for m in MODALITIES if m in self.modalities)
        to = getattr(batch, f"{first}_length")
        if first == "text":
            tokens = self.text_encoder(batch.text, train=train)
            sentence = pool(tokens, to, self.pooling)
        else:
            steps = getattr(batch, first).shape[1]
            tokens = jnp.zeros((to.shape[0], steps, self.width))
            sentence = tokens[:, 0]
        steps = tokens.shape[1]
        text = tokens if over_time else sentence
        common = {"text": Linear(self.width, name="text_map")(text)}
        features: dict[str, Array] = {}
        views = self._views(batch, train)
        for name in PREDICTED:
            if name in views:
                length = getattr(batch, f"{name}_length")
                vector = self._code(name, views[name], length, features, (steps, to))
            else:
                shape = (*text.shape[:-1], 2 * self.sequence_width)
                vector = jnp.zeros(shape, text.dtype)
            common[name] = Linear(self.width, name=f"{name}_map")(vector)
        predicted = {}
        for name, other in zip(PREDICTED, reversed(PREDICTED), strict=True):
            predict = CrossModalPrediction(
                self.width,
                self.context_width,
                self.channels,
                self.cnn_axis,
                self.dropout,
                name=f"{name}_prediction",
            )
            predicted[name], code = predict(
                common["text"],
                common[other],
                common[name] if with_targets else None,
                to if over_time else None,
                train=train,
            )
            if train and code is not None:
                features[f"{name}_predicted"] = predicted[name]
                features[f"{name}_target"] = code
        fused = jnp.concatenate([sentence, *predicted.values()], axis=-1)
        fused = nn.relu(Linear(self.fusion_width, name="fusion")(fused))
        features["fusion"] = fused
        fused = nn.Dropout(self.dropout, deterministic=not train)(fused)
        return Outputs(Linear(1, name="score")(fused).T, features)

    def _views(self, batch: Batch, train: bool) -> dict[str, Array]:
        """Return the views of the modalities that are read, [b v t d]."""
        codings = {
            name: UnimodalCoding(
                2 * self.sequence_width,
                self.cutoff,
                self.encoder,
                self.layers,
                self.heads,
                self.dropout,
                name=f"{name}_coding",
            )
            for name in PREDICTED
            if name in self.modalities
        }
        if not codings:
            return {}
        length = batch.lengths()
        states = run_both_ways(
            [c.lstm.reads(getattr(batch, n), length[n]) for n, c in codings.items()]
        )
        return {
            name: coding(state.output, length[name], train=train)
            for (name, coding), state in zip(codings.items(), states, strict=True)
        }

    def _code(
        self,
        name: str,
        views: Float[Array, "b v t d"],
        length: Int[Array, " b"],
        features: dict[str, Array],
        shape: tuple[int, Int[Array, " b"]],
    ) -> Array:
        """Return a modality's code, [b d]; over time [b t d] of `shape`'s lengths.

        In training its two vectors are put into `features`.
        """
        valid = jnp.arange(views.shape[2])[None] < length[:, None]
        vector = mean_step(views[:, 0], valid)
        if views.shape[1] > 1:
            features[f"{name}_feature"] = vector
            features[f"{name}_augmented"] = mean_step(views[:, 1], valid)
        if self.cnn_axis == "time":
            return match_steps(views[:, 0], length, *shape)
        return vector


def group(path: str) -> str:
    """Name the optimiser group of a parameter path.

    Source: MMCL, appendix A.1: one rate for BERT, one for everything else.
    """
    return groups.shared(path) or "other"


def loss(
    outputs: Outputs,
    batch: Batch,
    labels: tuple[()],
    *,
    weights: Weights,
    readings: Readings,
    modalities: tuple[str, ...],
    error: losses.Error = "l1",
) -> tuple[Array, dict[str, Array]]:
    """Return the total loss, and its parts before they are weighted.

    Parts: "loss_regression" and, where its weight is not 0, "loss_<name>" of each of
    `Weights`. An absent modality has none of the contrastive losses: its code is the
    same for all samples, and aligning predictions with it would only make them alike.

    Source: MMCL, section 3.5, Eq. 9 and 10.
    """
    del labels
    value = losses.regression_error(outputs.prediction[0], batch.label, error)
    regression = losses.masked_mean(value, batch.valid)
    views = {
        name: Views(*(outputs.feature[f"{name}_{field}"] for field in Views._fields))
        for name in PREDICTED
        if name in modalities
    }
    terms = contrastive_total.parts(views, batch.label, batch.valid, readings)
    counted = [n for n, w in weights._asdict().items() if losses.counts(w)]
    used = {f"loss_{n}": terms[n] for n in counted}
    total = contrastive_total.total(regression, terms, weights)
    return total, {"loss_regression": regression} | used


def make(
    settings: Any, text_encoder: nn.Module, label_range: tuple[float, float]
) -> Method:
    """Assemble the method; see `Paper.make`."""
    del label_range
    network = Mmcl(text_encoder, settings.text.pooling, **{**settings.model})
    return assemble(
        network,
        partial(
            loss,
            weights=Weights(**settings.weights),
            readings=Readings(**settings.contrast),
            modalities=tuple(settings.model.modalities),
            **{**settings.loss},
        ),
    )


def assemble(network: Mmcl, loss: Callable[..., Any]) -> Method:
    """Put a network and a loss together."""
    return Method(tasks.SENTIMENT, network, loss, group)


def check(settings: Any) -> None:
    """Refuse widths that heads or convolutions do not fit."""
    model = settings.model
    checks.divisible(settings, "model.sequence_width", "model.heads", times=2)
    if model.cnn_axis == "feature" and model.width < 159:
        raise UserError(
            f"config.model.width = {model.width}: the convolutions need at least 159 "
            "features; or let them run over time: --config.model.cnn_axis=time"
        )


_WEIGHTS = ("uni", "sentiment", "cross", "align", "uniform")

# The paper has no public code; what it leaves open is argued in docs/fidelity.md.
# Source: MMCL, section 4, appendix A.1, Table 5.
PAPER = Paper(
    name="mmcl",
    title="MMCL",
    cite="Lin and Hu, Findings of EMNLP 2022",
    make=make,
    sections={"model": Mmcl, "loss": loss, "weights": Weights, "contrast": Readings},
    rates=BERT | {"other": (1e-3, 0.0)},
    common={
        "data.aligned": None,  # the paper uses both kinds of files
        "text.packing": "auto",
        "optim.clip_norm": 1.0,
        "optim.schedule": "linear",
        "optim.warmup_share": 0.1,
        "selection.early_stop": 10,
        "selection.max_epochs": 40,
        "selection.valid_mean": "samples",
    },
    data={
        "mosei": {},
        "mosi": {"optim.groups.other.rate": 5e-3},
        "sims": {"text.max_tokens": 39},
        "mosi_real": {
            "data.aligned": False,
            "data.standardise": "train",
            "text.pooling": "mean",
            "text.max_tokens": 40,
            "optim.groups.bert.rate": 1e-4,
            "optim.groups.bert_no_decay.rate": 1e-4,
            "selection.early_stop": 6,
            "selection.max_epochs": 12,
        },
    },
    variants={
        # Table 3.
        "aligned": {"data.aligned": True},
        "unaligned": {"data.aligned": False},
        # Table 2. Table 5's rows are values of config.weights.{uni,sentiment,cross}.
        "linear": {"model.encoder": "linear"},  # "rp Transformer"
        "no_uni": {"weights.uni": 0.0},
        "no_icl": {f"weights.{name}": 0.0 for name in ("cross", "align", "uniform")},
        "no_cross": {"weights.cross": 0.0},
        "no_align": {"weights.align": 0.0},
        "no_uniform": {"weights.uniform": 0.0},
        "no_scl": {"weights.sentiment": 0.0},
        "no_contrast": {f"weights.{name}": 0.0 for name in _WEIGHTS},
        # Table 4.
        "a": {"model.modalities": ("audio",)},
        "v": {"model.modalities": ("vision",)},
        "t": {"model.modalities": ("text",)},
        "av": {"model.modalities": ("audio", "vision")},
        "ta": {"model.modalities": ("text", "audio")},
        "tv": {"model.modalities": ("text", "vision")},
    },
    check=check,
)
