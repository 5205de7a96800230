"""Files and folders in one stroke: a kill or a full disk leaves what was there."""

import contextlib
import math
import os
import shutil
import tempfile
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


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a hidden folder that becomes `folder` if all goes well, else nothing.

    Args:
        folder: must not be there, or be empty.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield partial
        partial.chmod(0o755)  # mkdtemp's is for its owner alone
        os.rename(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


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
