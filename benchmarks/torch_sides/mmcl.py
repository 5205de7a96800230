"""MMCL's training step after the text encoder in PyTorch, of PyTorch's own layers.

`packed` runs the bidirectional LSTMs over packed sequences, as the field does; else two
LSTMs run over padded ones, the second over sequences turned around within their length.
That is the same mathematics without PyTorch's slow path for packed sequences. Both
views of a modality pass the transformer together.

Source: MMCL, sections 3.3 to 3.5, with our readings (docs/fidelity.md); there is no
    public code.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn.utils.rnn import (  # pyright: ignore[reportMissingImports]
    pack_padded_sequence,
    pad_packed_sequence,
)

from benchmarks.torch_sides.formulation import (
    Formulation,
    grouped,
    linear,
    nothing,
    put,
)
from msa_jax.ground.types import Method, PyTree
from msa_jax.layers.siamese_cnn import CPC_PADDING, KERNELS, STRIDES
from msa_jax.studies.bench.shapes import Shape

PREDICTED = {"audio": "vision", "vision": "audio"}  # which one helps beside the text
_LAYER = {  # PyTorch's name in a layer -> ours
    "self_attn.in_proj_": "attend",
    "self_attn.out_proj.": "output",
    "linear1.": "rise",
    "linear2.": "fall",
    "norm1.": "attend_norm",
    "norm2.": "forward_norm",
}


def written(config: Any) -> dict[str, Any]:
    """Return which values are computed; see `formulation`."""
    del config
    return {
        "text.pooling": "first",
        "model.encoder": "transformer",
        "model.cnn_axis": "feature",
        "model.modalities": ("text", "audio", "vision"),
        "loss.error": "l1",
        "contrast.uni": "prose",
        "contrast.uni_normalise": True,
        "contrast.cross_reduce": "mean",
        "contrast.align_power": 2.0,
        "contrast.align_norm": "euclidean",
        "contrast.uniformity": "wang_isola",
        "contrast.sentiment": "log_outside_sum",
        "contrast.sentiment_self": False,
        "contrast.sentiment_pool": "both",
    }


def formulations(
    config: Any, method: Method, params: PyTree, shape: Shape, label: np.ndarray
) -> dict[str, Formulation]:
    """Return both ways with our parameters; see `formulation`."""
    del method
    labels, found = torch.from_numpy(label), {}
    for kind in ("packed", "padded"):
        network = Mmcl(config.model, shape.widths, packed=kind == "packed")
        load(network, params)

        def total(x, network=network):
            score, views = network(x)
            value = loss(
                score, views, labels[x["index"]], config.weights, config.contrast
            )
            return value, nothing

        found[f"torch, {kind}"] = grouped(network, config, total)
    return found


class BothWays(nn.Module):
    """A bidirectional LSTM; outputs beyond the lengths mean nothing."""

    def __init__(self, inputs: int, width: int, packed: bool):
        """Build with PyTorch's default initialisation."""
        super().__init__()
        if packed:
            self.both = nn.LSTM(inputs, width, batch_first=True, bidirectional=True)
        else:
            self.ahead = nn.LSTM(inputs, width, batch_first=True)
            self.back = nn.LSTM(inputs, width, batch_first=True)
        self.packed = packed

    def forward(self, x, length):
        """Return both directions' outputs side by side, [b, t, 2 width]."""
        steps = x.shape[1]
        if self.packed:
            x = pack_padded_sequence(x, length, batch_first=True, enforce_sorted=False)
            made = self.both(x)[0]
            return pad_packed_sequence(made, batch_first=True, total_length=steps)[0]
        place = (length[:, None] - 1 - torch.arange(steps)[None]).clamp(min=0).long()

        def turned(x):
            return x.gather(1, place[:, :, None].expand(-1, -1, x.shape[2]))

        return torch.cat([self.ahead(x)[0], turned(self.back(turned(x))[0])], -1)


