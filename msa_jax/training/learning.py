"""The loop over epochs, until every lane has ended; it can begin after any epoch."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from msa_jax.evaluation import metrics
from msa_jax.ground import hosts
from msa_jax.ground.types import TrainState
from msa_jax.training import boards, nonfinite
from msa_jax.training.boards import Epoch
from msa_jax.training.lanes import Program, going_on
from msa_jax.training.nonfinite import Fault


class Saved(NamedTuple):
    """A run as it was saved after an epoch.

    arrays: of its state, see `hosts.on_host`.
    epochs: all so far.
    """

    arrays: dict[str, np.ndarray]
    epochs: list[Epoch]


class Run(NamedTuple):
    """What lanes leave that have ended.

    state: the last.
    epochs_run: per lane.
    failed_in: the epoch in which a lane ended because of a number that is not finite;
        0: in none.
    valid_prediction: the answers of the selected parameters, [s, n] or [s, n, outputs].
    recorded: label values at each lane's end.
    faults: numbers that were not finite.
    """

    state: TrainState
    epochs_run: np.ndarray
    failed_in: np.ndarray
    valid_prediction: np.ndarray
    recorded: dict[str, np.ndarray]
    faults: tuple[Fault, ...]


def run(
    program: Program,
    state: TrainState,
    metrics_kind: str,
    on_epoch: Callable[[Epoch], None],
    *,
    before: Sequence[Epoch] = (),
    keep: Callable[[TrainState, Epoch], None] = lambda state, epoch: None,
    name: Callable[[int], str] = lambda lane: f"training {lane + 1}",
) -> Run:
    """Train lanes until each has ended.

    Args:
        program: from `lanes.prepare`.
        state: from its `start`, or from its `restore` after the epochs `before`.
        metrics_kind: see `metrics.score`.
        on_epoch: called after every epoch.
        before: the epochs that are done.
        keep: called after that with the state as it is then; the next epoch takes its
            memory.
        name: what a lane is called.

    Raises:
        UserError: a number was not finite and `config.on_nonfinite` is "abort".
    """
    board = boards.of_epochs(len(state.step), before)
    for number in range(len(before) + 1, program.max_epochs + 1):
        active = hosts.to_host(state.selection.active)
        if not active.any():
            break
        state, epoch = _one(program, state, metrics_kind, number, active)
        board = boards.after(board, epoch)
        on_epoch(epoch)
        if epoch.ended and program.on_nonfinite == "abort":
            raise nonfinite.refuse(epoch.faults[0], name(epoch.faults[0].lane))
        keep(state, epoch)
    assert board.valid_prediction is not None  # an epoch was trained
    return Run(
        state=state,
        epochs_run=board.epochs_run,
        failed_in=board.failed_in,
        valid_prediction=board.valid_prediction,
        recorded=board.recorded,
        faults=board.faults,
    )


def _one(
    program: Program,
    state: TrainState,
    metrics_kind: str,
    number: int,
    active: np.ndarray,
) -> tuple[TrainState, Epoch]:
    start = time.perf_counter()
    state, log = program.epoch(state)
    log, best = hosts.to_host((log, state.selection.epoch))
    faults = nonfinite.find(
        log,
        active,
        number,
        program.accumulate,
        lambda lane: program.order(state, lane, number),
    )
    ended = nonfinite.ending(faults, program.on_nonfinite)
    if ended:
        state = going_on(state, ~np.isin(np.arange(len(active)), ended))
    means = {k: v.mean(axis=1) for k, v in log.parts.items()}
    scores = [
        metrics.score(metrics_kind, p, program.truth) for p in log.valid_prediction
    ]
    valid = {k: np.array([s[k] for s in scores]) for k in scores[0]}
    epoch = Epoch(
        number=number,
        seconds=time.perf_counter() - start,
        batches=_of_active(log.parts, active[:, None]),
        train=_of_active(means, active),
        valid=_of_active({"loss": log.valid_loss} | valid, active),
        active=active,
        selected=active & (best == number),
        recorded=log.recorded,
        prediction=log.valid_prediction,
        faults=tuple(faults),
        ended=ended,
    )
    return state, epoch


def _of_active(
    values: dict[str, np.ndarray], active: np.ndarray
) -> dict[str, np.ndarray]:
    return {name: np.where(active, value, np.nan) for name, value in values.items()}
