"""Read pickles in a child process that can do little, and hand back plain arrays.

The child has limits on memory, time and file size, an empty environment and a scratch
folder to work in. What it hands back are .npy files; nothing is unpickled here, and
nothing here imports what runs there, `sandboxed`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from msa_jax.data.check import checks
from msa_jax.ground import lock
from msa_jax.ground.errors import UserError

MAX_FILE = 32 << 30
SECONDS = 40  # and one more for every 20 MB
MEMORY = 2 << 30  # and five times the file
_PREFIX = "msa_prepare_"
_START = (
    "import json, sys; request = json.load(sys.stdin.buffer); "
    "sys.path[:] = request['path']; "
    "from msa_jax.data.read.sandboxed import child; sys.exit(child(request))"
)
MISTAKE = 2


class Found(NamedTuple):
    """What the reader says about a source besides its arrays."""

    layout: str
    assumptions: tuple[str, ...]
    unused: tuple[str, ...]


class Limits(NamedTuple):
    """What the child may use, from the size of what it reads."""

    seconds: int
    memory: int
    budget: int


def limits_for(size: int) -> Limits:
    """Return the limits for files of so many bytes."""
    return Limits(
        SECONDS + size // 20_000_000, MEMORY + 5 * size, checks.most_unfolded(size)
    )


@contextlib.contextmanager
def read_pickles(
    files: Sequence[Path],
    emotions: Path | None = None,
    limits: Limits | None = None,
    text: str | None = None,
    *,
    one_clip: bool = False,
) -> Iterator[tuple[dict[str, np.ndarray], Found]]:
    """Yield the plain arrays of pickles; they live until the context is left.

    Args:
        files: one pickle, or the pickles of one folder that belong together.
        emotions: a pickle of six emotion intensities per clip to join.
        limits: other than those that fit the size.
        text: which text is read, see `checks.choose_text`.
        one_clip: read a clip without label and split, as `predict` does, and nothing
            else.
    """
    every = [*files, emotions] if emotions else list(files)
    request = {
        "wanted": "one_clip" if one_clip else "clips",
        "files": [str(file.resolve()) for file in files if file != emotions],
        "emotions": str(emotions.resolve()) if emotions else None,
        "text": text,
    }
    with _answered(every, request, limits) as (arrays, found):
        yield (
            arrays,
            Found(
                found["layout"],
                tuple(found["assumptions"]),
                tuple(found["unused"]),
            ),
        )


@contextlib.contextmanager
def read_weights(file: Path) -> Iterator[dict[str, np.ndarray]]:
    """Yield the tensors of a PyTorch state dict by their names, as `read` does arrays.

    Args:
        file: what `torch.save(model.state_dict(), file)` wrote, of any version.
    """
    request = {"wanted": "weights", "files": [str(file.resolve())]}
    with _answered([file], request, None) as (arrays, found):
        yield {name: arrays[str(i)] for i, name in enumerate(found["names"])}


@contextlib.contextmanager
def _answered(
    files: Sequence[Path], request: dict[str, Any], limits: Limits | None
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, Any]]]:
    """Have a child answer a request about files; yield arrays and what it says."""
    size = sum(file.stat().st_size for file in files)
    if size > MAX_FILE:
        raise UserError(f"{files[0]}: larger than {MAX_FILE >> 30} GiB")
    parent = Path(tempfile.gettempdir())
    lock.sweep(_PREFIX, parent)
    with lock.scratch(_PREFIX, parent) as folder:
        _run_child(files, request, folder, limits or limits_for(size))
        yield _collect(folder)


def _run_child(
    files: Sequence[Path], request: dict[str, Any], folder: Path, limits: Limits
) -> None:
    lifeline, held = (
        os.pipe()
    )  # the child notices when `held` closes, with this process
    request = request | {
        "scratch": str(folder),
        "lifeline": lifeline,
        "limits": limits,
        "path": [os.path.abspath(part) for part in sys.path],
    }
    command = [sys.executable, "-I", "-B", "-c", _START]
    shown = files[0] if len(files) == 1 else files[0].parent
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            pass_fds=(lifeline,),
            env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            input=json.dumps(request).encode(),  # too long for an argument
            capture_output=True,
            timeout=limits.seconds + 10,  # starting up is not the file's fault
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{shown}: refused: reading took more than {limits.seconds} s"
        ) from None
    finally:
        os.close(lifeline)
        os.close(held)
    if done.returncode == 0:
        return
    if done.returncode == MISTAKE and done.stdout:
        line = done.stdout[:2000].decode("utf-8", "replace")
        line = "".join(c if c.isprintable() else " " for c in line)
        raise UserError(line if len(files) > 1 else f"{shown}: {line}")
    if done.returncode == -signal.SIGXCPU:
        raise UserError(f"{shown}: refused: reading took more than {limits.seconds} s")
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise UserError(f"{shown}: refused: the process reading it died ({name})")
    last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
    raise UserError(f"{shown}: cannot be read ({' '.join(last)[:200]})")


def _collect(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with (folder / "found.json").open() as stream:
        found = json.load(stream)
    arrays = {
        # a view of the file, not a copy: these can be gigabytes
        file.stem: np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
        for file in sorted(folder.glob("*.npy"))
    }
    return arrays, found
