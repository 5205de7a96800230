"""Many trainings as one program, epoch by epoch, until each has ended.

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

from msa_jax import memory, methods, metrics, optim, packing, step
from msa_jax.batching import gather
from msa_jax.config import traced_values, with_values
from msa_jax.errors import UserError
from msa_jax.text import Encoder
from msa_jax.train_state import (
    init_params,
    make_start,
    new_state,
    split_sharding,
    state_sharding,
)
from msa_jax.types import Method, Split, TrainState


class Epoch(NamedTuple):
    """One epoch's numbers on the host; every value has one entry per seed.

    batches: loss and its parts at every batch, [s, k]; NaN for seeds that have ended.
    train: the same, averaged over batches.
    valid: "loss" (the score that selects) and every metric; NaN likewise.
    active: the seed trained in this epoch.
    selected: this epoch is the seed's best so far.
    recorded: the method's label values, e.g. u_labels [s, m, n].
    """

    number: int
    seconds: float
    batches: dict[str, np.ndarray]
    train: dict[str, np.ndarray]
    valid: dict[str, np.ndarray]
    active: np.ndarray
    selected: np.ndarray
    recorded: dict[str, np.ndarray]


class Program(NamedTuple):
    """Training as programs that all configurations share but for traced fields.

    method: for what no traced field changes.
    values: the configuration's own traced fields.
    max_epochs: of every lane.
    truth: what the validation split answers.
    sizes: of packed text, None where it is not packed.
    needs: a line that says what memory it takes.
    start: (seed of each lane, field -> value of each lane, how many of the last lanes
        stand idle) -> state.
    epoch: state -> state after one epoch, log.
    """

    method: Method
    values: dict[str, float]
    max_epochs: int
    truth: np.ndarray
    sizes: packing.Sizes | None
    needs: str
    start: Callable[..., TrainState]
    epoch: Callable[[TrainState], tuple[TrainState, step.EpochLog]]


class Run(NamedTuple):
    """What lanes leave that have ended.

    state: the last.
    epochs_run: per lane.
    failed_in: the epoch in which a lane met a loss that is not finite; 0: in none.
    valid_prediction: the answers of the selected parameters, [s, n] or [s, n, outputs].
    recorded: label values at each lane's end.
    """

    state: TrainState
    epochs_run: np.ndarray
    failed_in: np.ndarray
    valid_prediction: np.ndarray
    recorded: dict[str, np.ndarray]


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
    """Make the programs of a training; see `train.fit` for the other arguments.

    Nothing is compiled before the first lanes start, nor again for lanes as many.

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
    train, valid = jax.device_put((train, valid), split_sharding(mesh))
    begin = make_start(method, optimizer, train, encoder.params, mesh)
    over_seeds = layout_of_seeds(config.mesh.over_seeds, mesh.shape["seed"])
    at_once, needs = _plan_memory(
        config, method, optimizer, train, valid, mesh, over_seeds, lanes
    )
    run_epoch = step.make_epoch(
        method,
        optimizer,
        rules(config),
        mesh,
        over_seeds=over_seeds,
        at_once=at_once,
        of_lane=lambda hyper: assemble(with_values(config, hyper)),
        sizes=sizes,
    )

    def start(seeds, values, idle=0):
        state = begin(seeds)
        hyper = {
            field: jax.device_put(
                np.asarray(lanes, train.label.dtype), state_sharding(mesh)
            )
            for field, lanes in values.items()
        }
        state = dataclasses.replace(state, hyper=hyper)
        going = np.arange(len(seeds)) < len(seeds) - idle
        return state if going.all() else _going_on(state, going)

    return Program(
        method=method,
        values=traced_values(config),
        max_epochs=config.selection.max_epochs,
        truth=np.asarray(getattr(valid, method.task.labels)),
        sizes=sizes,
        needs=needs,
        start=start,
        epoch=lambda state: run_epoch(state, train, valid),
    )


