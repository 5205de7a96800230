"""robustness.html, robustness.md and figures/, from results.json alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msa_jax.methods as methods
from msa_jax.evaluation import wording
from msa_jax.evaluation.metric_names import HEADLINE, Metric, units
from msa_jax.evaluation.wording import NOTHING, count, decimal, form, form_interval
from msa_jax.report import rendering, run_tables
from msa_jax.report.rendering import Drawn
from msa_jax.studies.robustness import figures
from msa_jax.studies.robustness.tables import KindResults, Reading, Robustness

_SHOWN = 4  # metrics on the page; results.json has all
_TILES = 4


def write_robustness(folder: Path, results: Robustness, cautions: list[str]) -> Path:
    """Write page, markdown and figures beside results.json.

    Args:
        folder: WORKDIR/robustness.
        results: what results.json holds.
        cautions: of the run itself.

    Returns: the path of robustness.html, one page that needs no other file.
    """
    metrics = shown(results)
    with rendering.style():
        drawn = rendering.printed(draw(results, metrics))
    content = content_of(results, metrics, cautions) | {"figures": drawn.drawn}
    return rendering.write_page(folder, "robustness", content, drawn.svg, drawn.png)


def shown(results: Robustness) -> list[Metric]:
    """Choose the metrics of the page: those of the report's headline."""
    metrics = run_tables.metrics_of(results["metrics_kind"], results["full"])
    keys = HEADLINE.get(results["metrics_kind"], ())
    return [m for m in metrics if m.key in keys] or metrics[:_SHOWN]


def draw(results: Robustness, metrics: list[Metric]) -> Iterator[Drawn]:
    """Draw every figure, in reading order."""
    seeds = results["seeds"]
    several = len(seeds) > 1
    interval = ", with its 95 % interval (cut where far wider)" if several else ""
    second = " Squares: trained without." if _retrained(results) else ""
    yield Drawn(
        "combinations",
        "Missing modalities",
        f"Test, by the modalities that are there. Diamonds: mean over seeds{interval}, "
        f"the others zeroed at test.{second} Small dots are seeds; the dashed line is "
        "whole input.",
        "Dot plots of test metrics for every combination of modalities",
        figures.combinations(results["combinations"], metrics, seeds),
    )
    band = (
        " The band is the 95 % interval of the mean over seeds, cut where it is far "
        "wider than the seeds themselves."
        if several
        else ""
    )
    for kind in results["kinds"]:
        touched = ", ".join(kind["modalities"])
        yield Drawn(
            kind["name"],
            kind["title"],
            f"{kind['meaning']} Applied to: {touched}. Each seed's value is the mean "
            f"of {count(results['repeats'], 'draw')}. "
            "The dashed line is whole input." + band,
            f"Line charts of test metrics over the {kind['axis']}, a line per seed",
            figures.curves(kind, metrics, seeds),
        )


def content_of(
    results: Robustness, metrics: list[Metric], cautions: list[str]
) -> dict[str, Any]:
    """Collect everything of the page that is not a figure."""
    check, n = results["zero_corruption"], len(results["seeds"])
    warnings = list(cautions)
    if not check["equals_own_test_result"]:
        warnings.append(
            "Without corruption the answers differ from the run's own test result by "
            f"up to {check['largest_difference']:.3g}: this machine or its packages "
            "are not those of the run. Drops are taken from the answers made here."
        )
    if n == 1:
        warnings.append("Only 1 seed: no spread and no interval can be given.")
    return {
        "method": methods.title(results["method"]),
        "dataset": results["dataset"],
        "seeds": results["seeds"],
        "metrics": metrics,
        "warnings": warnings,
        "check": _check_sentence(results),
        "tiles": tiles(results, metrics),
        "columns": columns(metrics),
        "missing": combination_rows(results, metrics),
        "areas": area_rows(results, metrics),
        "levels": {k["name"]: level_rows(k, metrics) for k in results["kinds"]},
        "units": units(results["metrics_kind"]),
        "interval": run_tables.INTERVAL if n > 1 else "",
        "retrained": _retrained(results),
        "facts": _facts(results),
    }


def columns(metrics: list[Metric]) -> list[str]:
    """Name the columns of every table: per metric its value and its drop."""
    names = []
    for metric in metrics:
        arrow = "↓" if metric.lower_is_better else "↑"
        names += [f"{metric.title} {arrow}", "rise %" if arrow == "↓" else "drop %"]
    return names


