"""Cells that are not means of test metrics: spread, size, drops, improvements.

UCRN's Tables 4, 5 and 7 to 9.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from msa_jax.evaluation import statistics
from msa_jax.evaluation.results_table import Cell, Verdict, make_cell
from msa_jax.runs import workdir
from msa_jax.studies.reproduce.row_runs import RowRuns, runs_of
from msa_jax.studies.reproduce.wanted_runs import Wanted
from msa_jax.studies.table_spec import Column

REPEATS = 5  # draws of each random corruption
PARAMETERS = "parameters.json"  # of a configuration: how many its network has
ROBUSTNESS = Path("robustness") / "results.json"  # of a run: what corruptions cost


def measure_missing(
    wanted: Sequence[Wanted], seeds: Sequence[int], data_dir: str
) -> None:
    """Measure what such columns need beside training, into the runs' folders."""
    for want in wanted:
        if want.folder is None or want.recipe is None:
            continue
        if "parameters" in want.columns_read:
            path = want.folder / PARAMETERS
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                count = parameters(want.recipe.settings, data_dir)
                workdir.write_json(path, {"parameters": count})
        if "drop" in want.columns_read:
            for run in runs_of(want, seeds).each():
                _corrupt(run.folder, data_dir)


def parameters(settings: ConfigDict, data_dir: str) -> int:
    """Count the parameters of a configuration's network, the text encoder's included.

    Nothing is trained; shapes alone are computed.
    """
    import jax

    import msa_jax.methods as methods
    from msa_jax.data import load_dataset
    from msa_jax.ground.backend import set_up_jax
    from msa_jax.methods import network
    from msa_jax.training.splits import make_inputs

    set_up_jax(settings.precision)
    dataset = load_dataset(settings.data.name, data_dir)
    inputs = make_inputs(dataset, FrozenConfigDict(settings))
    label_range = tuple(dataset.card["label_range"])
    method = methods.make(settings, inputs.encoder.module, label_range)
    shapes = network.shapes(method, inputs.splits["train"])
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def _corrupt(folder: Path, data_dir: str) -> None:
    """Measure a run under missing modalities and noise, unless that is done."""
    if (folder / ROBUSTNESS).is_file():
        return
    from msa_jax.studies.robustness.measure import measure_run

    print(f"robustness of {folder}")
    measure_run(folder, data_dir, REPEATS, retrain=False)


def special_cell(
    index: int,
    column: Column,
    published: str | None,
    row: RowRuns | None,
    *,
    reasons: Sequence[str] = (),
) -> Cell:
    """Make one such cell (docs/tables.md).

    Args:
        index: place of the column.
        column: what is read.
        published: as printed.
        row: the row's runs; None for a row that is not ours.
        reasons: why published values cannot be compared.
    """
    per_seed: dict[str, float | None] = {}
    value, interval = None, None
    if row is not None:
        value, interval, per_seed = _read(column, row)
    verdict = _verdict(column, value, interval, published, row, reasons)
    return make_cell(
        index,
        verdict,
        published,
        per_seed=per_seed,
        mean=value,
        ci_seeds=interval,
    )


def _read(
    column: Column, row: RowRuns
) -> tuple[float | None, list[float] | None, dict[str, float | None]]:
    if column.reading == "parameters":
        path = row.wanted.folder and row.wanted.folder / PARAMETERS
        if path is None or not path.is_file():
            return None, None, {}
        return float(workdir.read_json(path)["parameters"]), None, {}
    if column.reading == "drop":
        values = _drops(column, row)
        known = _finite(values)
        if known is None:
            return None, None, values
        interval = statistics.interval_over_seeds(known)
        return float(known.mean()), list(interval) if interval else None, values
    values = row.metric(column.key)
    known = _finite(values)
    if known is None or len(known) < 2:
        return None, None, values
    if column.reading == "sd":
        return float(known.std(ddof=1)), _interval_of_sd(known), values
    assert column.reading == "improvement"
    sd = float(known.std(ddof=1))
    if sd == 0:
        return None, None, values
    return abs(float(known.mean()) - float(column.of)) / sd, None, values


def _drops(column: Column, row: RowRuns) -> dict[str, float | None]:
    """Read percent lost under a corruption, as `robustness` has measured it.

    `column.of` is "without:vision" (that modality zeroed) or "bernoulli:0.5".
    """
    found: dict[str, float | None] = {}
    for seed, run in row.runs.items():
        path = run.folder / ROBUSTNESS
        if not path.is_file():
            continue
        measured = workdir.read_json(path)
        lane = measured["seeds"].index(seed)
        drop = _level(measured, column.of)
        if drop is not None and column.key in drop:
            found[str(seed)] = drop[column.key]["per_seed"][lane]
    return found


def _level(measured: dict[str, Any], of: str) -> dict[str, Any] | None:
    """Return the drops of a corruption, metric -> summary."""
    name, _, which = of.partition(":")
    if name == "without":
        full = set(measured["combinations"][0]["kept"])
        for row in measured["combinations"]:
            if full - set(row["kept"]) == {which}:
                return row["zeroed"]["drop"]
        return None
    for kind in measured["kinds"]:
        if kind["name"] == name:
            for level in kind["levels"]:
                if level["level"] is not None and level["level"] == float(which):
                    return level["drop"]
    return None


def _finite(values: dict[str, float | None]) -> np.ndarray | None:
    """Return all values; None if there are none, or one is missing or not finite."""
    known = np.asarray([np.nan if v is None else v for v in values.values()], float)
    return known if len(known) and np.isfinite(known).all() else None


def _sd(values: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.std(values, axis=axis, ddof=1)


def _interval_of_sd(values: np.ndarray) -> list[float] | None:
    """Return the 95 % percentile bootstrap interval of a standard deviation."""
    from scipy.stats import bootstrap

    if np.ptp(values) == 0:
        return None
    found = bootstrap(
        (values,),
        _sd,
        n_resamples=statistics.RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(statistics.GENERATOR),
    )
    low, high = found.confidence_interval
    return [float(low), float(high)]


def _verdict(
    column: Column,
    value: float | None,
    interval: list[float] | None,
    published: str | None,
    row: RowRuns | None,
    reasons: Sequence[str],
) -> Verdict:
    if row is None or (value is None and not row.runs):
        return {"kind": "not_run", "text": "not run"}
    if published is None:
        return {"kind": "no_published", "text": "no published value"}
    if value is None:
        return {"kind": "no_interval", "text": "no value of ours to compare"}
    there = float(published.replace(",", ""))
    if column.reading == "parameters":
        same = there == value
        text = "the same number" if same else f"ours has {value - there:+,.0f}"
        kind = "inside" if same else ("higher" if value > there else "lower")
        return {"kind": kind, "text": text}
    if reasons:
        return {"kind": "other_data", "text": f"not comparable: {'; '.join(reasons)}"}
    if interval is None:
        return {"kind": "no_interval", "text": "one number, no interval to judge by"}
    half = 0.5 * 10.0 ** -len(published.partition(".")[2])
    low, high = interval[0] - half, interval[1] + half
    if low <= there <= high:
        return {"kind": "inside", "text": "published value inside our interval"}
    kind = "lower" if value < there else "higher"
    return {
        "kind": kind,
        "text": f"ours is {kind} by {abs(value - there):.3g} "
        f"(interval {interval[0]:.3g} to {interval[1]:.3g})",
    }
