"""Train a method on a data set with several seeds, and report what came out.

    python -m msa_jax.main --config configs/demo.py
    python -m msa_jax.main --config configs/self_mm_mosi.py:mmsa --workdir runs/mosi \\
        --config.seeds=1111,1112,1113 --config.data.dir=data

Writes WORKDIR/results.json, report.html, report.md and everything they rest on. Any
field of the config can be set on the command line; --help beside --config lists them.
A method has one card, configs/METHOD.py; configs/METHOD_DATASET.py means that card with
the method's values for the data set. Run again in the same workdir to go on after a
kill, with the same results to the bit (docs/resume.md), or to see the results of a
finished run. With --distributed the same command on several hosts is one run.
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import ConfigDict, FrozenConfigDict, config_flags

from msa_jax import cli, lock, workdir
from msa_jax.backend import set_up_jax
from msa_jax.errors import UserError

if TYPE_CHECKING:
    from msa_jax.inputs import Inputs

_CONFIG = config_flags.DEFINE_config_file("config", None, "the run's config file")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder of the run (default: runs/NAME_OF_THE_CONFIG)"
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "this is one of several processes that train together"
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0, where jax cannot find it out"
)
_PROCESSES = flags.DEFINE_integer(
    "processes", None, "how many processes there are, likewise"
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "which of them this is, from 0, likewise"
)


def main(argv: list[str]) -> int:
    """Run what the flags say; return the exit code."""
    from msa_jax import methods

    del argv
    frozen = FrozenConfigDict(_CONFIG.value)
    methods.check(frozen)
    folder = Path(_WORKDIR.value or _default_workdir())
    where = (_COORDINATOR.value, _PROCESSES.value, _PROCESS_ID.value)
    if not _DISTRIBUTED.value:
        if where != (None, None, None):
            raise UserError(
                "--coordinator, --processes and --process_id need --distributed"
            )
        return _show(frozen, folder)
    from msa_jax import beside, hosts

    with hosts.joined(hosts.Cluster(*where)):
        if not hosts.is_first():
            return beside.run(frozen)
        code = _show(frozen, folder)
        hosts.share(dict)  # nothing more to do for the others
    return code


def _show(frozen: FrozenConfigDict, folder: Path) -> int:
    """Run, unless it is done; print the results."""
    done = workdir.finished(folder, frozen.to_dict())
    if done is not None:
        from msa_jax import finished

        finished.require_own(folder, done, "give another --workdir")
    headline = f"already done in {folder} (delete it to run again)" if done else "done"
    if done is None or not _complete(folder):
        done = run(frozen, workdir.open_workdir(folder))
    from rich.console import Console

    from msa_jax.report.console import results_table

    console = Console()
    console.print(results_table(done))
    console.print(f"{headline}; report: {folder / 'report.html'}", soft_wrap=True)
    return 0


def run(
    settings: FrozenConfigDict,
    folder: Path,
    change: Callable[["Inputs"], "Inputs"] = lambda inputs: inputs,
    *,
    with_report: bool = True,
) -> dict[str, Any]:
    """Load, train, test and write everything into `folder`; return the results.

    A run that was stopped there goes on after its last saved epoch, to the same
    results. One that another process finished meanwhile is not run again.

    Args:
        settings: the configuration.
        folder: the work directory.
        change: what else is done to the inputs; it should leave a note in them.
        with_report: also write report.html and figures; `report` can do it later.

    Raises:
        UserError: among others: another process works in the folder, or it holds an
            unfinished run of another configuration or on other data.
    """
    from msa_jax import report, saver

    with lock.held(folder):
        done = workdir.finished(folder, settings.to_dict())
        if done is None:
            done = _run(settings, folder, change)
        saver.remove_left_over(folder)
        if with_report:
            report.write(folder)
    return done


def _run(
    settings: FrozenConfigDict, folder: Path, change: Callable[["Inputs"], "Inputs"]
) -> dict[str, Any]:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    clock = time.perf_counter()
    set_up_jax(settings.precision)
    from msa_jax import beside, outputs, resume, saver
    from msa_jax.data import store
    from msa_jax.progress import TrainingProgress
    from msa_jax.train_state import describe_mesh

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
    saved, already = resume.find(folder, identity, provenance, print)
    beside.begin(ready, saved)
    writer = outputs.Writer(folder, settings, dataset, inputs, provenance)
    print(f"{settings.method} on {dataset.name}, seeds {', '.join(map(str, seeds))}")
    print(f"text: {inputs.encoder.description}")
    if devices := describe_mesh(ready.mesh, settings):
        print(devices)
    for note in inputs.notes:
        print(f"note: {note}")
    progress = TrainingProgress(
        seeds, settings.selection.early_stop, settings.selection.max_epochs
    )
    before = saved.epochs if saved else []
    for epoch in before:
        writer.epoch(epoch)
        progress.pass_by(epoch)
    with progress:

        def on_epoch(epoch):
            said = writer.epoch(epoch)
            progress(epoch)
            for line in said:
                progress.console.print(line, highlight=False, soft_wrap=True)

        with saver.Saver(folder, identity, seeds, already) as states:
            fitted = beside.fit(settings, ready, saved, on_epoch, states.keep, print)
        trained, shuffled = beside.evaluate(settings, ready, fitted)
    earlier = sum(epoch.seconds for epoch in before)
    times = {
        "started": started,
        "seconds": time.perf_counter() - clock + earlier,
        "command": _command(),
        "resumed_after_epoch": len(before),
    }
    return writer.finish(trained, shuffled, times, resume.notes(already))


def _complete(folder: Path) -> bool:
    """Say whether a run was not killed after its results."""
    from msa_jax import saver

    return (folder / "report.html").exists() and not saver.left_over(folder)


def _command() -> str:
    """Return what was typed; other commands train, too."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    name = spec.name.removesuffix(".__main__") if spec else "msa_jax.main"
    return " ".join([f"python -m {name}", *sys.argv[1:]])


def _explain(settings: ConfigDict) -> str:
    """List the fields of a configuration, for --help."""
    from msa_jax import methods

    return methods.help_of(settings)


def _default_workdir() -> str:
    """For example runs/ucrn_mosei_code+ta for configs/ucrn_mosei.py:code+ta."""
    argument = config_flags.get_config_filename(flags.FLAGS["config"])
    path, _, words = argument.partition(":")
    named = Path(path).stem, words.replace("+", "_", 1)
    return str(Path("runs") / "_".join(filter(None, named)))


if __name__ == "__main__":
    cli.run(main, explain=_explain)
