"""Saves a run's state after every epoch, beside training.

WORKDIR/checkpoint/epochs/000007.npz   an epoch's numbers, see `records`
WORKDIR/checkpoint/state/000007/       the state after it, see `checkpoint`

Hashing and writing is a thread's work, on a CPU from the state's own memory: training
waits for it a moment, instead of copying a state that is as large as all else. The last
two states are kept; the best parameters so far are part of each.
"""

import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from msa_jax.ground import hosts
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import TrainState
from msa_jax.runs import checkpoint, records
from msa_jax.training.loop import Epoch

KEPT = 2  # states
_PATIENCE = 3.0  # seconds that training waits for a write, once per write
_SHARE = 0.2  # of an epoch's time, if that is longer, on a CPU
_GRACE = 5.0  # seconds that a run that is being stopped waits for it


def epochs_folder(workdir: Path) -> Path:
    """Return where the epochs of an unfinished run lie."""
    return workdir / "checkpoint" / "epochs"


def states_folder(workdir: Path) -> Path:
    """Return where the states of an unfinished run lie."""
    return workdir / "checkpoint" / "state"


def left_over(workdir: Path) -> list[Path]:
    """List what lies beside the selected parameters: only unfinished runs need it."""
    folder = workdir / "checkpoint"
    found = folder.iterdir() if folder.is_dir() else ()
    return [path for path in found if path.name != "best"]


def remove_left_over(workdir: Path) -> None:
    """Remove what a finished run does not need."""
    for path in left_over(workdir):
        shutil.rmtree(path, ignore_errors=True)


class Before(NamedTuple):
    """What a run did before it was stopped.

    hashes: of its epochs.
    made_with: versions, devices and so on, of everything that trained it.
    """

    hashes: list[str]
    made_with: list[dict[str, Any]]


class Saver:
    """Saves states in a `with` block; when it ends well, all of them are on disk."""

    def __init__(
        self,
        workdir: Path,
        identity: Mapping[str, Any],
        seeds: tuple[int, ...],
        before: Before,
    ):
        """Prepare.

        Args:
            workdir: of the run.
            identity: what makes the run, see `resume.identity`.
            seeds: of the lanes.
            before: what is there.
        """
        self._workdir, self._identity, self._seeds = workdir, dict(identity), seeds
        self._hashes, self._made_with = list(before.hashes), list(before.made_with)
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._waited = self._stopped = False

    def __enter__(self) -> "Saver":
        """Begin."""
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        """Wait for the last write: to its end, or a moment if the run is stopped."""
        del error, traceback
        if kind is None:
            self._wait(None)
        elif self._thread is not None:
            self._thread.join(_GRACE)
            self._stopped = True

    def keep(self, state: TrainState, epoch: Epoch) -> None:
        """Save the state after an epoch.

        A write that takes longer than training's patience makes training go on without
        the states of the epochs meanwhile; their numbers are always kept.

        Raises:
            UserError: this or the last write failed, e.g. the disk is full.
        """
        try:
            sha256 = records.write(epochs_folder(self._workdir), epoch)
        except OSError as failure:
            raise self._refused(failure, epoch.number) from failure
        self._hashes.append(sha256)
        if not self._wait(0.0 if self._waited else _PATIENCE):
            self._waited = True
            return
        self._waited = False
        arrays = hosts.on_host(state)
        about = {
            "epoch": epoch.number,
            "identity": self._identity,
            "epochs": list(self._hashes),
            "seeds": self._ledger(state),
            "made_with": self._made_with,
        }
        self._thread = threading.Thread(
            target=self._write, args=(arrays, about), daemon=True
        )
        self._thread.start()
        if jax.default_backend() == "cpu":
            # jax copies what is still read when the next epoch takes its memory.
            patience = max(_PATIENCE, _SHARE * epoch.seconds)
            self._waited = not self._wait(patience)

    def _ledger(self, state: TrainState) -> dict[str, Any]:
        chosen = state.selection
        columns = (np.asarray(x).tolist() for x in (chosen.active, chosen.epoch))
        return {
            str(seed): {"ended": not active, "best_epoch": best}
            for seed, active, best in zip(self._seeds, *columns, strict=True)
        }

    def _write(self, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> None:
        states = states_folder(self._workdir)
        try:
            checkpoint.write_state(states / f"{about['epoch']:06d}", arrays, about)
            for old in sorted(states.iterdir())[:-KEPT]:
                if not self._stopped:
                    checkpoint.remove_state(old)
        except Exception as failure:
            self._failure = self._refused(failure, about["epoch"])

    def _wait(self, seconds: float | None) -> bool:
        """Wait for the write under way; say whether it is done.

        Raises:
            UserError: it failed.
        """
        if self._thread is not None:
            self._thread.join(seconds)
            if self._thread.is_alive():
                return False
            self._thread = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return True

    def _refused(self, failure: Exception, epoch: int) -> UserError:
        return UserError(
            f"{self._workdir}: the state after epoch {epoch} cannot be saved "
            f"({reason(failure)}); make room there or mend it, and give the same "
            "command again: it goes on after the last epoch that was saved"
        )


def reason(failure: BaseException) -> str:
    """Return the system's own words for a failed write."""
    if isinstance(failure, OSError) and failure.strerror:
        return failure.strerror
    said = str(failure)
    return said.splitlines()[0][:200] if said else type(failure).__name__
