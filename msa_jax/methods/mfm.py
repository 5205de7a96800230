"""MFM (Tsai et al., ICLR 2019): factors that answer, and factors that tell the rest.

Codes of the modalities and a joint one from MFN; each becomes a factor. The joint
factor gives the score, and with a modality's own it gives that modality back, step by
step. Codes are pulled to a normal distribution by their mean discrepancy from draws.
"""

from functools import partial
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from msa_jax.config.fields import Share, Size, Traced, Weight
from msa_jax.ground.names import MODALITIES, TARGETS
from msa_jax.ground.types import Batch, Method, Outputs
from msa_jax.layers import draws, recurrence
from msa_jax.layers.dense import Linear, TwoLayerHead
from msa_jax.layers.gated_memory import MemoryFusion, lstms, small
from msa_jax.layers.recurrence import Sequence, Weights
from msa_jax.layers.recurrent import LstmWeights
from msa_jax.layers.resample import Align, side_by_side
from msa_jax.methods import groups, losses, tasks
from msa_jax.methods.losses import masked_mean
from msa_jax.methods.mfn import COMMON, REAL, SANE, column, named
from msa_jax.methods.mmsa_fields import MEMORY, SEQUENCES, WINDOW, Mmsa, to, void
from msa_jax.methods.paper import BERT, Paper
from msa_jax.methods.torch_names import LSTM_CELL, TEXT, Names


