"""One run, from a configuration to the files of its work directory.

Several processes train side by side (docs/hosts.md): the first, which also writes, runs
`complete_run`, the others `take_part`; both go through the same loop over epochs.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import FrozenConfigDict

from msa_jax import data
from msa_jax.data import Dataset, store
from msa_jax.ground import hosts, lock
from msa_jax.ground.backend import set_up_jax
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import TrainState
from msa_jax.methods import tasks
from msa_jax.runs import records, resume, saver, shuffled_modalities, workdir
from msa_jax.runs.progress import TrainingProgress
from msa_jax.runs.writer import Writer
from msa_jax.training import loop, train
from msa_jax.training.loop import Epoch, Saved, Tally
from msa_jax.training.program import Program, make_program
from msa_jax.training.splits import Inputs, make_inputs
from msa_jax.training.train import Fitted, Trained
from msa_jax.training.train_state import Devices, describe_mesh, devices_of


def complete_run(
    settings: FrozenConfigDict,
    folder: Path,
    change: Callable[[Inputs], Inputs] = lambda inputs: inputs,
    quiet: bool = False,
) -> dict[str, Any]:
    """Load, train, test, write what came out into `folder`; return the results.

    A run that was stopped there goes on after its last saved epoch, to the same
    results. One that another process finished meanwhile is not run again.

    Args:
        settings: the configuration.
        folder: the work directory.
        change: what else is done to the inputs; it should leave a note in them.
        quiet: print nothing.

    Raises:
        UserError: among others: another process works in the folder, or it holds an
            unfinished run of another configuration or on other data.
    """
    with lock.held(folder):
        done = workdir.finished(folder, settings.to_dict())
        if done is None:
            done = _run(settings, folder, change, quiet)
        saver.remove_left_over(folder)
    return done


def take_part(settings: FrozenConfigDict) -> int:
    """Train beside process 0, as often as it trains; return the exit code."""
    set_up_jax(settings.precision)
    ready = load(settings, lambda inputs: inputs)
    while got := hosts.share(dict):
        saved = _unpacked(ready, got)
        program = _compile(settings, ready)
        state, tally = train.start(program, settings.seeds, saved)
        steps = _epochs(settings, ready, program, state, tally)
        for state, tally, epoch in steps:
            loop.require_finite(program, epoch)
            _whole(state)  # all take part in copying it, whether they save it or not
        evaluate(settings, ready, train.fitted(settings, program, state, tally))
    return 0


class Ready(NamedTuple):
    """What a run trains on: the data, as inputs, and the devices."""

    dataset: Dataset
    inputs: Inputs
    devices: Devices


def load(settings: FrozenConfigDict, change: Callable[[Inputs], Inputs]) -> Ready:
    """Read the data set and lay the devices out.

    Args:
        settings: the configuration.
        change: what else is done to the inputs.
    """
    where = store.data_dir(settings.data.dir)
    dataset = data.load_dataset(settings.data.name, where)
    inputs = change(make_inputs(dataset, settings))
    return Ready(dataset, inputs, devices_of(settings))


def evaluate(
    settings: FrozenConfigDict, ready: Ready, fitted: Fitted
) -> tuple[Trained, shuffled_modalities.Answers]:
    """Answer test with the selected parameters, as it is and with others' inputs."""
    inputs, devices = ready.inputs, ready.devices
    trained = train.evaluate(settings, fitted, inputs, devices)
    return trained, shuffled_modalities.answers(settings, fitted, inputs.test, devices)