class Coding(nn.Module):
    """One modality: LSTM, channels cut in a second view, transformer, mean of steps."""

    def __init__(self, inputs: int, model: Any, packed: bool):
        """Build from `config.model`."""
        super().__init__()
        width = 2 * model.sequence_width
        self.lstm = BothWays(inputs, model.sequence_width, packed)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, model.heads, 4 * width, model.dropout, batch_first=True
            )
            for _ in range(model.layers)
        )
        self.cutoff = model.cutoff

    def forward(self, x, length):
        """Return the mean step of the sequence and, in training, of its cut view."""
        valid = torch.arange(x.shape[1])[None] < length[:, None]
        rows = self.lstm(x, length)
        if self.training:
            kept = kept_channels(len(rows), rows.shape[2], self.cutoff)
            rows = torch.cat([rows, rows * kept[:, None]])
            valid = torch.cat([valid, valid])
        for layer in self.layers:
            rows = layer(rows, src_key_padding_mask=~valid)
        total = (rows * valid[:, :, None]).sum(1)
        return (total / valid.sum(1)[:, None]).split(len(x))


class Prediction(nn.Module):
    """Text and one modality predict the other; the target has a code of its own."""

    def __init__(self, model: Any):
        """Build from `config.model`."""
        super().__init__()
        width, channels = model.width, model.channels
        self.bimodal = nn.Sequential(
            nn.Linear(2 * width, width),
            nn.ReLU(),
            nn.Dropout(model.dropout),
            nn.Linear(width, width),
        )
        self.cnn, self.target_cnn = _convolutions(channels), _convolutions(channels)
        self.context = nn.LSTM(channels, model.context_width, batch_first=True)
        self.predictor = nn.Linear(model.context_width, channels)

    def forward(self, text, other, target):
        """Return the prediction and, in training, the target's code."""
        seen = self.cnn(self.bimodal(torch.cat([text, other], -1))[:, None])
        predicted = self.predictor(self.context(seen.transpose(1, 2))[1][0][0])
        code = self.target_cnn(target[:, None]).mean(-1) if self.training else None
        return predicted, code


class Mmcl(nn.Module):
    """The network."""

    def __init__(self, model: Any, widths: Mapping[str, int], *, packed: bool):
        """Build from `config.model` and the sequences' widths."""
        super().__init__()
        both = 2 * model.sequence_width
        self.coding = nn.ModuleDict(
            {m: Coding(widths[m], model, packed) for m in PREDICTED}
        )
        inputs = {"text": widths["text"]} | dict.fromkeys(PREDICTED, both)
        self.map = nn.ModuleDict(
            {m: nn.Linear(width, model.width) for m, width in inputs.items()}
        )
        self.prediction = nn.ModuleDict({m: Prediction(model) for m in PREDICTED})
        fused = widths["text"] + len(PREDICTED) * model.channels
        self.fusion = nn.Linear(fused, model.fusion_width)
        self.score = nn.Linear(model.fusion_width, 1)
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, x: Mapping[str, Any]) -> tuple[Any, dict[str, tuple]]:
        """Return scores and, in training, of each predicted modality the four vectors.

        These are feature, augmented, predicted and target: `contrastive_total.Views`.
        """
        sentence, views = x["text"][:, 0], {}
        common = {"text": self.map["text"](sentence)}
        for m in PREDICTED:
            views[m] = self.coding[m](x[m], x[f"{m}_length"])
            common[m] = self.map[m](views[m][0])
        for m, other in PREDICTED.items():
            views[m] += self.prediction[m](common["text"], common[other], common[m])
        fused = torch.cat([sentence, *(v[-2] for v in views.values())], -1)
        fused = self.dropout(torch.relu(self.fusion(fused)))
        return self.score(fused)[:, 0], views


def kept_channels(batch: int, width: int, ratio: float):
    """Draw the channels that each sample keeps, [batch, width]."""
    return torch.rand(batch, width).argsort(1) >= int(ratio * width + 1e-9)


