"""NumPy arrays and scalars from the state that pickles store them as."""

import math
import re
from typing import Any

import numpy as np

from msa_jax.ground.errors import UserError

MAX_AXES = 6


class Pending:
    """An array that was announced and has no contents yet."""

    def __init__(self):
        """Start with no place in the memo."""
        self.indices: list[int] = []


class Other:
    """What stands for an array or scalar whose contents nothing here can read."""

    def __init__(self, dtype: str):
        """Keep the name of the dtype, for whoever asks for numbers or strings."""
        self.dtype = dtype


class Kind:
    """A dtype: booleans, integers, floats, strings, `O` for lists, or another."""

    def __init__(self, code: str):
        """Take NumPy's short name, such as f4; byte order may follow as state."""
        found = re.fullmatch(r"([|<>=]?)([biufSUO])(\d{0,6})", code)
        self.other = None if found else ascii(code[:40])[1:-1]
        self.order, self.letter, size = found.groups() if found else ("", "", "")
        self.size = int(size or 0)

    def set_state(self, state: Any) -> None:
        """Take byte order and width, or that the dtype is a structured one."""
        if type(state) is not tuple or len(state) < 7 or type(state[0]) is not int:
            raise ValueError
        if any(part is not None for part in state[2:5]):
            self.other = "structured"
        self.order = {b"|": "|", b"<": "<", b">": ">"}.get(state[1], state[1])
        if self.letter in "SU" and type(state[5]) is int and state[5] >= 0:
            self.size = state[5] // (4 if self.letter == "U" else 1)

    def dtype(self) -> np.dtype | Other:
        """Return it as NumPy's dtype, if that is one of numbers or strings."""
        sizes = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}
        if self.other is not None:
            return Other(self.other)
        if self.order not in ("", "|", "<", ">", "="):
            raise ValueError
        if self.size not in sizes.get(self.letter, (self.size,)):
            return Other(f"{self.letter}{self.size}")
        return np.dtype(f"{self.order.strip('|')}{self.letter}{self.size}")


def text(value: str | bytes) -> str:
    """Decode Python 2's strings: UTF-8, else latin-1."""
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def from_state(state: Any) -> Any:
    """Make an array, or what stands for it, of what `ndarray.__setstate__` is given."""
    if type(state) is not tuple or len(state) not in (4, 5):
        raise ValueError
    shape, kind, fortran, data = state[-4:]
    if type(shape) is not tuple or type(kind) is not Kind:
        raise ValueError
    return make_array(shape, kind, bool(fortran), data)


def make_array(shape: tuple, kind: Kind, fortran: bool, data: Any) -> Any:
    """Make an array that holds exactly `data`, without a copy.

    Returns: of objects, the lists that they are; of other dtypes than those of numbers
        and strings, an `Other`.
    """
    if len(shape) > MAX_AXES or any(type(n) is not int or n < 0 for n in shape):
        raise UserError(f"refused: an array of {len(shape)} axes or odd sizes")
    if kind.letter == "O" and kind.other is None:
        return _lists(shape, data)
    dtype, count = kind.dtype(), math.prod(shape)
    if isinstance(dtype, Other):
        return dtype
    if type(data) not in (bytes, memoryview):
        raise ValueError
    there, claimed = len(data), count * dtype.itemsize
    if there != claimed or (count and not claimed) or max(shape, default=0) >> 40:
        raise UserError(
            f"refused: an array of shape {str(shape)[:60]} claims {claimed} bytes, "
            f"but {there} are there"
        )
    flat = np.frombuffer(data, dtype) if count else np.zeros(0, dtype)
    if dtype.kind == "U" and count:
        _check_code_points(data, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def make_scalar(kind: Kind, data: bytes) -> Any:
    """Make a Python number or string of a NumPy scalar's bytes."""
    if kind.letter == "O":
        raise UserError("refused: a NumPy scalar that holds an object")
    array = make_array((1,), kind, False, data)
    return array if isinstance(array, Other) else array[0].item()


def _lists(shape: tuple[int, ...], data: Any) -> Any:
    """Nest the objects of an array, as its `tolist` would.

    Objects lie in C order, also where the pickle says Fortran.
    Source: NumPy, _setlist_pkl in multiarray/methods.c.
    """
    if type(data) is not list or len(data) != math.prod(shape):
        raise ValueError
    if not shape:
        return data[0]
    for size in reversed(shape[1:]) if data else ():
        data = [data[i : i + size] for i in range(0, len(data), size)]
    return data


def _check_code_points(data: bytes | memoryview, dtype: np.dtype) -> None:
    points = np.frombuffer(data, ">u4" if dtype.byteorder == ">" else "<u4")
    if np.any(points > 0x10FFFF) or np.any((points >= 0xD800) & (points < 0xE000)):
        raise UserError("refused: an array of strings that are not Unicode")
