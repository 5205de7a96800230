"""The loop over epochs, until every lane has ended; it can begin after any epoch.

for state, tally, epoch in epochs(program, state, tally, metrics_kind):
    ...  # write, show, save; whatever is done here, training is the same
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from msa_jax.evaluation import metrics
from msa_jax.ground import hosts
from msa_jax.ground.types import TrainState
from msa_jax.training import nonfinite
from msa_jax.training.nonfinite import Fault
from msa_jax.training.program import Program, going_on


class Epoch(NamedTuple):
    """One epoch's numbers on the host; every value has one entry per seed.

    batches: loss and its parts at every batch, [s, k]; NaN for seeds that have ended.
    train: the same, averaged over batches.
    valid: "loss" (the score that selects) and every metric; NaN likewise.
    active: the seed trained in this epoch.
    selected: this epoch is the seed's best so far.
    recorded: the method's label values, e.g. u_labels [s, m, n].
    prediction: answers for the validation split, [s, n] or [s, n, outputs].
    faults: numbers that were not finite.
    ended: seeds that end here because of them.
    """

    number: int
    seconds: float
    batches: dict[str, np.ndarray]
    train: dict[str, np.ndarray]
    valid: dict[str, np.ndarray]
    active: np.ndarray
    selected: np.ndarray
    recorded: dict[str, np.ndarray]
    prediction: np.ndarray = np.zeros(0)
    faults: tuple[Fault, ...] = ()
    ended: tuple[int, ...] = ()


class Saved(NamedTuple):
    """A run as it was saved after an epoch.

    arrays: of its state, see `hosts.on_host`.
    epochs: all so far.
    """

    arrays: dict[str, np.ndarray]
    epochs: list[Epoch]


class Tally(NamedTuple):
    """The epochs so far, added up.

    epochs_run: per lane.
    failed_in: the epoch in which a lane ended because of a number that is not finite;
        0: in none.
    valid_prediction: the answers of the selected parameters, [s, n] or [s, n, outputs].
    recorded: label values at each lane's end.
    faults: of all epochs, in order.
    """

    epochs_run: np.ndarray
    failed_in: np.ndarray
    valid_prediction: np.ndarray | None
    recorded: dict[str, np.ndarray]
    faults: tuple[Fault, ...]


def tally_of(lanes: int, epochs: Iterable[Epoch] = ()) -> Tally:
    """Add up epochs, from the first on."""
    tally = Tally(np.zeros(lanes, int), np.zeros(lanes, int), None, {}, ())
    for epoch in epochs:
        tally = with_epoch(tally, epoch)
    return tally


def with_epoch(tally: Tally, epoch: Epoch) -> Tally:
    """Add an epoch."""
    prediction, failed_in = tally.valid_prediction, tally.failed_in.copy()
    if prediction is None:
        prediction = np.zeros_like(epoch.prediction)
    prediction = prediction.copy()
    prediction[epoch.selected] = epoch.prediction[epoch.selected]
    failed_in[list(epoch.ended)] = epoch.number
    return Tally(
        epochs_run=tally.epochs_run + epoch.active,
        failed_in=failed_in,
        valid_prediction=prediction,
        recorded=epoch.recorded,
        faults=tally.faults + epoch.faults,
    )


def epochs(
    program: Program, state: TrainState, tally: Tally, metrics_kind: str
) -> Iterator[tuple[TrainState, Tally, Epoch]]:
    """Train lanes epoch by epoch until each has ended; yield what there is after each.

    Args:
        program: from `program.make_program`.
        state: from its `start`, or from its `restore` after the epochs of the tally.
        tally: of the epochs that are done, from `tally_of`.
        metrics_kind: see `metrics.score`.

    Yields: the state, whose memory the next epoch takes; all epochs' sum; the epoch.
    """
    done = int(tally.epochs_run.max(initial=0))
    for number in range(done + 1, program.max_epochs + 1):
        active = hosts.to_host(state.selection.active)
        if not active.any():
            return
        state, epoch = _one(program, state, metrics_kind, number, active)
        tally = with_epoch(tally, epoch)
        yield state, tally, epoch


def require_finite(
    program: Program,
    epoch: Epoch,
    name: Callable[[int], str] = lambda lane: f"training {lane + 1}",
) -> None:
    """Refuse to go on after an epoch in which a number was not finite.

    Args:
        program: whose `config.on_nonfinite` says whether to.
        epoch: from `epochs`.
        name: what a lane is called.

    Raises:
        UserError: `config.on_nonfinite` is "abort", and a lane ended in this epoch.
    """
    if epoch.ended and program.on_nonfinite == "abort":
        raise nonfinite.refuse(epoch.faults[0], name(epoch.faults[0].lane))


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
