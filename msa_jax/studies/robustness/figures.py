"""Curves over severity, and what each combination of modalities reaches."""

from typing import Any

import numpy as np

from msa_jax.evaluation.metric_names import Metric
from msa_jax.evaluation.statistics import Summary
from msa_jax.evaluation.wording import number, numbers, over
from msa_jax.report.drawing import (
    INK,
    MUTED,
    PAPER,
    legend_below,
    panels,
    seed_line,
)
from msa_jax.studies.robustness.tables import Combination, KindResults, readings_of

_GAP = 0.17  # between two readings of one combination


def curves(kind: KindResults, metrics: list[Metric], seeds: list[int]) -> Any:
    """Draw each metric over a kind's severities: seeds, mean, interval over seeds."""
    levels = kind["levels"][1:] if kind["decibels"] else kind["levels"]
    x = np.array([0.0 if cell["level"] is None else cell["level"] for cell in levels])
    figure, axes = panels(len(metrics), columns=3 if len(metrics) == 3 else 2)
    for ax, metric in zip(axes, metrics, strict=True):
        scale = 100 if metric.percent else 1
        cells = [cell["test"][metric.key] for cell in levels]
        values = scale * numbers([cell["per_seed"] for cell in cells])
        for lane, seed in enumerate(seeds):
            style = seed_line(lane) | {"linewidth": 0.8, "alpha": 0.8}
            ax.plot(x, values[:, lane], label=f"seed {seed}", **style)
        if len(seeds) > 1:
            _mean_and_interval(ax, x, cells, scale, len(seeds))
        whole = scale * number(kind["levels"][0]["test"][metric.key]["mean"])
        if np.isfinite(whole):
            ax.axhline(whole, color=MUTED, linewidth=1, linestyle="--", zorder=1)
        if kind["decibels"]:
            ax.invert_xaxis()  # strong noise on the right, as elsewhere
        ax.set(title=metric.title, xlabel=kind["axis"], ylabel=_unit(metric))
        ax.set_ylim(*_limits(values))
    legend_below(figure, axes[0])
    return figure


def combinations(
    rows: list[Combination], metrics: list[Metric], seeds: list[int]
) -> Any:
    """Draw each metric for each combination: seeds, mean, interval; both readings."""
    figure, axes = panels(
        len(metrics),
        columns=3 if len(metrics) == 3 else 2,
        height=0.6 + 0.32 * len(rows),
    )
    names = [" + ".join(row["kept"]) for row in rows]
    for ax, metric in zip(axes, metrics, strict=True):
        for height, row in enumerate(rows):
            second = row.get("retrained")
            offset = _GAP if second else 0
            cell = row["zeroed"]["test"][metric.key]
            _dots(ax, height - offset, cell, metric, filled=True)
            if second:
                cell = second["test"][metric.key]
                _dots(ax, height + offset, cell, metric, filled=False)
        scale = 100 if metric.percent else 1
        whole = scale * number(rows[0]["zeroed"]["test"][metric.key]["mean"])
        if np.isfinite(whole):
            ax.axvline(whole, color=MUTED, linewidth=1, linestyle="--", zorder=1)
        ax.set_yticks(range(len(rows)), names)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        shown = [reading for row in rows for reading in readings_of(row)]
        cells = [reading["test"][metric.key]["per_seed"] for reading in shown]
        ax.set_xlim(*_limits(scale * numbers(cells)))
        ax.set(title=metric.title, xlabel=_unit(metric))
    return figure


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Show all seeds and half their range more; intervals of few are far wider."""
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    margin = max(0.5 * (high - low), 0.01 * max(abs(low), abs(high)), 1e-3)
    return low - margin, high + margin


def _mean_and_interval(
    ax: Any, x: np.ndarray, cells: list[Summary], scale: float, seeds: int
) -> None:
    mean = scale * np.array([number(cell["mean"]) for cell in cells])
    nothing = [None, None]
    ends = scale * numbers([cell["ci95"] or nothing for cell in cells])
    ax.plot(x, mean, color=INK, linewidth=2, label=over(seeds), zorder=3)
    ax.fill_between(
        x, ends[:, 0], ends[:, 1], color=INK, alpha=0.12, linewidth=0, zorder=0
    )


def _dots(
    ax: Any, height: float, cell: Summary, metric: Metric, *, filled: bool
) -> None:
    """One reading: a small dot per seed, its mean with the interval."""
    scale = 100 if metric.percent else 1
    for lane, value in enumerate(scale * numbers(cell["per_seed"])):
        colour = seed_line(lane)["color"]
        ax.plot(value, height, marker="o", markersize=3, color=colour, alpha=0.8)
    if cell["ci95"] is not None:
        ends = [scale * end for end in cell["ci95"]]
        ax.plot(ends, [height] * 2, color=INK, linewidth=1.2, zorder=2)
    ax.plot(
        scale * number(cell["mean"]),
        height,
        marker="D" if filled else "s",
        markersize=5,
        markerfacecolor=INK if filled else PAPER,
        markeredgecolor=INK,
        zorder=3,
    )


def _unit(metric: Metric) -> str:
    if metric.percent:
        return "percent"
    return "label units" if metric.key == "mae" else metric.title
