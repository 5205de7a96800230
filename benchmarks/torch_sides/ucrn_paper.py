"""UCRN's training step after the text encoder in PyTorch, as its paper describes it.

The network of the variant "paper": heads that attend within their slice of the
channels, over valid steps only, and the last valid step of each sequence.

Source: UCRN, Eq. 2 to 11, with our readings (docs/fidelity.md).
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn.functional import (  # pyright: ignore[reportMissingImports]
    dropout,
    log_softmax,
    scaled_dot_product_attention,
)

from benchmarks.torch_sides.formulation import linear, put
from msa_jax.ground.names import MODALITIES

_HEADS = ("query", "key", "value")


class Layer(nn.Module):
    """Heads on slices, each added to its slice; fc1; a normalised feed-forward."""

    def __init__(self, width: int, model: Any, rate: float):
        """Build with PyTorch's default initialisation; `rate`: of attention weights."""
        super().__init__()
        size = width // model.heads
        for name in _HEADS:
            linears = [nn.Linear(size, size) for _ in range(model.heads)]
            weight = torch.stack([x.weight.detach().T for x in linears])
            bias = torch.stack([x.bias.detach() for x in linears])
            setattr(self, f"{name}_kernel", nn.Parameter(weight))
            setattr(self, f"{name}_bias", nn.Parameter(bias))
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.rise, self.fall = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.model, self.rate = model, rate

    def forward(self, x, visible):
        """Return the refined sequence, [b, t, width]."""
        m, on = self.model, self.training
        slices = x.view(*x.shape[:2], m.heads, -1)
        query, key, value = (
            torch.einsum("bthi,hio->bhto", slices, getattr(self, f"{name}_kernel"))
            + getattr(self, f"{name}_bias")[:, None]
            for name in _HEADS
        )
        mixed = scaled_dot_product_attention(
            query, key, value, visible, self.rate if on else 0.0
        )
        mixed = mixed.transpose(1, 2).reshape(x.shape)
        z = self.output(x + dropout(mixed, m.residual_dropout, on))
        wide = dropout(torch.relu(self.rise(self.norm(z))), m.relu_dropout, on)
        return z + dropout(self.fall(wide), m.residual_dropout, on)


class Stack(nn.Module):
    """Layers, one after another."""

    def __init__(self, width: int, layers: int, model: Any, rate: float):
        """Build; `rate`: dropout of attention weights."""
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, model, rate) for _ in range(layers))
        self.rate = model.embed_dropout

    def forward(self, x, valid):
        """Return the refined sequence, [b, t, width]; `valid` steps, [b, t]."""
        x = dropout(x * valid[:, :, None], self.rate, self.training)
        for layer in self.layers:
            x = layer(x, valid[:, None, None])
        return x


class Ucrn(nn.Module):
    """The network for three modalities."""

    def __init__(self, model: Any, widths: Mapping[str, int]):
        """Build from `config.model` and the sequences' widths."""
        super().__init__()
        rates = {
            "text": model.attention_dropout,
            "audio": model.audio_attention_dropout,
            "vision": model.vision_attention_dropout,
        }
        width, both = model.width, 3 * model.width
        self.map = nn.ModuleDict(
            {m: nn.Linear(widths[m], width, bias=False) for m in MODALITIES}
        )
        self.stack = nn.ModuleDict(
            {
                m: Stack(width, model.unimodal_layers, model, rates[m])
                for m in MODALITIES
            }
        )
        self.gate = nn.ModuleDict({m: nn.Linear(width, width) for m in MODALITIES})
        rate = model.attention_dropout
        self.crossmodal = Stack(both, model.crossmodal_layers, model, rate)
        self.one, self.score = nn.Linear(both, both), nn.Linear(both, 1)
        self.model = model

    def forward(self, x: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return scores and each modality's refined features."""
        model, on, feature, gated = self.model, self.training, {}, []
        for m in MODALITIES:
            sequence, length = x[m], x[f"{m}_length"].long()
            if m == "text":
                sequence = dropout(sequence, model.text_dropout, on)
            valid = torch.arange(sequence.shape[1])[None] < length[:, None]
            made = self.stack[m](self.map[m](sequence), valid)
            feature[m] = made[torch.arange(len(made)), length - 1]
            gated.append(feature[m] * torch.relu(self.gate[m](feature[m])))
        fusion = torch.cat(gated, 1)[:, None]
        alone = torch.ones(fusion.shape[:2], dtype=torch.bool)
        fusion = self.crossmodal(fusion, alone)[:, 0]
        hidden = dropout(torch.relu(self.one(fusion)), model.output_dropout, on)
        return self.score(hidden)[:, 0], feature


def loss(score, feature: Mapping[str, Any], label, weights: Any) -> Any:
    """Return the L1 error and the sum of Jensen-Shannon divergences, weighted."""
    apart = 0.0
    for first, second in combinations((feature[m] for m in MODALITIES), 2):
        p, q = log_softmax(first, -1), log_softmax(second, -1)
        middle = torch.logaddexp(p, q) - np.log(2)
        pair = p.exp() * (p - middle) + q.exp() * (q - middle)
        apart = apart + pair.sum(-1).mean() / 2
    error = (score - label).abs().mean()
    return weights.task_weight * error + weights.divergence_weight * apart


def load(module: Ucrn, params: Mapping[str, Any]) -> None:
    """Copy the parameters (or gradients) of `methods.ucrn.Ucrn` into the module."""

    for m in MODALITIES:
        put(module.map[m].weight, np.asarray(params[f"{m}_kernel"]).T)
        linear(module.gate[m], params[f"{m}_gate_1"]["linear"])
    stacks = {m: module.stack[m] for m in MODALITIES} | {
        "crossmodal": module.crossmodal
    }
    for name, stack in stacks.items():
        for i, layer in enumerate(stack.layers):
            made = {k: v[i] for k, v in params[f"{name}_stack"]["layers"].items()}
            for part in _HEADS:
                for leaf in ("kernel", "bias"):
                    put(getattr(layer, f"{part}_{leaf}"), made[f"{part}_{leaf}"])
            for part in ("output", "rise", "fall"):
                whole = {leaf: made[f"{part}_{leaf}"] for leaf in ("kernel", "bias")}
                linear(getattr(layer, part), whole)
            put(layer.norm.weight, made["forward_norm_scale"])
            put(layer.norm.bias, made["forward_norm_bias"])
    linear(module.one, params["head"]["layer_1"]["linear"])
    linear(module.score, params["head"]["score"]["linear"])
