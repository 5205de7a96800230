"""Read pickles of arrays without calling anything: the only module that opens them."""

import mmap
import struct
from pathlib import Path
from typing import Any

from msa_jax.data import containers
from msa_jax.data.pickle_machine import Machine, Truncated
from msa_jax.ground.errors import UserError


def read(path: Path) -> tuple[Any, int]:
    """Read one pickle into builtin containers, numbers, strings and NumPy arrays.

    Returns: its contents, and the bytes that follow it in the file. Large arrays
        share memory with the file and cannot be written to.
    Raises: UserError, one line, for anything but a well-formed pickle of arrays.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(containers.HEAD)
            if not head:
                raise UserError("the file is empty: was it fully downloaded?")
            other = containers.recognise(head)
            if other is not None:
                raise UserError(f"not a pickle but {other}")
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})") from None
    contents, at = follow(data)
    return contents, len(data) - at


def follow(
    data: mmap.mmap | bytes, at: int = 0, *, tensors: bool = False
) -> tuple[Any, int]:
    """Follow one pickle in a file.

    Args:
        data, at, tensors: see `Machine`.

    Returns: its contents, and where in `data` it ends.
    Raises: UserError, see `read`.
    """
    machine = Machine(data, at, tensors=tensors)
    try:
        return machine.run(), machine.at
    except Truncated:
        raise UserError(
            f"the file ends early, after {len(data)} bytes: truncated?"
        ) from None
    except (LookupError, ValueError, TypeError, struct.error, OverflowError) as error:
        if (
            containers.as_text(data[: containers.HEAD]) is not None
            and data[-1:] != b"."
        ):
            raise UserError(
                "not a pickle but a text file: features are an .npz, a pickle of the "
                "field (docs/data.md) or a folder (docs/bring_your_own.md)"
            ) from None
        what = f"{type(error).__name__} at byte {machine.at}"
        raise UserError(
            f"not a pickle, or a damaged one ({what}): fetch or write it again"
        ) from None
