"""Epochs on disk: what a run that goes on must know of those before."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np

from msa_jax.ground import files
from msa_jax.runs.checkpoint import Damaged
from msa_jax.training.loop import Epoch
from msa_jax.training.nonfinite import Fault

_GROUPS = ("batches", "train", "valid", "recorded")  # of arrays by name


def write(folder: Path, epoch: Epoch) -> str:
    """Write an epoch; return the hash of its file."""
    content = pack(epoch)
    folder.mkdir(parents=True, exist_ok=True)
    files.write(path_of(folder, epoch.number), content)
    return hashlib.sha256(content).hexdigest()


def pack(epoch: Epoch) -> bytes:
    """Return an epoch as the content of its file."""
    arrays = {
        f"{group}/{name}": np.asarray(value)
        for group in _GROUPS
        for name, value in getattr(epoch, group).items()
    }
    rest = {"seconds": epoch.seconds, "faults": epoch.faults, "ended": epoch.ended}
    content = io.BytesIO()
    np.savez(
        content,
        allow_pickle=False,
        active=epoch.active,
        selected=epoch.selected,
        prediction=epoch.prediction,
        rest=np.asarray(json.dumps(rest)),
        **arrays,
    )
    return content.getvalue()


def read(folder: Path, number: int, sha256: str) -> Epoch:
    """Read an epoch.

    Args:
        folder: of all epochs.
        number: of this one.
        sha256: what `write` returned.

    Raises:
        Damaged: its file is.
    """
    path = path_of(folder, number)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({type(error).__name__})") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Damaged(f"{path} is not what was saved")
    try:
        return unpack(number, content)
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise Damaged(f"{path} is of another version ({error})") from error


def unpack(number: int, content: bytes) -> Epoch:
    """Return the epoch that `pack` packed."""
    with np.load(io.BytesIO(content), allow_pickle=False) as z:
        return _epoch(number, {name: z[name] for name in z.files})


def path_of(folder: Path, number: int) -> Path:
    """Return where an epoch lies."""
    return folder / f"{number:06d}.npz"


def _epoch(number: int, arrays: dict[str, np.ndarray]) -> Epoch:
    groups: dict[str, dict[str, np.ndarray]] = {name: {} for name in _GROUPS}
    for name, value in arrays.items():
        group, slash, rest = name.partition("/")
        if slash:
            groups[group][rest] = value
    rest = json.loads(str(arrays["rest"]))
    faults = [
        Fault(lane, epoch, step, what, tuple(index))
        for lane, epoch, step, what, index in rest["faults"]
    ]
    return Epoch(
        number=number,
        seconds=rest["seconds"],
        active=arrays["active"],
        selected=arrays["selected"],
        prediction=arrays["prediction"],
        faults=tuple(faults),
        ended=tuple(rest["ended"]),
        batches=groups["batches"],
        train=groups["train"],
        valid=groups["valid"],
        recorded=groups["recorded"],
    )
