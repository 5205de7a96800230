"""PyTorch's files of weights as arrays; nothing of PyTorch is needed, nothing is run.

`torch.save` writes a zip archive: data.pkl, a pickle that names tensors and says where
their numbers lie, and those, an entry of the archive for each storage. Before 1.6 it
wrote five pickles (a magic number, a version, the machine, the contents, the storages'
keys) and the storages behind them, the count of its numbers before each.
Source: PyTorch, torch/serialization.py.
"""

import math
import mmap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from msa_jax.data.read import containers, pickled, unpickle
from msa_jax.data.read.columns import Budget
from msa_jax.data.read.pickled import STORAGES, Tensor
from msa_jax.ground.errors import UserError

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the old format
MAX_TENSORS = 20_000
MAX_PICKLE = 64 << 20  # bytes of the tensors' names and places
_WHOLE = "was it fully downloaded?"


def read_state_dict(path: Path, budget: Budget) -> dict[str, np.ndarray]:
    """Read a state dict: the name of each tensor -> an array of its own.

    Args:
        path: of a file by `torch.save(model.state_dict(), path)`.
        budget: how many bytes its tensors may take.

    Raises:
        UserError, one line: it is another file, a damaged one, or holds something else.
    """
    with path.open("rb") as stream:
        head = stream.read(containers.HEAD)
    if not head:
        raise UserError(f"the file is empty: {_WHOLE}")
    if head.startswith(b"PK"):
        return _of_zip(path, budget)
    if head.startswith(containers.TORCH_LEGACY):
        return _of_legacy(path, budget)
    other = containers.recognise(head) or "another program's file"
    raise UserError(
        f"not what torch.save(model.state_dict(), FILE) writes, but {other}"
    )


def _of_zip(path: Path, budget: Budget) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            pickles = [
                name for name in entries if name.rpartition("/")[2] == "data.pkl"
            ]
            if len(pickles) != 1:
                raise UserError("a zip archive, but not one of torch.save: no data.pkl")
            folder = pickles[0].removesuffix("data.pkl")

            def content(name: str, most: int) -> bytes:
                entry = entries.get(f"{folder}{name}")
                if entry is None:
                    raise UserError(f"damaged: it lacks '{name[:80]}'")
                if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                    raise UserError("refused: torch.save neither packs nor encrypts")
                if entry.file_size > most:
                    raise UserError(f"refused: '{name[:80]}' is too large")
                return archive.read(entry)

            if f"{folder}byteorder" in entries:
                _require_little(content("byteorder", 16) == b"little")
            contents, _ = unpickle.follow(content("data.pkl", MAX_PICKLE), tensors=True)
            tensors = _tensors(contents)
            largest = path.stat().st_size
            return _arrays(tensors, lambda key: content(f"data/{key}", largest), budget)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
        raise UserError(f"a damaged zip archive ({error}): {_WHOLE}") from None


def _of_legacy(path: Path, budget: Budget) -> dict[str, np.ndarray]:
    with path.open("rb") as stream:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    magic, at = unpickle.follow(data)
    version, at = unpickle.follow(data, at)
    machine, at = unpickle.follow(data, at)
    if (magic, version) != (MAGIC, VERSION) or type(machine) is not dict:
        raise UserError(f"not PyTorch's weights, or a damaged file: {_WHOLE}")
    _require_little(machine.get("little_endian") is True)
    contents, at = unpickle.follow(data, at, tensors=True)
    keys, at = unpickle.follow(data, at)
    tensors = _tensors(contents)
    sizes = {
        t.storage.key: np.dtype(STORAGES[t.storage.kind]).itemsize
        for t in tensors.values()
    }
    if type(keys) is not list or len(keys) > MAX_TENSORS:
        raise UserError("damaged: it does not name its storages")
    places = {}
    for key in keys:
        count = int.from_bytes(data[at : at + 8], "little")
        start, at = at + 8, at + 8 + count * sizes.get(key, 0)
        if type(key) is not str or key not in sizes or at > len(data):
            raise UserError(f"the file ends early, or is damaged: {_WHOLE}")
        places[key] = slice(start, at)
    if missing := sizes.keys() - places.keys():
        raise UserError(f"damaged: it lacks storage '{min(missing)[:80]}'")
    return _arrays(tensors, lambda key: data[places[key]], budget)


def _require_little(little: bool) -> None:
    if not little:
        raise UserError("refused: written on a big-endian machine")


def _tensors(contents: Any) -> dict[str, Tensor]:
    """Return the tensors of a state dict, which holds nothing else."""
    if type(contents) is not dict or not contents:
        raise UserError(
            "no state dict: save model.state_dict(), a dict of tensors by name"
        )
    if len(contents) > MAX_TENSORS:
        raise UserError(f"refused: more than {MAX_TENSORS} tensors")
    for name, value in contents.items():
        if type(name) is not str or type(value) is not Tensor:
            raise UserError(
                f"no state dict: its entry {str(name)[:80]!r} is no tensor; save "
                "model.state_dict() alone"
            )
    return contents


def _arrays(
    tensors: dict[str, Tensor], numbers: Callable[[str], bytes], budget: Budget
) -> dict[str, np.ndarray]:
    """Read storages one after the other, and of each the tensors that look at it."""
    by_storage: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        by_storage.setdefault(tensor.storage.key, []).append(name)
    found = {}
    for key, names in by_storage.items():
        content = numbers(key)
        budget.spend(names[0], len(content))
        for name in names:
            tensor = tensors[name]
            budget.spend(name, 8 * math.prod(tensor.shape))
            found[name] = pickled.tensor_array(tensor, content)
    return {name: found[name] for name in tensors}
