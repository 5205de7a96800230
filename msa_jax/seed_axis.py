"""Programs of one seed, laid over the seed axis, and batches over devices."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.lax import dynamic_slice_in_dim, dynamic_update_slice_in_dim
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from msa_jax.types import PyTree

Divide = Callable[[PyTree], PyTree]  # constrains a batch's layout on the devices


def over_seed_axis(one_seed: Callable, how: str) -> Callable:
    """Turn a program (state of one seed, *shared) into one over the seed axis.

    Args:
        one_seed: the program.
        how: "map" (in turn) or "vmap" (side by side).
    """
    if how == "map":
        return lambda state, *shared: jax.lax.map(
            lambda one: one_seed(one, *shared), state
        )
    return lambda state, *shared: jax.vmap(
        one_seed, in_axes=(0,) + (None,) * len(shared), spmd_axis_name="seed"
    )(state, *shared)


def over_groups(
    one_seed: Callable, ended: Callable, how: str, at_once: int = 0
) -> Callable:
    """Turn a training program of one seed into one that goes on with every seed.

    Groups of seeds step one after another, in the memory of one state: each is taken
    out of it and put back. A group whose seeds have all ended costs nothing. That is a
    choice for a group as a whole: under `vmap` a choice for each seed would compute
    both sides, and copy what is shared for every seed.

    Args:
        one_seed: (state of one seed, *shared) -> (state, log). Side by side with others
            it also meets seeds that have ended, and has to leave them as they are.
        ended: (state of one seed, *shared) -> the log of a seed that has ended.
        how: "map" (groups of one) or "vmap" (side by side).
        at_once: with "vmap", seeds in a group, a divisor of their number; 0: all.
    """

    alone = how == "map"

    def rest(state, *shared):
        return state, ended(state, *shared)

    def one_group(state, *shared):
        programs = one_seed, rest
        if not alone:
            programs = (over_seed_axis(program, "vmap") for program in programs)
        going = state.selection.active.any()
        return jax.lax.cond(going, *programs, state, *shared)

    def all_seeds(state, *shared):
        seeds = len(jax.tree.leaves(state)[0])
        size = 1 if alone else at_once or seeds
        if not alone and size == seeds:
            return over_seed_axis(one_seed, "vmap")(state, *shared)

        def take(x, start):
            part = dynamic_slice_in_dim(x, start, size)
            return part[0] if alone else part

        def put(x, part, start):
            part = part[None] if alone else part
            return dynamic_update_slice_in_dim(x, part, start, axis=0)

        def step(whole, start):
            group = jax.tree.map(lambda x: take(x, start), whole)
            new, log = one_group(group, *shared)
            return jax.tree.map(lambda x, y: put(x, y, start), whole, new), log

        state, logs = jax.lax.scan(step, state, jnp.arange(0, seeds, size))
        if not alone:
            logs = jax.tree.map(lambda x: x.reshape(seeds, *x.shape[2:]), logs)
        return state, logs

    return all_seeds


def division(mesh: Mesh, batch_size: int) -> tuple[Divide, int]:
    """How batches divide over the "data" axis, and their padded width."""
    devices = mesh.shape["data"]
    columns = -(-batch_size // devices) * devices
    if devices == 1:
        return lambda batch: batch, columns
    sharding = NamedSharding(mesh, P("data"))

    def divide(batch: PyTree) -> PyTree:
        return jax.lax.with_sharding_constraint(batch, sharding)

    return divide, columns
