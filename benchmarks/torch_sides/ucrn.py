"""UCRN's training step after the text encoder in PyTorch, as its public code runs it.

The network of the variant "code": MulT's pre-norm encoder with a causal mask and
PyTorch's own attention, one after another for each modality and for all together. That
of the variant "paper" is `ucrn_paper`.

Source: UCRN, with the readings of Redaimao/UCRN@21a6783 (docs/fidelity.md).
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn.functional import dropout  # pyright: ignore[reportMissingImports]

from benchmarks.torch_sides import ucrn_paper
from benchmarks.torch_sides.formulation import Formulation, grouped, nothing, state
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Method, PyTree
from msa_jax.studies.bench.shapes import Shape

_LETTER = {"text": "l", "audio": "a", "vision": "v"}
# Both networks, and each one by config.model.block.
_BOTH = {"model.modalities": ("text", "audio", "vision"), "model.gate_layers": 1}
_WRITTEN: dict[str, dict[str, Any]] = {
    "code": {
        "model.causal": True,
        "model.scale": True,
        "model.collapse": "mix",
        "model.respect_lengths": False,
        "model.gate": "squeeze",
        "model.head": "residual",
        "loss.divergence": "code",
    },
    "paper": {
        "model.causal": False,
        "model.scale": False,
        "model.collapse": "last",
        "model.respect_lengths": True,
        "model.gate": "relu",
        "model.head": "two_layer",
        "loss.divergence": "paper",
    },
}


def written(config: Any) -> dict[str, Any]:
    """Return which values are computed; see `formulation`."""
    return _BOTH | _WRITTEN[config.model.block]


def formulations(
    config: Any, method: Method, params: PyTree, shape: Shape, label: np.ndarray
) -> dict[str, Formulation]:
    """Return the network of `config.model.block` with our parameters."""
    del method
    if config.model.block == "paper":
        network: Any = ucrn_paper.Ucrn(config.model, shape.widths)
        ucrn_paper.load(network, params)
        value = ucrn_paper.loss
    else:
        from msa_jax.methods.torch_names import to_torch
        from msa_jax.methods.ucrn import TORCH

        network = Ucrn(config.model, shape.widths, shape.steps)
        network.load_state_dict(state(to_torch(TORCH, params)))
        value = loss
    labels = torch.from_numpy(label)

    def total(x):
        score, feature = network(x)
        return value(score, feature, labels[x["index"]], config.loss), nothing

    return {"torch": grouped(network, config, total)}


class Layer(nn.Module):
    """Self-attention and feed-forward, each normalised before."""

    def __init__(self, width: int, model: Any, rate: float):
        """Build with PyTorch's default initialisation; `rate`: of attention weights."""
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, model.heads, dropout=rate)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.layer_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.model = model

    def forward(self, x, mask):
        """Return the refined sequence, [t, b, width]."""
        m, on = self.model, self.training
        normal = self.layer_norms[0](x)
        mixed = self.self_attn(
            normal, normal, normal, attn_mask=mask, need_weights=False
        )[0]
        x = x + dropout(mixed, m.residual_dropout, on)
        wide = torch.relu(self.fc1(self.layer_norms[1](x)))
        wide = dropout(wide, m.relu_dropout, on)
        return x + dropout(self.fc2(wide), m.residual_dropout, on)


class Encoder(nn.Module):
    """Layers, then a norm."""

    def __init__(self, width: int, layers: int, model: Any, rate: float):
        """Build; `rate`: dropout of attention weights."""
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, model, rate) for _ in range(layers))
        self.layer_norm = nn.LayerNorm(width)
        self.rate = model.embed_dropout

    def forward(self, x):
        """Return the refined sequence, [t, b, width]."""
        x = dropout(x.shape[-1] ** 0.5 * x, self.rate, self.training)
        mask = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        for layer in self.layers:
            x = layer(x, mask)
        return self.layer_norm(x)


class Gate(nn.Module):
    """Squeeze and excitation, without biases."""

    def __init__(self, width: int, reduction: int):
        """Build."""
        super().__init__()
        narrow = max(1, width // reduction)
        self.fc = nn.Sequential(
            nn.Linear(width, narrow, bias=False),
            nn.ReLU(),
            nn.Linear(narrow, width, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        """Return the weighted features."""
        return x * self.fc(x)


class Ucrn(nn.Module):
    """The network for three modalities; parameters have the public code's names."""

    def __init__(self, model: Any, widths: Mapping[str, int], steps: Mapping[str, int]):
        """Build from `config.model` and the sequences' widths and padded steps."""
        super().__init__()
        own = {
            "text": model.attention_dropout,
            "audio": model.audio_attention_dropout,
            "vision": model.vision_attention_dropout,
        }
        for m, letter in _LETTER.items():
            proj = nn.Conv1d(widths[m], model.width, 1, bias=False)
            setattr(self, f"proj_{letter}", proj)
            mix = nn.Conv1d(steps[m], 1, 1, bias=False)
            setattr(self, f"temp_proj_{letter}", mix)
            refine = Encoder(model.width, model.unimodal_layers, model, own[m])
            setattr(self, f"{letter}_refine", refine)
            setattr(self, f"{letter}_quality", Gate(model.width, model.gate_reduction))
        all_three = 3 * model.width
        self.cross_modal_fusion = Encoder(
            all_three, model.crossmodal_layers, model, model.attention_dropout
        )
        self.proj1 = nn.Linear(all_three, all_three)
        self.proj2 = nn.Linear(all_three, all_three)
        self.out_layer = nn.Linear(all_three, 1)
        self.model = model

    def forward(self, x: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return scores and each modality's refined features."""
        model, on, feature, gated = self.model, self.training, {}, []
        for m, letter in _LETTER.items():
            sequence = x[m]
            if m == "text":
                sequence = dropout(sequence, model.text_dropout, on)
            made = getattr(self, f"proj_{letter}")(sequence.transpose(1, 2))
            made = getattr(self, f"{letter}_refine")(made.permute(2, 0, 1))
            mixed = getattr(self, f"temp_proj_{letter}")(made.permute(1, 0, 2))
            feature[m] = mixed[:, 0]
            gated.append(getattr(self, f"{letter}_quality")(feature[m]))
        fusion = self.cross_modal_fusion(torch.cat(gated, 1)[None])[0]
        hidden = dropout(torch.relu(self.proj1(fusion)), model.output_dropout, on)
        return self.out_layer(fusion + self.proj2(hidden))[:, 0], feature


def loss(score, feature: Mapping[str, Any], label, weights: Any) -> Any:
    """Return the L1 error and the modalities' distance, weighted by `config.loss`."""
    apart = 0.0
    for first, second in combinations((feature[m] for m in MODALITIES), 2):
        pair = (first.exp() - second.exp()) * (first - second)
        apart = apart + pair.sum(-1).mean() / 4 / 3
    error = (score - label).abs().mean()
    return weights.task_weight * error + weights.divergence_weight * apart
