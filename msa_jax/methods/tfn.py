"""TFN (Zadeh et al., EMNLP 2017): every product of three modalities' features.

One vector per modality, a 1 before each, and their outer product: it holds the
vectors, all pairs and all triples. A small network scores it.
"""

from typing import Annotated, Any, Literal

import jax
from flax import linen as nn

from msa_jax.config.fields import GIVEN, Positive, Share, Size
from msa_jax.ground.types import Batch, Outputs
from msa_jax.layers.dense import Linear
from msa_jax.layers.subnets import (
    OuterLinear,
    outer,
    vectors,
)
from msa_jax.methods import groups, losses, tasks
from msa_jax.methods.mmsa_fields import MEANS, WIDTHS, Mmsa, to
from msa_jax.methods.paper import BERT, FEATURES, PLAIN_TEXT, Paper, regression
from msa_jax.methods.torch_names import SUBNETS, Names, same


class Tfn(nn.Module):
    """The network, as MMSA has it.

    Source: MMSA a94e65d, its model TFN; TFN, section 3 (text from GloVe vectors there).
    Differs: no product is formed where a contraction does, see `OuterLinear`. With
        several outputs (logits of classes or emotions; ours) nothing bounds them.
    """

    text_encoder: nn.Module
    outputs: Annotated[int, GIVEN] = 1
    text_hidden: Annotated[Size, "of the text's LSTM"] = 128
    audio_hidden: Size = 32
    vision_hidden: Size = 128
    text_width: Annotated[Size, "of the text's vector"] = 32
    fusion_head: Annotated[Size, "both hidden layers"] = 64
    audio_dropout: Share = 0.3
    vision_dropout: Share = 0.3
    text_dropout: Annotated[Share, "MMSA's setting is never applied"] = 0.0
    fusion_head_dropout: Annotated[Share, "of the outer product"] = 0.5
    output_range: Annotated[Positive, "largest score; MMSA keeps 3 for SIMS"] = 3.0
    text_state: Annotated[
        Literal["padded_end", "last_valid"], "which state of the LSTM is the text's"
    ] = "padded_end"
    time_mean: Annotated[
        Literal["all", "valid"], "audio's and vision's, over stored or valid steps"
    ] = "all"

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return a row for each output; features: each modality's, what is scored.

        Where intermediates are kept, "feature_fusion" is the outer product.
        """
        feature = vectors(self, batch, self.text_width, train=train)
        if self.is_mutable_collection("intermediates"):
            self.sow("intermediates", "feature_fusion", outer(*feature.values()))
        first = OuterLinear(self.fusion_head, self.fusion_head_dropout, name="fusion_1")
        x = nn.relu(first(*feature.values(), train=train))
        x = nn.relu(Linear(self.fusion_head, name="fusion_2")(x))
        score = Linear(self.outputs, name="fusion_3")(x)
        feature |= {"fusion": x}
        if self.outputs > 1:
            return Outputs(score.T, feature)
        span, shift = (
            jax.lax.stop_gradient(self.param(name, nn.initializers.constant(v), (1,)))
            for name, v in (
                ("output_range", 2 * self.output_range),
                ("output_shift", -self.output_range),
            )
        )
        score = nn.sigmoid(score) * span[None] + shift[None]
        return Outputs(score.T, feature)

    def group(self, path: str) -> str:
        """Name the optimiser group of a parameter path; the scores' range is fixed."""
        shared = groups.shared(path)
        return "frozen" if path.startswith("output_") else shared or "other"


# Source: parameter names of MMSA a94e65d.
TORCH = Names(
    {
        **SUBNETS,
        "fusion_1/drop/": "post_fusion_dropout.",
        r"fusion_(\d)/(linear/)?": r"post_fusion_layer_\1.",
    },
    {name: same(name) for name in ("output_range", "output_shift")},
)


def _sizes(
    audio: int, text: int, head: int, dropout: float, last: float, **optim: float
) -> dict[str, Any]:
    """Return one column of MMSA's values; text and vision networks are always 128."""
    return {
        "model.audio_hidden": audio,
        "model.text_width": text,
        "model.fusion_head": head,
        "model.audio_dropout": dropout,
        "model.vision_dropout": dropout,
        "model.fusion_head_dropout": last,
        "optim.batch_size": optim["batch"],
        "optim.groups.other.rate": optim["rate"],
    }


# Padding is not read, and text dropout is applied: what the public code meant.
_SANE = {
    "model.text_state": "last_valid",
    "model.time_mean": "valid",
    "model.text_dropout": 0.3,
}
_MOSI = _sizes(32, 32, 64, 0.3, 0.5, batch=32, rate=1e-3)

# Source: MMSA a94e65d, its configuration; v1: that of January 2021, to which its
#     results table belongs (SIMS: the same).
PAPER = Paper(
    name="tfn",
    title="TFN",
    cite="Zadeh et al., EMNLP 2017",
    make=regression(Tfn, Tfn.group),
    sections={"model": Tfn, "loss": losses.fusion},
    rates=BERT | {"other": (1e-3, 0.0)},
    common=FEATURES,
    data={
        "mosi": _MOSI,
        "mosi+v1": _sizes(16, 128, 32, 0.2, 0.2, batch=32, rate=5e-4),
        "mosei": _sizes(16, 128, 16, 0.4, 0.4, batch=128, rate=5e-3),
        "mosei+v1": _sizes(16, 64, 32, 0.3, 0.5, batch=64, rate=1e-3),
        "sims": _sizes(32, 256, 32, 0.4, 0.4, batch=32, rate=5e-4)
        | {"text.max_tokens": 39},
        "mosi_real": _MOSI | _SANE | PLAIN_TEXT,
    },
    variants={"v1": {}, "sane": _SANE},
    tasks=tasks.EVERY,
    reads_padding=groups.reads_padded_text,
    torch=TORCH,
    mmsa=Mmsa(
        {
            **MEANS,
            **WIDTHS,
            "dropouts.3": to("model.fusion_head_dropout"),
            "learning_rate": to("optim.groups.other.rate"),
        }
    ),
    parameters={
        "mosi": 9_497_043,
        "mosi+v1": 9_566_515,
        "mosei": 5_042_539,
        "mosei+v1": 5_070_187,
        "sims": 35_632_077,
    },
)