class Mfm(nn.Module):
    """The network, as MMSA has it.

    Source: MMSA a94e65d, its model MFM; pliang279/factorized 602b160; MFM, section 2.
    Differs: the output layers of the MFN inside, which nothing reads there and which
        never learn, are left out.
    """

    text_encoder: nn.Module
    text_hidden: Annotated[Size, "of the joint code's LSTMs"] = 128
    audio_hidden: Size = 32
    vision_hidden: Size = 128
    memory: Annotated[Size, "width"] = 64
    attention_hidden: Annotated[Size, "between two layers, as all of these"] = 32
    attention_dropout: Annotated[Share, "between two layers, as all of these"] = 0.7
    candidate_hidden: Annotated[Size, "of what is written"] = 64
    candidate_dropout: Share = 0.0
    retain_hidden: Annotated[Size, "of the gate that keeps"] = 32
    retain_dropout: Share = 0.0
    update_hidden: Annotated[Size, "of the gate that writes"] = 64
    update_dropout: Share = 0.5
    fusion_code: Annotated[Size, "of the joint code"] = 80
    text_code: Annotated[Size, "of its code and its LSTM"] = 64
    audio_code: Size = 80
    vision_code: Size = 80
    fusion_factor: Annotated[Size, "of the joint factor"] = 64
    text_factor: Size = 32
    audio_factor: Size = 16
    vision_factor: Size = 64
    fusion_factor_dropout: Annotated[Share, "between code and factor"] = 0.5
    text_factor_dropout: Share = 0.5
    audio_factor_dropout: Share = 0.7
    vision_factor_dropout: Share = 0.5
    score_dropout: Share = 0.0
    align: Annotated[Align, "which steps make one for each of the text's"] = (
        "block_mean"
    )
    text_state: Annotated[
        Literal["padded_end", "last_valid"], "which states and memory are read"
    ] = "padded_end"

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return one row of scores, the codes, and what the loss needs besides.

        "reconstruction": mean squared errors of text, audio and vision [b, 3]. "prior_"
        and a target: draws beside its code, in training or where they are given; no
        answer depends on them.
        """
        text = self.text_encoder(batch.text, train=train)
        x = side_by_side(self, batch, text, self.align)
        length = batch.text_length if self.text_state == "last_valid" else None
        code = self._codes(x, length, train)
        factor = {}
        for t in TARGETS:
            self.sow("intermediates", f"z_{t}", code[t])
            width = getattr(self, f"{t}_factor")
            net = TwoLayerHead(
                width,
                getattr(self, f"{t}_factor_dropout"),
                width,
                name=f"{t}_to_factor",
            )
            pre = net(code[t], train=train)
            self.sow("intermediates", f"f_pre_{t}", pre)
            factor[t] = nn.relu(pre)
        head = TwoLayerHead(1, self.score_dropout, self.fusion_factor, name="head")
        feature = code | {"reconstruction": self._reconstruction(x, factor, length)}
        if train or self.has_variable(draws.DRAWS, "z_fusion"):
            for t in (*MODALITIES, "fusion"):
                given = draws.normal(self, "prior", f"z_{t}", code[t].shape)
                feature[f"prior_{t}"] = given
        return Outputs(head(factor["fusion"], train=train).T, feature)

    def _codes(
        self, x: dict[str, Array], length: Array | None, train: bool
    ) -> dict[str, Float[Array, "b _"]]:
        """Return the code of every target; all LSTMs run by one call."""
        joint = {m: getattr(self, f"{m}_hidden") for m in MODALITIES}
        own = {f"{m}_code": getattr(self, f"{m}_code") for m in MODALITIES}
        twice = x | {f"{m}_code": x[m] for m in MODALITIES}
        states = lstms(twice, joint | own, length)
        nets = small(self, "attention", "candidate", "retain", "update")
        fusion = MemoryFusion(self.memory, *nets, name="fusion")
        last = {"fusion": fusion({m: states[m] for m in joint}, length, train=train)}
        last |= {m: states[f"{m}_code"].last for m in MODALITIES}
        widths = {t: getattr(self, f"{t}_code") for t in TARGETS}
        return {t: Linear(widths[t], name=f"{t}_to_code")(last[t]) for t in TARGETS}

    def _reconstruction(
        self, x: dict[str, Array], factor: dict[str, Array], length: Array | None
    ) -> Float[Array, "b 3"]:
        """Return mean squared errors of the sequences that the factors give back.

        A decoder is an LSTM that reads factors at its first step and its own state at
        all others: one whose kernel over the state is the sum of both, and which reads
        nothing after the first step.
        """
        steps = x["text"].shape[1]
        sequences, weights = [], []
        for m in MODALITIES:
            both = jnp.concatenate([factor["fusion"], factor[m]], axis=-1)
            kernel, state_kernel, bias = LstmWeights(
                both.shape[-1], name=f"{m}_decoder"
            )(both.shape[-1])
            first = (both @ kernel)[:, None]
            drive = jnp.pad(first, ((0, 0), (0, steps - 1), (0, 0)))
            sequences.append(Sequence(drive, length))
            weights.append(Weights(None, state_kernel + kernel, bias))
        count = jnp.full(len(x["text"]), steps) if length is None else length
        valid = jnp.arange(steps)[None] < count[:, None]
        errors = []
        states = recurrence.run(sequences, weights)
        for m, state in zip(MODALITIES, states, strict=True):
            rebuilt = Linear(x[m].shape[-1], name=f"{m}_rebuilt")(state.output)
            self.sow("intermediates", f"x_hat_{m}", jnp.swapaxes(rebuilt, 0, 1))
            squares = jnp.square(rebuilt - jax.lax.stop_gradient(x[m])).mean(axis=-1)
            errors.append(jnp.where(valid, squares, 0).sum(axis=1) / count)
        return jnp.stack(errors, axis=-1)


def discrepancy(
    x: Float[Array, "b d"], y: Float[Array, "b d"], valid: Bool[Array, " b"]
) -> Float[Array, ""]:
    """Return how far two sets of vectors lie apart: the mean discrepancy, squared.

    mean k(x, x) + mean k(y, y) - 2 mean k(x, y) over all pairs of valid rows, each row
    with itself, too; k(a, b) = exp(-|a - b|^2 / d^2).

    Source: MFM, section 2.4 (MMD); both public codes, which divide by d twice.
    """
    share = valid / jnp.maximum(valid.sum(), 1)
    x, y = (jnp.where(valid[:, None], both, 0) for both in (x, y))

    def mean(a, b):
        squares = jnp.square(a[:, None] - b[None]).mean(axis=-1)
        return share @ jnp.exp(-squares / a.shape[1]) @ share

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


_Share = Annotated[Weight, Traced(), "of its mean squared error"]


def loss(
    outputs: Outputs,
    batch: Batch,
    labels: Any,
    *,
    error: losses.Error = "l1",
    mmd_weight: Annotated[Weight, Traced(), "of the codes' discrepancies"] = 100.0,
    text_reconstruction_weight: _Share = 0.5,
    audio_reconstruction_weight: _Share = 0.01,
    vision_reconstruction_weight: _Share = 0.5,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Return the loss of a training batch and its parts.

    The score's mean error, the sequences' weighted mean squared errors, and the
    weighted sum of every code's discrepancy from its draws.

    Source: MMSA's MFM and its trainer.
    """
    total, parts = losses.fusion(outputs, batch, labels, error=error)
    weights = (
        text_reconstruction_weight,
        audio_reconstruction_weight,
        vision_reconstruction_weight,
    )
    errors = outputs.feature["reconstruction"]
    reconstruction = sum(
        weight * masked_mean(errors[:, i], batch.valid)
        for i, weight in enumerate(weights)
    )
    mmd = sum(
        discrepancy(outputs.feature[f"prior_{t}"], outputs.feature[t], batch.valid)
        for t in TARGETS
    )
    parts |= {
        "loss_reconstruction": jnp.asarray(reconstruction),
        "loss_mmd": jnp.asarray(mmd),
        "loss_mmd_weighted": jnp.asarray(mmd_weight * mmd),
    }
    return total + reconstruction + mmd_weight * mmd, parts