def combination_rows(
    results: Robustness, metrics: list[Metric]
) -> list[dict[str, Any]]:
    """Return rows of the table of missing modalities, every reading there is."""
    rows = []
    for i, entry in enumerate(results["combinations"]):
        name = " + ".join(entry["kept"])
        if i == 0:
            rows += _rows(f"{name}: whole input", entry["zeroed"], metrics)
            continue
        second = entry.get("retrained")
        said = ", zeroed at test" if second else ""
        rows += _rows(name + said, entry["zeroed"], metrics)
        if second:
            rows += _rows(f"{name}, trained without", second, metrics)
    return rows


def area_rows(results: Robustness, metrics: list[Metric]) -> list[dict[str, Any]]:
    """Return rows of the table of areas, one per kind."""
    rows = []
    for kind in results["kinds"]:
        ends = [cell["level"] for cell in kind["levels"]]
        low, high = ends[1] if kind["decibels"] else 0, ends[-1]
        unit = " dB" if kind["decibels"] else ""
        name = f"{kind['title']}, {low:g} to {high:g}{unit}".replace("-", "−")
        rows += _rows(name, kind["area"], metrics)
    return rows


def level_rows(kind: KindResults, metrics: list[Metric]) -> list[dict[str, Any]]:
    """Return rows of one kind's table, one per level."""
    rows = []
    for cell in kind["levels"]:
        unit = " dB" if kind["decibels"] else ""
        level = cell["level"]
        name = "none" if level is None else f"{level:g}{unit}".replace("-", "−")
        rows += _rows(name, cell, metrics, intervals=False)
    return rows


def tiles(results: Robustness, metrics: list[Metric]) -> list[dict[str, str]]:
    """Return the few drops that stand on top, of the first accuracy shown."""
    metric = next((m for m in metrics if m.percent), metrics[0])
    full = results["combinations"][0]["kept"]
    cases = [
        (f"without {(set(full) - set(row['kept'])).pop()}", row["zeroed"])
        for row in results["combinations"]
        if len(row["kept"]) == len(full) - 1
    ]
    for kind in results["kinds"]:
        cases += [
            ("Bernoulli(.5) noise", cell)
            for cell in kind["levels"]
            if kind["name"] == "bernoulli" and cell["level"] == 0.5
        ]
    return [
        {
            "title": name,
            "value": decimal(cell["drop"][metric.key]["mean"], 2),
            "note": f"drop of {metric.title}"
            + _interval_note(cell["drop"][metric.key]["ci95"]),
        }
        for name, cell in cases[:_TILES]
    ]


def _rows(
    name: str, cell: Reading, metrics: list[Metric], intervals: bool = True
) -> list[dict[str, Any]]:
    """One row of means; a second one of intervals, where there are any."""
    means, spread = [], []
    for metric in metrics:
        value, drop = cell["test"][metric.key], cell["drop"][metric.key]
        means += [form(metric, value["mean"]), decimal(drop["mean"], 2)]
        spread += [form_interval(metric, value["ci95"]), _percents(drop["ci95"])]
    rows = [{"name": name, "kind": "reading", "cells": means}]
    if intervals and set(spread) != {"–"}:
        rows.append({"name": "95 % interval", "kind": "spread", "cells": spread})
    return rows


def _percents(ci95: Any) -> str:
    if ci95 is None:
        return NOTHING
    low, high = (decimal(end, 2) for end in ci95)
    return f"[{low}, {high}]"


def _interval_note(ci95: Any) -> str:
    return "" if ci95 is None else f", 95 % {_percents(ci95)}"


def _retrained(results: Robustness) -> bool:
    return any(row.get("retrained") for row in results["combinations"])


def _check_sentence(results: Robustness) -> str:
    check = results["zero_corruption"]
    passes = f"{check['passes']} passes"
    if check["equals_own_test_result"]:
        return (
            f"Checked: without corruption ({passes}, one in every kind) all answers "
            "and metrics equal the run's own test result exactly, to the bit."
        )
    return (
        f"Checked: without corruption ({passes}, one in every kind) the answers are "
        f"within {check['largest_difference']:.3g} of the run's own, not equal."
    )


def _facts(results: Robustness) -> list[tuple[str, list[str]]]:
    token = results["replacement"]
    gone = (
        f"token ids become {token}; [CLS], [SEP], mask and length stay" if token else ""
    )
    samples = results["passes"] * results["samples"] * len(results["seeds"])
    rows = [
        ("passes over test", f"{results['passes']}, {samples:,} samples predicted"),
        ("draws per random level", str(results["repeats"])),
        ("missing features", "become 0"),
        ("missing text", gone or "features become 0"),
        ("left out: nothing that the run reads", "; ".join(results["left_out"])),
        ("draws", "fixed by kind, draw, sample and modality; nested over severities"),
        *(results["provenance"] or {}).items(),
        *results.get("time", {}).items(),
    ]
    return wording.facts((name, value) for name, value in rows if value)
