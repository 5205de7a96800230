"""tune.html, tune.md and figures/ of a hyper-parameter search, from tune.json alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from msa_jax import methods
from msa_jax.report import rendering, tables, tune_figures
from msa_jax.report.drawing import STYLE, to_png, to_svg
from msa_jax.report.page import Drawn
from msa_jax.report.reading import number

SHOWN = 10  # trials in the table; tune.json has all
HONEST = (
    "The winner's validation loss is optimistic: it is the smallest of many, and part "
    "of what made it the smallest is chance. What the winner is worth, test says, in a "
    "run of its own.",
    "Test was not read: this search had no access to it.",
)


def write(folder: Path, found: dict[str, Any]) -> Path:
    """Write page, markdown and figures beside tune.json.

    Args:
        folder: the search's work directory.
        found: what tune.json holds.

    Returns: the path of tune.html, one page that needs no other file.
    """
    import matplotlib

    with matplotlib.rc_context(STYLE):
        drawn = list(draw(found))
        files = {f"figures/{d.name}.png": to_png(d.figure) for d in drawn}
        svg = {d.name: to_svg(d.figure, d.name, d.alt) for d in drawn}
    content = describe(found) | {"figures": drawn}
    for name in ("tune.md", "tune.html"):
        own = svg if name.endswith("html") else None
        files[name] = rendering.render(f"{name}.j2", content, own).encode()
    rendering.write(folder, files)
    return folder / "tune.html"


def draw(found: dict[str, Any]) -> Iterator[Drawn]:
    """Draw every figure, in reading order; none without a finished trial."""
    if not tune_figures.drawable(found["trials"]):
        return
    several = len(found["seeds"]) > 1
    dot = "A dot is a trial, its mean over seeds" if several else "A dot is a trial"
    mark = "the orange diamond is the winner"
    cut = tune_figures.beyond(found["trials"])
    far = f" Triangles at the upper edge: {cut} beyond it." if cut else ""
    yield Drawn(
        "fields",
        "Validation loss by value",
        f"{dot}; {mark}. Lower is better. All other fields vary, too, so a panel shows "
        f"what was found, not what a field alone does.{far}",
        "Dot plots of validation loss over the values of each searched field",
        tune_figures.by_field(found),
    )
    yield Drawn(
        "best_so_far",
        "Best so far",
        f"{dot}{', with its standard deviation' if several else ''}, in the order of "
        f"drawing; the line is the lowest so far.{far}",
        "Validation loss of each trial, and the lowest so far",
        tune_figures.best_so_far(found),
    )


def describe(found: dict[str, Any]) -> dict[str, Any]:
    """Collect everything of the page that is not a figure."""
    fields = [field for axis in found["space"] for field in axis["fields"]]
    best = found["best"]
    return {
        "method": methods.title(found["method"]),
        "dataset": found["dataset"],
        "seeds": found["seeds"],
        "selection": found["selection"],
        "budget": found["budget"]["sentence"],
        "tiles": tiles(found),
        "warnings": warnings(found),
        "honest": HONEST,
        "close": _close(found),
        "best": best,
        "winner": [(f, form(best["values"][f])) for f in fields] if best else [],
        "columns": fields,
        "rows": rows(found, fields),
        "space": [
            (", ".join(axis["fields"]), _values(axis)) for axis in found["space"]
        ],
        "facts": _facts(found),
    }


def tiles(found: dict[str, Any]) -> list[dict[str, str]]:
    """Return the numbers that stand on top."""
    budget, best = found["budget"], found["best"]
    possible, made = budget["combinations"], []
    if best:
        note = f"trial {best['trial']}, {found['loss']}"
        note += _seeds_note(best["sd"], len(found["seeds"]))
        value = loss(best["score"])
        made.append({"title": "Best validation loss", "value": value, "note": note})
    return made + [
        {
            "title": "Trials",
            "value": str(budget["trials"]),
            "note": "of a space with ranges"
            if possible is None
            else f"of {possible:,} combination{'s' * (possible != 1)}",
        },
        {
            "title": "Epochs",
            "value": str(budget["epochs"]),
            "note": "of all trials and seeds together",
        },
        {
            "title": "Time",
            "value": span(budget["seconds"]),
            "note": "of training, compilation included",
        },
    ]


def warnings(found: dict[str, Any]) -> list[str]:
    """Return what a reader must know before believing the winner."""
    said = list(found["warnings"])
    budget, best = found["budget"], found["best"]
    if budget["trials"] < budget["planned"]:
        said.append(
            f"{budget['trials']} of {budget['planned']} planned trials are finished; "
            "start the command again and it goes on."
        )
    failed = sum(t["score"] is None for t in found["trials"])
    if failed:
        said.append(
            f"{tables.count(failed, 'trial')} diverged with a seed: no score, last in "
            "the ranking."
        )
    if len(found["seeds"]) == 1:
        said.append("Only 1 seed: how far trials differ by chance is not known.")
    for axis in found["space"] if best else []:
        where = _edge(axis, best["values"][axis["fields"][0]])
        if where:
            said.append(
                f"{axis['fields'][0]}: the winner's value lies at the {where} end of "
                "what was searched; better ones may lie beyond."
            )
    return said


def rows(found: dict[str, Any], fields: list[str]) -> list[dict[str, Any]]:
    """Return the best trials, best first."""
    several = len(found["seeds"]) > 1
    made = []
    for rank, trial in enumerate(ranked(found["trials"])[:SHOWN], 1):
        spread = [loss(trial["sd"])] if several else []
        made.append(
            {
                "rank": rank if trial["score"] is not None else "–",
                "cells": [
                    str(trial["trial"]),
                    loss(trial["score"]),
                    *spread,
                    *([loss(v) for v in trial["valid_loss"].values()] * several),
                    ", ".join(map(str, trial["selected_epoch"].values())),
                    *(form(trial["values"][field]) for field in fields),
                ],
            }
        )
    return made


def ranked(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort trials, best first; of equal ones the first; those without a score last."""
    return sorted(
        trials, key=lambda t: (t["score"] is None, t["score"] or 0, t["trial"])
    )


