"""From answers to numbers: every metric per kind, level and seed, drops and areas."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np

from msa_jax.config import reads
from msa_jax.evaluation import metrics as scoring
from msa_jax.evaluation.metric_names import Metric
from msa_jax.evaluation.statistics import Summary, summarise
from msa_jax.report.run_tables import metrics_of
from msa_jax.runs.reopened import ReopenedRun
from msa_jax.studies.robustness import passes
from msa_jax.studies.robustness.passes import COMBINATIONS, KINDS, Kind, Pass

PerSeed = dict[str, list[float]]  # metric -> a value per seed


class Reading(TypedDict):
    """Metrics, and what they lose against whole input; by metric."""

    test: dict[str, Summary]
    drop: dict[str, Summary]


class Level(Reading):
    """A kind's reading at a severity; None is no corruption."""

    level: float | None


class Combination(TypedDict):
    """The modalities that are there, the others zeroed at test, or trained without."""

    kept: list[str]
    zeroed: Reading
    retrained: NotRequired[Reading]


def readings_of(row: Combination) -> list[Reading]:
    """Return what there is of a combination: zeroed, and trained without."""
    second = row.get("retrained")
    return [row["zeroed"], *([second] if second else [])]


class KindResults(TypedDict):
    """A kind of corruption; see `passes.Kind`."""

    name: str
    title: str
    axis: str
    meaning: str
    decibels: bool
    modalities: list[str]
    levels: list[Level]
    area: Reading


class Robustness(TypedDict):
    """What robustness/results.json holds (docs/robustness.md)."""

    schema: int
    method: str
    dataset: str
    seeds: list[int]
    metrics_kind: str
    repeats: int
    passes: int
    samples: int
    replacement: str
    zero_corruption: dict[str, Any]
    full: dict[str, Summary]
    combinations: list[Combination]
    kinds: list[KindResults]
    left_out: list[str]
    provenance: dict[str, Any] | None
    time: NotRequired[dict[str, Any]]


class Evaluated(NamedTuple):
    """The answers of all passes.

    rows: what each pass was.
    prediction: [p, s, n], or with more axes, as the run's own.
    replacement: the token that stood for missing ones, "" where text is features.
    """

    rows: list[Pass]
    prediction: np.ndarray
    replacement: str


def tabulate(run: ReopenedRun, evaluated: Evaluated, repeats: int) -> Robustness:
    """Return what results.json holds, but for retrained networks and time."""
    scores = _scores(run, evaluated)
    metrics = metrics_of(run.files.results["metrics_kind"], run.files.results["test"])
    by_row: dict[tuple, list[PerSeed]] = {}
    for row, of_seeds in zip(evaluated.rows, scores, strict=True):
        kept = row.kept if row.kind == COMBINATIONS else None
        names = of_seeds[0]
        per_seed = {name: [s[name] for s in of_seeds] for name in names}
        by_row.setdefault((row.kind, kept, row.level), []).append(per_seed)
    means = {place: mean_of_draws(found) for place, found in by_row.items()}
    full = next(iter(means.values()))  # the first combination lacks nothing
    clean, largest = largest_difference(run, evaluated)
    return {
        "schema": 1,
        "method": run.files.results["method"],
        "dataset": run.files.results["dataset"],
        "seeds": run.files.results["seeds"],
        "metrics_kind": run.files.results["metrics_kind"],
        "repeats": repeats,
        "passes": len(evaluated.rows),
        "samples": len(run.label),
        "replacement": evaluated.replacement,
        "zero_corruption": {
            "passes": clean,
            "largest_difference": largest,
            "equals_own_test_result": largest == 0
            and _same_scores(full, run.files.results["test"]),
        },
        "full": _summaries(full),
        "combinations": [
            {"kept": list(kept), "zeroed": reading(full, found, metrics)}
            for (kind, kept, _), found in means.items()
            if kind == COMBINATIONS
        ],
        "kinds": [
            _of_kind(kind, means, full, metrics, run)
            for kind in KINDS
            if (kind.name, None, None) in means
        ],
        "left_out": [k.title for k in KINDS if (k.name, None, None) not in means],
        "provenance": run.files.results.get("provenance"),
    }


def mean_of_draws(found: Sequence[PerSeed]) -> PerSeed:
    """Average each metric of each seed over draws; NaN if a draw has none."""
    if len(found) == 1:
        return found[0]
    return {
        name: np.mean([draw[name] for draw in found], axis=0).tolist()
        for name in found[0]
    }


