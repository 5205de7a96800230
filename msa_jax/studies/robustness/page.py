"""robustness.html, robustness.md and figures/, from results.json alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msa_jax import methods
from msa_jax.evaluation.metric_names import HEADLINE, Metric, units
from msa_jax.report import rendering, tables
from msa_jax.report.drawing import STYLE, to_png, to_svg
from msa_jax.report.page import Drawn
from msa_jax.report.reading import number
from msa_jax.report.tables import form, form_interval
from msa_jax.studies.robustness import figures

_SHOWN = 4  # metrics on the page; results.json has all
_TILES = 4


def write(folder: Path, found: dict[str, Any], cautions: list[str]) -> Path:
    """Write page, markdown and figures beside results.json.

    Args:
        folder: WORKDIR/robustness.
        found: what results.json holds.
        cautions: of the run itself.

    Returns: the path of robustness.html, one page that needs no other file.
    """
    import matplotlib

    metrics = shown(found)
    with matplotlib.rc_context(STYLE):
        drawn = list(draw(found, metrics))
        files = {f"figures/{d.name}.png": to_png(d.figure) for d in drawn}
        svg = {d.name: to_svg(d.figure, d.name, d.alt) for d in drawn}
    content = describe(found, metrics, cautions) | {"figures": drawn}
    for name in ("robustness.md", "robustness.html"):
        own = svg if name.endswith("html") else None
        files[name] = rendering.render(f"{name}.j2", content, own).encode()
    rendering.write(folder, files)
    return folder / "robustness.html"


def shown(found: dict[str, Any]) -> list[Metric]:
    """Choose the metrics of the page: those of the report's headline."""
    metrics = tables.metrics_of(found | {"test": found["full"]})
    keys = HEADLINE.get(found["metrics_kind"], ())
    return [m for m in metrics if m.key in keys] or metrics[:_SHOWN]


def draw(found: dict[str, Any], metrics: list[Metric]) -> Iterator[Drawn]:
    """Draw every figure, in reading order."""
    seeds = found["seeds"]
    several = len(seeds) > 1
    interval = ", with its 95 % interval (cut where far wider)" if several else ""
    second = " Squares: trained without." if _retrained(found) else ""
    yield Drawn(
        "combinations",
        "Missing modalities",
        f"Test, by the modalities that are there. Diamonds: mean over seeds{interval}, "
        f"the others zeroed at test.{second} Small dots are seeds; the dashed line is "
        "whole input.",
        "Dot plots of test metrics for every combination of modalities",
        figures.combinations(found["combinations"], metrics, seeds),
    )
    band = (
        " The band is the 95 % interval of the mean over seeds, cut where it is far "
        "wider than the seeds themselves."
        if several
        else ""
    )
    for kind in found["kinds"]:
        touched = ", ".join(kind["modalities"])
        yield Drawn(
            kind["name"],
            kind["title"],
            f"{kind['meaning']} Applied to: {touched}. Each seed's value is the mean "
            f"of {tables.count(found['repeats'], 'draw')}. "
            "The dashed line is whole input." + band,
            f"Line charts of test metrics over the {kind['axis']}, a line per seed",
            figures.curves(kind, metrics, seeds),
        )


def describe(
    found: dict[str, Any], metrics: list[Metric], cautions: list[str]
) -> dict[str, Any]:
    """Collect everything of the page that is not a figure."""
    check, n = found["zero_corruption"], len(found["seeds"])
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
        "method": methods.title(found["method"]),
        "dataset": found["dataset"],
        "seeds": found["seeds"],
        "metrics": metrics,
        "warnings": warnings,
        "check": _check_sentence(found),
        "tiles": tiles(found, metrics),
        "columns": columns(metrics),
        "missing": combination_rows(found, metrics),
        "areas": area_rows(found, metrics),
        "levels": {k["name"]: level_rows(k, metrics) for k in found["kinds"]},
        "units": units(found["metrics_kind"]),
        "interval": tables.INTERVAL if n > 1 else "",
        "retrained": _retrained(found),
        "facts": _facts(found),
    }


def columns(metrics: list[Metric]) -> list[str]:
    """Name the columns of every table: per metric its value and its drop."""
    names = []
    for metric in metrics:
        arrow = "↓" if metric.lower_is_better else "↑"
        names += [f"{metric.title} {arrow}", "rise %" if arrow == "↓" else "drop %"]
    return names


