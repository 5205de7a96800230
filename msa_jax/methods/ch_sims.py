"""CH-SIMS' systems (Yu et al., ACL 2020): MLF-DNN, MTFN, MLMF, each with four tasks.

LF-DNN, TFN and LMF, whose vector of each modality is scored, too, and learns the label
that people gave to that modality alone.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from msa_jax.config.fields import Share, Size, Traced, Weight
from msa_jax.ground.names import MODALITIES, TARGETS
from msa_jax.ground.types import Batch, HumanTables, Method, Outputs, Split
from msa_jax.layers.dense import ScoreHead
from msa_jax.methods import groups, lf_dnn, lmf, losses, tasks, tfn
from msa_jax.methods.lf_dnn import LfDnn
from msa_jax.methods.lmf import Lmf
from msa_jax.methods.mmsa_fields import (
    FOUR_TASKS,
    LOW_RANK,
    WIDTHS,
    Mmsa,
    to,
    void,
)
from msa_jax.methods.paper import BERT, FEATURES, PLAIN_TEXT, Changes, Paper
from msa_jax.methods.tfn import Tfn
from msa_jax.methods.torch_names import HEADS, Names

Net = LfDnn | Tfn | Lmf
_TaskWeight = Annotated[Weight, Traced()]


class Heads(NamedTuple):
    """The unimodal heads, and what of the whole network learns; `config.heads`.

    train_heads: False: all but the three modalities' networks and LMF's factors keep
        their random start.

    Source: MMSA a94e65d, its multi-task models. Until March 2022 its optimisers lacked
        all heads and layers of fusion; its results table is of that time.
    """

    text_head: Size = 32
    audio_head: Size = 4
    vision_head: Size = 32
    text_head_dropout: Share = 0.5
    audio_head_dropout: Share = 0.5
    vision_head_dropout: Share = 0.5
    train_heads: Annotated[bool, "False: as when MMSA's table was made"] = True


class MultiTask(nn.Module):
    """A network of one vector a modality, and a head on each of these vectors."""

    net: Net
    heads: Heads

    def setup(self) -> None:
        """Let the network's parameters lie where they do without the heads."""
        nn.share_scope(self, self.net)

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return scores of all four targets; features: the network's."""
        outputs = self.net(batch, train=train)
        scores = [outputs.prediction[0]]
        for m in MODALITIES:
            width, rate = (
                getattr(self.heads, f"{m}_head{x}") for x in ("", "_dropout")
            )
            head = ScoreHead(width, rate, name=f"{m}_head_net")
            scores.append(head(outputs.feature[m], train=train)[0])
        return Outputs(jnp.stack(scores), outputs.feature)

    def group(self, path: str) -> str:
        """Name the optimiser group of a parameter path: a modality's, or the rest's.

        Source: the trainers of MMSA a94e65d.
        """
        for m in MODALITIES:
            if path.startswith(f"{m}_net/"):
                return m
        own = self.net.group(path)
        return "frozen" if own == "other" and not self.heads.train_heads else own