def loss(score, views: Mapping[str, tuple], label, weights: Any, contrast: Any) -> Any:
    """Return the total loss of a whole batch, weighted by `config.weights`.

    Source: MMCL, Eq. 4 to 10, in the default readings of `config.contrast`.
    """
    total, t = (score - label).abs().mean(), contrast.temperature
    other = ~torch.eye(len(label), dtype=torch.bool)
    anyone = ~torch.eye(2 * len(label), dtype=torch.bool)
    kind = label.sign().repeat(2)
    same = anyone & (kind[:, None] == kind[None])
    for view in views.values():
        query, key, predicted, target = (nn.functional.normalize(v) for v in view)
        positive = (query * key).sum(1) / t
        among = _log_sum(query @ query.T / t, other)
        uni = (torch.logaddexp(positive, among) - positive).mean()
        cross = 0
        for q, k in ((target, target), (predicted, predicted), (target, predicted)):
            scores = q @ k.T / t
            cross = cross + (scores.logsumexp(1) - scores.diagonal()).mean() / 3
        pool = torch.cat([target, predicted])
        scores = pool @ pool.T / t
        sentiment = (_log_sum(scores, anyone) - _log_sum(scores, same)).mean()
        align = (predicted - target).square().sum(1).mean()
        uniform = sum(
            (-contrast.kappa * torch.pdist(x).square()).exp().mean().log() / 2
            for x in (predicted, target)
        )
        total = total + weights.uni * uni + weights.sentiment * sentiment
        total = total + weights.cross * cross + weights.align * align
        total = total + weights.uniform * uniform
    return total


def load(module: Mmcl, params: Mapping[str, Any]) -> None:
    """Copy the parameters (or gradients) of `methods.mmcl.Mmcl` into the module."""
    for m in ("text", *PREDICTED):
        linear(module.map[m], params[f"{m}_map"]["linear"])
    for m in PREDICTED:
        coding: Any = module.coding[m]
        part = params[f"{m}_coding"]
        ways = (("forward", "ahead", ""), ("backward", "back", "_reverse"))
        for ours, alone, suffix in ways:
            if coding.lstm.packed:
                _lstm(coding.lstm.both, part["lstm"][ours], suffix)
            else:
                _lstm(getattr(coding.lstm, alone), part["lstm"][ours])
        for i, layer in enumerate(coding.layers):
            for name, target in layer.named_parameters():
                prefix = next(p for p in _LAYER if name.startswith(p))
                kind, ours = name.removeprefix(prefix), _LAYER[prefix]
                matrix = kind == "weight" and "norm" not in name
                leaf = {"bias": "bias", "weight": "kernel" if matrix else "scale"}[kind]
                value = np.asarray(part["transformer"][f"{ours}_{leaf}"])[i]
                put(target, value.T if matrix else value)
        prediction: Any = module.prediction[m]
        part = params[f"{m}_prediction"]
        linear(prediction.bimodal[0], part["bimodal"]["layer_1"]["linear"])
        linear(prediction.bimodal[3], part["bimodal"]["layer_2"]["linear"])
        for name in ("cnn", "target_cnn"):
            for i in range(len(STRIDES)):
                layer = part[name]["stack"][f"layer_{i + 1}"]
                convolution = getattr(prediction, name)[2 * i]
                put(convolution.weight, np.asarray(layer["kernel"]).transpose(2, 1, 0))
                put(convolution.bias, layer["bias"])
        _lstm(prediction.context, part["context"])
        linear(prediction.predictor, part["predictor"]["linear"])
    linear(module.fusion, params["fusion"]["linear"])
    linear(module.score, params["score"]["linear"])


def _convolutions(channels: int) -> nn.Sequential:
    """Return five strided convolutions, each followed by tanh."""
    made: list[nn.Module] = []
    sizes = zip(KERNELS, STRIDES, CPC_PADDING, strict=True)
    for inputs, size in zip([1] + [channels] * 4, sizes, strict=True):
        made += [nn.Conv1d(inputs, channels, *size), nn.Tanh()]
    return nn.Sequential(*made)


def _log_sum(scores, kept):
    """Return log sum exp of each row's kept entries; the smallest float if none."""
    return scores.masked_fill(~kept, torch.finfo(scores.dtype).min).logsumexp(1)


def _lstm(target: nn.LSTM, part: Mapping[str, Any], suffix: str = "") -> None:
    for theirs, ours in (("ih", "input"), ("hh", "state")):
        weight = getattr(target, f"weight_{theirs}_l0{suffix}")
        put(weight, np.asarray(part[f"{ours}_kernel"]).T)
        put(getattr(target, f"bias_{theirs}_l0{suffix}"), part[f"{ours}_bias"])
