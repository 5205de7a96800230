"""PyTorch's tensors as pickles mention them: labels that say where numbers lie.

The numbers themselves are elsewhere in the file (`state_dicts`).
Source: PyTorch, torch/serialization.py (persistent ids) and torch/_utils.py.
"""

from typing import Any, NamedTuple

import numpy as np

from msa_jax.ground.errors import UserError

MAX_AXES = 8
MAX_NAME = 200
# Of every kind of storage, the bytes of one number as NumPy's type; bfloat16 is the
# upper half of a float32, which NumPy has no type for.
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


class Storage(NamedTuple):
    """Numbers in a row, which one or more tensors look at.

    kind: of `STORAGES`.
    key: their name in the file.
    count: how many.
    """

    kind: str
    key: str
    count: int


class Tensor(NamedTuple):
    """A tensor, as a view of a storage; `offset` and `stride` count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def storage(mentioned: Any) -> Storage:
    """Read what a pickle says in the place of a storage (its persistent id)."""
    match mentioned:
        case "storage", (str() as kind,), str() as key, str(), int() as count, *rest:
            if rest not in ([], [None]):  # files of before PyTorch 1.6 have a sixth
                raise UserError("refused: a storage that is a part of another one")
            if kind in STORAGES and 0 <= count < 1 << 40 and len(key) <= MAX_NAME:
                return Storage(kind, key, count)
    raise ValueError


def make(where: Storage, arguments: list[Any]) -> Tensor:
    """Read the other arguments of `_rebuild_tensor_v2`, which say what it looks at."""
    match arguments:
        case [int() as offset, tuple() as shape, tuple() as stride, *_]:
            sizes = (offset, *shape, *stride)
            plain = all(type(n) is int and 0 <= n < 1 << 40 for n in sizes)
            if plain and len(shape) == len(stride) <= MAX_AXES:
                return Tensor(where, offset, shape, stride)
    raise ValueError


def array(tensor: Tensor, numbers: bytes) -> np.ndarray:
    """Return a tensor as an array of its own.

    Args:
        tensor: from `make`.
        numbers: of its storage.

    Raises:
        UserError: it looks beyond its storage, or that has another size.
    """
    kind, _, count = tensor.storage
    dtype = np.dtype(STORAGES[kind])
    if len(numbers) != count * dtype.itemsize:
        raise UserError(
            f"damaged: {count} numbers of {dtype.itemsize} bytes are said to lie where "
            f"{len(numbers)} bytes are"
        )
    steps = zip(tensor.shape, tensor.stride, strict=True)
    last = tensor.offset + sum((n - 1) * stride for n, stride in steps)
    if 0 in tensor.shape:
        view = np.zeros(tensor.shape, dtype)
    elif last >= count:
        raise UserError(f"damaged: a tensor looks at number {last} of {count}")
    else:
        view = np.lib.stride_tricks.as_strided(
            np.frombuffer(numbers, dtype)[tensor.offset :],
            tensor.shape,
            [stride * dtype.itemsize for stride in tensor.stride],
            writeable=False,
        )
    own = np.array(view)
    if kind == "BFloat16Storage":
        return np.left_shift(own, 16, dtype=np.uint32, casting="safe").view(np.float32)
    return own
