"""MFM's training step in PyTorch, step by step, as MMSA runs it.

Source: MFM, section 2; parameter names of MMSA a94e65d.
Differs: the MFN inside has no output layers, which nothing reads.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from benchmarks.torch_sides.formulation import (
    ORIGINAL,
    Formulation,
    grouped,
    nothing,
    state,
)
from benchmarks.torch_sides.mfn import LETTERS, WRITTEN, Memory, reads, side_by_side
from msa_jax.ground.names import MODALITIES, TARGETS
from msa_jax.ground.types import Method, PyTree
from msa_jax.studies.bench.shapes import Shape

_LETTERS = {"fusion": "y", **LETTERS}


def written(config: Any) -> dict[str, Any]:
    """Return which values are computed; see `formulation`."""
    del config
    return WRITTEN


def formulations(
    config: Any, method: Method, params: PyTree, shape: Shape, label: np.ndarray
) -> dict[str, Formulation]:
    """Return it with our parameters; see `formulation`."""
    from msa_jax.methods.mfm import TORCH
    from msa_jax.methods.torch_names import to_torch

    del method
    network = MFM(config.model, shape.widths)
    network.load_state_dict(state(to_torch(TORCH, params)))
    truth, weights = torch.from_numpy(label), config.loss

    def loss(x):
        score, code, rebuilt, meant = network.all(x)
        total = (score - truth[x["index"]]).abs().mean()
        for m in MODALITIES:
            error = nn.functional.mse_loss(rebuilt[m], meant[m].detach())
            total = total + weights[f"{m}_reconstruction_weight"] * error
        apart = sum(discrepancy(torch.randn_like(z), z) for z in code.values())
        return total + weights.mmd_weight * apart, nothing

    return {ORIGINAL: grouped(network, config, loss)}


def discrepancy(x, y):
    """Return how far two sets of vectors lie apart."""

    def mean(a, b):
        squares = (a[:, None] - b[None]).pow(2).mean(2) / a.shape[1]
        return torch.exp(-squares).mean()

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


class Cell(nn.Module):
    """A cell over time and a map: encoder or decoder."""

    def __init__(self, read: int, width: int, gives: int):
        """Build; the cell is `width` wide."""
        super().__init__()
        self.lstm, self.fc1 = nn.LSTMCell(read, width), nn.Linear(width, gives)

    def last(self, x):
        """Return the map of the last state of a sequence, time first."""
        h = c = x.new_zeros(x.shape[1], self.lstm.hidden_size)
        for now in x:
            h, c = self.lstm(now, (h, c))
        return self.fc1(h)

    def told(self, x, steps: int):
        """Return so many steps, each told from the state before."""
        h = c = torch.zeros_like(x)
        states = []
        for _ in range(steps):
            h, c = self.lstm(x, (h, c))
            x = h
            states.append(h)
        return self.fc1(torch.stack(states))


class MFM(nn.Module):
    """The whole network."""

    def __init__(self, model: Any, widths: Mapping[str, int]):
        """Build from `config.model`."""
        super().__init__()
        cells = 2 * sum(model[f"{m}_hidden"] for m in MODALITIES)
        sizes = reads(model, cells)
        last = sizes.pop("out")
        self.mfn_encoder = Memory(model, widths, {"att1": cells, **sizes})
        self.last_to_zy_fc1 = nn.Linear(last, model.fusion_code)
        self.rate = {t: model[f"{t}_factor_dropout"] for t in TARGETS}
        joint = model.fusion_factor
        for t, c in _LETTERS.items():
            code, factor = model[f"{t}_code"], model[f"{t}_factor"]
            setattr(self, f"z{c}_to_f{c}_fc1", nn.Linear(code, factor))
            setattr(self, f"z{c}_to_f{c}_fc2", nn.Linear(factor, factor))
            if t != "fusion":
                both, read = joint + factor, widths[t]
                setattr(self, f"encoder_{c}", Cell(read, code, code))
                setattr(self, f"decoder_{c}", Cell(both, both, read))
        self.fy_to_y_fc1, self.fy_to_y_fc2 = (
            nn.Linear(joint, joint),
            nn.Linear(joint, 1),
        )
        self.score_rate = model.score_dropout

    def forward(self, x: Mapping[str, Any]):
        """Return scores [b]."""
        return self.all(x)[0]

    def all(self, x: Mapping[str, Any]) -> tuple:
        """Return scores, codes, rebuilt sequences and those that were meant."""
        meant = side_by_side(x)
        code = {"fusion": self.last_to_zy_fc1(self.mfn_encoder.last(meant))}
        code |= {
            m: getattr(self, f"encoder_{c}").last(meant[m]) for m, c in LETTERS.items()
        }
        factor = {
            t: torch.relu(self._two(f"z{c}_to_f{c}", code[t], self.rate[t]))
            for t, c in _LETTERS.items()
        }
        score = self._two("fy_to_y", factor["fusion"], self.score_rate)[:, 0]
        steps = len(meant["text"])
        rebuilt = {
            m: getattr(self, f"decoder_{c}").told(
                torch.cat([factor["fusion"], factor[m]], 1), steps
            )
            for m, c in LETTERS.items()
        }
        return score, code, rebuilt, meant

    def _two(self, name: str, x, rate: float):
        hidden = torch.relu(getattr(self, f"{name}_fc1")(x))
        hidden = nn.functional.dropout(hidden, rate, self.training)
        return getattr(self, f"{name}_fc2")(hidden)
