"""TFN's training step in PyTorch, the outer product formed, as MMSA runs it.

Source: TFN, section 3; MMSA a94e65d, the names of its parameters.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from benchmarks.torch_sides.formulation import Formulation
from benchmarks.torch_sides.lf_dnn import Vectors, written  # noqa: F401
from benchmarks.torch_sides.mfn import one
from msa_jax.ground.types import Method, PyTree
from msa_jax.studies.bench.shapes import Shape


def formulations(
    config: Any, method: Method, params: PyTree, shape: Shape, label: np.ndarray
) -> dict[str, Formulation]:
    """Return it with our parameters; see `formulation`."""
    from msa_jax.methods.tfn import TORCH

    del method
    network = Tfn(config.model, shape.widths)
    return one(network, TORCH, config, params, label)


def after_one(x):
    """Put a 1 before each vector."""
    return torch.cat([torch.ones_like(x[:, :1]), x], 1)


class Tfn(Vectors):
    """The whole network."""

    def __init__(self, model: Any, widths: Mapping[str, int]):
        """Build from `config.model`."""
        super().__init__(model, widths, model.text_width)
        read = math.prod(1 + size for size in self.sizes.values())
        self.add_head("fusion", read, model.fusion_head, model.fusion_head_dropout)
        for name in ("output_range", "output_shift"):
            setattr(self, name, nn.Parameter(torch.empty(1), requires_grad=False))

    def fused(self, vector: Mapping[str, Any]):
        """Return scores [b] of the vectors."""
        audio, vision, text = map(after_one, vector.values())
        product = (audio[:, :, None] @ vision[:, None]).flatten(1)
        product = (product[:, :, None] @ text[:, None]).flatten(1)
        score = torch.sigmoid(self.head("fusion", product))
        return score * self.output_range + self.output_shift
