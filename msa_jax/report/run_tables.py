"""Tables and sentences of a report: what the numbers say, as text."""

import math
from collections.abc import Iterable
from typing import Any, Literal

import msa_jax.methods as methods
from msa_jax.evaluation import wording
from msa_jax.evaluation.baselines import in_order
from msa_jax.evaluation.metric_names import (
    HEADLINE,
    IN_OTHER_TABLES,
    METRICS,
    Metric,
    primary,
)
from msa_jax.evaluation.statistics import Summary, smallest_sign_flip_p
from msa_jax.evaluation.wording import change, count, form, form_interval, number, over
from msa_jax.ground.names import EMOTIONS
from msa_jax.runs.finished import Results

INTERVAL = (
    "sd is the sample standard deviation over seeds (n − 1); the 95 % interval is "
    "Student's t interval of the mean over seeds. It covers the randomness of "
    "training, not the choice of test samples."
)


def metrics_of(kind: str, test: Iterable[str]) -> list[Metric]:
    """List the metrics that a run has, in reading order; unknown ones come last.

    Of emotions the means and WA; the rest is in `emotion_table`.

    Args:
        kind: of the run's metrics.
        test: their keys.
    """
    known, keys = METRICS.get(kind, ()), list(test)
    seen = {metric.key for metric in known}
    seen |= IN_OTHER_TABLES if kind == "emotion" else set()
    return [m for m in known if m.key in keys] + [
        Metric(key, key, False, False, "Not described here.")
        for key in keys
        if key not in seen
    ]


def headline(results: Results) -> list[dict[str, str]]:
    """Return the few numbers that stand on top: title, value, note, direction."""
    keys = HEADLINE.get(results["metrics_kind"], ())
    tiles = []
    for metric in metrics_of(results["metrics_kind"], results["test"]):
        if metric.key in keys:
            cell = results["test"][metric.key]
            sd, interval = cell.get("sd"), cell.get("ci95")
            lines = ["one seed"] if len(results["seeds"]) == 1 else []
            lines += [f"sd {form(metric, sd)}"] if sd is not None else []
            lines += [f"95 % {form_interval(metric, interval)}"] if interval else []
            tiles.append(
                {
                    "title": metric.title,
                    "value": form(metric, cell.get("mean")),
                    "unit": "%" if metric.percent else "",
                    "note": ", ".join(lines) or "not known for every seed",
                    "better": "lower" if metric.lower_is_better else "higher",
                }
            )
    return tiles


def result_rows(
    results: Results, split: Literal["test", "valid"] = "test"
) -> list[dict[str, Any]]:
    """Return rows {name, kind, cells}; kind is mean, spread, seed or baseline."""
    cells = results.get(split) or {}
    metrics = metrics_of(results["metrics_kind"], results["test"])
    table = [(metric, cells.get(metric.key, {})) for metric in metrics]
    n = len(results["seeds"])
    rows = [
        {
            "name": f"{methods.title(results['method'])}, {over(n)}",
            "kind": "mean",
            "cells": [form(m, cell.get("mean")) for m, cell in table],
        }
    ]
    if n > 1:
        spread = [form(m, cell.get("sd")) for m, cell in table]
        intervals = [form_interval(m, cell.get("ci95")) for m, cell in table]
        rows.append({"name": "sd", "kind": "spread", "cells": spread})
        rows.append({"name": "95 % interval", "kind": "spread", "cells": intervals})
    for lane, seed in enumerate(results["seeds"]):
        values = [cell.get("per_seed", [None] * n)[lane] for _, cell in table]
        texts = [form(m, v) for m, v in zip(metrics, values, strict=True)]
        rows.append({"name": f"seed {seed}", "kind": "seed", "cells": texts})
    if split == "test":
        for name, values in in_order(results.get("baselines") or {}).items():
            texts = [form(m, values.get(m.key)) for m in metrics]
            rows.append({"name": name, "kind": "baseline", "cells": texts})
    return rows


def baseline_sentences(results: Results) -> list[str]:
    """Say of each baseline whether the method is better on test, and by how much."""
    metric = primary(results["metrics_kind"])
    cell = results["test"].get(metric.key, {})
    mean, ci95 = number(cell.get("mean")), cell.get("ci95")
    sentences, method = [], methods.title(results["method"])
    for name, values in in_order(results.get("baselines") or {}).items():
        other = number(values.get(metric.key))
        if not (math.isfinite(mean) and math.isfinite(other)):
            article = "an" if metric.title[0] in "AEFMO" else "a"
            sentences.append(
                f"Against “{name}”: no comparison, {article} {metric.title} is not "
                "known."
            )
            continue
        gap = other - mean if metric.lower_is_better else mean - other
        if gap > 0:
            verdict = f"{method} beats “{name}” by {change(metric, gap)}"
        elif gap < 0:
            worse = change(metric, -gap)
            verdict = f"{method} does not beat “{name}”: it is worse by {worse}"
        else:
            verdict = f"{method} equals “{name}”"
        sentences.append(
            f"{verdict} in test {metric.title} ({_finer(metric, mean)} against "
            f"{_finer(metric, other)}); {_where(other, ci95)}."
        )
    return sentences