def _run(
    settings: FrozenConfigDict,
    folder: Path,
    change: Callable[[Inputs], Inputs],
    quiet: bool,
) -> dict[str, Any]:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    clock = time.perf_counter()
    set_up_jax(settings.precision)
    ready = load(settings, change)
    dataset, inputs, seeds = ready.dataset, ready.inputs, settings.seeds
    contents = store.identity(dataset.card)
    identity = resume.identity(settings.to_dict(), contents, inputs)
    provenance = workdir.provenance(
        contents,
        inputs.encoder.description,
        settings.precision,
        ready.devices.mesh.size,
    )
    progress = TrainingProgress(
        seeds, settings.selection.early_stop, settings.selection.max_epochs, quiet
    )
    say = progress.say
    saved, already = resume.find(folder, identity, provenance, say)
    if hosts.several():  # the others begin where this one does
        hosts.share(lambda: _packed(ready, saved))
    writer = Writer(folder, settings, dataset, inputs, provenance)
    say(f"{settings.method} on {dataset.name}, seeds {', '.join(map(str, seeds))}")
    say(f"text: {inputs.encoder.description}")
    if line := describe_mesh(ready.devices.mesh, settings):
        say(line)
    for note in inputs.notes:
        say(f"note: {note}")
    before = saved.epochs if saved else []
    for epoch in before:
        writer.epoch(epoch)
        progress.pass_by(epoch)
    with progress:
        say("compiling the program of an epoch")
        program = _compile(settings, ready)
        say(program.needs)
        state, tally = train.start(program, seeds, saved)
        with saver.Saver(folder, identity, seeds, already) as states:
            steps = _epochs(settings, ready, program, state, tally)
            for state, tally, epoch in steps:
                lines = writer.epoch(epoch)
                progress(epoch)
                for line in lines:
                    say(line)
                loop.require_finite(program, epoch, lambda i: f"seed {seeds[i]}")
                states.keep(_whole(state), epoch)
        fitted = train.fitted(settings, program, state, tally)
        trained, shuffled = evaluate(settings, ready, fitted)
    earlier = sum(epoch.seconds for epoch in before)
    times = {
        "started": started,
        "seconds": time.perf_counter() - clock + earlier,
        "command": _command(),
        "resumed_after_epoch": len(before),
    }
    return writer.finish(trained, shuffled, times, resume.notes(already))


def _compile(settings: FrozenConfigDict, ready: Ready) -> Program:
    splits, encoder = ready.inputs.splits, ready.inputs.encoder
    label_range = tuple(ready.dataset.card["label_range"])
    return make_program(
        settings, splits["train"], splits["valid"], encoder, ready.devices, label_range
    )


def _epochs(
    settings: FrozenConfigDict,
    ready: Ready,
    program: Program,
    state: TrainState,
    tally: Tally,
) -> Iterator[tuple[TrainState, Tally, Epoch]]:
    kind = tasks.metrics_kind(settings.task, ready.dataset.card["metrics"])
    return loop.epochs(program, state, tally, kind)


def _whole(state: TrainState) -> TrainState:
    return hosts.to_host(state) if hosts.several() else state


def _packed(ready: Ready, saved: Saved | None) -> dict[str, np.ndarray]:
    about = store.identity(ready.dataset.card)
    found = {"about": _bytes(json.dumps(about).encode())}
    if saved is not None:
        found |= {f"state/{name}": x for name, x in saved.arrays.items()}
        found |= {f"epoch/{e.number}": _bytes(records.pack(e)) for e in saved.epochs}
    return found


def _unpacked(ready: Ready, got: dict[str, np.ndarray]) -> Saved | None:
    there = json.loads(got["about"].tobytes())
    other = store.difference(there, store.identity(ready.dataset.card))
    if other:
        raise UserError(
            f"data set {ready.dataset.name} of process {jax.process_index()} is not "
            f"that of process 0 ({other}); prepare it from the same file on all "
            "machines"
        )
    if len(got) == 1:
        return None
    parts = [(*name.split("/", 1), x) for name, x in got.items() if name != "about"]
    arrays = {name: x for part, name, x in parts if part == "state"}
    epochs = [
        records.unpack(int(name), x.tobytes())
        for part, name, x in parts
        if part == "epoch"
    ]
    return Saved(arrays, epochs)


def _bytes(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8)


def _command() -> str:
    """Return what was typed; other commands train, too."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    name = spec.name.removesuffix(".__main__") if spec else "msa_jax.main"
    return " ".join([f"python -m {name}", *sys.argv[1:]])
