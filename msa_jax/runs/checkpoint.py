"""Arrays on disk: a run's selected parameters (orbax), and its states on the way.

A state is a folder with `arrays.bin`, the bytes of every array in the order of names,
and `manifest.json`, which is written last and in one stroke: a folder without it was
never finished and does not count. The manifest has the hash, type and shape of every
array and its own hash; all of that is checked on reading. States are not orbax's,
because that copies and compresses what it writes: two to three times a state's size.
"""

import contextlib
import gc
import hashlib
import json
import logging
import math
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from msa_jax.ground import files, hosts
from msa_jax.ground.types import PyTree

ARRAYS, MANIFEST = "arrays.bin", "manifest.json"
_MOMENT = 0.5  # seconds; see `quiet`


class Damaged(Exception):
    """A saved state cannot be used; says which file or array, and why."""


class State(NamedTuple):
    """A saved state as read.

    arrays: "params/head/kernel" -> array.
    about: what was written beside them.
    """

    arrays: dict[str, np.ndarray]
    about: dict[str, Any]


def save(folder: Path, tree: PyTree) -> None:
    """Write a pytree of arrays with orbax; an older checkpoint there is replaced."""
    with _checkpointer() as checkpointer:
        checkpointer.save(folder.resolve(), jax.tree.map(np.asarray, tree), force=True)


def load(folder: Path) -> PyTree:
    """Read the pytree that `save` wrote, as NumPy arrays in nested dicts."""
    with _checkpointer() as checkpointer:
        return checkpointer.restore(folder.resolve())


def write_state(
    folder: Path, arrays: dict[str, np.ndarray], about: Mapping[str, Any]
) -> None:
    """Write a state; it counts once its manifest is there.

    Args:
        folder: of the state; what an unfinished write left there is removed.
        arrays: from `hosts.on_host`; each is taken out as soon as it is written.
        about: what else to keep, as JSON.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    described = {}
    with open(folder / ARRAYS, "wb") as file:
        for name in sorted(arrays):
            x = arrays.pop(name)
            described[name] = _describe(x)
            file.write(_bytes_of(x))
    content = {"arrays": described, "about": dict(about)}
    whole = {"sha256": _sha256_of_json(content), "content": content}
    files.write(folder / MANIFEST, json.dumps(whole, indent=1).encode())


def is_written(folder: Path) -> bool:
    """Say whether a state was written to its end."""
    return (folder / MANIFEST).is_file()


def remove_state(folder: Path) -> None:
    """Remove a state, its manifest first: half of it must not look damaged."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def read_about(folder: Path) -> dict[str, Any]:
    """Read what was written beside a state's arrays.

    Raises:
        Damaged: the manifest is.
    """
    return _manifest(folder)["about"]


def read_state(folder: Path) -> State:
    """Read a state and check every bit of it.

    Raises:
        Damaged: a file or an array of it is.
    """
    manifest, path = _manifest(folder), folder / ARRAYS
    arrays = {}
    try:
        with open(path, "rb") as file:
            for name, wanted in sorted(manifest["arrays"].items()):
                dtype, shape = np.dtype(wanted["dtype"]), wanted["shape"]
                x = np.fromfile(file, dtype, math.prod(shape))
                if x.size != math.prod(shape) or _describe(x.reshape(shape)) != wanted:
                    raise Damaged(f"{path}: {name} is not what was saved")
                arrays[name] = x.reshape(shape)
            if file.read(1):
                raise Damaged(f"{path} is longer than what was saved")
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({type(error).__name__})") from error
    return State(arrays, manifest["about"])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep orbax's other threads from printing tracebacks of their own.

    When a file is missing or cannot be written, orbax gives up and closes its event
    loop; what is still under way then finds it closed, a moment later, and says so on
    stderr.
    """
    before = sys.unraisablehook
    loggers = [logging.getLogger(name) for name in ("asyncio", "absl")]
    disabled = [logger.disabled for logger in loggers]

    def only_others(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            before(unraisable)

    sys.unraisablehook = only_others
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    except Exception:
        time.sleep(_MOMENT)
        gc.collect()  # what nobody asked for its error says it when it is collected
        raise
    finally:
        sys.unraisablehook = before
        for logger, was in zip(loggers, disabled, strict=True):
            logger.disabled = was


def _checkpointer() -> Any:
    import orbax.checkpoint as ocp

    if not hosts.several():
        return ocp.StandardCheckpointer()
    # Process 0 is alone with its disk: orbax is not to wait for the others.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes={0}, barrier_sync_key_prefix="process_0"
    )
    return ocp.StandardCheckpointer(multiprocessing_options=alone)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        whole = json.loads(path.read_bytes())
        content = whole["content"]
        good = whole["sha256"] == _sha256_of_json(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path} cannot be read ({type(error).__name__})") from error
    if not good:
        raise Damaged(f"{path} is not what was saved")
    return content


def _sha256_of_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _describe(x: np.ndarray) -> dict[str, Any]:
    digest = hashlib.sha256(_bytes_of(x))
    return {"sha256": digest.hexdigest(), "dtype": str(x.dtype), "shape": list(x.shape)}


def _bytes_of(x: np.ndarray) -> memoryview:
    return np.ascontiguousarray(x).reshape(-1).view(np.uint8).data
