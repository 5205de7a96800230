"""One process per work directory."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
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
