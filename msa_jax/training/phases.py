"""The updates of a method: which parameters each moves, and with what optimiser state.

A method without phases has one, of its loss, that moves all parameters.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from jaxtyping import Array

from msa_jax.ground.types import Method, Phase, PyTree

Parts = dict[str, Array]


def passes(method: Method) -> tuple[tuple[Phase, ...], ...]:
    """Return the phases of each pass over an epoch's batches, in order."""
    every = method.phases or (Phase("", method.loss),)
    own = [(phase,) for phase in every if phase.whole_epoch]
    shared = tuple(phase for phase in every if not phase.whole_epoch)
    return (*own, shared) if shared else tuple(own)


def moved(method: Method, phase: Phase, params: PyTree) -> PyTree:
    """Return the parameters that a phase moves, the tree without the others."""
    if phase.groups is None:
        return params
    flat: dict[str, Any] = traverse_util.flatten_dict(params, sep="/")
    own = {path: x for path, x in flat.items() if method.groups(path) in phase.groups}
    if not own:
        raise ValueError(f"phase {phase.name}: no parameter is in {phase.groups}")
    return traverse_util.unflatten_dict(own, sep="/")


def put(params: PyTree, own: PyTree) -> PyTree:
    """Return parameters with those of a phase in their places."""
    if not isinstance(own, dict):
        return own
    return {name: put(x, own[name]) if name in own else x for name, x in params.items()}


def start(
    method: Method, optimizer: optax.GradientTransformation, params: PyTree
) -> dict[str, PyTree]:
    """Return every phase's optimiser state at the start of training."""
    return {
        phase.name: optimizer.init(moved(method, phase, params))
        for phases in passes(method)
        for phase in phases
    }


def update(
    method: Method,
    phases: tuple[Phase, ...],
    optimizer: optax.GradientTransformation,
    gradients: dict[str, PyTree],
    opt_state: dict[str, PyTree],
    params: PyTree,
) -> tuple[PyTree, dict[str, PyTree]]:
    """Take one step of each phase, in order: parameters and optimiser states after.

    Args:
        method, phases: whose steps.
        optimizer: of all phases; each has a state of its own.
        gradients: phase -> gradient by the parameters that it moves.
        opt_state: phase -> optimiser state; others are kept.
        params: before.
    """
    opt_state = dict(opt_state)
    for phase in phases:
        own = moved(method, phase, params)
        updates, opt_state[phase.name] = optimizer.update(
            gradients[phase.name], opt_state[phase.name], own
        )
        params = put(params, optax.apply_updates(own, updates))
    return params, opt_state


def logged(phases: tuple[Phase, ...], losses: list[tuple[Array, Parts]]) -> Parts:
    """Name what is logged of a batch: "loss", each phase's own if it has a name, parts.

    Args:
        phases: of a pass.
        losses: loss and parts of each. "loss" is the sum of all.
    """
    named: Parts = {}
    for phase, (loss, parts) in zip(phases, losses, strict=True):
        named |= ({f"loss_{phase.name}": loss} if phase.name else {}) | parts
    return {"loss": total(losses), **named}


def total(losses: list[tuple[Array, Parts]]) -> Array:
    """Add up the losses of phases."""
    total, *others = (loss for loss, _ in losses)
    for loss in others:
        total = total + loss
    return total


def together(passes: list[Parts]) -> Parts:
    """Join what passes over the same batches log; "loss" is the sum of theirs."""
    total = passes[0]
    for parts in passes[1:]:
        total = total | parts | {"loss": total["loss"] + parts["loss"]}
    return total


def zeros(method: Method, phases: tuple[Phase, ...], params: PyTree) -> dict:
    """Return gradients of nothing: phase -> zeros like the parameters it moves."""
    return {
        phase.name: jax.tree.map(jnp.zeros_like, moved(method, phase, params))
        for phase in phases
    }