# Source: parameter names of MMSA a94e65d.
_LETTERS = {"fusion": "y", "text": "l", "audio": "a", "vision": "v"}
_PARTS = (
    ("code_lstm", "encoder", "lstm"),
    ("to_code", "encoder", "fc1"),
    ("decoder", "decoder", "lstm"),
    ("rebuilt", "decoder", "fc1"),
)
TORCH = Names(
    {
        **TEXT,
        **named("mfn_encoder."),
        "head/": "fy_to_y_",
        **{f"{t}_to_factor/": f"z{c}_to_f{c}_" for t, c in _LETTERS.items()},
        **{
            f"{m}_{ours}/(linear/)?": f"{name}_{_LETTERS[m]}.{layer}."
            for m in MODALITIES
            for ours, name, layer in _PARTS
        },
        "fusion_to_code/(linear/)?": "last_to_zy_fc1.",
    },
    LSTM_CELL,
    Names._field_defaults["ignored"] + r"|mfn_encoder\.out_",
)


def _mmsa() -> Mmsa:
    """Say what MMSA's configuration means here; its letters are those of `_LETTERS`."""
    unused = void("no answer of MMSA's comes from the layers it sizes")
    return Mmsa(
        {
            **SEQUENCES,
            **MEMORY,
            **WINDOW,
            "outConfig.shapes": unused,
            "outConfig.drop": unused,
            **{f"z{c}_size": to(f"model.{t}_code") for t, c in _LETTERS.items()},
            **{f"f{c}_size": to(f"model.{t}_factor") for t, c in _LETTERS.items()},
            **{
                f"z{c}_to_f{c}_dropout": to(f"model.{t}_factor_dropout")
                for t, c in _LETTERS.items()
            },
            "fy_to_y_dropout": to("model.score_dropout"),
            "lda_mmd": to("loss.mmd_weight"),
            **{
                f"lda_x{_LETTERS[m]}": to(f"loss.{m}_reconstruction_weight")
                for m in MODALITIES
            },
            "learning_rate": void("MMSA builds Adam without it: 1e-3 always"),
        }
    )


