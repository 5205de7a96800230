"""Programs of one seed, laid over the seed axis, and batches over devices."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from msa_jax.types import PyTree

Divide = Callable[[PyTree], PyTree]  # constrains a batch's layout on the devices


def over_seed_axis(
    one_seed: Callable, how: str, at_once: int = 0, rest: Callable | None = None
) -> Callable:
    """Turn a program (state of one seed, *shared) into one over the seed axis.

    Args:
        one_seed: the program.
        how: "map" (in turn) or "vmap" (side by side).
        at_once: with "vmap", a group of so many side by side, group after group; it
            divides the number of seeds. 0: all.
        rest: what is done in its place for a group whose seeds have all ended, which
            costs nothing; None: they never end. Given, both return a new state and
            something else; in turn the new state takes the old one's place, so that
            the whole is there once.
    """

    def in_turn(state, *shared):
        if rest is None:
            return jax.lax.map(lambda s: one_seed(s, *shared), state)

        def step(whole, i):
            of_seed = jax.tree.map(lambda x: x[i], whole)
            new, log = one_seed(of_seed, *shared)
            return jax.tree.map(lambda x, y: x.at[i].set(y), whole, new), log

        seeds = len(jax.tree.leaves(state)[0])
        return jax.lax.scan(step, state, jnp.arange(seeds))

    def in_parallel(one, state, *shared):
        axes = (0,) + (None,) * len(shared)
        return jax.vmap(one, in_axes=axes, spmd_axis_name="seed")(state, *shared)

    def one_group(group, *shared):
        if rest is None:
            return in_parallel(one_seed, group, *shared)
        return jax.lax.cond(
            group.selection.active.any(),
            lambda g: in_parallel(one_seed, g, *shared),
            lambda g: in_parallel(rest, g, *shared),
            group,
        )

    def in_groups(state, *shared):
        seeds = len(jax.tree.leaves(state)[0])
        if at_once in (0, seeds):
            return in_parallel(one_seed, state, *shared)
        groups = jax.tree.map(
            lambda x: x.reshape(seeds // at_once, at_once, *x.shape[1:]), state
        )
        done = jax.lax.map(lambda group: one_group(group, *shared), groups)
        return jax.tree.map(lambda x: x.reshape(seeds, *x.shape[2:]), done)

    return in_turn if how == "map" else in_groups


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
