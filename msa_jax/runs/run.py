"""One run, from a configuration to the files of its work directory."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import FrozenConfigDict

from msa_jax.ground import lock
from msa_jax.ground.backend import set_up_jax
from msa_jax.runs import workdir

if TYPE_CHECKING:
    from msa_jax.training.inputs import Inputs


def complete_run(
    settings: FrozenConfigDict,
    folder: Path,
    change: Callable[["Inputs"], "Inputs"] = lambda inputs: inputs,
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
    from msa_jax.runs import saver

    with lock.held(folder):
        done = workdir.finished(folder, settings.to_dict())
        if done is None:
            done = _run(settings, folder, change, quiet)
        saver.remove_left_over(folder)
    return done


def _run(
    settings: FrozenConfigDict,
    folder: Path,
    change: Callable[["Inputs"], "Inputs"],
    quiet: bool,
) -> dict[str, Any]:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    clock = time.perf_counter()
    set_up_jax(settings.precision)
    from msa_jax.data import store
    from msa_jax.runs import beside, resume, saver
    from msa_jax.runs.progress import TrainingProgress
    from msa_jax.runs.writer import Writer
    from msa_jax.training.train_state import describe_mesh

    ready = beside.load(settings, change)
    dataset, inputs, seeds = ready.dataset, ready.inputs, settings.seeds
    data = store.identity(dataset.card)
    identity = resume.identity(settings.to_dict(), data, inputs)
    provenance = workdir.provenance(
        data,
        inputs.encoder.description,
        settings.precision,
        ready.mesh.size,
    )
    progress = TrainingProgress(
        seeds, settings.selection.early_stop, settings.selection.max_epochs, quiet
    )
    say = progress.say
    saved, already = resume.find(folder, identity, provenance, say)
    beside.begin(ready, saved)
    writer = Writer(folder, settings, dataset, inputs, provenance)
    say(f"{settings.method} on {dataset.name}, seeds {', '.join(map(str, seeds))}")
    say(f"text: {inputs.encoder.description}")
    if devices := describe_mesh(ready.mesh, settings):
        say(devices)
    for note in inputs.notes:
        say(f"note: {note}")
    before = saved.epochs if saved else []
    for epoch in before:
        writer.epoch(epoch)
        progress.pass_by(epoch)
    with progress:

        def on_epoch(epoch):
            said = writer.epoch(epoch)
            progress(epoch)
            for line in said:
                say(line)

        with saver.Saver(folder, identity, seeds, already) as states:
            fitted = beside.fit(settings, ready, saved, on_epoch, states.keep, say)
        trained, shuffled = beside.evaluate(settings, ready, fitted)
    earlier = sum(epoch.seconds for epoch in before)
    times = {
        "started": started,
        "seconds": time.perf_counter() - clock + earlier,
        "command": _command(),
        "resumed_after_epoch": len(before),
    }
    return writer.finish(trained, shuffled, times, resume.notes(already))


def _command() -> str:
    """Return what was typed; other commands train, too."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    name = spec.name.removesuffix(".__main__") if spec else "msa_jax.main"
    return " ".join([f"python -m {name}", *sys.argv[1:]])
