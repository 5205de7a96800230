"""Many trainings as one program; `loop` runs it until each has ended.

A lane is one training: a seed, and a value of every field that is an input of the
program (`config.fields.Traced`). `train.begin` makes a lane per seed, a hyper-parameter
search lanes of several trials; a lane computes the same numbers in both. There is no
test split here.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import msa_jax.methods as methods
from msa_jax.data.batches import count, cut, fold, shuffled
from msa_jax.ground import hosts
from msa_jax.ground.types import Method, Split, TrainState
from msa_jax.text.encoders import Encoder
from msa_jax.training import epoch_program, memory, step
from msa_jax.training.train_state import (
    Devices,
    make_start,
    split_sharding,
    state_sharding,
)


class Program(NamedTuple):
    """Training as programs that all configurations share but for traced fields.

    method: for what no traced field changes.
    values: the configuration's own traced fields.
    max_epochs: of every lane.
    truth: what the validation split answers.
    notes: how text lies in batches.
    needs: a line that says what memory it takes.
    compilation: seconds that its epoch took to compile.
    start: (seed of each lane, field -> value of each lane, how many of the last lanes
        stand idle) -> state.
    restore: (the same seeds and values, what `hosts.on_host` copied) -> state.
    epoch: state -> state after one epoch, log.
    order: (state, lane, epoch) -> the training samples of each batch of that epoch.
    accumulate: batches per optimiser step.
    on_nonfinite: `config.on_nonfinite`.
    """

    method: Method
    values: dict[str, float]
    max_epochs: int
    truth: np.ndarray
    notes: list[str]
    needs: str
    compilation: float
    start: Callable[..., TrainState]
    restore: Callable[..., TrainState]
    epoch: Callable[[TrainState], tuple[TrainState, step.EpochLog]]
    order: Callable[[TrainState, int, int], list[np.ndarray]]
    accumulate: int
    on_nonfinite: str


def make_program(
    config: Any,
    train: Split,
    valid: Split,
    encoder: Encoder,
    devices: Devices,
    label_range: tuple[float, float],
    *,
    lanes: int = 0,
) -> Program:
    """Compile an epoch of a training; see `train.begin` for the other arguments.

    Args:
        lanes: how many will run together; 0: one per seed.
    """
    mesh, both = devices.mesh, {"train": train, "valid": valid}
    text = epoch_program.text_layout(config, both, devices)
    if devices.platform != "cpu":
        train, valid = fold(train), fold(valid)
    train, valid = hosts.put((train, valid), split_sharding(mesh))
    # Several processes have to plan the same: with the room of the first.
    said = hosts.share(lambda: {"room": np.asarray(memory.capacity() or 0)})
    room = int(said["room"]) or None
    plan = epoch_program.plan(
        config,
        train,
        valid,
        encoder.module,
        devices,
        label_range,
        lanes=lanes or len(config.seeds),
        room=room,
        text=text,
    )
    method, lie = plan.method, dataclasses.replace(plan.lie, hyper={})
    begin = make_start(
        method, plan.optimizer, train, encoder.params, mesh, lie, plan.draw
    )
    built = epoch_program.build(plan, room, config)

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
        return hosts.on_devices(arrays, plan.states, plan.lie)

    def order(state, lane, epoch):
        size, drop_last = config.optim.batch_size, config.data.drop_last
        key = hosts.to_host(state.key)[lane]
        samples = shuffled(key, jnp.asarray(epoch), count(train, method.videos))
        rows = cut(train, samples, size, method.videos, drop_last=drop_last)
        n = train.label.shape[0]
        return [row[row < n] for row in np.asarray(rows)]

    return Program(
        method=method,
        values=methods.traced_values(config),
        max_epochs=config.selection.max_epochs,
        truth=hosts.to_host(getattr(valid, method.task.labels)),
        notes=list(text.notes),
        needs=memory.describe(built.need, room, config),
        compilation=built.seconds,
        start=start,
        restore=restore,
        epoch=lambda state: built.epoch(state, train, valid),
        order=order,
        accumulate=config.optim.accumulate_batches,
        on_nonfinite=config.on_nonfinite,
    )


def going_on(state: TrainState, which: np.ndarray) -> TrainState:
    """Let only these lanes go on, of those that do."""
    active = state.selection.active
    going = hosts.put(hosts.to_host(active) & which, active.sharding)
    selection = dataclasses.replace(state.selection, active=going)
    return dataclasses.replace(state, selection=selection)