def run(
    program: Program,
    state: TrainState,
    metrics_kind: str,
    on_epoch: Callable[[Epoch], None],
) -> Run:
    """Train lanes until each has ended.

    Args:
        program: from `prepare`.
        state: from its `start`.
        metrics_kind: see `metrics.score`.
        on_epoch: called after every epoch.
    """
    lanes = len(state.step)
    epochs_run, failed_in = np.zeros(lanes, int), np.zeros(lanes, int)
    best_prediction, recorded = None, {}
    for number in range(1, program.max_epochs + 1):
        active = np.asarray(state.selection.active)
        if not active.any():
            break
        start = time.perf_counter()
        state, log = program.epoch(state)
        log = jax.device_get(log)
        epochs_run += active
        selected = active & (np.asarray(state.selection.epoch) == number)
        if best_prediction is None:
            best_prediction = np.zeros_like(log.valid_prediction)
        best_prediction[selected] = log.valid_prediction[selected]
        recorded = log.recorded
        state, failed = _stop_failed(state, log, active)
        failed_in[failed] = number
        means = {k: v.mean(axis=1) for k, v in log.parts.items()}
        scores = [
            metrics.score(metrics_kind, p, program.truth) for p in log.valid_prediction
        ]
        valid_scores = {k: np.array([s[k] for s in scores]) for k in scores[0]}
        on_epoch(
            Epoch(
                number=number,
                seconds=time.perf_counter() - start,
                batches=_of_active(log.parts, active[:, None]),
                train=_of_active(means, active),
                valid=_of_active({"loss": log.valid_loss} | valid_scores, active),
                active=active,
                selected=selected,
                recorded=recorded,
            )
        )
    assert best_prediction is not None  # an epoch was trained
    return Run(state, epochs_run, failed_in, best_prediction, recorded)


def _plan_memory(
    config: Any,
    method: Method,
    optimizer: optax.GradientTransformation,
    train: Split,
    valid: Split,
    mesh: Mesh,
    over_seeds: str,
    lanes: int,
) -> tuple[int, str]:
    """Choose how many of a device's seeds step at a time; say what that takes."""

    def start(split, key):
        batch = gather(split, jnp.zeros((1,), jnp.int32))
        params = init_params(method, batch, key, None)
        return new_state(method, optimizer, params, split, key)

    state = jax.eval_shape(start, train, jax.random.key(0))
    need = memory.estimate(method, state, train, valid, config.optim.batch_size)
    room = memory.capacity()
    seeds = (lanes or len(config.seeds)) // mesh.shape["seed"]
    if over_seeds == "map":
        at_once = 1
    elif mesh.size > 1:  # devices share the work: all of a device's seeds at once
        at_once = seeds
    else:
        fitting = memory.group_of_seeds(need, seeds, room)
        at_once = config.mesh.seeds_at_once or fitting
    return at_once, memory.describe(need, seeds, at_once, room)


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
    if config.text.packing == "none":
        return None
    shards = mesh.shape["data"]
    columns = -(-config.optim.batch_size // shards) * shards
    over_seeds = layout_of_seeds(config.mesh.over_seeds, mesh.shape["seed"])
    together = len(config.seeds) if over_seeds == "vmap" else 1
    return packing.choose(splits, columns, shards=shards, together=together)


def layout_of_seeds(choice: str, seed_devices: int) -> str:
    """Seeds in turn on one CPU device (measured faster there), else in parallel."""
    if choice != "auto":
        return choice
    one_cpu = jax.default_backend() == "cpu" and seed_devices == 1
    return "map" if one_cpu else "vmap"


def _of_active(
    values: dict[str, np.ndarray], active: np.ndarray
) -> dict[str, np.ndarray]:
    return {name: np.where(active, value, np.nan) for name, value in values.items()}


def _stop_failed(
    state: TrainState, log: step.EpochLog, active: np.ndarray
) -> tuple[TrainState, np.ndarray]:
    """End the seeds whose losses are not finite; say which."""
    finite = np.isfinite(log.valid_loss) & np.isfinite(log.parts["loss"]).all(axis=1)
    failed = active & ~finite
    return _going_on(state, finite) if failed.any() else state, failed


def _going_on(state: TrainState, which: np.ndarray) -> TrainState:
    """Let only these lanes go on, of those that do."""
    active = state.selection.active
    going = jax.device_put(np.asarray(active) & which, active.sharding)
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
