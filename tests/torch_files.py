"""Files as `torch.save` writes them, opcode by opcode; there is no PyTorch here."""

import io
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

KINDS = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
VERSION = b"\x80\x02M\xe9\x03."
MACHINE = b"\x80\x02}q\x00X\r\x00\x00\x00little_endianq\x01\x88s."
ORDERED = b"ccollections\nOrderedDict\n)R"
METADATA = b"}X\x09\x00\x00\x00_metadata" + ORDERED + b"sb"


def word(text: str) -> bytes:
    """Return a string's opcodes."""
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def whole(*numbers: int) -> bytes:
    """Return a tuple's opcodes."""
    return b"(" + b"".join(b"J" + struct.pack("<i", n) for n in numbers) + b"t"


def tensor(
    key: str,
    kind: str,
    count: int,
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    *,
    legacy: bool = False,
) -> bytes:
    """Return a tensor's opcodes."""
    place = word("storage") + b"ctorch\n" + kind.encode() + b"\n" + word(key)
    place += word("cpu") + b"J" + struct.pack("<i", count) + (b"N" if legacy else b"")
    view = b"J" + struct.pack("<i", offset) + whole(*shape) + whole(*stride)
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(("
        + place
        + b"tQ"
        + view
        + b"\x89"
        + ORDERED
        + b"tR"
    )


def state_dict(entries: Mapping[str, bytes]) -> bytes:
    """Return the pickle of a state dict; entries: name -> opcodes."""
    items = b"".join(word(name) + ops for name, ops in entries.items())
    return b"\x80\x02" + ORDERED + b"(" + items + b"u" + METADATA + b"."


def pickled(state: Mapping[str, np.ndarray], *, legacy: bool = False) -> bytes:
    """Return the pickle of arrays; the storage of the i-th is called str(i)."""
    entries = {}
    for i, (name, x) in enumerate(state.items()):
        stride = tuple(n // x.itemsize for n in x.strides)
        kind = KINDS[x.dtype.name]
        entries[name] = tensor(str(i), kind, x.size, 0, x.shape, stride, legacy=legacy)
    return state_dict(entries)


def zipped(
    pickle: bytes, storages: Mapping[str, bytes], packing: int = zipfile.ZIP_STORED
) -> bytes:
    """Return the archive of a pickle and its storages, key -> content."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/byteorder", "little")
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def as_zip(state: Mapping[str, np.ndarray]) -> bytes:
    """Return what PyTorch of 1.6 and later writes."""
    storages = {str(i): x.tobytes() for i, x in enumerate(state.values())}
    return zipped(pickled(state), storages)


def as_legacy(state: Mapping[str, np.ndarray]) -> bytes:
    """Return what earlier ones write."""
    keys = b"\x80\x02](" + b"".join(word(str(i)) for i in range(len(state))) + b"e."
    numbers = (struct.pack("<q", x.size) + x.tobytes() for x in state.values())
    first = MAGIC + VERSION + MACHINE + pickled(state, legacy=True)
    return first + keys + b"".join(numbers)
