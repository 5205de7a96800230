"""Cells that are not means of test metrics: spread, size, drops, improvements.

UCRN's Tables 4, 5 and 7 to 9.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from msa_jax.evaluation import statistics
from msa_jax.studies.reproduce.finished_rows import Entry
from msa_jax.studies.spec import Column

PARAMETERS = "parameters.json"  # of a configuration: how many its network has
ROBUSTNESS = Path("robustness") / "results.json"  # of a run: what corruptions cost


def needs(columns: Sequence[Column]) -> set[str]:
    """Say what a part's columns need beside training: "parameters", "drop"."""
    return {c.reading for c in columns} & {"parameters", "drop"}


def cell(
    index: int,
    column: Column,
    published: str | None,
    entry: Entry | None,
    *,
    reasons: Sequence[str] = (),
) -> dict[str, Any]:
    """Make one such cell (docs/tables.md).

    Args:
        index: place of the column.
        column: what is read.
        published: as printed.
        entry: the row's runs; None for a row that is not ours.
        reasons: why published values cannot be compared.
    """
    per_seed: dict[str, float | None] = {}
    value, interval = None, None
    if entry is not None:
        value, interval, per_seed = _read(column, entry)
    return {
        "column": index,
        "published": published,
        "mmsa": None,
        "per_seed": per_seed,
        "mean": value,
        "sd": None,
        "iqm": None,
        "ci_seeds": interval,
        "ci_student": None,
        "ci_samples": None,
        "verdict": _verdict(column, value, interval, published, entry, reasons),
        "against": None,
    }


def _read(
    column: Column, entry: Entry
) -> tuple[float | None, list[float] | None, dict[str, float | None]]:
    if column.reading == "parameters":
        path = entry.wanted.folder and entry.wanted.folder / PARAMETERS
        if path is None or not path.is_file():
            return None, None, {}
        return float(json.loads(path.read_text())["parameters"]), None, {}
    if column.reading == "drop":
        values = _drops(column, entry)
        known = _finite(values)
        if known is None:
            return None, None, values
        interval = statistics.interval_over_seeds(known)
        return float(known.mean()), list(interval) if interval else None, values
    values = _metric(column, entry)
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


def _metric(column: Column, entry: Entry) -> dict[str, float | None]:
    found = {}
    for seed, folder in entry.runs.items():
        results = entry.results[folder]
        cell = results["test"].get(column.key)
        lane = results["seeds"].index(seed)
        found[str(seed)] = None if cell is None else cell["per_seed"][lane]
    return found


def _drops(column: Column, entry: Entry) -> dict[str, float | None]:
    """Read percent lost under a corruption, as `robustness` has measured it.

    `column.of` is "without:vision" (that modality zeroed) or "bernoulli:0.5".
    """
    found: dict[str, float | None] = {}
    for seed, folder in entry.runs.items():
        path = folder / ROBUSTNESS
        if not path.is_file():
            continue
        measured = json.loads(path.read_text())
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
    entry: Entry | None,
    reasons: Sequence[str],
) -> dict[str, str]:
    if entry is None or (value is None and not entry.runs):
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
