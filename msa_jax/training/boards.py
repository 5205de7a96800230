"""What the host knows of training lanes: epoch by epoch, and added up."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from msa_jax.training.nonfinite import Fault


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


class Board(NamedTuple):
    """The sum of the epochs so far.

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


def of_epochs(lanes: int, epochs: Iterable[Epoch]) -> Board:
    """Add up epochs, from the first on."""
    board = Board(np.zeros(lanes, int), np.zeros(lanes, int), None, {}, ())
    for epoch in epochs:
        board = after(board, epoch)
    return board


def after(board: Board, epoch: Epoch) -> Board:
    """Add an epoch."""
    prediction, failed_in = board.valid_prediction, board.failed_in.copy()
    if prediction is None:
        prediction = np.zeros_like(epoch.prediction)
    prediction = prediction.copy()
    prediction[epoch.selected] = epoch.prediction[epoch.selected]
    failed_in[list(epoch.ended)] = epoch.number
    return Board(
        epochs_run=board.epochs_run + epoch.active,
        failed_in=failed_in,
        valid_prediction=prediction,
        recorded=epoch.recorded,
        faults=board.faults + epoch.faults,
    )
