"""The names that a pickle of arrays may mention, and what each one stands for.

A name is a label: nothing is imported by it, and what it would have returned is built
here. So there is no function that a file could call. PyTorch's are known where weights
are read, not where features are.
"""

from typing import Any, NamedTuple

from msa_jax.data import pickled_arrays, pickled_tensors
from msa_jax.ground.errors import UserError

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
    **{("torch", name): name for name in pickled_tensors.STORAGES},
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
            return pickled_arrays.Pending()
        case "dtype", (str() | bytes() as code, *_):
            return pickled_arrays.Kind(pickled_arrays.text(code))
        case "scalar", (pickled_arrays.Kind() as wanted, bytes() as data):
            return pickled_arrays.make_scalar(wanted, data)
        case "frombuffer", (data, pickled_arrays.Kind() as wanted, tuple() as shape, o):
            if o not in ("C", "F"):
                raise ValueError
            return pickled_arrays.make_array(shape, wanted, o == "F", data)
        case "tensor", (pickled_tensors.Storage() as storage, *where):
            return pickled_tensors.make(storage, where)
        case "parameter", (pickled_tensors.Tensor() as tensor, bool(), dict()):
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
        return pickled_arrays.text(key)
    if key is not None and type(key) not in (str, int, float, bool):
        raise TypeError
    return key
