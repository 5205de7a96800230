"""What a pickle of arrays may mention, and what is built of it here.

A name is a label: nothing is imported by it, and what it would have returned is built
here. So there is no function that a file could call. PyTorch's are known where weights
are read, not where features are: its tensors are labels, too, that say where in the
file their numbers lie (`state_dicts`).
Source: PyTorch, torch/serialization.py (persistent ids) and torch/_utils.py.
"""

import math
import re
from typing import Any, NamedTuple

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


TENSOR_AXES = 8
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


def storage_of(mentioned: Any) -> Storage:
    """Read what a pickle says in the place of a storage (its persistent id)."""
    match mentioned:
        case "storage", (str() as kind,), str() as key, str(), int() as count, *rest:
            if rest not in ([], [None]):  # files of before PyTorch 1.6 have a sixth
                raise UserError("refused: a storage that is a part of another one")
            if kind in STORAGES and 0 <= count < 1 << 40 and len(key) <= MAX_NAME:
                return Storage(kind, key, count)
    raise ValueError


def make_tensor(where: Storage, arguments: list[Any]) -> Tensor:
    """Read the other arguments of `_rebuild_tensor_v2`, which say what it looks at."""
    match arguments:
        case [int() as offset, tuple() as shape, tuple() as stride, *_]:
            sizes = (offset, *shape, *stride)
            plain = all(type(n) is int and 0 <= n < 1 << 40 for n in sizes)
            if plain and len(shape) == len(stride) <= TENSOR_AXES:
                return Tensor(where, offset, shape, stride)
    raise ValueError


def tensor_array(tensor: Tensor, numbers: bytes) -> np.ndarray:
    """Return a tensor as an array of its own.

    Args:
        tensor: from `make_tensor`.
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


_CORES = ("numpy.core", "numpy._core")
_BUILTINS = ("set", "frozenset", "list", "tuple", "dict", "bytes", "bytearray")
_DEFAULTS = ("int", "long", "float", "str", "unicode", "bool")
NAMES = {
    **{(f"{core}.multiarray", "_reconstruct"): "reconstruct" for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): "scalar" for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): "frombuffer" for core in _CORES},
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("collections", "OrderedDict"): "dict",
    ("collections", "Counter"): "dict",
    ("collections", "defaultdict"): "defaultdict",
    **{("builtins", name): name for name in _BUILTINS},
    **{("__builtin__", name): name for name in _BUILTINS},
    # named as what a defaultdict makes of a missing key; nothing is made here
    **{("builtins", name): "default" for name in _DEFAULTS},
    **{("__builtin__", name): "default" for name in _DEFAULTS},
}
# What `torch.save` mentions in a state dict, besides.
TENSOR_NAMES = {
    ("torch._utils", "_rebuild_tensor"): "tensor",
    ("torch._utils", "_rebuild_tensor_v2"): "tensor",
    ("torch._utils", "_rebuild_parameter"): "parameter",
    **{("torch", name): name for name in STORAGES},
}
_WEIGHTS = (
    "it holds more than weights: save them alone, torch.save(model.state_dict(), FILE)"
)
# What to do about objects of other packages, by the package's name.
_INSTEAD = {
    "torch": "it holds PyTorch tensors: save NumPy arrays, tensor.numpy()",
    "pandas": "it holds pandas objects: save NumPy arrays, .to_numpy()",
    "joblib": "joblib wrote it: load it with joblib and save it with pickle.dump",
    "scipy": "it holds SciPy objects: save NumPy arrays, .toarray()",
    "tensorflow": "it holds TensorFlow tensors: save NumPy arrays, tensor.numpy()",
    "jax": "it holds JAX arrays: save NumPy arrays, numpy.asarray(array)",
    "jaxlib": "it holds JAX arrays: save NumPy arrays, numpy.asarray(array)",
    "numpy": "save plain arrays, numpy.asarray(array)",
    **dict.fromkeys(
        ("__main__", "copyreg", "copy_reg", "datetime", "pathlib", "types"),
        "it holds objects of a class: save dicts, lists and NumPy arrays",
    ),
}


class Name(NamedTuple):
    """A name that a pickle mentions; a label, not a function."""

    kind: str


def find(module: str, name: str, *, tensors: bool = False) -> Name:
    """Look a name up; refuse every other, by name.

    Args:
        module, name: as the pickle says.
        tensors: know PyTorch's names, too.
    """
    kind = NAMES.get((module, name))
    if kind is None and tensors:
        kind = TENSOR_NAMES.get((module, name))
    if kind is None:
        wanted = ascii(f"{module}.{name}"[:80])
        instead = _WEIGHTS if tensors else _INSTEAD.get(module.partition(".")[0])
        raise UserError(
            f"refused: it wants to call {wanted}; arrays need no such name"
            + (f"; {instead}" if instead else "")
        )
    return Name(kind)


def call(kind: str, arguments: tuple) -> Any:
    """Build what a known name would return for these arguments."""
    match kind, arguments:
        case "reconstruct", (Name("ndarray"), (0,), b"b" | "b"):
            return Pending()
        case "dtype", (str() | bytes() as code, *_):
            return Kind(text(code))
        case "scalar", (Kind() as wanted, bytes() as data):
            return make_scalar(wanted, data)
        case "frombuffer", (data, Kind() as wanted, tuple() as shape, o):
            if o not in ("C", "F"):
                raise ValueError
            return make_array(shape, wanted, o == "F", data)
        case "tensor", (Storage() as storage, *where):
            return make_tensor(storage, where)
        case "parameter", (Tensor() as tensor, bool(), dict()):
            return tensor
        case "encode", (str() as string, str() | bytes() as codec):
            if codec not in ("latin1", "latin-1", b"latin1", b"latin-1"):
                raise ValueError
            return string.encode("latin-1")
        case "dict", ():
            return {}
        case "defaultdict", (() | (Name(),) | (None,)):
            return {}
        case "dict", (dict() as table,):  # a Counter
            return dict(table)
        case "dict", (list() as pairs,):
            return {flat_key(key): value for key, value in pairs}
        case (("set" | "frozenset"), ()):
            return set()
        case (("set" | "frozenset"), (list() | tuple() as items,)):
            return {flat_key(item) for item in items}
        case "list", ():
            return []
        case "list", (list() | tuple() as items,):
            return list(items)
        case "tuple", (list() | tuple() as items,):
            return tuple(items)
        case (("bytes" | "bytearray"), ()):
            return b""
        case (("bytes" | "bytearray"), (bytes() | memoryview() as data,)):
            return data
        case (("bytes" | "bytearray"), (str() as string, "latin-1" | "latin1")):
            return string.encode("latin-1")
    raise ValueError


def flat_key(key: Any) -> Any:
    """Return a hashable, flat key; Python 2's byte strings become text."""
    if type(key) is tuple and len(key) <= 16:
        if any(type(part) is tuple for part in key):  # hashing recurses in C
            raise TypeError
        return tuple(flat_key(part) for part in key)
    if type(key) is bytes:
        return text(key)
    if key is not None and type(key) not in (str, int, float, bool):
        raise TypeError
    return key