def make(
    settings: Any, text_encoder: nn.Module, label_range: tuple[float, float]
) -> Method:
    """Assemble the method; see `Paper.make`."""
    del label_range
    return Method(
        task=tasks.SENTIMENT,
        model=Mfm(text_encoder, **{**settings.model}),
        loss=partial(loss, **{**settings.loss}),
        groups=lambda path: groups.shared(path) or "other",
        streams=("prior",),
    )


def _column(
    hidden: tuple[int, int, int],
    memory: int,
    optim: tuple[int, float],
    nets: tuple[tuple[int, float], ...],
    factors: tuple[tuple[int, int, float], ...],
    score: float,
    weights: tuple[float, float, float, float],
) -> dict[str, Any]:
    """Return one column of MMSA's values; the rate is PyTorch's, see the card.

    Args:
        optim: batch size and decay.
        nets: width and dropout of the small networks.
        factors: of every target: width of its code, of its factor, dropout.
        score: dropout.
        weights: of the discrepancies and the errors of text, audio and vision.
    """
    names = "attention", "candidate", "retain", "update"
    batch, decay = optim
    values = column(
        hidden, memory, (batch, 1e-3, decay), **dict(zip(names, nets, strict=True))
    )
    for t, (code, factor, rate) in zip(TARGETS, factors, strict=True):
        values[f"model.{t}_code"], values[f"model.{t}_factor"] = code, factor
        values[f"model.{t}_factor_dropout"] = rate
    values["model.score_dropout"] = score
    terms = "mmd", *(f"{m}_reconstruction" for m in MODALITIES)
    pairs = zip(terms, weights, strict=True)
    return values | {f"loss.{term}_weight": weight for term, weight in pairs}


_MOSI = _column(
    *((128, 32, 128), 64, (64, 0.001)),
    nets=((32, 0.7), (64, 0.0), (32, 0.0), (64, 0.5)),
    factors=((80, 64, 0.5), (64, 32, 0.5), (80, 16, 0.7), (80, 64, 0.5)),
    score=0.0,
    weights=(100.0, 0.5, 0.01, 0.5),
)
# The rate of MMSA's file, which no code of MFM's reads.
_RATE = {"optim.groups.other.rate": 2e-3}

# Source: MMSA a94e65d, its configuration. Its 45 313, 156 161 and 35 073 weights that
#     nothing reads are not here.
PAPER = Paper(
    name="mfm",
    title="MFM",
    cite="Tsai et al., ICLR 2019",
    make=make,
    sections={"model": Mfm, "loss": loss},
    rates=BERT | {"other": (1e-3, 0.001)},
    common=COMMON,
    data={
        "mosi": _MOSI,
        "mosi+sane": _RATE,
        "mosei": _column(
            *((256, 32, 256), 64, (64, 0.0005)),
            nets=((1278, 0.5), (32, 0.7), (64, 0.5), (128, 0.2)),
            factors=((32, 16, 0.2), (256, 32, 0.7), (80, 80, 0.7), (80, 32, 0.7)),
            score=0.2,
            weights=(10.0, 5.0, 2.0, 5.0),
        ),
        "sims": _column(
            *((64, 16, 64), 128, (128, 0.005)),
            nets=((32, 0.5), (64, 0.5), (64, 0.7), (256, 0.0)),
            factors=((48, 48, 0.5), (256, 256, 0.0), (32, 80, 0.7), (80, 48, 0.0)),
            score=0.7,
            weights=(200.0, 0.5, 0.01, 0.01),
        )
        | {"text.max_tokens": 39},
        "sims+sane": _RATE,
        "mosi_real": _MOSI | _RATE | SANE | REAL,
    },
    variants={"sane": SANE},
    reads_padding=groups.reads_padded_text,
    torch=TORCH,
    mmsa=_mmsa(),
    parameters={
        "mosi": 1_416_123 - 45_313,
        "mosei": 5_996_541 - 156_161,
        "sims": 3_478_888 - 35_073,
    },
)
