"""Many trainings as one program; `learning` runs it until each has ended.

A lane is one training: a seed, and a value of every field that is an input of the
program (`config.traced`). `train.fit` has a lane per seed, a hyper-parameter search
lanes of several trials; a lane computes the same numbers in both. There is no test
split here.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from msa_jax import checkpoint, hosts, memory, methods, optim, packing, step
from msa_jax.batching import batches, gather, shuffled
from msa_jax.config import against_packing, traced_values, with_values
from msa_jax.errors import UserError
from msa_jax.text import Encoder
from msa_jax.train_state import (
    init_params,
    make_start,
    new_state,
    split_sharding,
    state_sharding,
    state_shardings,
)
from msa_jax.types import Method, Split, TrainState


class Program(NamedTuple):
    """Training as programs that all configurations share but for traced fields.

    method: for what no traced field changes.
    values: the configuration's own traced fields.
    max_epochs: of every lane.
    truth: what the validation split answers.
    sizes: of packed text, None where it is not packed.
    needs: a line that says what memory it takes.
    compilation: seconds that its epoch took to compile.
    start: (seed of each lane, field -> value of each lane, how many of the last lanes
        stand idle) -> state.
    restore: (the same seeds and values, what `checkpoint.on_host` copied) -> state.
    epoch: state -> state after one epoch, log.
    order: (state, lane, epoch) -> the training samples of each batch of that epoch.
    accumulate: batches per optimiser step.
    on_nonfinite: `config.on_nonfinite`.
    """

    method: Method
    values: dict[str, float]
    max_epochs: int
    truth: np.ndarray
    sizes: packing.Sizes | None
    needs: str
    compilation: float
    start: Callable[..., TrainState]
    restore: Callable[..., TrainState]
    epoch: Callable[[TrainState], tuple[TrainState, step.EpochLog]]
    order: Callable[[TrainState, int, int], list[np.ndarray]]
    accumulate: int
    on_nonfinite: str


def prepare(
    config: Any,
    train: Split,
    valid: Split,
    encoder: Encoder,
    mesh: Mesh,
    label_range: tuple[float, float],
    *,
    lanes: int = 0,
) -> Program:
    """Compile an epoch of a training; see `train.fit` for the other arguments.

    Args:
        lanes: how many will run together; 0: one per seed.
    """
    steps = steps_per_epoch(config, train)

    def assemble(config):
        method = methods.make(config, encoder.module, label_range)
        schedule = optim.make_schedule(
            config.optim, config.selection.max_epochs * steps
        )
        optimizer = optim.make_optimizer(
            config.optim.groups,
            method.groups,
            clip_norm=config.optim.clip_norm,
            schedule=schedule,
        )
        return method, optimizer

    method, optimizer = assemble(config)
    sizes = choose_sizes(config, {"train": train, "valid": valid}, mesh)
    train, valid = hosts.put((train, valid), split_sharding(mesh))
    one = _shapes(method, optimizer, train)
    lie = state_shardings(mesh, one, shard_text=config.mesh.shard_text)
    begin = make_start(method, optimizer, train, encoder.params, mesh, lie)
    over_seeds = layout_of_seeds(config.mesh.over_seeds, mesh.shape["seed"])
    lanes = lanes or len(config.seeds)
    seeds = lanes // mesh.shape["seed"]
    need = memory.estimate(
        method,
        one,
        train,
        valid,
        config.optim.batch_size,
        platform=mesh.devices.flat[0].platform,
    )
    need = need._replace(state=_on_one_device(one, lie, mesh))
    room = memory.capacity()
    at_once = _at_once(config, need, seeds, mesh, over_seeds, room)
    hyper = traced_values(config)
    lie = dataclasses.replace(lie, hyper=dict.fromkeys(hyper, state_sharding(mesh)))
    of_hyper = jax.ShapeDtypeStruct((), train.label.dtype)
    one = dataclasses.replace(one, hyper=dict.fromkeys(hyper, of_hyper))
    run_epoch = step.make_epoch(
        method,
        optimizer,
        rules(config),
        mesh,
        over_seeds=over_seeds,
        at_once=at_once * mesh.shape["seed"],
        of_lane=lambda hyper: assemble(with_values(config, hyper)),
        sizes=sizes,
        lie=lie,
    )

    def many(count):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype), one
        )

    clock = time.perf_counter()
    compiled: Any = run_epoch.lower(many(lanes), train, valid).compile()
    compilation = time.perf_counter() - clock
    here = len(mesh.local_devices)
    needed = memory.of_program(compiled, need, seeds, at_once, here)

    def start(seeds, values, idle=0):
        state = begin(seeds)
        hyper = {
            field: hosts.put(np.asarray(lanes, train.label.dtype), state_sharding(mesh))
            for field, lanes in values.items()
        }
        state = dataclasses.replace(state, hyper=hyper)
        going = np.arange(len(seeds)) < len(seeds) - idle
        return state if going.all() else going_on(state, going)

    def restore(seeds, values, arrays):
        del values
        return checkpoint.on_devices(arrays, many(len(seeds)), lie)

    def order(state, lane, epoch):
        n, size = train.label.shape[0], config.optim.batch_size
        key = hosts.to_host(state.key)[lane]
        samples = shuffled(key, jnp.asarray(epoch), n)
        rows = batches(samples, size, drop_last=config.data.drop_last)
        return [row[row < n] for row in np.asarray(rows)]

    return Program(
        method=method,
        values=traced_values(config),
        max_epochs=config.selection.max_epochs,
        truth=hosts.to_host(getattr(valid, method.task.labels)),
        sizes=sizes,
        needs=memory.describe(needed, room, config),
        compilation=compilation,
        start=start,
        restore=restore,
        epoch=lambda state: compiled(state, train, valid),
        order=order,
        accumulate=config.optim.accumulate_batches,
        on_nonfinite=config.on_nonfinite,
    )


def _at_once(
    config: Any,
    need: memory.Memory,
    seeds: int,
    mesh: Mesh,
    over_seeds: str,
    room: int | None,
) -> int:
    """Choose how many of a device's seeds step at a time."""
    if over_seeds == "map":
        return 1
    if mesh.size > 1:  # devices share the work: all of a device's seeds at once
        return seeds
    fitting = memory.group_of_seeds(need, seeds, room)
    return config.mesh.seeds_at_once or fitting


