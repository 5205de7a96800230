"""SUGRM's training step after BERT in PyTorch, written in two ways.

As its public code computes it (`original`): the transformer gathers raw context
(`spt`), labels are made sample by sample. Else both are written for speed.

Source: SUGRM, sections 3.2 and 3.3, with the readings of its public code
    (docs/fidelity.md), written from a description of what that code computes.
Differs: samples of the extreme labels count once each.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from benchmarks.torch_sides import spt
from benchmarks.torch_sides.formulation import (
    FAST,
    LABELS,
    ORIGINAL,
    SPT,
    Formulation,
    linear,
    multitask,
    only_letter_s,
)
from msa_jax.ground.names import MODALITIES, TARGETS
from msa_jax.ground.types import Method, PyTree
from msa_jax.layers.spt import Readings
from msa_jax.studies.bench.shapes import Shape

_MIXED = ("audio", "vision", "text")  # order of the concatenated means


def written(config: Any) -> dict[str, Any]:
    """Return which values are computed; see `formulation`."""
    own = {
        "model.sequence": "spt",
        "model.recalibrate": "mean",
        "model.feature_layers": 2,
        "ulgm.rule": "sugrm",
    }
    return SPT | only_letter_s(config) | LABELS | own


def formulations(
    config: Any, method: Method, params: PyTree, shape: Shape, label: np.ndarray
) -> dict[str, Formulation]:
    """Return both ways with our parameters; see `formulation`."""
    model: Any = method.model
    labels = torch.from_numpy(label)
    found = {}
    for side in (ORIGINAL, FAST):
        original = side == ORIGINAL
        sizes = model.readings, shape.widths, model.width, model.output_dropout
        network = Sugrm(*sizes, original=original)
        load(network, params)
        book = Labels(labels, model.width, shape.label_range, original=original)
        found[side] = multitask(network, config, book)
    return found


class Recalibration(nn.Module):
    """Weigh every feature by all modalities' means over time."""

    def __init__(self, widths: Mapping[str, int]):
        """Build with PyTorch's default initialisation."""
        super().__init__()
        total = sum(widths.values())
        self.squeeze = nn.Linear(total, total // 4)
        self.excite = nn.ModuleDict(
            {m: nn.Linear(total // 4, widths[m]) for m in MODALITIES}
        )

    def forward(self, x: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sequences, rescaled."""
        means = torch.cat([x[m].mean(1) for m in _MIXED], -1)
        signal = torch.relu(self.squeeze(means))
        scale = {m: 2 * torch.sigmoid(self.excite[m](signal)) for m in MODALITIES}
        return {m: x[m] * scale[m][:, None] for m in MODALITIES}


class Head(nn.Module):
    """Linear-ReLU-dropout-Linear (the feature), Linear (the score)."""

    def __init__(self, inputs: int, width: int, dropout: float):
        """Build with PyTorch's default initialisation."""
        super().__init__()
        self.one, self.two = nn.Linear(inputs, width), nn.Linear(width, width)
        self.score, self.dropout = nn.Linear(width, 1), nn.Dropout(dropout)

    def forward(self, x):
        """Return (score, feature)."""
        feature = self.two(self.dropout(torch.relu(self.one(x))))
        return self.score(feature)[:, 0], feature


class Sugrm(nn.Module):
    """Recalibration, sparse phased transformer, four heads."""

    def __init__(
        self,
        readings: Readings,
        widths: Mapping[str, int],
        width: int,
        dropout: float,
        *,
        original: bool,
    ):
        """Build for text, audio and vision of these widths."""
        super().__init__()
        embed = readings.embed
        self.recalibration = Recalibration(widths)
        self.spt = spt.SparsePhasedTransformer(readings, widths, original=original)
        inputs = dict.fromkeys(MODALITIES, embed) | {"fusion": 3 * embed}
        self.heads = nn.ModuleDict(
            {t: Head(inputs[t], width, dropout) for t in TARGETS}
        )

    def forward(self, x: Mapping[str, Any]) -> tuple[dict, dict]:
        """Return scores and features by target."""
        states = self.spt(self.recalibration({m: x[m] for m in MODALITIES}))
        states["fusion"] = torch.cat([states[m] for m in MODALITIES], -1)
        made = {t: self.heads[t](states[t]) for t in TARGETS}
        return {t: s for t, (s, _) in made.items()}, {
            t: f for t, (_, f) in made.items()
        }

    def groups(self) -> dict[str, Any]:
        """Return the parameters by optimiser group."""
        parts = {"spt": self.spt.parameters()}
        parts["other"] = [*self.recalibration.parameters(), *self.heads.parameters()]
        return parts


def load(module: Sugrm, params: Mapping[str, Any]) -> None:
    """Copy the parameters of `methods.sugrm.Sugrm` into the module."""
    spt.load(module.spt, params["spt"])
    mrm = params["recalibration"]
    linear(module.recalibration.squeeze, mrm["squeeze_map"]["linear"])
    for m in MODALITIES:
        linear(module.recalibration.excite[m], mrm[f"{m}_map"]["linear"])
    for t in TARGETS:
        head: Any = module.heads[t]
        made = params[f"{t}_head_net"]
        for ours, theirs in (("layer_1", "one"), ("layer_2", "two")):
            linear(getattr(head, theirs), made[ours]["linear"])
        linear(head.score, made["score"]["linear"])


class Labels:
    """Labels of all training samples, fusion features, two centres."""

    def __init__(self, label, width: int, ends: tuple[float, float], *, original: bool):
        """Start every label at the human one, features and centres at zero."""
        self.original = original
        self.label = {t: label.clone() for t in TARGETS}
        self.buffer = torch.zeros(len(label), width)
        self.center = (torch.zeros(width), torch.zeros(width))
        self.ends = ends
        low, high = max(ends[0], float(label.min())), min(ends[1], float(label.max()))
        self.extremes = (label == high, label == low)

    def losses(self, score: Mapping[str, Any], rows) -> Any:
        """Return the sum of the four weighted L1 losses of a batch."""
        return weighted_l1(self.label, score, rows)

    @torch.no_grad()
    def visit(self, feature: Mapping[str, Any], rows, epoch: int) -> None:
        """Relabel a batch, store its features, move the centres."""
        human = self.label["fusion"][rows]
        fusion = feature["fusion"]
        make = self._one_by_one if self.original else self._all_at_once
        for t in MODALITIES:
            new = make(human, fusion, feature[t])
            keep, take = (epoch - 1) / (epoch + 1), 2 / (epoch + 1)
            self.label[t][rows] = keep * self.label[t][rows] + take * new
        self.buffer[rows] = fusion
        label = self.label["fusion"]
        classes = (label >= 0, label < 0)
        self.center = tuple(self.buffer[m].mean(0) for m in classes)

    def _farthest(self):
        one, other = (self.buffer[m].mean(0) for m in self.extremes)
        return (one - other).norm()

    def _all_at_once(self, human, fusion, feature):
        farthest, ratio, own = (
            self._farthest(),
            self._ratio(fusion),
            self._ratio(feature),
        )
        far = torch.minimum((fusion - feature).norm(dim=-1), farthest)
        offset = (self.ends[1] - self.ends[0]) * far / farthest
        sign = (own < ratio).float() - (own > ratio).float()
        new = torch.where(sign == 0, human, human + sign * offset)
        return new.clamp(*self.ends)

    def _one_by_one(self, human, fusion, feature):
        farthest, made = self._farthest(), human.clone()
        for i in range(len(human)):
            far = torch.minimum((fusion[i] - feature[i]).norm(), farthest)
            offset = (self.ends[1] - self.ends[0]) * far / farthest
            own, ratio = self._ratio(feature[i]), self._ratio(fusion[i])
            if own < ratio:
                made[i] = (human[i] + offset).clamp(*self.ends)
            elif own > ratio:
                made[i] = (human[i] - offset).clamp(*self.ends)
        return made

    def _ratio(self, feature):
        to = [(feature - c).norm(dim=-1) for c in self.center]
        return to[0] / to[1]


def weighted_l1(label: Mapping[str, Any], score: Mapping[str, Any], rows) -> Any:
    """Return the sum over targets of mean weight |score - label|."""
    human, total = label["fusion"][rows], 0
    for t in TARGETS:
        own = label[t][rows]
        error = (score[t] - own).abs()
        if t != "fusion":
            error = torch.tanh((own - human).abs()) * error
        total = total + error.mean()
    return total
