"""Read pickles of arrays without calling anything: the only module that opens them."""

import mmap
import struct
from pathlib import Path
from typing import Any

from msa_jax.data.pickle_machine import Machine, Truncated
from msa_jax.errors import UserError

_OTHERS = (
    (b"\x1f\x8b", "gzip: unpack it first"),
    (b"PK", "a zip archive, damaged or no .npz"),
    (b"\x89HDF", "HDF5"),
    (b"BZh", "bzip2: unpack it first"),
    (b"\xfd7zXZ", "xz: unpack it first"),
    (b"\x93NUMPY", ".npy: one array without names"),
)


def read(path: Path) -> tuple[Any, int]:
    """Read one pickle into builtin containers, numbers, strings and NumPy arrays.

    Returns: its contents, and the bytes that follow it in the file. Large arrays
        share memory with the file and cannot be written to.
    Raises: UserError, one line, for anything but a well-formed pickle of arrays.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
            if not start:
                raise UserError("the file is empty")
            for magic, what in _OTHERS:
                if start.startswith(magic):
                    raise UserError(f"not a pickle but {what}")
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})") from None
    machine = Machine(data)
    try:
        return machine.run(), len(data) - machine.at
    except Truncated:
        raise UserError(
            f"the file ends early, after {len(data)} bytes: truncated?"
        ) from None
    except (LookupError, ValueError, TypeError, struct.error, OverflowError) as error:
        what = f"{type(error).__name__} at byte {machine.at}"
        raise UserError(f"not a pickle, or a damaged one ({what})") from None
