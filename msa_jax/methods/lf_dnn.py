"""LF-DNN: three vectors side by side, and a small network that scores them.

TFN without the product: the floor of MMSA's late fusion.
"""

from typing import Annotated, Any, Literal

import jax.numpy as jnp
from flax import linen as nn

from msa_jax.config.fields import Share, Size
from msa_jax.ground.types import Batch, Outputs
from msa_jax.layers.dense import ScoreHead
from msa_jax.layers.subnets import vectors
from msa_jax.methods import groups, losses
from msa_jax.methods.mmsa_fields import MEANS, WIDTHS, Mmsa, to
from msa_jax.methods.paper import BERT, FEATURES, PLAIN_TEXT, Paper, regression
from msa_jax.methods.torch_names import HEADS, SUBNETS, Names


class LfDnn(nn.Module):
    """The network, as MMSA has it.

    Source: MMSA a94e65d, its model LF_DNN. The late fusion of the repository that it
        cites (rhoposit/MultimodalDNN) is another: each modality's own score, and a
        linear map of the three.
    """

    text_encoder: nn.Module
    text_hidden: Annotated[Size, "of the text's LSTM"] = 128
    audio_hidden: Size = 16
    vision_hidden: Size = 128
    text_width: Annotated[Size, "of the text's vector"] = 256
    fusion_head: Annotated[Size, "both hidden layers"] = 128
    audio_dropout: Share = 0.2
    vision_dropout: Share = 0.2
    text_dropout: Annotated[Share, "MMSA's setting is never applied"] = 0.0
    fusion_head_dropout: Annotated[Share, "of the three vectors"] = 0.2
    text_state: Annotated[
        Literal["padded_end", "last_valid"], "which state of the LSTM is the text's"
    ] = "padded_end"
    time_mean: Annotated[
        Literal["all", "valid"], "audio's and vision's, over stored or valid steps"
    ] = "all"

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return one row of scores; features: each modality's, and all of them."""
        feature = vectors(self, batch, self.text_width, train=train)
        fusion = jnp.concatenate(list(feature.values()), axis=-1)
        head = ScoreHead(
            self.fusion_head, self.fusion_head_dropout, name="fusion_head_net"
        )
        score, _ = head(fusion, train=train)
        return Outputs(score[None], feature | {"fusion": fusion})

    def group(self, path: str) -> str:
        """Name the optimiser group of a parameter path."""
        return groups.shared(path) or "other"


# Source: parameter names of MMSA a94e65d.
TORCH = Names({**SUBNETS, **HEADS})


def _sizes(
    text: int, audio: int, width: int, head: int, dropout: float, **optim: float
) -> dict[str, Any]:
    """Return one column of MMSA's values; text and vision networks are as wide."""
    return {
        "model.text_hidden": text,
        "model.audio_hidden": audio,
        "model.vision_hidden": text,
        "model.text_width": width,
        "model.fusion_head": head,
        "model.audio_dropout": dropout,
        "model.vision_dropout": dropout,
        "model.fusion_head_dropout": optim.get("last", dropout),
        "optim.batch_size": optim["batch"],
        "optim.groups.other.rate": optim["rate"],
        "optim.groups.other.decay": optim["decay"],
    }


# Padding is not read, and text dropout is applied: what the public code meant.
_SANE = {
    "model.text_state": "last_valid",
    "model.time_mean": "valid",
    "model.text_dropout": 0.2,
}
_MOSI = _sizes(128, 16, 256, 128, 0.2, batch=128, rate=1e-3, decay=0.01)

# Source: MMSA a94e65d, its configuration; v1: that of January 2021, to which its
#     results table belongs (SIMS: the same).
PAPER = Paper(
    name="lf_dnn",
    title="LF-DNN",
    cite="Yu et al., ACL 2020",
    make=regression(LfDnn, LfDnn.group),
    sections={"model": LfDnn, "loss": losses.fusion},
    rates=BERT | {"other": (1e-3, 0.01)},
    common=FEATURES,
    data={
        "mosi": _MOSI,
        "mosi+v1": _sizes(64, 16, 256, 16, 0.4, batch=128, rate=1e-3, decay=0.01),
        "mosei": _sizes(128, 32, 128, 128, 0.2, batch=64, rate=2e-3, decay=1e-3),
        "mosei+v1": _sizes(64, 32, 256, 16, 0.4, batch=32, rate=5e-4, decay=0.01),
        "sims": _sizes(
            128, 32, 256, 32, 0.3, last=0.5, batch=128, rate=5e-3, decay=5e-3
        )
        | {"text.max_tokens": 39},
        "mosi_real": _MOSI | _SANE | PLAIN_TEXT,
    },
    variants={"v1": {}, "sane": _SANE},
    reads_padding=groups.reads_padded_text,
    torch=TORCH,
    mmsa=Mmsa(
        {
            **MEANS,
            **WIDTHS,
            "dropouts.3": to("model.fusion_head_dropout"),
            "learning_rate": to("optim.groups.other.rate"),
            "weight_decay": to("optim.groups.other.decay"),
        }
    ),
    parameters={
        "mosi": 597_171,
        "mosi+v1": 246_179,
        "mosei": 572_283,
        "mosei+v1": 251_435,
        "sims": 635_821,
    },
)
