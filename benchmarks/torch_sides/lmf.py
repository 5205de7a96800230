"""LMF's training step in PyTorch, as MMSA runs it.

Source: LMF, section 3; MMSA a94e65d, the names of its parameters.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from benchmarks.torch_sides import lf_dnn
from benchmarks.torch_sides.formulation import Formulation
from benchmarks.torch_sides.lf_dnn import Vectors
from benchmarks.torch_sides.mfn import one
from benchmarks.torch_sides.tfn import after_one
from msa_jax.ground.types import Method, PyTree
from msa_jax.studies.bench.shapes import Shape


def written(config: Any) -> dict[str, Any]:
    """Return which values are computed; see `formulation`."""
    return lf_dnn.written(config) | {"model.fusion_scalars": "frozen"}


def formulations(
    config: Any, method: Method, params: PyTree, shape: Shape, label: np.ndarray
) -> dict[str, Formulation]:
    """Return it with our parameters; see `formulation`."""
    from msa_jax.methods.lmf import TORCH

    del method
    network = Lmf(config.model, shape.widths)
    return one(network, TORCH, config, params, label)


class Lmf(Vectors):
    """The whole network."""

    def __init__(self, model: Any, widths: Mapping[str, int]):
        """Build from `config.model`."""
        super().__init__(model, widths, model.text_hidden // 2)
        for m, size in self.sizes.items():
            factor = nn.Parameter(torch.empty(model.rank, 1 + size, 1))
            setattr(self, f"{m.replace('vision', 'video')}_factor", factor)
        self.fusion_weights = nn.Parameter(torch.empty(1, model.rank))
        self.fusion_bias = nn.Parameter(torch.empty(1, 1))

    def groups(self) -> dict[str, list]:
        """Return the parameters by optimiser group: the ranks' weights are in none."""
        named = dict(self.named_parameters())
        factor = [p for name, p in named.items() if name.endswith("_factor")]
        nets = [p for name, p in named.items() if "subnet" in name]
        return {"factor": factor, "other": nets}

    def fused(self, vector: Mapping[str, Any]):
        """Return scores [b] of the vectors."""
        factors = self.audio_factor, self.video_factor, self.text_factor
        both = zip(vector.values(), factors, strict=True)
        audio, video, text = (after_one(x) @ factor for x, factor in both)
        ranks = audio * video * text  # [rank, b, 1]
        scores = self.fusion_weights @ ranks.permute(1, 0, 2).squeeze(-1).T
        return (scores + self.fusion_bias)[0]
