"""Before the loop over epochs and after it: `start`, `fitted`, `evaluate`.

Only `evaluate` reads test, with what `fitted` froze.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from msa_jax.data.batches import fold
from msa_jax.data.sealed_test import Frozen, freeze
from msa_jax.ground import hosts
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Method, TrainState
from msa_jax.training import memory, nonfinite, step
from msa_jax.training.epoch_program import text_layout
from msa_jax.training.loop import Saved, Tally, tally_of
from msa_jax.training.program import Program
from msa_jax.training.splits import Inputs, opened
from msa_jax.training.train_state import Devices, lying, split_sharding

FEATURE_SAMPLES = 2000  # of a split; more dots than a figure can show


class Features(NamedTuple):
    """What the model makes of some samples of a split, by the selected parameters.

    index: places of the samples in the split, [n], rising.
    value: name -> [s, n, h], every feature that the model gives outside training.
    """

    index: np.ndarray
    value: dict[str, np.ndarray]


class Fitted(NamedTuple):
    """What training and selection leave; nothing of it comes from test.

    frozen: the selected parameters.
    method: what was trained.
    selected_epoch, epochs_run: per seed.
    valid_prediction: the answers of the selected parameters, [s, n] or [s, n, outputs].
    recorded: label values at each seed's end.
    notes: how text lies in batches, and what went wrong on the way, if anything.
    compilation: seconds that an epoch's program took to compile.
    """

    frozen: Frozen
    method: Method
    selected_epoch: np.ndarray
    epochs_run: np.ndarray
    valid_prediction: np.ndarray
    recorded: dict[str, np.ndarray]
    notes: list[str]
    compilation: float


class Trained(NamedTuple):
    """What a finished run leaves, test included.

    fitted: from `fitted`.
    test_prediction: the answers, of the selected parameters, [s, n] or [s, n, outputs].
    test_targets: every target's scores, [s, m, n]; None for tasks but sentiment.
    train_targets: the same of train; None where the method records no u-labels, for
        which alone anyone would look at predictions of samples that were learnt.
    features: of samples of train and of test; empty where the model gives none.
    """

    fitted: Fitted
    test_prediction: np.ndarray
    test_targets: np.ndarray | None
    train_targets: np.ndarray | None
    features: dict[str, Features]


def start(
    program: Program, seeds: Sequence[int], saved: Saved | None = None
) -> tuple[TrainState, Tally]:
    """Return where the loop over epochs begins, see `loop.epochs`.

    Args:
        program: with a lane per seed, from `program.make_program`.
        seeds: of the lanes.
        saved: the same run after some epochs, to go on from there: to the bit what it
            would have been. None: from the beginning.
    """
    values = {field: [v] * len(seeds) for field, v in program.values.items()}
    if saved is None:
        return program.start(seeds, values), tally_of(len(seeds))
    state = program.restore(seeds, values, saved.arrays)
    return state, tally_of(len(seeds), saved.epochs)


def fitted(config: Any, program: Program, state: TrainState, tally: Tally) -> Fitted:
    """Freeze what the loop over epochs selected. There is no test here.

    Args:
        config: see `config.sections`.
        program, state, tally: with which `loop.epochs` ended.

    Raises:
        UserError: a seed never had a finite validation loss.
    """
    seeds = tuple(config.seeds)
    _require_selected(state, seeds)
    assert tally.valid_prediction is not None  # an epoch was trained
    u_labels = tally.recorded.get("u_labels")
    return Fitted(
        frozen=freeze(state, u_labels, config.selection.max_epochs),
        method=program.method,
        selected_epoch=hosts.to_host(state.selection.epoch),
        epochs_run=tally.epochs_run,
        valid_prediction=tally.valid_prediction,
        recorded=tally.recorded,
        notes=program.notes + _not_finite(tally, seeds),
        compilation=program.compilation,
    )


def evaluate(config: Any, fitted: Fitted, inputs: Inputs, devices: Devices) -> Trained:
    """Predict test with the parameters that selection chose, and train beside it.

    Args:
        config: see `config.sections`.
        fitted: from `fitted`; what it froze opens test.
        inputs: from `splits.make_inputs`.
        devices: from `train_state.devices_of`.
    """
    memory.give_back()  # what training took, and the state it ended with
    method, size, mesh = fitted.method, config.optim.batch_size, devices.mesh
    every = opened(inputs, fitted.frozen)
    # Anew: test may have a longer sentence than train and valid.
    text = text_layout(config, every, devices)
    method = method._replace(on_batch=text.on_batch)
    lie = lying(fitted.frozen.variables, mesh)
    sentiment = method.task.name == "sentiment"
    answer = (lambda o: o.prediction.T) if sentiment else method.task.read

    def predict(splits, read):
        run = step.make_predict(
            method,
            size,
            mesh,
            over_seeds=devices.over_seeds,
            read=read,
            lie=lie,
            options=devices.options,
        )
        return hosts.to_host(run(fitted.frozen.variables, splits))

    with_u_labels = "u_labels" in fitted.recorded
    given = {name: every[name] for name in ("train", "test")}
    if devices.platform != "cpu":
        given = {name: fold(split) for name, split in given.items()}
    splits = hosts.put(given, split_sharding(mesh))
    index, large = {}, {}
    some = dict(splits)
    for name, split in splits.items():
        n = split.label.shape[0]
        index[name] = spread_out(n, FEATURE_SAMPLES)
        # Samples of videos are answered among the others of theirs.
        if len(index[name]) < n and not method.videos:
            alone = dataclasses.replace(split, videos=None)
            some[name] = jax.tree.map(lambda x, i=index[name]: x[i], alone)
            if name == "test" or with_u_labels:
                large[name] = split
    both = predict(some, lambda outputs: (answer(outputs), outputs.feature))
    answers = {name: answers for name, (answers, _) in both.items()}
    if large:
        answers |= predict(large, answer)
    if sentiment:  # targets before samples
        answers = {
            name: np.ascontiguousarray(rows.swapaxes(1, 2))
            for name, rows in answers.items()
        }
    kept = {name: index[name] if method.videos else slice(None) for name in index}
    return Trained(
        fitted=fitted,
        test_prediction=answers["test"][:, 0] if sentiment else answers["test"],
        test_targets=answers["test"] if sentiment else None,
        train_targets=answers["train"] if with_u_labels else None,
        features={
            name: Features(index[name], {t: x[:, kept[name]] for t, x in value.items()})
            for name, (_, value) in both.items()
            if value
        },
    )


def spread_out(n: int, most: int) -> np.ndarray:
    """Choose at most `most` of n places, evenly spaced; all if there are no more."""
    count = min(n, most)
    return np.arange(count) * n // max(count, 1)


def _not_finite(tally: Tally, seeds: tuple[int, ...]) -> list[str]:
    """Say which seeds ended early or left steps out, in the order of epochs."""
    notes = []
    for i in np.argsort(tally.failed_in, kind="stable"):
        faults = [f for f in tally.faults if f.lane == i]
        ended = [f for f in faults if f.epoch == tally.failed_in[i]]
        if ended:
            notes.append(
                f"Seed {seeds[i]}: {nonfinite.where(ended[-1])} was not finite; "
                "training of this seed ended there, its best epoch before counts."
            )
        if left_out := [f for f in faults if f.step and f not in ended]:
            notes.append(
                f"Seed {seeds[i]}: {len(left_out)} training step(s) with a loss or "
                "gradient that was not finite were left out, the first in epoch "
                f"{left_out[0].epoch}."
            )
    return notes


def _require_selected(state: TrainState, seeds: tuple[int, ...]) -> None:
    never = np.flatnonzero(hosts.to_host(state.selection.epoch) == 0)
    if len(never):
        raise UserError(
            f"seed {seeds[never[0]]}: no epoch had a finite validation loss; lower "
            "the rates in config.optim.groups or check the data card"
        )
