"""Measure a run under corruption, retrain where asked, write tables and the page."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.progress import Progress

from msa_jax.config import reads
from msa_jax.report.run_tables import cautions, metrics_of
from msa_jax.runs import workdir
from msa_jax.runs.reopened import ReopenedRun, reopen
from msa_jax.studies.robustness import page, passes, reduced, tables
from msa_jax.studies.robustness.passes import Pass, Passes
from msa_jax.training import step
from msa_jax.training.train_state import split_sharding, state_sharding

ROWS_A_CALL = 8  # passes that one call of the program takes


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


def _with_progress(run: ReopenedRun, repeats: int) -> tables.Evaluated:
    read, seeds = reads(run.files.settings), len(run.files.results["seeds"])
    rows = passes.make_rows(read, repeats, passes.noisy_modalities(run.test))
    kinds = {row.kind for row in rows} - {passes.COMBINATIONS}
    print(
        f"{run.files.settings.method} on {run.dataset.name}: {len(rows)} passes over "
        f"{len(run.label)} test samples with {seeds} seed(s), in one compiled program: "
        f"{len(passes.kept_combinations(read))} combinations of modalities and "
        f"{len(kinds)} kinds of corruption, {repeats} draw(s) each"
    )
    found, (token, number) = [], replacement(run)
    with Progress(transient=True) as bar:
        task = bar.add_task("compiling", total=len(rows))
        for some in predictions(run, rows, number):
            found.append(some)
            bar.update(task, description="passes", advance=len(some))
    return tables.Evaluated(rows, np.concatenate(found), token)


def predictions(
    run: ReopenedRun, rows: list[Pass], replacement: int
) -> Iterator[np.ndarray]:
    """Predict test under every corruption; yield the answers of some passes at a time.

    Args:
        run: the run.
        rows: the passes.
        replacement: the token id that stands for a missing one.
    """
    table = passes.tabulate(rows, reads(run.files.settings))
    program = make_program(run, replacement)
    variables = jax.device_put(run.variables, state_sharding(run.devices.mesh))
    test = jax.device_put(run.test, split_sharding(run.devices.mesh))
    for start in range(0, len(rows), ROWS_A_CALL):
        # The last call has as many rows as the others; those too many are dropped.
        index = np.minimum(np.arange(start, start + ROWS_A_CALL), len(rows) - 1)
        some = Passes(*(column[index] for column in table))
        yield np.asarray(program(variables, test, some))[: len(rows) - start]


def make_program(run: ReopenedRun, replacement: int) -> Callable[..., jax.Array]:
    """Compile-ready program: (variables, split, rows) -> predictions [p, s, n].

    What is done to the split is data; the prediction is the one that a run's own test
    result comes from.
    """
    size, devices = run.files.settings.optim.batch_size, run.devices
    predict = step.make_predict(
        run.method, size, devices.mesh, over_seeds=devices.over_seeds
    )

    @jax.jit
    def program(variables, split, table: Passes):
        def one(row):
            return predict(variables, passes.corrupted(split, row, replacement))

        return jax.lax.map(one, table)

    return program


def replacement(run: ReopenedRun) -> tuple[str, int]:
    """Return the token that stands for a missing one: [UNK], else [PAD].

    Returns: its name and id; "" and 0 where text is features, which become zeros.

    Source: thuiar/MMSA, data loader for missing data: [UNK], and [CLS] and [SEP] stay.
    """
    text = run.test.text
    if not np.issubdtype(text.dtype, np.integer):
        return "", 0
    tokenizer = run.inputs.encoder.tokenizer
    number = getattr(tokenizer, "unk_token_id", None)
    return ("[PAD]", 0) if number is None else (str(tokenizer.unk_token), int(number))


def _retrain(
    run: Any, out: Path, found: tables.Robustness, data_dir: str | None
) -> None:
    """Train what is missing of the reduced networks."""
    _, number = replacement(run)
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