def _finer(metric: Metric, value: float) -> str:
    """Write a value for a sentence: percent with its sign."""
    return f"{form(metric, value)} %" if metric.percent else form(metric, value, 1)


def _where(other: float, ci95: Any) -> str:
    if ci95 is None:
        return "with no interval over seeds, how far this would repeat is unknown"
    if ci95[0] <= other <= ci95[1]:
        return "the 95 % interval over seeds includes the baseline's value"
    side = "below" if ci95[1] < other else "above"
    return f"the whole 95 % interval over seeds lies {side} the baseline's value"


def warnings(results: Results, empty_classes: float = 0.0) -> list[str]:
    """Return what a reader must know before believing the numbers."""
    n, lines = len(results["seeds"]), cautions(results)
    if n < 6:
        reach = "no spread can be given at all" if n == 1 else "that is above .05"
        lines.append(
            f"Only {count(n, 'seed')}: the smallest two-sided p-value of a paired "
            f"sign-flip test on {n} is {smallest_sign_flip_p(n):.4g}; {reach}. "
            "A claim of being better than another method needs at least six seeds."
        )
    metric = primary(results["metrics_kind"])
    unknown = [
        str(seed)
        for lane, seed in enumerate(results["seeds"])
        if metric.key in results["test"] and _lost(results["test"][metric.key], lane)
    ]
    if unknown:
        lines.append(
            f"No finite test {metric.title} for seed {', '.join(unknown)}: the "
            "training of such a seed diverged, and no mean over the others is given."
        )
    if empty_classes > 0:
        lines.append(
            f"Label generation met a class without samples {empty_classes:.0f} times "
            "(over all seeds and batches)."
        )
    return lines


_GRAVE = ("SYNTHETIC",)  # how notes begin that no reader may miss


def cautions(results: Results) -> list[str]:
    """Return the notes of a run that put its numbers in doubt."""
    return [note for note in results.get("notes") or [] if note.startswith(_GRAVE)]


def notes(results: Results) -> list[str]:
    """Return the other notes of a run."""
    return [note for note in results.get("notes") or [] if not note.startswith(_GRAVE)]


def _lost(cell: Summary, lane: int) -> bool:
    return not math.isfinite(number(cell.get("per_seed", [])[lane]))


def emotion_table(results: Results) -> dict[str, Any] | None:
    """Return {title, heads, rows} of accuracy and F1 per emotion; None without them.

    A row: the emotion's name, then the method's mean over seeds and "absent" for every
    sample, of accuracy and of F1.
    """
    test = results["test"]
    if results["metrics_kind"] != "emotion":
        return None
    plain = primary("emotion")  # all are in percent
    keys = ("wa", "acc", "acc_none", "f1", "f1_none")
    rows = [
        {
            "name": "mean" if e == "avg" else e,
            "cells": [
                form(plain, test.get(f"{key}_{e}", {}).get("mean")) for key in keys
            ],
        }
        for e in (*EMOTIONS, "avg")
    ]
    heads = ("WA", "Acc", "Acc, all absent", "F1", "F1, all absent")
    return {
        "title": "Accuracy and F1 per emotion, beside “absent” for every sample",
        "heads": heads,
        "rows": rows,
    }


def u_label_tables(results: Results) -> list[dict[str, Any]]:
    """Return one table {title, rows} per quantity in the results' `u_labels`."""
    plain = Metric("", "", False, False, "")
    return [
        {
            "title": title,
            "rows": [
                {
                    "name": name,
                    "mean": form(plain, cell.get("mean")),
                    "sd": form(plain, cell.get("sd")),
                    "ci95": form_interval(plain, cell.get("ci95")),
                    "per_seed": [form(plain, v) for v in cell.get("per_seed", [])],
                }
                for name, cell in by_modality.items()
            ],
        }
        for title, by_modality in (results.get("u_labels") or {}).items()
    ]


def facts(results: Results, reading: list[str]) -> list[tuple[str, list[str]]]:
    """Return what was run, on what and for how long, as (name, lines).

    Args:
        results: of the run.
        reading: of its method (see `methods.reading`).
    """
    seeds = [str(seed) for seed in results["seeds"]]
    rows: list[tuple[str, Any]] = [("reading", reading)] if reading else []
    rows.append(("selection", results.get("selection")))
    for key in ("selected_epoch", "epochs_run"):
        found = results.get(key) or {}
        rows.append((key, ", ".join(f"{s}: {found.get(s, '–')}" for s in seeds)))
    rows += list((results.get("provenance") or {}).items())
    rows += list((results.get("time") or {}).items())
    hashes = results.get("state_sha256") or {}
    rows.append(("state sha256", [f"{s}: {hashes.get(s, '–')}" for s in seeds]))
    return wording.facts(rows)
