"""LMF (Liu et al., ACL 2018): TFN's map of the outer product, of low rank.

The tensor of weights is a sum of few outer products; so what it makes of the outer
product of three vectors is found from the vectors, one after the other.
"""

from typing import Annotated, Any, Literal

from flax import linen as nn

from msa_jax.config.fields import GIVEN, Share, Size
from msa_jax.ground.types import Batch, Outputs
from msa_jax.layers.subnets import LowRank, vectors
from msa_jax.methods import groups, losses, tasks
from msa_jax.methods.mmsa_fields import LOW_RANK, MEANS, Mmsa, to, void
from msa_jax.methods.paper import BERT, FEATURES, PLAIN_TEXT, Paper, regression
from msa_jax.methods.torch_names import SUBNETS, Leaf, Names, same


class Lmf(nn.Module):
    """The network, as MMSA has it.

    Source: MMSA a94e65d, its model LMF; LMF, section 3 (ranks are summed, see
        `fusion_scalars`); the authors' code, which has the dropout of text and learns
        the ranks' weights and has several outputs.
    """

    text_encoder: nn.Module
    outputs: Annotated[int, GIVEN] = 1
    text_hidden: Annotated[Size, "of the text's LSTM; its vector is half as wide"] = 128
    audio_hidden: Size = 16
    vision_hidden: Size = 128
    rank: Annotated[Size, "of the weights' tensor"] = 3
    audio_dropout: Share = 0.3
    vision_dropout: Share = 0.3
    text_dropout: Annotated[Share, "MMSA's setting is never applied"] = 0.0
    fusion_scalars: Annotated[
        Literal["frozen", "trained", "none"],
        "weights of ranks, and bias: MMSA never trains them; the paper has none",
    ] = "frozen"
    text_state: Annotated[
        Literal["padded_end", "last_valid"], "which state of the LSTM is the text's"
    ] = "padded_end"
    time_mean: Annotated[
        Literal["all", "valid"], "audio's and vision's, over stored or valid steps"
    ] = "all"

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return a row for each output; features: each modality's, and the ranks'."""
        feature = vectors(self, batch, self.text_hidden // 2, train=train)
        ranks = LowRank(self.rank, self.outputs, name="low_rank")(**feature)
        each = ranks.reshape(-1, self.rank)  # of a sample's output after another
        if self.fusion_scalars == "none":
            score = each.sum(axis=1).reshape(-1, self.outputs)
        else:
            start = nn.initializers.normal((2 / (self.rank + 1)) ** 0.5)
            weights = self.param("fusion_weights", start, (1, self.rank))
            zeros = nn.initializers.zeros
            bias = self.param("fusion_bias", zeros, (1, self.outputs))
            score = (weights @ each.T).reshape(-1, self.outputs) + bias
        return Outputs(score.T, feature | {"fusion": ranks})

    def group(self, path: str) -> str:
        """Name the optimiser group of a parameter path."""
        if path.startswith("low_rank/"):
            return "factor"
        if path.startswith("fusion_") and self.fusion_scalars == "frozen":
            return "frozen"
        return groups.shared(path) or "other"


def _factor(name: str) -> Leaf:
    """Return a factor [entries, rank]; in PyTorch [rank, entries, 1]."""
    return Leaf(name, lambda x: x.T[..., None], lambda x: (x[..., 0].T,))


# Source: parameter names of MMSA a94e65d.
TORCH = Names(
    {**SUBNETS, "low_rank/": ""},
    {
        "audio_factor": _factor("audio_factor"),
        "vision_factor": _factor("video_factor"),
        "text_factor": _factor("text_factor"),
        "fusion_weights": same("fusion_weights"),
        "fusion_bias": same("fusion_bias"),
    },
)


def _sizes(
    text: int, audio: int, rank: int, dropout: float, **optim: float
) -> dict[str, Any]:
    """Return one column of MMSA's values; text and vision networks are as wide."""
    return {
        "model.text_hidden": text,
        "model.audio_hidden": audio,
        "model.vision_hidden": text,
        "model.rank": rank,
        "model.audio_dropout": dropout,
        "model.vision_dropout": dropout,
        "optim.batch_size": optim["batch"],
        "optim.groups.other.rate": optim["rate"],
        "optim.groups.factor.rate": optim["factors"],
        "optim.groups.other.decay": optim["decay"],
        "optim.groups.factor.decay": optim["decay"],
    }


# Padding is not read, text dropout is applied, and all that is drawn is trained, as in
# the authors' code since they mended it: what MMSA's meant.
_SANE = {
    "model.text_state": "last_valid",
    "model.time_mean": "valid",
    "model.text_dropout": 0.3,
    "model.fusion_scalars": "trained",
}
_MOSI = _sizes(128, 16, 3, 0.3, batch=64, rate=1e-3, factors=1e-3, decay=5e-3)
_SIMS = {"text.max_tokens": 39}

# Source: MMSA a94e65d, its configuration; v1: that of January 2021, to which its
#     results table belongs.
PAPER = Paper(
    name="lmf",
    title="LMF",
    cite="Liu et al., ACL 2018",
    make=regression(Lmf, Lmf.group),
    sections={"model": Lmf, "loss": losses.fusion},
    rates=BERT | {"factor": (1e-3, 5e-3), "other": (1e-3, 5e-3)},
    common=FEATURES,
    data={
        "mosi": _MOSI,
        "mosi+v1": _sizes(
            256, 32, 4, 0.3, batch=32, rate=1e-3, factors=1e-3, decay=1e-4
        ),
        "mosei": _sizes(128, 16, 4, 0.2, batch=32, rate=1e-3, factors=1e-3, decay=1e-3),
        "mosei+v1": _sizes(
            128, 16, 5, 0.4, batch=64, rate=5e-4, factors=1e-4, decay=5e-3
        ),
        "sims": _sizes(64, 16, 4, 0.2, batch=64, rate=2e-3, factors=5e-4, decay=5e-3)
        | _SIMS,
        "sims+v1": _sizes(
            256, 32, 3, 0.2, batch=32, rate=2e-3, factors=1e-3, decay=5e-3
        ),
        "mosi_real": _MOSI | _SANE | PLAIN_TEXT,
    },
    variants={"v1": {}, "sane": _SANE},
    tasks=tasks.EVERY,
    reads_padding=groups.reads_padded_text,
    torch=TORCH,
    mmsa=Mmsa(
        {
            **MEANS,
            **LOW_RANK,
            "dropouts.3": void("MMSA defines and never uses it"),
            "learning_rate": to("optim.groups.other.rate"),
        }
    ),
    # Less the weights of ranks and the bias, which are counted there, and not trained.
    parameters={
        "mosi": 505_071 - 4,
        "mosi+v1": 1_224_515 - 5,
        "mosei": 508_475 - 5,
        "mosei+v1": 508_687 - 6,
        "sims": 272_381 - 5,
        "sims+v1": 1_402_809 - 4,
    },
)
