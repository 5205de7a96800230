"""How numbers and lists are written for people, in one way on every page."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from msa_jax.evaluation.metric_names import Metric
from msa_jax.evaluation.results_table import Measure

NOTHING = "–"
LEAST_P = 0.0001

Written = Metric | Measure  # `percent` and `decimals` say how a value is written


def number(value: Any) -> float:
    """Turn a JSON number into a float, null into NaN."""
    return math.nan if value is None else float(value)


def numbers(values: Any) -> np.ndarray:
    """Turn JSON numbers into a float array, null into NaN."""
    return np.asarray(values, np.float64)


def decimal(value: Any, decimals: int, *, signed: bool = False) -> str:
    """Write a number with a true minus sign; zero has none; "–" if there is none."""
    value = number(value)
    if not math.isfinite(value):
        return NOTHING
    text = f"{value:{'+' if signed else ''},.{decimals}f}"
    if not text.strip("+-0.,"):
        text = text.lstrip("+-")
    return minus(text)


def form(column: Written, value: Any, more: int = 0, *, signed: bool = False) -> str:
    """Write a value of a column; "–" if there is none.

    Args:
        column: its `percent` and `decimals` say how.
        value: in natural units (accuracies 0 to 1), or None.
        more: decimals beyond its own.
        signed: whether a plus is written.
    """
    value = number(value) * (100 if column.percent else 1)
    return decimal(value, column.decimals + more, signed=signed)


def form_interval(
    column: Written, ends: Any, more: int = 0, *, signed: bool = False
) -> str:
    """Write an interval; "–" if there is none."""
    if ends is None or None in ends:
        return NOTHING
    low, high = (form(column, end, more, signed=signed) for end in ends)
    return f"[{low}, {high}]"


def change(column: Written, value: float, *, signed: bool = False) -> str:
    """Write a change of a metric for a sentence, finer than in a table."""
    return amount(column, value, 0 if column.percent else 1, signed=signed)


def amount(
    column: Written, value: float, more: int = 0, *, signed: bool = False
) -> str:
    """Write a difference for a sentence; of percentages in points."""
    text = form(column, value, more, signed=signed)
    return f"{text} points" if column.percent else text


def p_value(value: Any) -> str:
    """Write a p-value: "0.031", "under 0.0001"; "–" if there is none."""
    value = number(value)
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.3g}" if value >= LEAST_P else f"under {LEAST_P}"


def minus(text: str | None) -> str:
    """Write a number, typed with a hyphen, with a minus sign; "–" for None."""
    return NOTHING if text is None else text.replace("-", "−")


def count(n: int, noun: str) -> str:
    """Write a count with its noun: "1 seed", "3 seeds"."""
    return f"{n} {noun}" if n == 1 else f"{n:,} {noun}s"


def over(seeds: int) -> str:
    """Say what a mean is over: "1 seed", "mean of 3 seeds"."""
    return "1 seed" if seeds == 1 else f"mean of {seeds} seeds"


def listed(names: Iterable[Any]) -> str:
    """Write names as people do: "a, b and c"; "" for none."""
    *most, last = [*map(str, names)] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def span(seconds: float) -> str:
    """Write a time as people say it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def facts(pairs: Iterable[tuple[Any, Any]]) -> list[tuple[str, list[str]]]:
    """Return what is known as (name, lines); what is None is left out."""
    return [
        (str(name).replace("_", " "), lines_of(value))
        for name, value in pairs
        if value is not None
    ]


def lines_of(value: Any) -> list[str]:
    """Write a value of a JSON file as lines of a table cell."""
    match value:
        case dict():
            return [", ".join(f"{k} {v}" for k, v in value.items())]
        case list() | tuple():
            return [str(item) for item in value]
        case float():
            return [f"{value:.4g}"]
        case _:
            return [str(value)]