class FourTasks(NamedTuple):
    """The weighted sum of four errors, in training and to select; `config.loss`.

    A sample has no part in the error of a label that people did not give (NaN).

    Source: CH-SIMS, section 4.2; MMSA a94e65d, its multi-task trainers, which choose
        epochs by the same sum, so that unimodal labels have a say.
    """

    error: losses.Error = "l1"
    fusion_weight: _TaskWeight = 1.0
    text_weight: _TaskWeight = 1.0
    audio_weight: _TaskWeight = 1.0
    vision_weight: _TaskWeight = 1.0
    unimodal_labels: Annotated[
        Literal["human", "multimodal"],
        "multimodal: its label stands for all (ours, for data without the others)",
    ] = "human"

    def labels(self, split: Split) -> HumanTables:
        """Return the labels of a split's samples."""
        unimodal = split.unimodal_label.T
        if self.unimodal_labels == "multimodal":
            unimodal = jnp.broadcast_to(split.label, unimodal.shape)
        return HumanTables(jnp.concatenate([split.label[None], unimodal]))

    def loss(
        self, outputs: Outputs, batch: Batch, labels: HumanTables
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Return the weighted sum of batch means, and these, "loss_TARGET"."""
        # A padding row reads some sample's labels, and counts for nothing.
        value = jnp.take(labels.value, batch.index, axis=1, mode="clip")
        means = {
            target: losses.masked_mean(each, batch.valid)
            for target, each in self._errors(outputs, value).items()
        }
        return self._total(means), {f"loss_{t}": mean for t, mean in means.items()}

    def valid_error(self, outputs: Outputs, split: Split) -> Float[Array, " n"]:
        """Return the weighted sum of each sample's errors."""
        return self._total(self._errors(outputs, self.labels(split).value))

    def _total(self, of_target: Mapping[str, Array]) -> Array:
        """Return the weighted sum of what each target has."""
        weighted = [getattr(self, f"{t}_weight") * x for t, x in of_target.items()]
        return jnp.stack(weighted).sum(axis=0)

    def _errors(
        self, outputs: Outputs, value: Float[Array, "m b"]
    ) -> dict[str, Float[Array, " b"]]:
        given = ~jnp.isnan(value)
        value = jnp.where(given, value, 0)
        found = {}
        for row, target in enumerate(TARGETS):
            score = outputs.prediction[row]
            each = losses.regression_error(score, value[row], self.error)
            found[target] = jnp.where(given[row], each, 0)
        return found


def make(
    net: type[Net],
    settings: Any,
    text_encoder: nn.Module,
    label_range: tuple[float, float],
) -> Method:
    """Assemble the method around a network; see `Paper.make`."""
    del label_range
    whole = MultiTask(net(text_encoder, **{**settings.model}), Heads(**settings.heads))
    four = FourTasks(**settings.loss)
    return Method(
        task=tasks.SENTIMENT,
        model=whole,
        loss=four.loss,
        groups=whole.group,
        init_labels=lambda split, key: four.labels(split),
        valid_error=four.valid_error,
    )


def needs(settings: Any) -> Mapping[str, str]:
    """Say what it needs of a data set; see `Paper.needs`."""
    if settings.loss.unimodal_labels == "multimodal":
        return {}
    return {
        "unimodal_label": "human unimodal labels, which config.loss.unimodal_labels = "
        "'human' asks for; prepare a file that has them (docs/bring_your_own.md) or "
        "let the multimodal label stand for them: "
        "--config.loss.unimodal_labels=multimodal"
    }


def _sims(
    hidden: tuple[int, int, int],
    heads: tuple[int, int, int],
    dropouts: tuple[float, float],
    weights: tuple[float, float, float, float],
    decays: tuple[float, float, float, float],
    rate: float,
    more: Changes,
) -> dict[str, Any]:
    """Return MMSA's values for CH-SIMS.

    Args:
        hidden: of text's, audio's, vision's network.
        heads: widths of their heads.
        dropouts: of audio's and vision's network, and of all heads.
        weights: of the four tasks, as `TARGETS`.
        decays: of text's, audio's, vision's network, and the rest.
        rate: of all groups.
        more: further fields.
    """
    values: dict[str, Any] = {"text.max_tokens": 39}
    for i, m in enumerate(MODALITIES):
        values[f"model.{m}_hidden"] = hidden[i]
        values[f"heads.{m}_head"] = heads[i]
        values[f"heads.{m}_head_dropout"] = dropouts[1]
    for m in ("audio", "vision"):
        values[f"model.{m}_dropout"] = dropouts[0]
    for target, weight in zip(TARGETS, weights, strict=True):
        values[f"loss.{target}_weight"] = weight
    for group, decay in zip((*MODALITIES, "other"), decays, strict=True):
        values[f"optim.groups.{group}.rate"] = rate
        values[f"optim.groups.{group}.decay"] = decay
    return values | dict(more)


def _paper(
    name: str,
    net: type[Net],
    sims: dict[str, Any],
    *,
    sane: Changes = MappingProxyType({}),
    plain: Changes = MappingProxyType({}),
    **more: Any,
) -> Paper:
    """Return the paper of one of the three.

    Args:
        name: of the method.
        net: the network that gets heads.
        sims: MMSA's values for CH-SIMS.
        sane: what its code meant, besides what all three have.
        plain: what differs for `mosi_real`, whose labels are the multimodal ones.
        more: see `Paper`.
    """
    # Padding is not read, and text dropout is applied: what the public code meant.
    meant = {
        "model.text_state": "last_valid",
        "model.time_mean": "valid",
        "model.text_dropout": sims["model.audio_dropout"],
        **sane,
    }
    plain = {**PLAIN_TEXT, "loss.unimodal_labels": "multimodal", **plain}
    return Paper(
        name=name,
        cite="Yu et al., ACL 2020",
        make=partial(make, net),
        sections={"model": net, "heads": Heads, "loss": FourTasks},
        common=FEATURES,
        data={"sims": sims, "mosi_real": sims | meant | plain},
        variants={"v1": {"heads.train_heads": False}, "sane": meant},
        reads_padding=groups.reads_padded_text,
        needs=needs,
        selects_on="weighted error of the four tasks",
        **more,
    )


# MMSA's names of what two of the three have besides.
_WIDTHS = {
    **FOUR_TASKS,
    **WIDTHS,
    "post_dropouts.3": to("model.fusion_head_dropout"),
}
_GROUPS = BERT | dict.fromkeys((*MODALITIES, "other"), (1e-3, 0.0))

# Source: MMSA a94e65d, its configuration; v1: heads as when its results table was made,
#     in 2021, with the same values.
MLF_DNN = _paper(
    "mlf_dnn",
    LfDnn,
    _sims(
        hidden=(64, 32, 64),
        heads=(16, 4, 32),
        dropouts=(0.3, 0.5),
        weights=(0.6, 0.2, 0.8, 0.8),
        decays=(1e-4, 1e-3, 1e-4, 0.0),
        rate=2e-3,
        more={
            "model.text_width": 32,
            "model.fusion_head": 32,
            "model.fusion_head_dropout": 0.5,
            "optim.batch_size": 32,
        },
    ),
    title="MLF-DNN",
    rates=_GROUPS,
    torch=lf_dnn.TORCH,
    mmsa=Mmsa({**_WIDTHS, "weight_decay": to("optim.groups.other.decay")}),
    parameters={"sims": 283_388},
)
MTFN = _paper(
    "mtfn",
    Tfn,
    _sims(
        hidden=(256, 32, 256),
        heads=(64, 4, 8),
        dropouts=(0.2, 0.2),
        weights=(0.6, 0.4, 0.0, 1.0),
        decays=(1e-3, 1e-4, 1e-5, 0.0),
        rate=5e-3,
        more={
            "model.text_width": 256,
            "model.fusion_head": 64,
            "model.fusion_head_dropout": 0.2,
            "optim.batch_size": 64,
        },
    ),
    sane={"optim.groups.other.decay": 5e-3},  # configured, and not passed on
    # TFN's sizes for MOSI: 140 million weights are too many for 1284 samples.
    plain={
        "model.text_hidden": 128,
        "model.vision_hidden": 128,
        "model.text_width": 32,
    },
    title="MTFN",
    rates=_GROUPS,
    torch=Names({**tfn.TORCH.paths, **HEADS}, tfn.TORCH.leaves),
    mmsa=Mmsa(
        {**_WIDTHS, "weight_decay": void("MMSA does not pass it to its optimiser")}
    ),
    parameters={"sims": 140_957_188},
)
MLMF = _paper(
    "mlmf",
    Lmf,
    _sims(
        hidden=(256, 32, 256),
        heads=(8, 4, 32),
        dropouts=(0.3, 0.4),
        weights=(0.2, 1.0, 0.4, 0.8),
        decays=(1e-4, 0.0, 1e-4, 5e-3),
        rate=1e-3,
        more={
            "model.rank": 3,
            "optim.batch_size": 128,
            "optim.groups.factor.decay": 5e-3,
        },
    ),
    sane={"model.fusion_scalars": "trained"},
    title="MLMF",
    rates=_GROUPS | {"factor": (1e-3, 5e-3)},
    torch=Names({**lmf.TORCH.paths, **HEADS}, lmf.TORCH.leaves),
    mmsa=Mmsa(
        {
            **FOUR_TASKS,
            **LOW_RANK,
            "post_dropouts.3": void("MMSA defines and never uses it"),
        }
    ),
    # Less the weights of ranks and the bias, which are counted there, and not trained.
    parameters={"sims": 1_413_392 - 4},
    # The factors decay as the rest does.
    vocabulary={
        "other_decay": ("optim.groups.factor.decay", "optim.groups.other.decay")
    },
)
