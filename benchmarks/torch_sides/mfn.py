"""MFN's training step in PyTorch: LSTM cells and gates step by step, as MMSA runs it.

Source: MFN, section 3; parameter names of MMSA a94e65d.
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
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Method, PyTree
from msa_jax.studies.bench.shapes import Shape

LETTERS = {"text": "l", "audio": "a", "vision": "v"}
WRITTEN = {"loss.error": "l1", "model.align": "block_mean"}
WRITTEN |= {"model.text_state": "padded_end"}
NETS = {"att1": "attention", "att2": "candidate"}
NETS |= {"gamma1": "retain", "gamma2": "update", "out": "head"}


def written(config: Any) -> dict[str, Any]:
    """Return which values are computed; see `formulation`."""
    del config
    return WRITTEN | {"model.audio_vision": "mean_tiled"}


def formulations(
    config: Any, method: Method, params: PyTree, shape: Shape, label: np.ndarray
) -> dict[str, Formulation]:
    """Return it with our parameters; see `formulation`."""
    from msa_jax.methods.mfn import TORCH

    del method
    network = MFN(config.model, shape.widths)
    return one(network, TORCH, config, params, label)


def one(
    network: Any, names: Any, config: Any, params: PyTree, label: np.ndarray
) -> dict[str, Formulation]:
    """Return a network that scores as the only formulation, with L1."""
    from msa_jax.methods.torch_names import to_torch

    network.load_state_dict(state(to_torch(names, params)))
    truth = torch.from_numpy(label)

    def loss(x):
        return (network(x) - truth[x["index"]]).abs().mean(), nothing

    return {ORIGINAL: grouped(network, config, loss)}


def side_by_side(x: Mapping[str, Any], *, tiled: bool = False) -> dict[str, Any]:
    """Return text, audio and vision with the text's steps, time first."""
    steps = x["text"].shape[1]
    found = {"text": x["text"]}
    for m in ("audio", "vision"):
        one = x[m].mean(1, keepdim=True) if tiled else x[m]
        size = -(-one.shape[1] // steps)
        more = one[:, -1:].expand(-1, size * steps - one.shape[1], -1)
        blocks = torch.cat([one, more], 1).reshape(len(one), steps, size, -1)
        found[m] = blocks.mean(2)
    return {m: one.transpose(0, 1) for m, one in found.items()}


class Memory(nn.Module):
    """Three cells and what a step of theirs leaves in the memory."""

    def __init__(self, model: Any, widths: Mapping[str, int], nets: dict[str, int]):
        """Build from `config.model`.

        Args:
            widths: of the sequences.
            nets: the small networks, and how much each reads.
        """
        super().__init__()
        self.sizes = {m: model[f"{m}_hidden"] for m in MODALITIES}
        self.memory = model.memory
        for m, letter in LETTERS.items():
            setattr(self, f"lstm_{letter}", nn.LSTMCell(widths[m], self.sizes[m]))
        self.rate = {}
        for name, read in nets.items():
            hidden = model[f"{NETS[name]}_hidden"]
            gives = {"att1": read, "out": 1}.get(name, self.memory)
            setattr(self, f"{name}_fc1", nn.Linear(read, hidden))
            setattr(self, f"{name}_fc2", nn.Linear(hidden, gives))
            self.rate[name] = model[f"{NETS[name]}_dropout"]

    def small(self, name: str, x):
        """Run a small network."""
        hidden = torch.relu(getattr(self, f"{name}_fc1")(x))
        hidden = nn.functional.dropout(hidden, self.rate[name], self.training)
        return getattr(self, f"{name}_fc2")(hidden)

    def last(self, x: Mapping[str, Any]):
        """Return last states and the memory of sequences, time first."""
        steps, samples, _ = x["text"].shape
        new = x["text"].new_zeros
        h = {m: new(samples, width) for m, width in self.sizes.items()}
        c, u = dict(h), new(samples, self.memory)
        for t in range(steps):
            before_h, before_c = dict(h), dict(c)
            for m, letter in LETTERS.items():
                cell = getattr(self, f"lstm_{letter}")
                h[m], c[m] = cell(x[m][t], (before_h[m], before_c[m]))
            said = self.said(before_h, h, before_c, c)
            both = torch.cat([said, u], 1)
            write = torch.tanh(self.small("att2", said))
            keep, fill = (
                torch.sigmoid(self.small(name, both)) for name in ("gamma1", "gamma2")
            )
            u = keep * u + fill * write
        return torch.cat([*h.values(), u], 1)

    def said(self, before_h: dict, h: dict, before_c: dict, c: dict):
        """Return what a step says to the memory: MFN's attention over cells."""
        del before_h, h
        both = torch.cat([*before_c.values(), *c.values()], 1)
        return torch.softmax(self.small("att1", both), 1) * both


def reads(model: Any, said: int) -> dict[str, int]:
    """Return how much each small network but the attention reads."""
    last = sum(model[f"{m}_hidden"] for m in MODALITIES) + model.memory
    both = said + model.memory
    return {"att2": said, "gamma1": both, "gamma2": both, "out": last}


class MFN(Memory):
    """The whole network."""

    def __init__(self, model: Any, widths: Mapping[str, int]):
        """Build from `config.model`."""
        cells = 2 * sum(model[f"{m}_hidden"] for m in MODALITIES)
        super().__init__(model, widths, {"att1": cells, **reads(model, cells)})

    def forward(self, x: Mapping[str, Any]):
        """Return scores [b]."""
        return self.small("out", self.last(side_by_side(x, tiled=True)))[:, 0]
