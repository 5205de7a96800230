"""Graph-MFN's training step in PyTorch, step by step, as MMSA runs it.

Source: Graph-MFN, section 4; parameter names of MMSA a94e65d.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from benchmarks.torch_sides.formulation import Formulation
from benchmarks.torch_sides.mfn import (
    LETTERS,
    WRITTEN,
    Memory,
    one,
    reads,
    side_by_side,
)
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Method, PyTree
from msa_jax.studies.bench.shapes import Shape

# Vertices of several modalities and what they read: places among those before.
_VERTICES = {"0_1": (0, 1), "0_2": (0, 2), "1_2": (1, 2), "0_1_2": tuple(range(6))}


def written(config: Any) -> dict[str, Any]:
    """Return which values are computed; see `formulation`."""
    del config
    own = {"efficacy": "linear", "singleton_input": "h", "graph_nodes": "frozen"}
    return WRITTEN | {f"model.{name}": value for name, value in own.items()}


def formulations(
    config: Any, method: Method, params: PyTree, shape: Shape, label: np.ndarray
) -> dict[str, Formulation]:
    """Return it with our parameters; see `formulation`."""
    from msa_jax.methods.graph_mfn import TORCH

    del method
    network = GraphMFN(config.model, shape.widths)
    return one(network, TORCH, config, params, label)


class _Graph(nn.Module):
    def __init__(self, widths: list[int], hidden: int, width: int):
        super().__init__()
        every = [*widths, *[width] * 4]

        def two(read):
            return nn.Sequential(
                nn.Linear(read, hidden), nn.Sequential(nn.Linear(hidden, width))
            )

        first = two(sum(widths))
        self.efficacy_model = nn.Sequential(*first, nn.Linear(width, 19))
        self.t_network = two(sum(every))
        self.networks = nn.ModuleDict(
            {n: two(sum(every[i] for i in parts)) for n, parts in _VERTICES.items()}
        )

    def forward(self, singles: list):
        every, first = list(singles), 0
        e = self.efficacy_model(torch.cat(singles, 1))
        for name, parts in (*_VERTICES.items(), ("tau", range(7))):
            read = [every[i] * e[:, first + k, None] for k, i in enumerate(parts)]
            first += len(read)
            net = self.t_network if name == "tau" else self.networks[name]
            every.append(net(torch.cat(read, 1)))
        return every[-1]


class GraphMFN(Memory):
    """The whole network."""

    def __init__(self, model: Any, widths: Mapping[str, int]):
        """Build from `config.model`."""
        super().__init__(model, widths, reads(model, model.node_width))
        sizes = [self.sizes[m] for m in MODALITIES]
        self.graph_mfn = _Graph(sizes, model.node_hidden, model.node_width)
        for m, letter in LETTERS.items():
            map_ = nn.Linear(2 * self.sizes[m], self.sizes[m])
            setattr(self, f"{letter}_transform", map_)

    def load_state_dict(self, arrays: Mapping[str, Any], **given: Any) -> Any:
        """Take the vertices, too, which are in no state dict of MMSA's."""
        own = {
            k.replace("unregistered.", "graph_mfn."): value
            for k, value in arrays.items()
        }
        return super().load_state_dict(own, **given)

    def groups(self) -> dict[str, list]:
        """Return the parameters by optimiser group: no vertex of several is in one."""
        named = self.named_parameters()
        return {"other": [p for name, p in named if "networks" not in name]}

    def said(self, before_h: dict, h: dict, before_c: dict, c: dict):
        """Return the graph's last vertex."""
        del before_c, c
        singles = [
            torch.relu(
                getattr(self, f"{letter}_transform")(torch.cat([before_h[m], h[m]], 1))
            )
            for m, letter in LETTERS.items()
        ]
        return self.graph_mfn(singles)

    def forward(self, x: Mapping[str, Any]):
        """Return scores [b]."""
        return self.small("out", self.last(side_by_side(x)))[:, 0]
