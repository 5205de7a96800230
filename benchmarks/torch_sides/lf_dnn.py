"""LF-DNN's training step in PyTorch, as MMSA runs it, and what TFN and LMF share.

Source: MMSA a94e65d, the names of its parameters and what its models compute.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from benchmarks.torch_sides.formulation import Formulation
from benchmarks.torch_sides.mfn import one
from msa_jax.ground.types import Method, PyTree
from msa_jax.studies.bench.shapes import Shape

WRITTEN = {"loss.error": "l1", "model.text_state": "padded_end"}
WRITTEN |= {"model.time_mean": "all", "model.text_dropout": 0.0}


def written(config: Any) -> dict[str, Any]:
    """Return which values are computed; see `formulation`."""
    del config
    return WRITTEN


def formulations(
    config: Any, method: Method, params: PyTree, shape: Shape, label: np.ndarray
) -> dict[str, Formulation]:
    """Return it with our parameters; see `formulation`."""
    from msa_jax.methods.lf_dnn import TORCH

    del method
    network = LfDnn(config.model, shape.widths)
    return one(network, TORCH, config, params, label)


class MeanNet(nn.Module):
    """What audio's and vision's means go through."""

    def __init__(self, read: int, width: int, rate: float):
        """Build it."""
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(read), nn.Dropout(rate)
        self.linear_1 = nn.Linear(read, width)
        self.linear_2, self.linear_3 = (nn.Linear(width, width) for _ in range(2))

    def forward(self, x):
        """Return a vector a sample."""
        x = self.drop(self.norm(x))
        for layer in (self.linear_1, self.linear_2, self.linear_3):
            x = torch.relu(layer(x))
        return x


class TextNet(nn.Module):
    """An LSTM over the padded text, and a map of its last state."""

    def __init__(self, read: int, hidden: int, width: int):
        """Build it."""
        super().__init__()
        self.rnn = nn.LSTM(read, hidden, batch_first=True)
        self.linear_1 = nn.Linear(hidden, width)

    def forward(self, x):
        """Return a vector a sample."""
        return self.linear_1(self.rnn(x)[1][0][0])


class Vectors(nn.Module):
    """A vector of each modality; heads of two hidden layers."""

    def __init__(self, model: Any, widths: Mapping[str, int], text_width: int):
        """Build from `config.model`."""
        super().__init__()
        self.audio_subnet, self.video_subnet = (
            MeanNet(widths[m], model[f"{m}_hidden"], model[f"{m}_dropout"])
            for m in ("audio", "vision")
        )
        self.text_subnet = TextNet(widths["text"], model.text_hidden, text_width)
        self.sizes = {"audio": model.audio_hidden, "vision": model.vision_hidden}
        self.sizes["text"] = text_width
        self.rates: dict[str, float] = {}

    def load_state_dict(self, arrays: Mapping[str, Any], **given: Any) -> Any:
        """Take all but running statistics, which start as PyTorch's."""
        return super().load_state_dict(arrays, strict=False, **given)

    def add_head(self, name: str, read: int, width: int, rate: float) -> None:
        """Make the layers post_NAME_layer_1 to 3."""
        sizes = zip((read, width, width), (width, width, 1), strict=True)
        for number, (before, after) in enumerate(sizes, start=1):
            setattr(self, f"post_{name}_layer_{number}", nn.Linear(before, after))
        self.rates[name] = rate

    def head(self, name: str, x):
        """Return scores [b]."""
        x = nn.functional.dropout(x, self.rates[name], self.training)
        for number in (1, 2):
            x = torch.relu(getattr(self, f"post_{name}_layer_{number}")(x))
        return getattr(self, f"post_{name}_layer_3")(x)[:, 0]

    def vectors(self, x: Mapping[str, Any]) -> dict[str, Any]:
        """Encode audio, vision and text, in this order."""
        return {
            "audio": self.audio_subnet(x["audio"].mean(1)),
            "vision": self.video_subnet(x["vision"].mean(1)),
            "text": self.text_subnet(x["text"]),
        }

    def forward(self, x: Mapping[str, Any]):
        """Return scores [b]."""
        return self.fused(self.vectors(x))


class LfDnn(Vectors):
    """The whole network."""

    def __init__(self, model: Any, widths: Mapping[str, int]):
        """Build from `config.model`."""
        super().__init__(model, widths, model.text_width)
        read, rate = sum(self.sizes.values()), model.fusion_head_dropout
        self.add_head("fusion", read, model.fusion_head, rate)

    def fused(self, vector: Mapping[str, Any]):
        """Return scores [b] of the vectors."""
        return self.head("fusion", torch.cat(list(vector.values()), 1))
