"""EF-LSTM: text, audio and vision of each step side by side, read by one LSTM.

The baseline of early fusion; MMSA's form, after rhoposit/MultimodalDNN.
"""

from typing import Annotated, Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from msa_jax.config.fields import Share, Size
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch, Outputs
from msa_jax.layers import recurrence
from msa_jax.layers.dense import TwoLayerHead
from msa_jax.layers.norm import BatchNorm
from msa_jax.layers.recurrence import Sequence, Weights
from msa_jax.layers.recurrent import LstmWeights
from msa_jax.layers.resample import Align, side_by_side
from msa_jax.methods import groups, losses
from msa_jax.methods.mfn import COMMON, REAL, SANE
from msa_jax.methods.mmsa_fields import SEQUENCES, Mmsa, to
from msa_jax.methods.paper import BERT, Paper, regression
from msa_jax.methods.torch_names import LSTM, TEXT, Names

MOST_LAYERS = 9


class EfLstm(nn.Module):
    """The network, as MMSA has it.

    Source: MMSA a94e65d, its model EF_LSTM.
    """

    text_encoder: nn.Module
    hidden: Annotated[Size, "of every layer"] = 128
    layers: Annotated[Size, "of the LSTM"] = 4
    dropout: Annotated[Share, "of the LSTM's last state, and in the head"] = 0.5
    layer_dropout: Annotated[Share, "between layers; MMSA: as dropout"] = 0.5
    norm: Annotated[
        Literal["time_steps", "features"],
        "what has statistics of its own; MMSA: every step, over all features",
    ] = "time_steps"
    align: Annotated[Align, "which steps make one for each of the text's"] = (
        "block_mean"
    )
    text_state: Annotated[
        Literal["padded_end", "last_valid"], "which state of the LSTM is scored"
    ] = "padded_end"

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return one row of scores, and the LSTM's last state as feature "fusion"."""
        text = self.text_encoder(batch.text, train=train)
        sequences = side_by_side(self, batch, text, self.align)
        x = jnp.concatenate([sequences[m] for m in MODALITIES], axis=-1)
        length = batch.text_length if self.text_state == "last_valid" else None
        last = []
        for layer in range(self.layers):
            weights = LstmWeights(self.hidden, name=f"lstm_{layer}")(x.shape[-1])
            if layer == 0:
                x, weights = self._normed(x, weights, batch, length, train)
            (states,) = recurrence.run([Sequence(x, length)], [weights])
            last.append(states.hidden)
            x = states.output
            if layer + 1 < self.layers:
                drop = nn.Dropout(self.layer_dropout, deterministic=not train)
                x = drop(x)
        self.sow("intermediates", "lstm", jnp.stack(last))
        drop = nn.Dropout(self.dropout, deterministic=not train, name="drop")
        head = TwoLayerHead(1, self.dropout, name="head")
        score = head(drop(last[-1]), train=train)
        return Outputs(score.T, {"fusion": last[-1]})

    def _normed(
        self,
        x: Float[Array, "b t d"],
        weights: Weights,
        batch: Batch,
        length: Array | None,
        train: bool,
    ) -> tuple[Float[Array, "b t d"], Weights]:
        """Return what the first LSTM reads, and its parameters.

        A step's scale and bias are numbers: they come after the projection, where their
        gradients need none by the input, a third of the products with its kernel.
        """
        if self.norm == "time_steps":
            norm = BatchNorm(axis=1, name="norm")
            x, scale, bias = norm.parts(x, batch.valid, train=train)
            kernel = weights.input_kernel
            projected = (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:2], -1)
            drive = projected * scale + bias * kernel.sum(axis=0)[None, None]
            return drive, weights._replace(input_kernel=None)
        valid = jnp.broadcast_to(batch.valid[:, None], x.shape[:2])
        if length is not None:
            valid &= jnp.arange(x.shape[1])[None] < length[:, None]
        flat = x.reshape(-1, x.shape[-1]), valid.reshape(-1)
        norm = BatchNorm(name="norm")
        return norm(*flat, train=train).reshape(x.shape), weights


# Source: parameter names of MMSA a94e65d.
TORCH = Names(
    {
        **TEXT,
        "(drop|head/Dropout_0)/": "dropout.",
        "head/layer_1/(linear/)?": "linear.",
        "head/score/(linear/)?": "out.",
        r"lstm_(\d)/(\w+)": r"lstm/\2_l\1",
        "norm/": "norm.",
    },
    {
        f"{ours}_l{layer}": leaf._replace(name=leaf.name.replace("l0", f"l{layer}"))
        for ours, leaf in LSTM.items()
        for layer in range(MOST_LAYERS)
    },
)


def reads_padding(settings: Any) -> str:
    """Return the setting that makes it read a text's padding, or ""."""
    by_norm = settings.model.norm == "time_steps"
    return groups.reads_padded_text(settings) or (
        "model.norm = 'time_steps'" if by_norm else ""
    )


def _column(
    hidden: int, layers: int, dropout: float, batch: int, rate: float, decay: float
) -> dict[str, Any]:
    """Return one column of MMSA's values."""
    return {
        "model.hidden": hidden,
        "model.layers": layers,
        "model.dropout": dropout,
        "model.layer_dropout": dropout,
        "optim.batch_size": batch,
        "optim.groups.other.rate": rate,
        "optim.groups.other.decay": decay,
    }


_SANE = SANE | {"model.norm": "features"}
_MOSI = _column(128, 4, 0.5, 32, 1e-3, 0.005)

# Source: MMSA a94e65d, its configuration; v1: that of January 2021, to which its
#     results table belongs (SIMS: the same).
PAPER = Paper(
    name="ef_lstm",
    title="EF-LSTM",
    cite="a baseline, MMSA's form",
    make=regression(EfLstm),
    sections={"model": EfLstm, "loss": losses.fusion},
    rates=BERT | {"other": (1e-3, 0.005)},
    common=COMMON,
    data={
        "mosi": _MOSI,
        "mosi+v1": _column(256, 2, 0.3, 128, 1e-3, 1e-4),
        "mosei": _column(256, 2, 0.4, 128, 5e-3, 1e-4),
        "mosei+v1": _column(256, 3, 0.4, 128, 5e-3, 1e-4),
        "sims": _column(32, 3, 0.5, 128, 5e-4, 0.001) | {"text.max_tokens": 39},
        "mosi_real": _MOSI | _SANE | REAL,
    },
    variants={"v1": {}, "sane": _SANE},
    reads_padding=reads_padding,
    torch=TORCH,
    mmsa=Mmsa(
        {
            **SEQUENCES,
            "hidden_dims": to("model.hidden"),
            "num_layers": to("model.layers"),
            "dropout": to("model.dropout", "model.layer_dropout"),
        }
    ),
    parameters={
        "mosi": 885_605,
        "mosi+v1": 1_668_709,
        "mosei": 1_754_725,
        "mosei+v1": 2_281_061,
        "sims": 215_695,
    },
)
