"""Programs of one seed, laid over the seed axis, and batches over devices."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.lax import dynamic_slice_in_dim, dynamic_update_slice_in_dim
from jax.lax import optimization_barrier as barrier
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

    Groups of seeds step one after another, in the memory of one state: each takes its
    seeds out of the state and puts them back. A group whose seeds have all ended costs
    nothing: the loop is as long as there are others. There is no `cond`, which under
    `vmap` computes both sides and copies what is shared for every seed.

    Args:
        one_seed: (state of one seed, *shared) -> (state, log). Side by side with others
            it also meets seeds that have ended, and has to leave them as they are.
        ended: (state of one seed, *shared) -> the log of a seed that has ended.
        how: "map" (groups of one) or "vmap" (side by side).
        at_once: with "vmap", seeds in a group, a divisor of their number; 0: all.
    """
    side_by_side = over_seed_axis(one_seed, "vmap")

    def one_group(state, *shared):
        if how == "vmap":
            return side_by_side(state, *shared)
        # Barriers: how many others there are must not change how a seed is computed.
        alone = barrier(jax.tree.map(lambda x: x[0], state))
        return jax.tree.map(lambda x: x[None], barrier(one_seed(alone, *shared)))

    def all_seeds(state, *shared):
        seeds = len(jax.tree.leaves(state)[0])
        size = 1 if how == "map" else at_once or seeds
        if how == "vmap" and size == seeds:
            return side_by_side(state, *shared)
        going = state.selection.active.reshape(-1, size).any(axis=1)
        (groups,) = jnp.nonzero(going, size=len(going))

        def step(turn, whole):
            start = groups[turn] * size
            cut = partial(dynamic_slice_in_dim, start_index=start, slice_size=size)
            done = one_group(jax.tree.map(cut, whole[0]), *shared)
            return jax.tree.map(
                lambda x, part: dynamic_update_slice_in_dim(x, part, start, axis=0),
                whole,
                done,
            )

        logs = over_seed_axis(ended, "vmap")(state, *shared)
        return jax.lax.fori_loop(0, going.sum(), step, (state, logs))

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
