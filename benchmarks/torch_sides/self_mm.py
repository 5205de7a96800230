"""Self-MM's training step after BERT in PyTorch, written in two ways.

`packed` runs the LSTMs over packed sequences, as the field does; else over padded ones
and takes the last valid state, which is the same mathematics and much faster.

Source: Self-MM, with the readings of its public code (docs/fidelity.md).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn.utils.rnn import (  # pyright: ignore[reportMissingImports]
    pack_padded_sequence,
)

from benchmarks.torch_sides.formulation import LABELS, Formulation, multitask, state
from benchmarks.torch_sides.sugrm import weighted_l1
from msa_jax.ground.names import MODALITIES, TARGETS
from msa_jax.ground.types import Method, PyTree
from msa_jax.studies.bench.shapes import Shape

_NAMES = {t: "video" if t == "vision" else t for t in TARGETS}
_EPSILON = 1e-8


def written(config: Any) -> dict[str, Any]:
    """Return which values are computed; see `formulation`."""
    del config
    return LABELS | {
        "model.sequence": "lstm",
        "model.recalibrate": "none",
        "model.head_layers": 2,
        "model.project_lstm": True,
        "ulgm.rule": "self_mm",
    }


def formulations(
    config: Any, method: Method, params: PyTree, shape: Shape, label: np.ndarray
) -> dict[str, Formulation]:
    """Return both ways with our parameters; see `formulation`."""
    from msa_jax.methods.self_mm import TORCH
    from msa_jax.methods.torch_names import to_torch

    model: Any = method.model
    heads = {t: getattr(model, f"{t}_head") for t in TARGETS}
    found = {}
    for kind in ("packed", "padded"):
        network = SelfMM(config.model, shape.widths, packed=kind == "packed")
        network.load_state_dict(state(to_torch(TORCH, params)))
        book = Labels(torch.from_numpy(label), heads, shape.label_range[1])
        found[f"torch, {kind}"] = multitask(network, config, book)
    return found


class Recurrent(nn.Module):
    """LSTM, its last valid state, a linear map; the public code's parameter names."""

    def __init__(self, inputs: int, hidden: int, width: int, packed: bool):
        """Build with PyTorch's default initialisation."""
        super().__init__()
        self.rnn = nn.LSTM(inputs, hidden, batch_first=True)
        self.linear_1 = nn.Linear(hidden, width)
        self.packed = packed

    def forward(self, x, length):
        """Return the mapped state."""
        if self.packed:
            x = pack_padded_sequence(x, length, batch_first=True, enforce_sorted=False)
            state = self.rnn(x)[1][0][0]
        else:
            rows = torch.arange(len(x))
            state = self.rnn(x)[0][rows, length.long() - 1]
        return self.linear_1(state)


class SelfMM(nn.Module):
    """Two LSTMs, the first token's features, four heads of two hidden layers."""

    def __init__(self, model: Any, widths: Mapping[str, int], *, packed: bool):
        """Build from `config.model`."""
        super().__init__()
        a, v = (
            Recurrent(
                widths[m], model[f"{m}_hidden"], model[f"{m}_width"], packed=packed
            )
            for m in ("audio", "vision")
        )
        self.audio_model, self.video_model = a, v
        width = {m: model[f"{m}_width"] for m in ("audio", "vision")}
        width = {"text": widths["text"], **width}
        width["fusion"] = sum(width.values())
        self.rate = {t: model[f"{t}_head_dropout"] for t in TARGETS}
        for t in TARGETS:
            sizes = (width[t], model[f"{t}_head"], model[f"{t}_head"], 1)
            for i in (1, 2, 3):
                layer = nn.Linear(sizes[i - 1], sizes[i])
                setattr(self, f"post_{_NAMES[t]}_layer_{i}", layer)

    def forward(self, x: Mapping[str, Any]) -> tuple[dict, dict]:
        """Return scores and features by target."""
        states = {
            "text": x["text"][:, 0],
            "audio": self.audio_model(x["audio"], x["audio_length"]),
            "vision": self.video_model(x["vision"], x["vision_length"]),
        }
        states["fusion"] = torch.cat([states[m] for m in MODALITIES], -1)
        score, feature = {}, {}
        for t in TARGETS:
            one, two, three = (
                getattr(self, f"post_{_NAMES[t]}_layer_{i}") for i in (1, 2, 3)
            )
            state = nn.functional.dropout(states[t], self.rate[t], self.training)
            feature[t] = torch.relu(one(state))
            score[t] = three(torch.relu(two(feature[t])))[:, 0]
        return score, feature

    def groups(self) -> dict[str, list]:
        """Return the parameters by optimiser group."""
        named = {"audio": self.audio_model, "vision": self.video_model}
        parts: dict[str, list] = {n: [*m.parameters()] for n, m in named.items()}
        parts["other"] = [
            p for name, p in self.named_parameters() if name.startswith("post_")
        ]
        return parts


class Labels:
    """Labels, features and class centres of all training samples."""

    def __init__(self, label, widths: Mapping[str, int], high: float):
        """Start every label at the human one, features and centres at zero."""
        self.label = {t: label.clone() for t in TARGETS}
        self.buffer = {t: torch.zeros(len(label), widths[t]) for t in TARGETS}
        self.center = {t: [torch.zeros(widths[t])] * 2 for t in TARGETS}
        self.high = high

    def losses(self, score: Mapping[str, Any], rows) -> Any:
        """Return the sum of the four weighted L1 losses of a batch."""
        return weighted_l1(self.label, score, rows)

    @torch.no_grad()
    def visit(self, feature: Mapping[str, Any], rows, epoch: int) -> None:
        """Relabel a batch, store its features, move the centres."""
        human = self.label["fusion"][rows]
        alpha = {t: self._alpha(t, feature[t]) for t in TARGETS}
        for t in MODALITIES:
            ratio = alpha[t] / (alpha["fusion"] + _EPSILON)
            new = 0.5 * ratio * human + 0.5 * (human + alpha[t] - alpha["fusion"])
            new = new.clamp(-self.high, self.high)
            keep, take = (epoch - 1) / (epoch + 1), 2 / (epoch + 1)
            self.label[t][rows] = keep * self.label[t][rows] + take * new
        for t in TARGETS:
            self.buffer[t][rows] = feature[t]
            classes = (self.label[t] >= 0, self.label[t] < 0)
            self.center[t] = [self.buffer[t][m].mean(0) for m in classes]

    def _alpha(self, t: str, feature):
        positive, negative = ((feature - c).norm(dim=-1) for c in self.center[t])
        return (negative - positive) / (positive + _EPSILON)