def combination_rows(
    found: dict[str, Any], metrics: list[Metric]
) -> list[dict[str, Any]]:
    """Return rows of the table of missing modalities, every reading there is."""
    rows = []
    for i, entry in enumerate(found["combinations"]):
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


def area_rows(found: dict[str, Any], metrics: list[Metric]) -> list[dict[str, Any]]:
    """Return rows of the table of areas, one per kind."""
    rows = []
    for kind in found["kinds"]:
        ends = [cell["level"] for cell in kind["levels"]]
        low, high = ends[1] if kind["decibels"] else 0, ends[-1]
        unit = " dB" if kind["decibels"] else ""
        name = f"{kind['title']}, {low:g} to {high:g}{unit}".replace("-", "−")
        rows += _rows(name, kind["area"], metrics)
    return rows


def level_rows(kind: dict[str, Any], metrics: list[Metric]) -> list[dict[str, Any]]:
    """Return rows of one kind's table, one per level."""
    rows = []
    for cell in kind["levels"]:
        unit = " dB" if kind["decibels"] else ""
        level = cell["level"]
        name = "none" if level is None else f"{level:g}{unit}".replace("-", "−")
        rows += _rows(name, cell, metrics, intervals=False)
    return rows


def tiles(found: dict[str, Any], metrics: list[Metric]) -> list[dict[str, str]]:
    """Return the few drops that stand on top, of the first accuracy shown."""
    metric = next((m for m in metrics if m.percent), metrics[0])
    full = found["combinations"][0]["kept"]
    cases = [
        (f"without {(set(full) - set(row['kept'])).pop()}", row["zeroed"])
        for row in found["combinations"]
        if len(row["kept"]) == len(full) - 1
    ]
    for kind in found["kinds"]:
        cases += [
            ("Bernoulli(.5) noise", cell)
            for cell in kind["levels"]
            if kind["name"] == "bernoulli" and cell["level"] == 0.5
        ]
    return [
        {
            "title": name,
            "value": _percent(cell["drop"][metric.key]["mean"]),
            "note": f"drop of {metric.title}"
            + _interval_note(cell["drop"][metric.key]["ci95"]),
        }
        for name, cell in cases[:_TILES]
    ]


def _rows(
    name: str, cell: dict[str, Any], metrics: list[Metric], intervals: bool = True
) -> list[dict[str, Any]]:
    """One row of means; a second one of intervals, where there are any."""
    means, spread = [], []
    for metric in metrics:
        value, drop = cell["test"][metric.key], cell["drop"][metric.key]
        means += [form(metric, value["mean"]), _percent(drop["mean"])]
        spread += [form_interval(metric, value["ci95"]), _percents(drop["ci95"])]
    rows = [{"name": name, "kind": "reading", "cells": means}]
    if intervals and set(spread) != {"–"}:
        rows.append({"name": "95 % interval", "kind": "spread", "cells": spread})
    return rows


def _percent(value: Any) -> str:
    value = number(value)
    return "–" if value != value else f"{value:.2f}".replace("-", "−")


def _percents(ci95: Any) -> str:
    return "–" if ci95 is None else f"[{_percent(ci95[0])}, {_percent(ci95[1])}]"


def _interval_note(ci95: Any) -> str:
    return "" if ci95 is None else f", 95 % {_percents(ci95)}"


def _retrained(found: dict[str, Any]) -> bool:
    return any(row.get("retrained") for row in found["combinations"])


def _check_sentence(found: dict[str, Any]) -> str:
    check = found["zero_corruption"]
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


def _facts(found: dict[str, Any]) -> list[tuple[str, list[str]]]:
    token = found["replacement"]
    gone = (
        f"token ids become {token}; [CLS], [SEP], mask and length stay" if token else ""
    )
    samples = found["passes"] * found["samples"] * len(found["seeds"])
    rows = [
        ("passes over test", f"{found['passes']}, {samples:,} samples predicted"),
        ("draws per random level", str(found["repeats"])),
        ("missing features", "become 0"),
        ("missing text", gone or "features become 0"),
        ("left out: nothing that the run reads", "; ".join(found["left_out"])),
        ("draws", "fixed by kind, draw, sample and modality; nested over severities"),
        *found["provenance"].items(),
        *found["time"].items(),
    ]
    return [(str(k).replace("_", " "), tables.lines_of(v)) for k, v in rows if v]