def loss(value: Any) -> str:
    """Write a loss with four decimals."""
    value = number(value)
    return "–" if value != value else f"{value:.4f}"


def form(value: Any) -> str:
    """Write a field's value shortly."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def span(seconds: float) -> str:
    """Write a time as people say it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _seeds_note(sd: Any, seeds: int) -> str:
    return f"; sd over {seeds} seeds {loss(sd)}" if sd is not None else ""


def _close(found: dict[str, Any]) -> str:
    """Say how many trials the seeds' spread cannot tell from the winner."""
    best = found["best"]
    if not best or best["sd"] is None:
        return ""
    limit = best["score"] + best["sd"]
    near = sum(
        t["score"] is not None and t["score"] <= limit and t["trial"] != best["trial"]
        for t in found["trials"]
    )
    verb = "lies" if near == 1 else "lie"
    return (
        f"{near or 'No'} other {'trial' if near == 1 else 'trials'} {verb} within one "
        f"standard deviation over seeds ({loss(best['sd'])}) of the winner"
        + ("; their order may be chance." if near else ".")
    )


def _edge(axis: dict[str, Any], value: Any) -> str:
    """Say at which end of a range the value lies, "" if at none.

    Of a list of at least three numbers the ends; of a range the outer twentieths.
    """
    values = axis["values"]
    if not all(type(v) in (int, float) for v in values):
        return ""
    low, high = min(values), max(values)
    if axis["kind"] == "list":
        if len(values) < 3:
            return ""
        place = {low: 0.0, high: 1.0}.get(value, 0.5)
    else:
        scale = np.log if axis["kind"] == "log_uniform" else np.asarray
        place = float((scale(value) - scale(low)) / (scale(high) - scale(low)))
    return "low" if place < 0.05 else "high" if place > 0.95 else ""


def _values(axis: dict[str, Any]) -> str:
    if axis["kind"] == "list":
        return ", ".join(form(v) for v in axis["values"])
    low, high = map(form, axis["values"])
    how = "logarithm" if axis["kind"] == "log_uniform" else "value"
    return f"{low} to {high}, every {how} equally likely"


def _facts(found: dict[str, Any]) -> list[tuple[str, list[str]]]:
    rows = [
        ("search", f"{found['search']}, seed {found['search_seed']}"),
        ("config", found["config_file"]),
        ("sweep", found["sweep_file"]),
        ("compiled programs", str(found["budget"]["programs"])),
        ("notes", found["notes"]),
        *found["provenance"].items(),
        ("started", found["started"]),
    ]
    return [(str(k).replace("_", " "), tables.lines_of(v)) for k, v in rows if v]
