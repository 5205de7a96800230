"""Measure how a finished run, of any method, bears missing and noisy modalities.

example: python -m msa_jax.robustness runs/demo
example: python -m msa_jax.robustness --workdir runs/demo --repeats 10 --retrain

Test is predicted with every combination of modalities, with frames, modalities or text
tokens missing at rates up to .9, with Bernoulli and with Gaussian noise, by every
seed's parameters, in one compiled program. Writes WORKDIR/robustness/: results.json,
robustness.html, robustness.md, figures/. What is measured: docs/robustness.md.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msa_jax import cli, main, workdir
from msa_jax.errors import UserError

REPEATS = 5


def command() -> None:
    """Run the command."""
    parser = cli.Parser(__doc__)
    parser.add_argument("folder", nargs="?", metavar="WORKDIR", help="a finished run")
    parser.add_argument("--workdir", metavar="WORKDIR", help="the same")
    parser.add_argument(
        "--data_dir", help="where its data set lies (default: where the run found it)"
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=REPEATS,
        help=f"draws of each random corruption, averaged (default: {REPEATS})",
    )
    parser.add_argument(
        "--retrain",
        action="store_true",
        help="also train a network per combination of modalities, with the run's own "
        "configuration, into WORKDIR/robustness/retrained/; finished ones are kept",
    )
    given = parser.parse_args()
    if (given.folder is None) == (given.workdir is None):
        raise UserError("give one work directory: python -m msa_jax.robustness WORKDIR")
    if given.repeats < 1:
        raise UserError(f"--repeats {given.repeats}: must be at least 1")
    folder = Path(given.folder or given.workdir)
    from msa_jax import finished  # jax and all the methods: slow to import

    finished.read_results(folder)  # says so if the run is not finished
    main.set_up_jax(finished.read_config(folder).precision)
    print(measure(folder, given.data_dir, given.repeats, given.retrain))


def measure(folder: Path, data_dir: str | None, repeats: int, retrain: bool) -> Path:
    """Evaluate a run, retrain if asked, write everything; return the page's path."""
    from msa_jax import finished
    from msa_jax.robustness import tables

    run = finished.open_run(folder, data_dir)
    started, clock = _now(), time.perf_counter()
    out = workdir.open_workdir(folder / "robustness")
    evaluated = _with_progress(run, repeats)
    found = tables.tabulate(run, evaluated, repeats)
    found["time"] = {"started": started, "seconds": time.perf_counter() - clock}
    path = _write(run, out, found)
    if retrain:
        _retrain(run, out, found, data_dir)
        path = _write(run, out, found)
    return path


def _write(run: Any, out: Path, found: dict[str, Any]) -> Path:
    """Write results and page, with the reduced networks that are there by now."""
    from msa_jax.report.tables import cautions
    from msa_jax.robustness import page

    _add_retrained(run, out, found)
    workdir.write_json(out / workdir.RESULTS, found)
    written = workdir.read_json(out / workdir.RESULTS)
    return page.write(out, written, cautions(run.results))


def _with_progress(run: Any, repeats: int) -> Any:
    from rich.progress import Progress

    from msa_jax.config import reads
    from msa_jax.robustness import evaluate, passes

    read, seeds = reads(run.config), len(run.results["seeds"])
    rows = passes.make_rows(read, repeats, passes.noisy_modalities(run.test))
    kinds = {row.kind for row in rows} - {passes.COMBINATIONS}
    print(
        f"{run.config.method} on {run.dataset.name}: {len(rows)} passes over "
        f"{len(run.label)} test samples with {seeds} seed(s), in one compiled program: "
        f"{len(passes.kept_combinations(read))} combinations of modalities and "
        f"{len(kinds)} kinds of corruption, {repeats} draw(s) each"
    )
    with Progress(transient=True) as bar:
        task = bar.add_task("compiling", total=len(rows))

        def on_call(done: int, total: int) -> None:
            bar.update(task, description="passes", completed=done, total=total)

        return evaluate.evaluate(run, repeats, on_call)


def _retrain(run: Any, out: Path, found: dict[str, Any], data_dir: str | None) -> None:
    """Train what is missing of the reduced networks."""
    from msa_jax.robustness import evaluate, reduced

    _, number = evaluate.replacement(run)
    kept = [tuple(row["kept"]) for row in found["combinations"][1:]]
    for i, names in enumerate(kept, 1):
        folder = reduced.folder_of(out, names)
        there = ", is there" if reduced.is_finished(folder) else f" into {folder}"
        print(f"network {i} of {len(kept)}: {' + '.join(names)}{there}")
        reduced.train(run, names, folder, number, data_dir)


def _add_retrained(run: Any, out: Path, found: dict[str, Any]) -> None:
    """Put the results of reduced networks beside those zeroed at test."""
    from msa_jax.report.tables import metrics_of
    from msa_jax.robustness import reduced, tables

    full = found["full"]
    metrics = metrics_of(found | {"test": full})
    for row in found["combinations"][1:]:
        folder = reduced.folder_of(out, tuple(row["kept"]))
        if reduced.is_finished(folder):
            test = reduced.results_of(run, folder)["test"]
            row["retrained"] = tables.reading(
                tables.per_seed(full), tables.per_seed(test), metrics
            )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    cli.run_plain(command)
