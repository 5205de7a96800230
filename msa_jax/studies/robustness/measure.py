"""Measure a run under corruption, retrain where asked, write tables and the page."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.progress import Progress

from msa_jax.config import reads
from msa_jax.report.run_tables import cautions, metrics_of
from msa_jax.runs import workdir
from msa_jax.runs.reopened import reopen
from msa_jax.studies.robustness import evaluate, page, passes, reduced, tables


def measure_run(
    folder: Path, data_dir: str | None, repeats: int, retrain: bool
) -> Path:
    """Evaluate a run, retrain if asked, write everything; return the page's path."""
    run = reopen(folder, data_dir)
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


def _write(run: Any, out: Path, found: tables.Robustness) -> Path:
    """Write results and page, with the reduced networks that are there by now."""
    _add_retrained(run, out, found)
    workdir.write_json(out / workdir.RESULTS, found)
    written = workdir.read_json(out / workdir.RESULTS)
    return page.write_robustness(out, written, cautions(run.files.results))


def _with_progress(run: Any, repeats: int) -> Any:
    read, seeds = reads(run.files.settings), len(run.files.results["seeds"])
    rows = passes.make_rows(read, repeats, passes.noisy_modalities(run.test))
    kinds = {row.kind for row in rows} - {passes.COMBINATIONS}
    print(
        f"{run.files.settings.method} on {run.dataset.name}: {len(rows)} passes over "
        f"{len(run.label)} test samples with {seeds} seed(s), in one compiled program: "
        f"{len(passes.kept_combinations(read))} combinations of modalities and "
        f"{len(kinds)} kinds of corruption, {repeats} draw(s) each"
    )
    with Progress(transient=True) as bar:
        task = bar.add_task("compiling", total=len(rows))

        def on_call(done: int, total: int) -> None:
            bar.update(task, description="passes", completed=done, total=total)

        return evaluate.evaluate(run, repeats, on_call)


def _retrain(
    run: Any, out: Path, found: tables.Robustness, data_dir: str | None
) -> None:
    """Train what is missing of the reduced networks."""
    _, number = evaluate.replacement(run)
    kept = [tuple(row["kept"]) for row in found["combinations"][1:]]
    for i, names in enumerate(kept, 1):
        folder = reduced.folder_of(out, names)
        there = ", is there" if reduced.is_finished(folder) else f" into {folder}"
        print(f"network {i} of {len(kept)}: {' + '.join(names)}{there}")
        reduced.train(run, names, folder, number, data_dir)


def _add_retrained(run: Any, out: Path, found: tables.Robustness) -> None:
    """Put the results of reduced networks beside those zeroed at test."""
    full = found["full"]
    metrics = metrics_of(found["metrics_kind"], full)
    for row in found["combinations"][1:]:
        folder = reduced.folder_of(out, tuple(row["kept"]))
        if reduced.is_finished(folder):
            test = reduced.results_of(run, folder)["test"]
            row["retrained"] = tables.reading(
                tables.per_seed(full), tables.per_seed(test), metrics
            )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
