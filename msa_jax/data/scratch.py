"""Scratch folders whose locks tell whether the process that made them still lives."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def create(prefix: str, parent: Path) -> tuple[Path, int | None]:
    """Make a folder in `parent` that is locked while this process lives.

    Returns: it, and what to close once it is removed (None: the file system knows no
        locks, and `sweep` lets it be).
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        descriptor = lock(folder, wait=True)
        if folder.exists():  # another process may sweep it before it is locked
            return folder, descriptor
        if descriptor is not None:
            os.close(descriptor)


def lock(folder: Path, *, wait: bool = False) -> int | None:
    """Lock a folder of this user; return its descriptor, None if that cannot be.

    The system unlocks it when the process dies, however it dies.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():  # /tmp is everybody's
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return descriptor
    except OSError:  # another process has it, or the file system knows no locks
        pass
    os.close(descriptor)
    return None


def remove(folder: Path) -> None:
    """Remove a folder with what is in it."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep(prefix: str, parent: Path, remove: Callable[[Path], None] = remove) -> None:
    """Remove the folders of processes that were killed."""
    for folder in parent.glob(f"{prefix}*"):
        descriptor = lock(folder)
        if descriptor is not None:
            remove(folder)
            os.close(descriptor)
