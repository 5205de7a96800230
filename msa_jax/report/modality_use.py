"""Does it use audio and vision? What test loses when they are another sample's."""

from collections.abc import Container
from typing import Any

import msa_jax.methods as methods
from msa_jax.evaluation.metric_names import HEADLINE, Metric, primary
from msa_jax.evaluation.wording import change, form, form_interval, number
from msa_jax.report.run_tables import metrics_of
from msa_jax.runs.finished import Results
from msa_jax.runs.shuffled_modalities import AUDIO, DRAWS, SHUFFLED, VISION

_ROUNDING = 1e-6  # of sums in another order
CAPTION = (
    "Test answered again with the same parameters, every sample with the named "
    f"modalities of another one; a value is the mean of {DRAWS} assignments. In "
    "brackets the change, paired by seed, and Student's 95 % interval over seeds."
)


def section(results: Results) -> dict[str, Any] | None:
    """Return {title, caption, heads, rows, sentences}; None without controls."""
    controls = results.get("controls")
    if not controls:
        return None
    keys = HEADLINE.get(results["metrics_kind"], ())
    metrics = [
        metric
        for metric in metrics_of(results["metrics_kind"], results["test"])
        if metric.key in keys
    ]
    own = [form(m, results["test"][m.key].get("mean")) for m in metrics]
    rows = [{"name": "as it is", "cells": own}]
    for name, cells in controls.items():
        texts = [_cell(metric, cells.get(metric.key, {})) for metric in metrics]
        rows.append({"name": name.replace(SHUFFLED, " shuffled"), "cells": texts})
    return {
        "title": title(controls),
        "caption": CAPTION,
        "heads": [metric.title for metric in metrics],
        "rows": rows,
        "sentences": [
            sentence(results, name, cells) for name, cells in controls.items()
        ],
    }


def title(controls: Container[str]) -> str:
    """Ask for audio and vision, as far as they are read; else for text."""
    asked = [
        name.removesuffix(SHUFFLED) for name in (AUDIO, VISION) if name in controls
    ]
    return f"Does it use {' and '.join(asked) or 'text'}?"


def sentence(results: Results, name: str, cells: dict[str, Any]) -> str:
    """Say whether a run uses the modalities that a control shuffled."""
    metric = primary(results["metrics_kind"])
    method = methods.title(results["method"])
    what = name.removesuffix(SHUFFLED)
    start = f"With {what} of other samples"
    moves = cells.get(metric.key, {}).get("change") or {}
    mean, ci95 = moves.get("mean"), moves.get("ci95")
    if mean is None:
        return f"{start}: no comparison, a test {metric.title} is not known."
    if _untouched(cells):
        return (
            f"{start} no metric changes at all: {method}'s answers do not depend on "
            f"{what}."
        )
    moved = "rises" if mean > 0 else "falls"
    amount = change(metric, abs(mean))
    text = f"{start} test {metric.title} {moved} by {amount}"
    if ci95 is None:
        return f"{text}; with one seed there is no interval, so read it with care."
    low, high = (change(metric, limit, signed=True) for limit in ci95)
    text += f" (95 % interval of the change {low} to {high})"
    if ci95[0] <= 0 <= ci95[1]:
        return (
            f"{text}: it includes 0, so nothing here shows that {method} uses {what}."
        )
    if (mean > 0) == metric.lower_is_better:
        return f"{text}: {method} uses {what}."
    return (
        f"{text}, for the better: what {method} takes from {what} misleads it on test."
    )


def _cell(metric: Metric, cell: Any) -> str:
    """For example "0.951 (+0.032 [0.020, 0.044])"."""
    value, moves = form(metric, cell.get("mean")), cell.get("change") or {}
    if moves.get("mean") is None:
        return value
    moved = form(metric, moves["mean"], signed=True)
    interval = moves.get("ci95")
    return (
        f"{value} ({moved}{f' {form_interval(metric, interval)}' if interval else ''})"
    )


def _untouched(cells: dict[str, Any]) -> bool:
    """Say whether every metric of every seed that is known stayed as it was."""
    changes = [
        abs(number(value))
        for cell in cells.values()
        for value in cell["change"]["per_seed"]
        if value is not None
    ]
    return bool(changes) and max(changes) < _ROUNDING
