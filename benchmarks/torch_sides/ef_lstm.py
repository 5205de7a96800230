"""EF-LSTM's training step in PyTorch, as MMSA runs it.

Source: parameter names of MMSA a94e65d.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from benchmarks.torch_sides.formulation import Formulation
from benchmarks.torch_sides.mfn import WRITTEN, one, side_by_side
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Method, PyTree
from msa_jax.studies.bench.shapes import Shape


def written(config: Any) -> dict[str, Any]:
    """Return which values are computed; see `formulation`."""
    own = {"norm": "time_steps", "layer_dropout": config.model.dropout}
    return WRITTEN | {f"model.{name}": value for name, value in own.items()}


def formulations(
    config: Any, method: Method, params: PyTree, shape: Shape, label: np.ndarray
) -> dict[str, Formulation]:
    """Return it with our parameters; see `formulation`."""
    from msa_jax.methods.ef_lstm import TORCH

    del method
    network = EFLSTM(config.model, sum(shape.widths.values()), shape.steps["text"])
    return one(network, TORCH, config, params, label)


class EFLSTM(nn.Module):
    """The whole network."""

    def __init__(self, model: Any, read: int, steps: int):
        """Build from `config.model`."""
        super().__init__()
        self.rate, width = model.dropout, model.hidden
        self.norm = nn.BatchNorm1d(steps)
        self.lstm = nn.LSTM(
            read, width, model.layers, dropout=self.rate, batch_first=True
        )
        self.linear, self.out = nn.Linear(width, width), nn.Linear(width, 1)

    def load_state_dict(self, arrays: Mapping[str, Any], **given: Any) -> Any:
        """Take all but running statistics, which start as PyTorch's."""
        return super().load_state_dict(arrays, strict=False, **given)

    def forward(self, x: Mapping[str, Any]):
        """Return scores [b]."""
        sequences = side_by_side(x)
        both = torch.cat([sequences[m].transpose(0, 1) for m in MODALITIES], 2)
        _, (states, _) = self.lstm(self.norm(both))

        def drop(x):
            return nn.functional.dropout(x, self.rate, self.training)

        return self.out(drop(torch.relu(self.linear(drop(states[-1])))))[:, 0]
