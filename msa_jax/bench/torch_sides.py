"""The PyTorch formulations as competitors of `measure.alternate`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from msa_jax.bench import torch_self_mm, torch_spt, torch_sugrm, torch_ucrn
from msa_jax.bench.measure import EPOCH, Side
from msa_jax.bench.shapes import Shape
from msa_jax.types import MODALITIES, Batch, Method, PyTree


def make(
    name: str,
    config: Any,
    method: Method,
    params: PyTree,
    shape: Shape,
    batches: list[Batch],
) -> dict[str, Side]:
    """Return the formulations of a method, with our parameters, by name."""
    inputs = [_tensors(batch) for batch in batches]
    label = np.array(shape.label)
    for batch in batches:
        label[batch.index] = batch.label
    label = torch.from_numpy(label)
    model: Any = method.model
    if name == "spt":
        network = torch_spt.SparsePhasedTransformer(model.readings, shape.widths)
        torch_spt.load(network, params["spt"])
        group = {"params": network.parameters(), "lr": 5e-4, "weight_decay": 1e-3}

        def loss(x):
            return sum(h.square().mean() for h in network(x).values())

        return {"torch": _side(network, [group], loss, inputs)}
    if name == "sugrm":
        network = torch_sugrm.Sugrm(
            model.readings, shape.widths, model.width, model.output_dropout
        )
        torch_sugrm.load(network, params)
        book = torch_sugrm.Labels(label, model.width, shape.label_range)
        return {"torch": _multitask_side(network, config, book, inputs)}
    if name == "ucrn":
        from msa_jax.interop_ucrn import ucrn_to_torch

        network = torch_ucrn.Ucrn(config.model, shape.widths, shape.steps)
        network.load_state_dict(_state(ucrn_to_torch(params)))

        def apart(x):
            score, feature = network(x)
            return torch_ucrn.loss(score, feature, label[x["index"]], config.loss)

        adam = config.optim.groups.other
        group = {"params": network.parameters(), "lr": adam.rate}
        clip = config.optim.clip_norm
        return {"torch": _side(network, [group], apart, inputs, clip)}
    from msa_jax.interop import to_torch

    made = {}
    widths = {t: getattr(model, f"{t}_head") for t in ("fusion", *MODALITIES)}
    for kind in ("packed", "padded"):
        network = torch_self_mm.SelfMM(
            config.model, shape.widths, packed=kind == "packed"
        )
        network.load_state_dict(_state(to_torch(params)))
        book = torch_self_mm.Labels(label, widths, shape.label_range[1])
        made[f"torch, {kind}"] = _multitask_side(network, config, book, inputs)
    return made


def _multitask(network: Any, config: Any, book: Any) -> tuple[list, Callable]:
    def loss(x):
        score, feature = network(x)
        total = book.losses(score, x["index"])
        kept = {t: f.detach() for t, f in feature.items()}
        return total, lambda: book.visit(kept, x["index"], EPOCH)

    return network.groups(config.optim.groups), loss


def _multitask_side(network: Any, config: Any, book: Any, inputs: list[dict]) -> Side:
    groups, loss = _multitask(network, config, book)
    return _side(network, groups, loss, inputs)


def _state(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}


def _side(
    network: Any,
    groups: list,
    loss: Callable,
    inputs: list[dict],
    clip_norm: float = 0.0,
) -> Side:
    optimizer = torch.optim.Adam(groups)

    def step(number: int) -> None:
        x = dict(inputs[number % len(inputs)])
        x["text"] = x["text"].detach().requires_grad_(True)
        network.train()
        optimizer.zero_grad()
        made = loss(x)
        total, after = made if isinstance(made, tuple) else (made, lambda: None)
        total.backward()
        after()
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
        optimizer.step()

    @torch.no_grad()
    def evaluate(number: int) -> None:
        network.eval()
        network(inputs[number % len(inputs)])

    return Side(step, evaluate)


def _tensors(batch: Batch) -> dict[str, Any]:
    names = [n for m in MODALITIES for n in (m, f"{m}_length")]
    made = {n: torch.from_numpy(np.array(getattr(batch, n))) for n in names}
    made["index"] = torch.from_numpy(np.array(batch.index)).long()
    return made