def _on_one_device(state: TrainState, lie: TrainState, mesh: Mesh) -> int:
    """Return the bytes of one seed's state on one device."""

    def part(x, sharding):
        whole = (mesh.shape["seed"], *x.shape)
        return jax.ShapeDtypeStruct(sharding.shard_shape(whole)[1:], x.dtype)

    return memory.size_of(jax.tree.map(part, state, lie))


def _shapes(
    method: Method, optimizer: optax.GradientTransformation, train: Split
) -> TrainState:
    """Return the shapes and types of one seed's state."""

    def start(split, key):
        batch = gather(split, jnp.zeros((1,), jnp.int32))
        params = init_params(method, batch, key, None)
        return new_state(method, optimizer, params, split, key)

    return jax.eval_shape(start, train, jax.random.key(0))


def rules(config: Any) -> step.Rules:
    """Read how an epoch runs and how the best one is chosen."""
    return step.Rules(
        batch_size=config.optim.batch_size,
        accumulate=config.optim.accumulate_batches,
        drop_last=config.data.drop_last,
        valid_mean=config.selection.valid_mean,
        round_decimals=config.selection.round_decimals,
        min_delta=config.selection.min_delta,
        early_stop=config.selection.early_stop,
        on_nonfinite=config.on_nonfinite,
    )


def choose_sizes(
    config: Any, splits: dict[str, Split], mesh: Mesh
) -> packing.Sizes | None:
    """Choose the sizes of packed text for these splits; None: it is not to be packed.

    Args:
        config: see `config.base`.
        splits: all that is read with these sizes, "train" among them.
        mesh: from `train_state.make_mesh`.
    """
    if not _packs(config):
        return None
    shards = mesh.shape["data"]
    columns = -(-config.optim.batch_size // shards) * shards
    over_seeds = layout_of_seeds(config.mesh.over_seeds, mesh.shape["seed"])
    together = len(config.seeds) if over_seeds == "vmap" else 1
    return packing.choose(splits, columns, shards=shards, together=together)


def _packs(config: Any) -> bool:
    """Whether text is packed; "auto": where it can be, and on a CPU."""
    if config.text.packing != "auto":
        return config.text.packing == "tokens"
    return jax.default_backend() == "cpu" and not against_packing(config)


def layout_of_seeds(choice: str, seed_devices: int) -> str:
    """Seeds in turn on one CPU device (measured faster there), else in parallel."""
    if choice != "auto":
        return choice
    one_cpu = jax.default_backend() == "cpu" and seed_devices == 1
    return "map" if one_cpu else "vmap"


def going_on(state: TrainState, which: np.ndarray) -> TrainState:
    """Let only these lanes go on, of those that do."""
    active = state.selection.active
    going = hosts.put(hosts.to_host(active) & which, active.sharding)
    selection = dataclasses.replace(state.selection, active=going)
    return dataclasses.replace(state, selection=selection)


def steps_per_epoch(config: Any, train: Split) -> int:
    """Count optimiser steps; refuse a training split that gives none."""
    n, size = train.label.shape[0], config.optim.batch_size
    whole = n // size if config.data.drop_last else -(-n // size)
    if whole < config.optim.accumulate_batches:
        raise UserError(
            f"{n} training samples make {whole} batch(es) of {size}, fewer than the "
            f"{config.optim.accumulate_batches} of one optimiser step; lower "
            "--config.optim.batch_size or --config.optim.accumulate_batches"
        )
    return whole // config.optim.accumulate_batches
