"""SP-Transformer's training step in PyTorch, its transformer written in two ways.

As its public code computes it (`original`): keys and values are gathered raw, one copy
per window entry, then normalised and projected; every round runs by itself; attention
is a batched product with as many tiny matrices as there are queries and heads. Else
keys and values are projected once per position, those of the inputs once for all
rounds, and gathered after. Written from a description of that computation; the results
of both equal those of `layers.spt` (tests/test_bench_torch.py).

Source: SP-Transformer (Cheng et al., EMNLP 2021), its public code.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from benchmarks.torch_sides.formulation import (
    FAST,
    ORIGINAL,
    SPT,
    Formulation,
    grouped,
    linear,
    nothing,
    only_letter_s,
    put,
)
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Method, PyTree
from msa_jax.layers.channels import position_table
from msa_jax.layers.spt import PAIRS, Readings
from msa_jax.layers.windows import Sampling
from msa_jax.studies.bench.shapes import Shape


def written(config: Any) -> dict[str, Any]:
    """Return which values are computed; see `formulation`."""
    return SPT | only_letter_s(config) | {"loss.error": "l1"}


def formulations(
    config: Any, method: Method, params: PyTree, shape: Shape, label: np.ndarray
) -> dict[str, Formulation]:
    """Return both ways with our parameters; see `formulation`."""
    model: Any = method.model
    labels, found = torch.from_numpy(label), {}
    for side in (ORIGINAL, FAST):
        sizes = model.readings, shape.widths, model.output_dropout
        network = Spt(*sizes, original=side == ORIGINAL)
        load(network.spt, params["spt"])
        for name in ("layer_1", "layer_2", "score"):
            linear(getattr(network, name), params[name]["linear"])

        def total(x, network=network):
            return (network(x) - labels[x["index"]]).abs().mean(), nothing

        found[side] = grouped(network, config, total)
    return found


class Attention(nn.Module):
    """Multi-head attention with one input projection [embed + 2 context, embed].

    Where the context is as wide as the embedding, its rows are the three matrices; if
    not, the rows below the query's alternate between keys and values, transposed.
    """

    def __init__(self, embed: int, context: int, heads: int):
        """Start from Xavier's range."""
        super().__init__()
        self.embed, self.context, self.heads = embed, context, heads
        self.in_weight = nn.Parameter(torch.empty(embed + 2 * context, embed))
        self.in_bias = nn.Parameter(torch.zeros(3 * embed))
        self.output = nn.Linear(embed, embed)
        nn.init.xavier_uniform_(self.in_weight)
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, query, context, swapped: bool):
        """Attend from [1, n, embed] to [w, n, context]; swap query and key maps."""
        e, heads = self.embed, self.heads
        weights = self.in_weight[:e], *self._context_weights()
        biases = self.in_bias.split(e)
        first, second = (1, 0) if swapped else (0, 1)
        q = F.linear(query, weights[first], biases[first]) * (e // heads) ** -0.5
        if swapped or self.context == e:
            k = F.linear(context, weights[second], biases[second])
            v = F.linear(context, weights[2], biases[2])
        else:
            both = self.in_weight[e:].reshape(self.context, 2 * e).t()
            k, v = F.linear(context, both, self.in_bias[e:]).chunk(2, dim=-1)
        n = q.shape[1] * heads
        q, k, v = (
            x.contiguous().view(x.shape[0], n, e // heads).transpose(0, 1)
            for x in (q, k, v)
        )
        score = torch.bmm(q, k.transpose(1, 2))
        weight = F.softmax(score.float(), dim=-1).type_as(score)
        mixed = torch.bmm(weight, v).transpose(0, 1).contiguous().view(1, -1, e)
        return self.output(mixed)

    def project(self, context, swapped: bool):
        """Return keys and values of every position, both [t, b, embed]."""
        e = self.embed
        key, value = self._context_weights()
        key_bias = self.in_bias[e : 2 * e]
        if swapped:
            key, key_bias = self.in_weight[:e], self.in_bias[:e]
        weight, bias = torch.cat([key, value]), self.in_bias[2 * e :]
        both = F.linear(context, weight, torch.cat([key_bias, bias]))
        return both.chunk(2, dim=-1)

    def attend(self, query, projected, index, swapped: bool):
        """Attend from [q, b, embed] to the windows of projected keys and values."""
        e, heads, (width, count) = self.embed, self.heads, index.shape
        batch, size = query.shape[1], e // heads
        weight, bias = self.in_weight[:e], self.in_bias[:e]
        if swapped:
            weight, bias = self._context_weights()[0], self.in_bias[e : 2 * e]
        q = (F.linear(query, weight, bias) * size**-0.5).view(count, batch, heads, size)
        k, v = (
            x.index_select(0, index.reshape(-1)).view(width, count, batch, heads, size)
            for x in projected
        )
        share = F.softmax((q[None] * k).sum(-1), dim=0)
        return self.output((share[..., None] * v).sum(0).view(count, batch, e))

    def _context_weights(self):
        e = self.embed
        if self.context == e:
            return self.in_weight[e : 2 * e], self.in_weight[2 * e :]
        both = self.in_weight[e:].reshape(self.context, 2 * e).t()
        return both[:e], both[e:]


class Block(nn.Module):
    """Windowed attention, feed-forward, their norms and residuals."""

    def __init__(self, embed: int, context: int, readings: Readings, original: bool):
        """Build with the public code's start."""
        super().__init__()
        self.r, self.original = readings, original
        self.attention = Attention(embed, context, readings.heads)
        self.query_norm = nn.LayerNorm(embed)
        self.context_norm = nn.LayerNorm(context)
        self.norm = nn.LayerNorm(embed)
        self.rise = nn.Linear(embed, 4 * embed)
        self.fall = nn.Linear(4 * embed, embed)
        for mapped in (self.rise, self.fall):
            nn.init.xavier_uniform_(mapped.weight)
            nn.init.zeros_(mapped.bias)

    def forward(self, state, context, index, swapped: bool = False):
        """Return the new state [q, b, embed].

        Args:
            state: [q, b, embed].
            context: raw, [t, b, d], or, not `original`, from `prepare`; None: the
                state's own normed states.
            index: from `indices`.
            swapped: query and key maps are.
        """
        query = self.query_norm(state)
        if self.original:
            mixed = self._gathered(query, context, index, swapped)
        else:
            if context is None:
                context = self.attention.project(query, swapped)
            mixed = self.attention.attend(query, context, index, swapped)
        state = state + self._drop(mixed, self.r.residual_dropout)
        hidden = F.relu(self.rise(self.norm(state)))
        hidden = self.fall(self._drop(hidden, self.r.relu_dropout))
        return state + self._drop(hidden, self.r.residual_dropout)

    def prepare(self, context, swapped: bool = False):
        """Return what `forward` reads of a context [t, b, d]."""
        if self.original:
            return context
        return self.attention.project(self.context_norm(context), swapped)

    def _gathered(self, query, context, index, swapped: bool):
        count, batch, embed = query.shape
        if context is None:
            entries = query.index_select(0, index.reshape(-1))
        else:
            entries = context.index_select(0, index.reshape(-1))
            entries = self.context_norm(entries)
        entries = entries.view(index.shape[0], count * batch, -1)
        mixed = self.attention(query.view(1, -1, embed), entries, swapped)
        return mixed.view(count, batch, embed)

    def _drop(self, x, rate: float):
        return F.dropout(x, rate, self.training)


class SparsePhasedTransformer(nn.Module):
    """Three sequences to one vector each; letter S only, no dense reading."""

    def __init__(
        self, readings: Readings, widths: Mapping[str, int], *, original: bool
    ):
        """Build for inputs of these widths."""
        super().__init__()
        embed, self.r = readings.embed, readings
        self.start = nn.Parameter(torch.empty(len(MODALITIES), embed))
        nn.init.xavier_uniform_(self.start)
        contexts = {f"input_{m}": widths[m] for m in MODALITIES}
        contexts |= {f"cross_{a}_{b}": embed for a, b in PAIRS}
        contexts |= {f"self_{m}": embed for m in MODALITIES}
        self.blocks = nn.ModuleDict(
            {
                name: Block(embed, width, readings, original)
                for name, width in contexts.items()
            }
        )
        self.final = nn.LayerNorm(embed)

    def forward(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the last state [b, embed] of each sequence [b, t, d]."""
        r, embed = self.r, self.r.embed
        context, states, steps = {}, {}, {}
        for row, m in enumerate(MODALITIES):
            x = self._coded(inputs[m] * math.sqrt(embed))
            context[m] = self.blocks[f"input_{m}"].prepare(x.transpose(0, 1))
            steps[m] = x.shape[1]
            count = -(-steps[m] // r.input.stride)
            state = self.start[row].expand(x.shape[0], count, embed)
            states[m] = self._coded(state * math.sqrt(embed)).transpose(0, 1)
        count = {m: states[m].shape[0] for m in MODALITIES}

        def at(sampling: Sampling, queries: str, keys: int, layer: int):
            return torch.from_numpy(indices(sampling, count[queries], keys, layer))

        for layer in range(r.rounds):
            for m in MODALITIES:
                index = at(r.input, m, steps[m], layer)
                states[m] = self.blocks[f"input_{m}"](states[m], context[m], index)
            crossed = {m: [] for m in MODALITIES}
            for a, b in PAIRS:
                block = self.blocks[f"cross_{a}_{b}"]
                for query, key, swapped in ((a, b, False), (b, a, True)):
                    index = at(r.cross, query, count[key], layer)
                    read = block.prepare(states[key], swapped)
                    made = block(states[query], read, index, swapped)
                    crossed[query].append(made)
            states = {m: one + other for m, (one, other) in crossed.items()}
            for m in MODALITIES:
                index = at(r.own, m, count[m], layer)
                states[m] = self.blocks[f"self_{m}"](states[m], None, index)
        return {m: self.final(states[m])[-1] for m in MODALITIES}

    def _coded(self, x):
        """Add the position code where a step's first feature is not 0; drop out."""
        table = torch.from_numpy(position_table(*x.shape[1:])).to(x)
        coded = x + table * (x[:, :, :1] != 0)
        return F.dropout(coded, self.r.embed_dropout, self.training)


class Spt(nn.Module):
    """The transformer, a residual block on its final states, a score."""

    def __init__(
        self,
        readings: Readings,
        widths: Mapping[str, int],
        dropout: float,
        *,
        original: bool,
    ):
        """Build for text, audio and vision of these widths."""
        super().__init__()
        self.spt = SparsePhasedTransformer(readings, widths, original=original)
        width = len(MODALITIES) * readings.embed
        self.layer_1, self.layer_2 = nn.Linear(width, width), nn.Linear(width, width)
        self.score, self.dropout = nn.Linear(width, 1), nn.Dropout(dropout)

    def forward(self, x: Mapping[str, Any]):
        """Return scores, [b]."""
        states = self.spt(x)
        state = torch.cat([states[m] for m in MODALITIES], -1)
        hidden = self.dropout(torch.relu(self.layer_1(state)))
        return self.score(state + self.layer_2(hidden))[:, 0]

    def groups(self) -> dict[str, list]:
        """Return the parameters by optimiser group."""
        alone = [self.layer_1, self.layer_2, self.score]
        rest = [p for module in alone for p in module.parameters()]
        return {"spt": [*self.spt.parameters()], "other": rest}


def indices(sampling: Sampling, queries: int, keys: int, layer: int) -> np.ndarray:
    """Return the sampled key of every window entry and query, [w, q]."""
    shift = sampling.step_shift * layer if "S" in sampling.letters else 0
    ends = (np.arange(queries) + 1) * sampling.stride - sampling.width + shift
    return (ends[None] + np.arange(sampling.width)[:, None]) % keys


def load(module: SparsePhasedTransformer, params: Mapping[str, Any]) -> None:
    """Copy the parameters of `layers.spt.SparsePhasedTransformer` into the module."""

    def norm(target: nn.LayerNorm, part: Mapping[str, Any], name: str):
        put(target.weight, part[f"{name}_scale"])
        put(target.bias, part[f"{name}_bias"])

    put(module.start, params["start"])
    norm(module.final, params["final"], "norm")
    for name, block in module.blocks.items():
        part, forward = params[name], params[f"{name}_forward"]
        attention = block.attention
        key, value = (np.asarray(part[f"{n}_kernel"]) for n in ("key", "value"))
        if attention.context == attention.embed:
            below = np.concatenate([key.T, value.T])
        else:
            below = np.stack([key, value], axis=1).reshape(-1, attention.embed)
        stacked = np.concatenate([np.asarray(part["query_kernel"]).T, below])
        put(attention.in_weight, stacked)
        biases = [np.asarray(part[f"{n}_bias"]) for n in ("query", "key", "value")]
        put(attention.in_bias, np.concatenate(biases))
        put(attention.output.weight, np.asarray(part["output_kernel"]).T)
        put(attention.output.bias, part["output_bias"])
        norm(block.query_norm, part, "query_norm")
        norm(block.context_norm, part, "context_norm")
        norm(block.norm, forward, "norm")
        for n in ("rise", "fall"):
            put(getattr(block, n).weight, np.asarray(forward[f"{n}_kernel"]).T)
            put(getattr(block, n).bias, forward[f"{n}_bias"])
