"""Small files, written in one stroke: a kill or a full disk leaves the old one."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open what becomes the file `path` once everything is written, and on the disk.

    If anything fails, the old file stays and nothing else is left behind.
    """
    temporary = path.with_name(f".{path.name}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write(path: Path, content: bytes) -> None:
    """Write a file in one stroke."""
    with replacing(path) as file:
        file.write(content)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut, where its file system can."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def json_safe(value: Any) -> Any:
    """Replace NaN and infinities by None and NumPy values by Python's, recursively."""
    match value:
        case dict():
            return {str(key): json_safe(item) for key, item in value.items()}
        case list() | tuple():
            return [json_safe(item) for item in value]
        case np.ndarray() | np.generic():
            return json_safe(value.tolist())
        case float():
            return value if math.isfinite(value) else None
        case _:
            return value