def reading(full: PerSeed, found: PerSeed, metrics: list[Metric]) -> Reading:
    """Summarise metrics over seeds, and each seed's drop from whole input."""
    return {"test": _summaries(found), "drop": _drops(full, found, metrics)}


def per_seed(cells: dict[str, Summary]) -> PerSeed:
    """Return the values of the summaries that a results.json holds."""
    return {
        name: [float("nan") if v is None else v for v in cell["per_seed"]]
        for name, cell in cells.items()
    }


def _scores(run: ReopenedRun, evaluated: Evaluated) -> list[list[dict[str, float]]]:
    """Return the metrics of every pass and seed, as the run itself was scored."""
    kind = run.files.results["metrics_kind"]
    return [
        [scoring.score(kind, of_seed, run.label) for of_seed in of_pass]
        for of_pass in evaluated.prediction
    ]


def largest_difference(run: ReopenedRun, evaluated: Evaluated) -> tuple[int, float]:
    """Compare every pass without corruption with the run's own answers on test.

    Returns: how many passes there are, and the largest difference: 0 says that all
        are the same to the bit.
    """
    read = set(reads(run.files.settings))
    clean = [
        evaluated.prediction[i]
        for i, row in enumerate(evaluated.rows)
        if row.level is None and read <= set(row.kept)
    ]
    own = run.prediction
    if all(np.array_equal(found, own, equal_nan=True) for found in clean):
        return len(clean), 0.0
    gaps = [np.abs(found.astype(np.float64) - own) for found in clean]
    return len(clean), float(np.max(np.nan_to_num(gaps, nan=np.inf)))


def drop(full: float, value: float, *, lower_is_better: bool) -> float:
    """Return by how many percent a metric is worse than with whole input.

    100 (full - value) / full where higher is better. Where lower is better, as MAE,
    the rise: 100 (value - full) / full; so above 0 is worse for every metric.

    Returns: NaN where the metric of the whole input is not above 0 (a correlation can
        be below): a share of it says nothing.

    Source: UCRN, section 4.4, of accuracies. The paper gives none of MAE; ours.
    """
    if not full > 0:
        return math.nan
    worse = value - full if lower_is_better else full - value
    return 100 * worse / full


def area(severity: Sequence[float], value: Sequence[float]) -> float:
    """Return the area under a curve, divided by its width: the mean over severities.

    By the trapezoid rule; in the unit of `value`. The order of severities does not
    matter, but each must be given once.
    """
    x, y = np.asarray(severity, float), np.asarray(value, float)
    order = np.argsort(x)
    x, y = x[order], y[order]
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def _of_kind(
    kind: Kind,
    means: dict[tuple, PerSeed],
    full: PerSeed,
    metrics: list[Metric],
    run: ReopenedRun,
) -> KindResults:
    """One kind: its levels, weak to strong, after "none"; and the area under them."""
    levels = [(None, means[(kind.name, None, None)])]
    levels += [(level, means[(kind.name, None, level)]) for level in kind.levels]
    # No corruption is severity 0, but infinitely many decibels: not on the axis.
    axis = [(0.0 if level is None else level, found) for level, found in levels]
    axis = axis[1:] if kind.decibels else axis
    areas = {
        name: [
            area([x for x, _ in axis], [found[name][seed] for _, found in axis])
            for seed in range(len(run.files.results["seeds"]))
        ]
        for name in full
    }
    return {
        "name": kind.name,
        "title": kind.title,
        "axis": kind.axis,
        "meaning": kind.meaning,
        "decibels": kind.decibels,
        "modalities": list(
            passes.touched(
                kind, reads(run.files.settings), passes.noisy_modalities(run.test)
            )
        ),
        "levels": [
            {"level": level, **reading(full, found, metrics)} for level, found in levels
        ],
        "area": reading(full, areas, metrics),
    }


def _drops(full: PerSeed, found: PerSeed, metrics: list[Metric]) -> dict[str, Summary]:
    return {
        metric.key: summarise(
            [
                drop(whole, value, lower_is_better=metric.lower_is_better)
                for whole, value in zip(
                    full[metric.key], found[metric.key], strict=True
                )
            ]
        )
        for metric in metrics
    }


def _summaries(found: PerSeed) -> dict[str, Summary]:
    return {name: summarise(values) for name, values in found.items()}


def _same_scores(full: PerSeed, test: dict[str, Summary]) -> bool:
    """Say whether every metric of every seed is the run's own.

    Of older runs the correlation was computed otherwise, the same but for rounding.
    """
    own = per_seed(test)
    return own.keys() == full.keys() and all(
        np.allclose(full[name], own[name], rtol=0, atol=1e-12, equal_nan=True)
        for name in own
    )
