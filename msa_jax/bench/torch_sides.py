"""The PyTorch formulations as competitors of `measure.alternate`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from msa_jax.bench import (
    torch_bert,
    torch_mmcl,
    torch_self_mm,
    torch_spt,
    torch_sugrm,
    torch_ucrn,
    torch_ucrn_paper,
)
from msa_jax.bench.measure import EPOCH, Side
from msa_jax.bench.shapes import Shape
from msa_jax.methods import self_mm, ucrn
from msa_jax.methods.torch_names import to_torch
from msa_jax.types import MODALITIES, Batch, Method, PyTree

ORIGINAL = "torch, original"  # as the public code computes it
_SPT = (ORIGINAL, "torch, fast")


class Formulation(NamedTuple):
    """A method in PyTorch.

    network: its module.
    groups: of Adam.
    loss: inputs by name -> the loss, and what is to be done after the backward pass.
    clip_norm: joint norm of all gradients; 0: no limit.
    """

    network: Any
    groups: list[dict[str, Any]]
    loss: Callable[[dict[str, Any]], tuple[Any, Callable[[], None]]]
    clip_norm: float = 0.0


def formulations(
    name: str,
    config: Any,
    method: Method,
    params: PyTree,
    shape: Shape,
    label: np.ndarray,
) -> dict[str, Formulation]:
    """Return the formulations of a method, with our parameters, by name.

    Args:
        name: of the method, or "spt".
        config: the run's configuration; None for "spt".
        method: ours.
        params: its parameters.
        shape: sizes of what it reads.
        label: of all training samples, [n].
    """
    model: Any = method.model
    labels = torch.from_numpy(np.array(label))
    match name:
        case "spt":
            return {side: _spt(model, params, shape, side == ORIGINAL) for side in _SPT}
        case "sugrm":
            return {
                side: _sugrm(config, model, params, shape, labels, side == ORIGINAL)
                for side in _SPT
            }
        case "mmcl":
            return {
                f"torch, {kind}": _mmcl(config, params, shape, labels, kind == "packed")
                for kind in ("packed", "padded")
            }
        case "ucrn":
            return {"torch": _ucrn(config, params, shape, labels)}
    made = {}
    heads = {t: getattr(model, f"{t}_head") for t in ("fusion", *MODALITIES)}
    own = {k: v for k, v in params.items() if k != "text_encoder"}
    for kind in ("packed", "padded"):
        network = torch_self_mm.SelfMM(
            config.model, shape.widths, packed=kind == "packed"
        )
        network.load_state_dict(_state(to_torch(self_mm.TORCH, own)))
        book = torch_self_mm.Labels(labels, heads, shape.label_range[1])
        made[f"torch, {kind}"] = _multitask(network, config, book)
    return made


def _spt(model, params, shape, original: bool) -> Formulation:
    network = torch_spt.SparsePhasedTransformer(
        model.readings, shape.widths, original=original
    )
    torch_spt.load(network, params["spt"])
    group = {"params": network.parameters(), "lr": 5e-4, "weight_decay": 1e-3}

    def squares(x):
        return sum(h.square().mean() for h in network(x).values()), _nothing

    return Formulation(network, [group], squares)


def _sugrm(config, model, params, shape, labels, original: bool) -> Formulation:
    network = torch_sugrm.Sugrm(
        model.readings,
        shape.widths,
        model.width,
        model.output_dropout,
        original=original,
    )
    torch_sugrm.load(network, params)
    book = torch_sugrm.Labels(labels, model.width, shape.label_range, original=original)
    return _multitask(network, config, book)


def _multitask(network: Any, config: Any, book: Any) -> Formulation:
    def loss(x):
        score, feature = network(x)
        total = book.losses(score, x["index"])
        kept = {t: f.detach() for t, f in feature.items()}
        return total, lambda: book.visit(kept, x["index"], EPOCH)

    groups = network.groups(config.optim.groups)
    return Formulation(network, groups, loss, config.optim.clip_norm)


def _mmcl(config, params, shape, labels, packed: bool) -> Formulation:
    network = torch_mmcl.Mmcl(config.model, shape.widths, packed=packed)
    torch_mmcl.load(network, params)

    def loss(x):
        score, views = network(x)
        total = torch_mmcl.loss(
            score, views, labels[x["index"]], config.weights, config.contrast
        )
        return total, _nothing

    return _one_group(network, config, loss)


def _ucrn(config, params, shape, labels) -> Formulation:
    if config.model.block == "paper":
        module: Any = torch_ucrn_paper
        network = torch_ucrn_paper.Ucrn(config.model, shape.widths)
        torch_ucrn_paper.load(network, params)
    else:
        module = torch_ucrn
        network = torch_ucrn.Ucrn(config.model, shape.widths, shape.steps)
        network.load_state_dict(_state(to_torch(ucrn.TORCH, params)))

    def loss(x):
        score, feature = network(x)
        return module.loss(score, feature, labels[x["index"]], config.loss), _nothing

    return _one_group(network, config, loss)


def _one_group(network: Any, config: Any, loss: Callable) -> Formulation:
    adam = config.optim.groups.other
    group = {"params": network.parameters(), "lr": adam.rate}
    group["weight_decay"] = adam.decay
    return Formulation(network, [group], loss, config.optim.clip_norm)


def bert(shape: Any, params: PyTree, groups: Any) -> Formulation:
    """Return BERT over padded text, with our parameters.

    Args:
        shape: `bert.Shape`.
        params: of the method, its encoder's among them.
        groups: `config.optim.groups`.
    """
    prefix = "text_model.model."
    state = _state(to_torch(self_mm.TORCH, {"text_encoder": params["text_encoder"]}))
    network = torch_bert.Bert(shape)
    network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items()})
    parts: dict[str, list] = {"bert": [], "bert_no_decay": []}
    for name, parameter in network.named_parameters():
        spared = "bias" in name or "LayerNorm" in name
        parts["bert_no_decay" if spared else "bert"].append(parameter)
    made = [
        {"params": p, "lr": groups[n].rate, "weight_decay": groups[n].decay}
        for n, p in parts.items()
    ]
    return Formulation(network, made, lambda x: (None, _nothing))


def side(
    made: Formulation, inputs: list[dict], encoder: Formulation | None = None
) -> Side:
    """Return a formulation's step and evaluation on inputs from `tensors`, in turn.

    Args:
        made: the formulation.
        inputs: by name; text as features, or as tokens [b, 3, t] with an encoder.
        encoder: what turns tokens into features; its loss is not used.
    """
    parts = [made] if encoder is None else [made, encoder]
    optimizer = torch.optim.Adam([group for part in parts for group in part.groups])
    parameters = [p for part in parts for p in part.network.parameters()]

    def read(number: int) -> dict[str, Any]:
        x = dict(inputs[number % len(inputs)])
        if encoder is None:
            x["text"] = x["text"].detach().requires_grad_(True)
        else:
            x["text"] = encoder.network(x["text"].long())
        return x

    def step(number: int) -> None:
        for part in parts:
            part.network.train()
        optimizer.zero_grad()
        total, after = made.loss(read(number))
        total.backward()
        after()
        if made.clip_norm:
            torch.nn.utils.clip_grad_norm_(parameters, made.clip_norm)
        optimizer.step()

    @torch.no_grad()
    def evaluate(number: int) -> None:
        for part in parts:
            part.network.eval()
        made.network(read(number))

    return Side(step, evaluate)


def tensors(batch: Batch) -> dict[str, Any]:
    """Return what the formulations read of a batch, by name."""
    names = [n for m in MODALITIES for n in (m, f"{m}_length")]
    made = {n: torch.from_numpy(np.array(getattr(batch, n))) for n in names}
    made["index"] = torch.from_numpy(np.array(batch.index)).long()
    return made


def _nothing() -> None:
    return None


def _state(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}
