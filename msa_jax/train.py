"""The training loop: a function from a configuration to the numbers of a run."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from msa_jax import methods, metrics, optim, packing, step
from msa_jax.errors import UserError
from msa_jax.inputs import Inputs
from msa_jax.train_state import init_states, split_sharding
from msa_jax.types import PyTree, Split, TrainState

FEATURE_SAMPLES = 2000  # of a split; more dots than a figure can show


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


class Features(NamedTuple):
    """What the model makes of some samples of a split, by the selected parameters.

    index: places of the samples in the split, [n], rising.
    value: name -> [s, n, h], every feature that the model gives outside training.
    """

    index: np.ndarray
    value: dict[str, np.ndarray]


class Trained(NamedTuple):
    """What a finished run leaves.

    params: selected parameters, leading seed axis.
    selected_epoch, epochs_run: per seed.
    valid_prediction, test_prediction: the answers, of the selected parameters, [s, n]
        or [s, n, outputs].
    test_targets: every target's scores, [s, m, n]; None for tasks but sentiment.
    train_targets: the same of train; None where the method records no u-labels, for
        which alone anyone would look at predictions of samples that were learnt.
    features: of samples of train and of test; empty where the model gives none.
    recorded: label values at each seed's end.
    notes: what went wrong on the way, if anything.
    """

    params: PyTree
    selected_epoch: np.ndarray
    epochs_run: np.ndarray
    valid_prediction: np.ndarray
    test_prediction: np.ndarray
    test_targets: np.ndarray | None
    train_targets: np.ndarray | None
    features: dict[str, Features]
    recorded: dict[str, np.ndarray]
    notes: list[str]


def train(
    config: Any,
    inputs: Inputs,
    mesh: Mesh,
    label_range: tuple[float, float],
    metrics_kind: str,
    on_epoch: Callable[[Epoch], None],
) -> Trained:
    """Train all seeds, select on validation, predict test once.

    Args:
        config: see `config.base`.
        inputs: from `inputs.make_inputs`.
        mesh: from `train_state.make_mesh`.
        label_range: lowest and highest label of the data set.
        metrics_kind: see `metrics.score`.
        on_epoch: called after every epoch.

    Raises:
        UserError: a seed never had a finite validation loss.
    """
    seeds = tuple(config.seeds)
    steps = _steps_per_epoch(config, inputs)
    method = methods.make(config, inputs.encoder.module, label_range)
    optimizer = optim.make_optimizer(
        config.optim.groups,
        method.groups,
        clip_norm=config.optim.clip_norm,
        schedule=optim.make_schedule(config.optim, config.selection.max_epochs * steps),
    )
    over_seeds = layout_of_seeds(config.mesh.over_seeds, mesh.shape["seed"])
    rules = _rules(config)
    splits = jax.device_put(inputs.splits, split_sharding(mesh))
    data, valid = splits["train"], splits["valid"]
    state = init_states(method, optimizer, data, seeds, inputs.encoder.params, mesh)
    sizes = _sizes(config, inputs.splits, mesh, over_seeds)
    run_epoch = step.make_epoch(
        method, optimizer, rules, mesh, over_seeds=over_seeds, sizes=sizes
    )
    truth = np.asarray(getattr(valid, method.task.labels))
    notes, epochs_run = [], np.zeros(len(seeds), int)
    if sizes is not None:
        notes.append(packing.describe(sizes, data.text.shape[-1]))
    best_prediction, recorded = None, {}
    for number in range(1, config.selection.max_epochs + 1):
        active = np.asarray(state.selection.active)
        if not active.any():
            break
        start = time.perf_counter()
        state, log = run_epoch(state, data, valid)
        log = jax.device_get(log)
        epochs_run += active
        selected = active & (np.asarray(state.selection.epoch) == number)
        if best_prediction is None:
            best_prediction = np.zeros_like(log.valid_prediction)
        best_prediction[selected] = log.valid_prediction[selected]
        recorded = log.recorded
        state, failed = _stop_failed(state, log, active)
        notes += [
            f"Seed {seeds[i]}: a loss was not finite in epoch {number}; training of "
            "this seed ended there, its best epoch before counts."
            for i in np.flatnonzero(failed)
        ]
        train = {k: v.mean(axis=1) for k, v in log.parts.items()}
        scores = [metrics.score(metrics_kind, p, truth) for p in log.valid_prediction]
        valid_scores = {k: np.array([s[k] for s in scores]) for k in scores[0]}
        on_epoch(
            Epoch(
                number=number,
                seconds=time.perf_counter() - start,
                batches=_of_active(log.parts, active[:, None]),
                train=_of_active(train, active),
                valid=_of_active({"loss": log.valid_loss} | valid_scores, active),
                active=active,
                selected=selected,
                recorded=recorded,
            )
        )
    _require_selected(state, seeds)
    assert best_prediction is not None  # an epoch was trained
    chosen = state.selection.params

    def predict(split, read):
        size = config.optim.batch_size
        run = step.make_predict(
            method, size, mesh, over_seeds=over_seeds, read=read, sizes=sizes
        )
        return jax.device_get(run(chosen, split))

    # Test is read here, once, with parameters that validation chose.
    if method.task.name == "sentiment":
        test_targets = _targets(predict, splits["test"])
        test_prediction = test_targets[:, 0]
    else:
        test_targets, test_prediction = None, predict(splits["test"], None)
    with_u_labels = "u_labels" in recorded
    return Trained(
        params=chosen,
        selected_epoch=np.asarray(state.selection.epoch),
        epochs_run=epochs_run,
        valid_prediction=best_prediction,
        test_prediction=test_prediction,
        test_targets=test_targets,
        train_targets=_targets(predict, data) if with_u_labels else None,
        features=_features(predict, splits),
        recorded=recorded,
        notes=notes,
    )


def _targets(predict: Callable, split: Split) -> np.ndarray:
    """Return the predictions of every target, [s, m, n]."""
    rows = predict(split, lambda outputs: outputs.prediction.T)
    return np.ascontiguousarray(rows.swapaxes(1, 2))


def _features(predict: Callable, splits: dict[str, Split]) -> dict[str, Features]:
    """Return the features of some samples of train and test, if there are any."""
    found = {}
    for name in ("train", "test"):
        index = spread_out(splits[name].label.shape[0], FEATURE_SAMPLES)
        some = jax.tree.map(lambda x, index=index: x[index], splits[name])
        if value := predict(some, lambda outputs: outputs.feature):
            found[name] = Features(index, value)
    return found


def spread_out(n: int, most: int) -> np.ndarray:
    """Choose at most `most` of n places, evenly spaced; all if there are no more."""
    count = min(n, most)
    return np.arange(count) * n // max(count, 1)


def _rules(config: Any) -> step.Rules:
    return step.Rules(
        batch_size=config.optim.batch_size,
        accumulate=config.optim.accumulate_batches,
        drop_last=config.data.drop_last,
        valid_mean=config.selection.valid_mean,
        round_decimals=config.selection.round_decimals,
        min_delta=config.selection.min_delta,
        early_stop=config.selection.early_stop,
    )


def _sizes(
    config: Any, splits: dict[str, Split], mesh: Mesh, over_seeds: str
) -> packing.Sizes | None:
    """Choose the sizes of packed text; None: it is not to be packed."""
    if config.text.packing == "none":
        return None
    shards = mesh.shape["data"]
    columns = -(-config.optim.batch_size // shards) * shards
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
    if failed.any():
        going = state.selection.active
        going = jax.device_put(np.asarray(going) & finite, going.sharding)
        selection = dataclasses.replace(state.selection, active=going)
        state = dataclasses.replace(state, selection=selection)
    return state, failed


def _steps_per_epoch(config: Any, inputs: Inputs) -> int:
    """Count optimiser steps; refuse a training split that gives none."""
    n, size = inputs.splits["train"].label.shape[0], config.optim.batch_size
    whole = n // size if config.data.drop_last else -(-n // size)
    if whole < config.optim.accumulate_batches:
        raise UserError(
            f"{n} training samples make {whole} batch(es) of {size}, fewer than the "
            f"{config.optim.accumulate_batches} of one optimiser step; lower "
            "--config.optim.batch_size or --config.optim.accumulate_batches"
        )
    return whole // config.optim.accumulate_batches


def _require_selected(state: TrainState, seeds: tuple[int, ...]) -> None:
    never = np.flatnonzero(np.asarray(state.selection.epoch) == 0)
    if len(never):
        raise UserError(
            f"seed {seeds[never[0]]}: no epoch had a finite validation loss; lower "
            "the rates in config.optim.groups or check the data card"
        )
