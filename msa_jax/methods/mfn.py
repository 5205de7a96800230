"""MFN (Zadeh et al., AAAI 2018): LSTMs of three modalities and a memory across them.

Each modality has an LSTM of its own; at every step attention over their cells, now and
before, picks what a gated memory takes in. Last states and memory are scored.
"""

from typing import Annotated, Any, Literal

from flax import linen as nn

from msa_jax.config.fields import Share, Size
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch, Outputs
from msa_jax.layers.dense import TwoLayerHead
from msa_jax.layers.gated_memory import MemoryFusion, lstms, small
from msa_jax.layers.resample import Align, side_by_side
from msa_jax.methods import groups, losses
from msa_jax.methods.mmsa_fields import (
    MEMORY,
    SEQUENCES,
    WINDOW,
    Meaning,
    Mmsa,
    nets,
)
from msa_jax.methods.paper import BERT, Paper, regression
from msa_jax.methods.torch_names import LSTM_CELL, TEXT, Names


class Mfn(nn.Module):
    """The network, as MMSA has it.

    Source: MMSA a94e65d, its model MFN, which is the authors'; MFN, section 3.
    Differs: the gates read the memory, too, as in both public codes.
    """

    text_encoder: nn.Module
    text_hidden: Annotated[Size, "of the text's LSTM"] = 256
    audio_hidden: Size = 32
    vision_hidden: Size = 256
    memory: Annotated[Size, "width"] = 400
    attention_hidden: Annotated[Size, "between two layers, as all of these"] = 32
    attention_dropout: Annotated[Share, "between two layers, as all of these"] = 0.2
    candidate_hidden: Annotated[Size, "of what is written"] = 64
    candidate_dropout: Share = 0.0
    retain_hidden: Annotated[Size, "of the gate that keeps"] = 256
    retain_dropout: Share = 0.7
    update_hidden: Annotated[Size, "of the gate that writes"] = 32
    update_dropout: Share = 0.5
    head_hidden: Size = 128
    head_dropout: Share = 0.0
    audio_vision: Annotated[
        Literal["mean_tiled", "sequence"], "means over time, repeated, or sequences"
    ] = "mean_tiled"
    align: Annotated[Align, "which steps make one for each of the text's"] = (
        "block_mean"
    )
    text_state: Annotated[
        Literal["padded_end", "last_valid"], "which states and memory are scored"
    ] = "padded_end"

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return one row of scores, and what is scored as feature "fusion"."""
        text = self.text_encoder(batch.text, train=train)
        tiled = self.audio_vision == "mean_tiled"
        x = side_by_side(self, batch, text, self.align, tiled=tiled)
        length = batch.text_length if self.text_state == "last_valid" else None
        states = lstms(x, {m: getattr(self, f"{m}_hidden") for m in MODALITIES}, length)
        fusion = MemoryFusion(
            self.memory,
            *small(self, "attention", "candidate", "retain", "update"),
            name="fusion",
        )(states, length, train=train)
        head = TwoLayerHead(1, self.head_dropout, self.head_hidden, name="head")
        return Outputs(head(fusion, train=train).T, {"fusion": fusion})


def named(prefix: str) -> dict[str, str]:
    """Return MMSA's names of what MFN, Graph-MFN and MFM share.

    Args:
        prefix: of all of them there.
    """
    nets = {"attention": "att1", "memory/candidate": "att2"}
    nets |= {"memory/retain": "gamma1", "memory/update": "gamma2"}
    letters = {"text": "l", "audio": "a", "vision": "v"}
    return {
        r"layer_1/(linear/)?": "fc1.",
        r"score/(linear/)?": "fc2.",
        r"(drop|Dropout_0)/": "dropout.",
        **{f"(fusion/)?{ours}/": f"{prefix}{net}_" for ours, net in nets.items()},
        **{f"{m}_lstm/": f"{prefix}lstm_{c}." for m, c in letters.items()},
    }


# Source: parameter names of MMSA a94e65d.
TORCH = Names({**TEXT, **named(""), "head/": "out_"}, LSTM_CELL)


def column(
    hidden: tuple[int, int, int],
    memory: int,
    optim: tuple[int, float, float],
    **nets: tuple[int, float],
) -> dict[str, Any]:
    """Return one column of MMSA's values.

    Args:
        hidden: widths of the LSTMs of text, audio and vision.
        memory: its width.
        optim: batch size, rate and decay.
        nets: width and dropout of each small network.
    """
    batch, rate, decay = optim
    widths = zip(MODALITIES, hidden, strict=True)
    return {
        **{f"model.{m}_hidden": width for m, width in widths},
        "model.memory": memory,
        **{f"model.{net}_hidden": width for net, (width, _) in nets.items()},
        **{f"model.{net}_dropout": rate for net, (_, rate) in nets.items()},
        "optim.batch_size": batch,
        "optim.groups.other.rate": rate,
        "optim.groups.other.decay": decay,
    }


def _column(
    hidden: tuple[int, int, int], memory: int, optim: Any, *nets: tuple[int, float]
) -> dict[str, Any]:
    names = "attention", "candidate", "retain", "update", "head"
    return column(hidden, memory, optim, **dict(zip(names, nets, strict=True)))


# Padding is not read, and audio and vision are sequences: the method.
SANE = {"model.text_state": "last_valid", "model.align": "valid"}
_SANE = SANE | {"model.audio_vision": "sequence"}
COMMON = {
    "data.aligned": None,
    "text.encoder": "features",  # BERT's hidden states; frozen bert works, too
    "text.finetune": False,
    "selection.round_decimals": 4,
}
REAL = {"data.standardise": "train", "text.encoder": "bert", "text.max_tokens": 40}
_MOSI = _column(
    *((256, 32, 256), 400, (128, 2e-3, 0.0)),
    *((32, 0.2), (64, 0.0), (256, 0.7), (32, 0.5), (128, 0.0)),
)

# Source: MMSA a94e65d, its configuration; v1: that of January 2021, to which its
#     results table belongs (SIMS: the same).
PAPER = Paper(
    name="mfn",
    title="MFN",
    cite="Zadeh et al., AAAI 2018",
    make=regression(Mfn),
    sections={"model": Mfn, "loss": losses.fusion},
    rates=BERT | {"other": (2e-3, 0.0)},
    common=COMMON,
    data={
        "mosi": _MOSI,
        "mosi+v1": _column(
            *((128, 32, 128), 400, (64, 1e-3, 0.0)),
            *((128, 0.2), (64, 0.7), (64, 0.0), (256, 0.0), (256, 0.2)),
        ),
        "mosei": _column(
            *((128, 32, 128), 128, (64, 5e-4, 1e-4)),
            *((128, 0.2), (128, 0.5), (256, 0.7), (256, 0.0), (128, 0.5)),
        ),
        "mosei+v1": _column(
            *((128, 16, 128), 256, (32, 2e-3, 0.0)),
            *((32, 0.7), (256, 0.2), (256, 0.2), (256, 0.0), (128, 0.0)),
        ),
        "sims": _column(
            *((64, 16, 64), 64, (32, 1e-3, 0.0)),
            *((128, 0.2), (128, 0.0), (64, 0.2), (64, 0.7), (64, 0.7)),
        )
        | {"text.max_tokens": 39},
        "mosi_real": _MOSI | _SANE | REAL,
    },
    variants={"v1": {}, "sane": _SANE},
    reads_padding=groups.reads_padded_text,
    torch=TORCH,
    mmsa=Mmsa(
        {
            **SEQUENCES,
            **MEMORY,
            **WINDOW,
            **nets(outConfig="head"),
            "need_normalized": Meaning(
                ("model.audio_vision",), {True: "mean_tiled", False: "sequence"}
            ),
        }
    ),
    parameters={
        "mosi": 2_172_657,
        "mosi+v1": 1_370_737,
        "mosei": 1_276_865,
        "mosei+v1": 1_400_385,
        "sims": 601_505,
    },
)
