"""Read pickles in a child process that can do little, and hand back plain arrays.

The child has limits on memory, time and file size, an empty environment, a scratch
folder to work in and, where the kernel has Landlock, no right to write elsewhere, to
execute or to connect. What it hands back are .npy files; nothing is unpickled here.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from msa_jax.data import checks, scratch
from msa_jax.errors import UserError

MAX_FILE = 32 << 30
SECONDS = 40  # and one more for every 20 MB
MEMORY = 2 << 30  # and five times the file
_PREFIX = "msa_prepare_"
_START = (
    "import json, sys; request = json.load(sys.stdin.buffer); "
    "sys.path[:] = request['path']; "
    "from msa_jax.data.sandbox import child; sys.exit(child(request))"
)
_MISTAKE = 2


class Found(NamedTuple):
    """What the reader says about a source besides its arrays."""

    layout: str
    assumptions: tuple[str, ...]
    unused: tuple[str, ...]
    write_protected: bool | None = None  # by the kernel; None if no pickle was read


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
def read(
    files: Sequence[Path],
    emotions: Path | None = None,
    limits: Limits | None = None,
    text: str | None = None,
) -> Iterator[tuple[dict[str, np.ndarray], Found]]:
    """Yield the plain arrays of pickles; they live until the context is left.

    Args:
        files: one pickle, or the pickles of one folder that belong together.
        emotions: a pickle of six emotion intensities per clip to join.
        limits: other than those that fit the size.
        text: which text is read, see `checks.choose_text`.
    """
    every = [*files, emotions] if emotions else list(files)
    size = sum(file.stat().st_size for file in every)
    if size > MAX_FILE:
        raise UserError(f"{files[0]}: larger than {MAX_FILE >> 30} GiB")
    place = Path(tempfile.gettempdir())
    scratch.sweep(_PREFIX, place)
    folder, lock = scratch.create(_PREFIX, place)
    try:
        _run_child(every, emotions, folder, limits or limits_for(size), text)
        yield _collect(folder)
    finally:
        scratch.remove(folder)
        if lock is not None:
            os.close(lock)


def _run_child(
    files: Sequence[Path],
    emotions: Path | None,
    folder: Path,
    limits: Limits,
    text: str | None,
) -> None:
    lifeline, held = (
        os.pipe()
    )  # the child notices when `held` closes, with this process
    request = {
        "files": [str(file.resolve()) for file in files if file != emotions],
        "emotions": str(emotions.resolve()) if emotions else None,
        "text": text,
        "scratch": str(folder),
        "parent": os.getpid(),
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
    if done.returncode == _MISTAKE and done.stdout:
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


def _collect(folder: Path) -> tuple[dict[str, np.ndarray], Found]:
    with (folder / "found.json").open() as stream:
        found = json.load(stream)
    arrays = {
        # a view of the file, not a copy: these can be gigabytes
        file.stem: np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
        for file in sorted(folder.glob("*.npy"))
    }
    return arrays, Found(
        found["layout"],
        tuple(found["assumptions"]),
        tuple(found["unused"]),
        found["write_protected"],
    )


def child(request: dict) -> int:
    """Read the files of a request into .npy files; runs in the child process."""
    # everything is imported before rights are given up
    from msa_jax.data import clips, columns, dialects, landlock, lifeline, unpickle

    lifeline.die_with(request["parent"], request["lifeline"])
    limits, folder = Limits(*request["limits"]), Path(request["scratch"])
    budget = columns.Budget(limits.budget)
    # a second of grace: at the hard limit it would be SIGKILL, which says nothing
    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds + 1))
    for what, most in (
        (resource.RLIMIT_FSIZE, limits.budget),
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    protected = landlock.restrict_to(folder)
    several = len(request["files"]) > 1
    where = ""
    try:
        trees, notes = {}, []
        for file in map(Path, request["files"]):
            where = f"{file}: " if several else ""
            if file.stem in trees:
                raise UserError(f"another pickle here is called '{file.stem}', too")
            trees[file.stem], rest = unpickle.read(file)
            if rest:
                notes.append(f"{file.name}: {rest} bytes after the pickle are not read")
        where = f"{Path(request['files'][0]).parent}: " if several else ""
        layout = dialects.recognise(trees, budget, request["text"])
        if request["emotions"]:
            where = f"{request['emotions']}: "
            tree, _ = unpickle.read(Path(request["emotions"]))
            names, values = clips.emotions_of(tree, budget)
            layout = clips.join_emotions(layout, names, values)
        notes = [*layout.assumptions, *notes]
        notes += columns.write(layout, folder, budget)
        found = Found(layout.name, tuple(notes), layout.unused, protected)
        (folder / "found.json").write_text(json.dumps(found._asdict()))
        return 0
    except UserError as error:
        line = str(error)
    except MemoryError:
        line = f"refused: it needs more than {limits.memory >> 20} MiB of memory"
    except RecursionError:
        line = "refused: nested too deeply"
    except OSError as error:
        line = f"its arrays cannot be written to {folder} ({error.strerror})"
    except Exception as error:  # a file nobody thought of must not end in a traceback
        line = f"no known layout ({type(error).__name__}: {error})"
    sys.stdout.buffer.write(f"{where}{line}".encode("utf-8", "replace"))
    return _MISTAKE
