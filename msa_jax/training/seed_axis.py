"""Programs of one seed, laid over the seed axis, and batches over devices."""

from collections.abc import Callable
from functools import wraps

import jax
import jax.numpy as jnp
from jax.lax import dynamic_slice_in_dim, dynamic_update_slice_in_dim
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from msa_jax.ground.types import PyTree

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
    one_seed: Callable, ended: Callable, how: str, at_once: int = 0, devices: int = 1
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
        at_once: with "vmap", seeds of a device in a group, a divisor of their number;
            0: all.
        devices: with "vmap", over how many the seeds are divided. A group has seeds of
            every device: none is moved to another one.
    """

    alone = how == "map"
    devices = 1 if alone else devices

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
        each = seeds // devices  # of a device; they lie one after another
        size = 1 if alone else at_once or each
        if not alone and size == each:
            return over_seed_axis(one_seed, "vmap")(state, *shared)

        def take(x, start):
            part = dynamic_slice_in_dim(x, start, size, axis=1)
            return part[0, 0] if alone else part.reshape(devices * size, *x.shape[2:])

        def put(x, part, start):
            part = part.reshape(devices, size, *x.shape[2:])
            return dynamic_update_slice_in_dim(x, part, start, axis=1)

        def step(whole, start):
            group = jax.tree.map(lambda x: take(x, start), whole)
            new, log = one_group(group, *shared)
            return jax.tree.map(lambda x, y: put(x, y, start), whole, new), log

        def in_order(x):
            # Counted, not -1: an epoch of no optimiser step has logs of no entries.
            x = x.reshape(each // size, devices, size, *x.shape[1 if alone else 2 :])
            return x.swapaxes(0, 1).reshape(seeds, *x.shape[3:])

        divided = jax.tree.map(lambda x: x.reshape(devices, each, *x.shape[1:]), state)
        divided, logs = jax.lax.scan(step, divided, jnp.arange(0, each, size))
        state = jax.tree.map(lambda x: x.reshape(seeds, *x.shape[2:]), divided)
        return state, jax.tree.map(in_order, logs)

    return all_seeds


def with_mesh(program: Callable, mesh: Mesh) -> Callable:
    """Let a program's layers see the mesh (`jax.sharding.get_abstract_mesh`)."""

    @wraps(program)  # jax's logs and caches say its name
    def traced(*given):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return program(*given)

    return traced


def devices_of_a_program(mesh: Mesh) -> int:
    """Return over how many devices the seeds lie that one program runs; see below."""
    return 1 if mesh.shape["data"] == 1 else mesh.shape["seed"]


def per_device(program: Callable, mesh: Mesh) -> Callable:
    """Let every device run a program (state, *shared) of its own seeds.

    Nothing is sent, and no device waits for another: where its seeds have read shorter
    sequences or have ended, it is done earlier. Devices that share batches run one
    program of all seeds, which the compiler divides: with one for each row of the mesh
    it sent SUGRM's 985 all-to-alls a step, and none so (v5e-8 as 4 x 2).
    """

    @wraps(program)
    def apart(state, *shared):
        in_specs = P("seed"), *(P() for _ in shared)
        run = jax.shard_map(
            program, in_specs=in_specs, out_specs=P("seed"), check_vma=False
        )
        return run(state, *shared)

    alone = devices_of_a_program(mesh) == 1 and mesh.shape["seed"] > 1
    return with_mesh(apart if alone else program, mesh)


def division(mesh: Mesh, batch_size: int) -> tuple[Divide, int]:
    """How batches divide over the "data" axis, and their padded width."""
    devices = mesh.shape["data"]
    columns = -(-batch_size // devices) * devices
    if devices == 1:
        return lambda batch: batch, columns

    def divide(batch: PyTree) -> PyTree:
        return jax.lax.with_sharding_constraint(batch, P("data"))

    return divide, columns
