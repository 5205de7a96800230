"""Small whole runs that stop at a chosen place, and what must be the same afterwards.

Tests run `train` with a network that compiles at once. `Killed` stands for kill -9:
after it, nothing that touches the disk works any more while `watching` lasts.
"""

import builtins
import contextlib
import gc
import hashlib
import io
import json
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny_runs import heads, settings, tiny_main

from msa_jax.data import Dataset
from msa_jax.ground.types import Method
from msa_jax.runs import checkpoint, run, saver, shuffled_modalities
from msa_jax.training import loop
from msa_jax.training import train as training

CHANGES = ("replace", "rename", "mkdir", "unlink", "rmdir", "fsync", "truncate")


# What orbax does before its folder gets its name counts as one: threads of its own, not
# killed with the rest, would wait for minutes. kill -9 meets it, too.
ORBAX = ".orbax-checkpoint-tmp"


class Killed(BaseException):
    """The process ends here."""


def train(
    folder: Path,
    asked: Any = None,
    dataset: Dataset | None = None,
    method: Callable[[], Method] = heads,
    known: dict[Any, Any] | None = None,
) -> dict[str, Any]:
    """Run `run.complete_run`; a run that was stopped there goes on.

    Args:
        folder: the work directory.
        asked: the configuration.
        dataset: the data.
        method: what makes the method.
        known: what runs of one configuration share, so that each takes a second: the
            compiled epoch, and what selected parameters of the same hash answer.
    """
    folder.mkdir(exist_ok=True)
    with tiny_main(dataset, method) as patch:
        patch.setattr(run, "set_up_jax", lambda precision: None)
        if known is not None:
            _share(patch, known)
        asked = asked or settings()
        with jax.default_matmul_precision(asked.precision):
            return run.complete_run(asked, folder)


def _share(patch: pytest.MonkeyPatch, known: dict[Any, Any]) -> None:
    def once(key, make):
        if key not in known:
            known[key] = make()
        return known[key]

    make_program, evaluate, answers = (
        run.make_program,
        training.evaluate,
        shuffled_modalities.answers,
    )

    def evaluated(settings, fitted, *rest):
        key = "evaluate", fitted.frozen.sha256
        found = once(key, lambda: evaluate(settings, fitted, *rest))
        return found._replace(fitted=fitted)

    def answered(settings, fitted, *rest):
        key = "answers", fitted.frozen.sha256
        return once(key, lambda: answers(settings, fitted, *rest))

    compiled = partial(once, "program")
    patch.setattr(run, "make_program", lambda *x: compiled(lambda: make_program(*x)))
    patch.setattr(training, "evaluate", evaluated)
    patch.setattr(shuffled_modalities, "answers", answered)


def stop(folder: Path, at: int, **how: Any) -> None:
    """Train until an epoch, which is not saved any more; `how`: see `train`."""
    right = loop._one

    def one(program, state, kind, number, active):
        if number == at:
            raise Killed
        return right(program, state, kind, number, active)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_one", one)
        with pytest.raises(Killed):
            train(folder, **how)


def compared(folder: Path) -> dict[str, str]:
    """Hash everything of a finished run that must not depend on when it was stopped."""
    results = json.loads((folder / "results.json").read_text())
    del results["time"]
    found = {"results.json": json.dumps(results, sort_keys=True).encode()}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".npz" or path.name in ("history.jsonl", "config.json"):
            found[path.name] = path.read_bytes()
    best = checkpoint.load(folder / "checkpoint" / "best")
    for path, leaf in jax.tree_util.tree_leaves_with_path(best):
        name = f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}"
        found[name] = np.asarray(leaf).tobytes()
    return {
        name: hashlib.sha256(content).hexdigest() for name, content in found.items()
    }


def left_over(folder: Path) -> list[str]:
    """List what a finished run must not leave."""
    found = [p for p in folder.iterdir() if p.name.startswith(".")]
    return [p.name for p in found + saver.left_over(folder)]


@contextlib.contextmanager
def watching(folder: Path, at: int | None = None) -> Iterator[list[str]]:
    """List the changes of files below a folder; at the n-th, from 0, the process ends.

    Args:
        folder: of the run.
        at: where it ends; None: nowhere.
    """
    seen: list[str] = []
    lock = threading.Lock()

    def meet(name: str, path: Any) -> None:
        if not isinstance(path, str | os.PathLike):
            path = ""  # by number: what is synchronised has a name of its own
        if not str(path).startswith(str(folder)) or ORBAX in str(path):
            return
        with lock:
            if at is not None and len(seen) >= at:
                seen.append("dead")
                raise Killed
            seen.append(f"{name} {path}")

    def watched(name: str, right: Callable) -> Callable:
        def call(path, *rest, **more):
            meet(name, path)
            return right(path, *rest, **more)

        return call

    def opened(right: Callable) -> Callable:
        def call(path, mode="r", *rest, **more):
            if set(mode) & set("wxa+"):
                meet("open", path)
            return right(path, mode, *rest, **more)

        return call

    hook = threading.excepthook

    def unless_killed(args: Any) -> None:
        if not issubclass(args.exc_type, Killed):
            hook(args)

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, watched(name, getattr(os, name)))
        patch.setattr(builtins, "open", opened(builtins.open))
        patch.setattr(io, "open", opened(io.open))
        patch.setattr(threading, "excepthook", unless_killed)
        yield seen


def killed_at(folder: Path, at: int, run: Callable[[], Any]) -> bool:
    """Run until the n-th change of a file; say whether it came that far."""
    try:
        with watching(folder, at):
            run()
    except BaseException as error:  # a library wraps what it meets
        if not _has(error, Killed):
            raise
        return True
    finally:
        with warnings.catch_warnings():  # of orbax's coroutines, which died, too
            warnings.simplefilter("ignore")
            gc.collect()
    return False


def _has(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False
