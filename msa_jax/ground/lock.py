"""Locks that the system drops with their process, however that ends.

One process per work directory; and scratch folders of which can be told whether the
process that made them still lives.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from msa_jax.ground.errors import UserError

LOCK = ".lock"  # in the work directory, while a process uses it
_UNABLE = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes out of a work directory.

    The system drops the lock of a process that ends, however it ends: a file left by a
    dead one is no obstacle.

    Raises:
        UserError: another process, which is named, works there.
    """
    path = folder / LOCK
    number = _take(path, folder)
    try:
        yield
    finally:
        try:
            with contextlib.suppress(OSError):
                path.unlink()  # while it is held: nobody else can hold this file
        finally:
            os.close(number)


def _take(path: Path, folder: Path) -> int:
    """Return the descriptor of the locked file, with our name in it."""
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(number, 200).decode(errors="replace").strip()
            os.close(number)
            raise UserError(
                f"workdir {folder} is in use by {owner or 'another process'}; wait "
                "for it, or give another --workdir"
            ) from None
        except OSError as error:
            if error.errno not in _UNABLE:  # a disk that knows no locks: go on
                os.close(number)
                raise
        if _still(path, number):
            break
        os.close(number)  # its owner removed it just now
    now = datetime.now(UTC).isoformat(timespec="seconds")
    owner = f"process {os.getpid()} on {socket.gethostname()}, since {now}"
    os.ftruncate(number, 0)
    os.pwrite(number, owner.encode(), 0)
    return number


def _still(path: Path, number: int) -> bool:
    """Say whether the open file is the one of this name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(number))
    except FileNotFoundError:
        return False


def remove_folder(folder: Path) -> None:
    """Remove a folder with what is in it."""
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def scratch(
    prefix: str, parent: Path, remove: Callable[[Path], None] = remove_folder
) -> Iterator[Path]:
    """Make a folder in `parent`, locked while it is used and then removed.

    On a file system that knows no locks, `sweep` lets it be.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        number = lock_folder(folder, wait=True)
        if folder.exists():  # another process may sweep it before it is locked
            break
        if number is not None:
            os.close(number)
    try:
        yield folder
    finally:
        remove(folder)
        if number is not None:
            os.close(number)


def sweep(
    prefix: str, parent: Path, remove: Callable[[Path], None] = remove_folder
) -> None:
    """Remove the scratch folders of processes that were killed."""
    for folder in parent.glob(f"{prefix}*"):
        number = lock_folder(folder)
        if number is not None:
            remove(folder)
            os.close(number)


def lock_folder(folder: Path, *, wait: bool = False) -> int | None:
    """Lock a folder of this user; return its descriptor, None if that cannot be."""
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.fstat(number).st_uid == os.geteuid():  # /tmp is everybody's
            fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return number
    except OSError:  # another process has it, or the file system knows no locks
        pass
    os.close(number)
    return None
