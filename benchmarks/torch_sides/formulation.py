"""A method's training step in PyTorch as a competitor of `studies.bench.measure`.

A method's file here is called as that in `msa_jax.methods` and has two functions:
`formulations(config, method, params, shape, label)` returns the ways in which its step
is written, by name, with our parameters; `written(config)` returns, of every field of
which they compute one value only, that value.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch
from msa_jax.studies.bench.measure import EPOCH, Side

ORIGINAL, FAST = "torch, original", "torch, fast"  # as the public code computes, or not
# Of the sparse phased transformer, and of tasks with generated labels.
SPT = {"spt.dense": False, "spt.respect_lengths": False, "spt.attention_dropout": 0.0}
LABELS = {
    "loss.tasks": ("fusion", "text", "audio", "vision"),
    "loss.error": "l1",
    "loss.weighting": "disagreement",
}


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


def grouped(network: Any, config: Any, loss: Callable) -> Formulation:
    """Return a formulation with the groups and the limit of `config.optim`.

    Args:
        network: its module; `groups()` are its parameters by optimiser group, else all
            are of the group "other".
        config: the run's configuration.
        loss: see `Formulation`.
    """
    optim, parts = config.optim, {"other": network.parameters()}
    if hasattr(network, "groups"):
        parts = network.groups()
    groups = [adam(part, optim.groups[name]) for name, part in parts.items()]
    return Formulation(network, groups, loss, optim.clip_norm)


def adam(parameters: Any, group: Any) -> dict[str, Any]:
    """Return a group of Adam as `config.optim.groups.NAME` says."""
    return {"params": parameters, "lr": group.rate, "weight_decay": group.decay}


def multitask(network: Any, config: Any, book: Any) -> Formulation:
    """Return a formulation with generated labels.

    Args:
        network: inputs -> scores and features by target; see `grouped`.
        config: the run's configuration.
        book: label tables: `losses(score, rows)`, `visit(feature, rows, epoch)`.
    """

    def loss(x):
        score, feature = network(x)
        total = book.losses(score, x["index"])
        kept = {t: f.detach() for t, f in feature.items()}
        return total, lambda: book.visit(kept, x["index"], EPOCH)

    return grouped(network, config, loss)


def only_letter_s(config: Any) -> dict[str, Any]:
    """Return the letters of the transformer's windows of which S alone is written."""
    return {
        f"spt.{name}": letters if set(letters) <= {"S"} else "S"
        for name, letters in config.spt.items()
        if name.endswith("letters")
    }


def side(
    made: Formulation,
    inputs: list[dict],
    encoder: Formulation | None = None,
    *,
    to_text: bool = True,
) -> Side:
    """Return a formulation's step and evaluation on inputs from `tensors`, in turn.

    Args:
        made: the formulation.
        inputs: by name; text as features, or as tokens [b, 3, t] with an encoder.
        encoder: what turns tokens into features; its loss is not used.
        to_text: go back to the features, as an encoder that is trained needs it.
    """
    parts = [made] if encoder is None else [made, encoder]
    optimizer = torch.optim.Adam([group for part in parts for group in part.groups])
    parameters = [p for part in parts for p in part.network.parameters()]

    def read(number: int) -> dict[str, Any]:
        x = dict(inputs[number % len(inputs)])
        if encoder is None:
            x["text"] = x["text"].detach().requires_grad_(to_text)
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


def state(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return a state dict of tensors."""
    return {k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}


@torch.no_grad()
def put(target: Any, value: Any) -> None:
    """Copy an array into a parameter."""
    target.copy_(torch.from_numpy(np.array(value)))


def linear(target: Any, part: Mapping[str, Any]) -> None:
    """Copy {"kernel", "bias"} into a linear map."""
    put(target.weight, np.asarray(part["kernel"]).T)
    put(target.bias, part["bias"])


def nothing() -> None:
    """Do what follows most backward passes."""
