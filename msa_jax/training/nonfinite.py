"""Losses and gradients that are not finite: where they were, in which samples."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from msa_jax.ground.errors import UserError
from msa_jax.training.step import EpochLog

_SHOWN = 5  # sample ids in a line; the file has all


class Fault(NamedTuple):
    """One number that was not finite.

    lane: of the seed.
    epoch: from 1.
    step: the batch, counted from 1 over the run as in losses.npz; 0: validation.
    what: "loss", "gradient" or "validation loss".
    index: places of the samples in the train split; of validation's, if step is 0.
    """

    lane: int
    epoch: int
    step: int
    what: str
    index: tuple[int, ...]


def find(
    log: EpochLog,
    active: np.ndarray,
    epoch: int,
    accumulate: int,
    order: Callable[[int], Sequence[np.ndarray]],
) -> list[Fault]:
    """Find what was not finite in an epoch, in the order of lanes and steps.

    Args:
        log: of the epoch, on the host.
        active: the lanes that trained.
        epoch: its number.
        accumulate: batches per optimiser step.
        order: lane -> the samples of each of its batches in this epoch.
    """
    found = []
    losses = np.asarray(log.parts["loss"])
    for lane in map(int, np.flatnonzero(active)):
        bad = ~np.isfinite(losses[lane])
        wrong = [("loss", i, i + 1) for i in map(int, np.flatnonzero(bad))]
        for group in map(int, np.flatnonzero(log.bad_steps[lane])):
            start, stop = group * accumulate, (group + 1) * accumulate
            if not bad[start:stop].any():
                wrong.append(("gradient", start, stop))
        for what, start, stop in sorted(wrong, key=lambda item: item[1]):
            index = np.concatenate(order(lane)[start:stop])
            step = (epoch - 1) * len(bad) + start + 1
            found.append(Fault(lane, epoch, step, what, tuple(index.tolist())))
        if not np.isfinite(log.valid_loss[lane]):
            answers = np.asarray(log.valid_prediction[lane])
            odd = ~np.isfinite(answers.reshape(len(answers), -1)).all(axis=1)
            index = tuple(np.flatnonzero(odd).tolist())
            found.append(Fault(lane, epoch, 0, "validation loss", index))
    return found


def ending(faults: Sequence[Fault], rule: str) -> tuple[int, ...]:
    """Return the lanes that faults end.

    Args:
        faults: of an epoch.
        rule: `config.on_nonfinite`; under "skip" only those of validation end a lane:
            there is no step that could be left out.
    """
    ends = [f.lane for f in faults if rule != "skip" or f.step == 0]
    return tuple(sorted(set(ends)))


def where(fault: Fault) -> str:
    """For example "the gradient of training step 37 (epoch 4)"."""
    if not fault.step:
        return f"the validation loss of epoch {fault.epoch}"
    return f"the {fault.what} of training step {fault.step} (epoch {fault.epoch})"


def describe(fault: Fault, name: str, ids: Sequence[str]) -> str:
    """Say in a line what was not finite, and in which samples.

    Args:
        fault: what.
        name: of its lane, "seed 1111".
        ids: of the split that it names.
    """
    names = [str(ids[i]) for i in fault.index]
    listed = ", ".join(names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else ""
    samples = f"; samples {listed}{more}" if names else ""
    return f"{name}: {where(fault)} is not finite{samples}"


def refuse(fault: Fault, name: str) -> UserError:
    """Return the error that ends a run under `config.on_nonfinite` = abort."""
    return UserError(
        f"{name}: {where(fault)} is not finite; its samples are in the workdir "
        "(nonfinite_*.npz); lower the rates in config.optim.groups, or let the others "
        "go on: --config.on_nonfinite=stop"
    )
