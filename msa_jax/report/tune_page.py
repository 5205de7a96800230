"""tune.html, tune.md and figures/ of a hyper-parameter search, from tune.json alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

import msa_jax.methods as methods
from msa_jax.evaluation import wording
from msa_jax.evaluation.wording import count, decimal, numbers, span
from msa_jax.report import rendering
from msa_jax.report.drawing import INK, MUTED, PAPER, SEED_COLOURS, panels
from msa_jax.report.rendering import Drawn

SHOWN = 10  # trials in the table; tune.json has all
HONEST = (
    "The winner's validation loss is optimistic: it is the smallest of many, and part "
    "of what made it the smallest is chance. What the winner is worth, test says, in a "
    "run of its own.",
    "Test was not read: this search had no access to it.",
)
_DOT, _BEST = SEED_COLOURS[:2]
_SPREAD = 0.13  # half the width over which dots of one listed value are laid out
_ROOM = 6.0  # the axis ends so many times the median's distance above the best


class Trial(TypedDict):
    """A line of trials.jsonl; numbers of seeds by seed."""

    trial: int
    values: dict[str, Any]
    score: float | None
    sd: float | None
    valid_loss: dict[str, float | None]
    selected_epoch: dict[str, int]
    epochs_run: dict[str, int]
    seconds: float


class Best(Trial):
    """The winner, and the commands that train it."""

    command: str
    config_command: str


class Axis(TypedDict):
    """A direction of the space; kind "list", "uniform" or "log_uniform"."""

    fields: list[str]
    kind: str
    values: list[Any]


class Budget(TypedDict):
    """What a search cost; combinations is None where the space has a range."""

    trials: int
    planned: int
    combinations: int | None
    programs: int
    epochs: int
    seconds: float
    sentence: str


class Search(TypedDict):
    """What tune.json holds."""

    schema: int
    method: str
    task: str
    dataset: str
    seeds: list[int]
    loss: str
    selection: str
    search: str
    search_seed: int | None
    space: list[Axis]
    budget: Budget
    best: Best | None
    trials: list[Trial]
    warnings: list[str]
    config: dict[str, Any]
    config_file: str
    sweep_file: str
    notes: list[str]
    started: str
    provenance: dict[str, Any]


def write_search(folder: Path, search: Search) -> Path:
    """Write page, markdown and figures beside tune.json.

    Args:
        folder: the search's work directory.
        search: what tune.json holds.

    Returns: the path of tune.html, one page that needs no other file.
    """
    with rendering.style():
        figures = rendering.printed(draw(search))
    content = content_of(search) | {"figures": figures.drawn}
    return rendering.write_page(folder, "tune", content, figures.svg, figures.png)


def draw(search: Search) -> Iterator[Drawn]:
    """Draw every figure, in reading order; none without a finished trial."""
    if not _drawable(search["trials"]):
        return
    several = len(search["seeds"]) > 1
    dot = "A dot is a trial, its mean over seeds" if several else "A dot is a trial"
    mark = "the orange diamond is the winner"
    cut = _beyond(search["trials"])
    far = f" Triangles at the upper edge: {cut} beyond it." if cut else ""
    yield Drawn(
        "fields",
        "Validation loss by value",
        f"{dot}; {mark}. Lower is better. All other fields vary, too, so a panel shows "
        f"what was found, not what a field alone does.{far}",
        "Dot plots of validation loss over the values of each searched field",
        _by_field(search),
    )
    yield Drawn(
        "best_so_far",
        "Best so far",
        f"{dot}{', with its standard deviation' if several else ''}, in the order of "
        f"drawing; the line is the lowest so far.{far}",
        "Validation loss of each trial, and the lowest so far",
        _best_so_far(search),
    )


def content_of(search: Search) -> dict[str, Any]:
    """Collect everything of the page that is not a figure."""
    fields = [field for axis in search["space"] for field in axis["fields"]]
    best = search["best"]
    return {
        "method": methods.title(search["method"]),
        "dataset": search["dataset"],
        "seeds": search["seeds"],
        "selection": search["selection"],
        "budget": search["budget"]["sentence"],
        "tiles": tiles(search),
        "warnings": warnings(search),
        "honest": HONEST,
        "close": _close(search),
        "best": best,
        "winner": [(f, field_value(best["values"][f])) for f in fields] if best else [],
        "columns": fields,
        "rows": rows(search, fields),
        "space": [
            (", ".join(axis["fields"]), _values(axis)) for axis in search["space"]
        ],
        "facts": _facts(search),
    }


def tiles(search: Search) -> list[dict[str, str]]:
    """Return the numbers that stand on top."""
    budget, best = search["budget"], search["best"]
    possible, made = budget["combinations"], []
    if best:
        note = f"trial {best['trial']}, {search['loss']}"
        note += _seeds_note(best["sd"], len(search["seeds"]))
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


def warnings(search: Search) -> list[str]:
    """Return what a reader must know before believing the winner."""
    said = list(search["warnings"])
    budget, best = search["budget"], search["best"]
    if budget["trials"] < budget["planned"]:
        said.append(
            f"{budget['trials']} of {budget['planned']} planned trials are finished; "
            "start the command again and it goes on."
        )
    failed = sum(t["score"] is None for t in search["trials"])
    if failed:
        said.append(
            f"{count(failed, 'trial')} diverged with a seed: no score, last in "
            "the ranking."
        )
    if len(search["seeds"]) == 1:
        said.append("Only 1 seed: how far trials differ by chance is not known.")
    for axis in search["space"]:
        where = best and _edge(axis, best["values"][axis["fields"][0]])
        if where:
            said.append(
                f"{axis['fields'][0]}: the winner's value lies at the {where} end of "
                "what was searched; better ones may lie beyond."
            )
    return said


def rows(search: Search, fields: list[str]) -> list[dict[str, Any]]:
    """Return the best trials, best first."""
    several = len(search["seeds"]) > 1
    made = []
    for rank, trial in enumerate(ranked(search["trials"])[:SHOWN], 1):
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
                    *(field_value(trial["values"][field]) for field in fields),
                ],
            }
        )
    return made


def ranked(trials: list[Trial]) -> list[Trial]:
    """Sort trials, best first; of equal ones the first; those without a score last."""
    return sorted(
        trials, key=lambda t: (t["score"] is None, t["score"] or 0, t["trial"])
    )


def loss(value: Any) -> str:
    """Write a loss with four decimals."""
    return decimal(value, 4)


def field_value(value: Any) -> str:
    """Write a field's value shortly."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def _seeds_note(sd: Any, seeds: int) -> str:
    return f"; sd over {seeds} seeds {loss(sd)}" if sd is not None else ""


def _close(search: Search) -> str:
    """Say how many trials the seeds' spread cannot tell from the winner."""
    best = search["best"]
    if not best or best["sd"] is None or best["score"] is None:
        return ""
    limit = best["score"] + best["sd"]
    near = sum(
        t["score"] is not None and t["score"] <= limit and t["trial"] != best["trial"]
        for t in search["trials"]
    )
    verb = "lies" if near == 1 else "lie"
    return (
        f"{near or 'No'} other {'trial' if near == 1 else 'trials'} {verb} within one "
        f"standard deviation over seeds ({loss(best['sd'])}) of the winner"
        + ("; their order may be chance." if near else ".")
    )


def _edge(axis: Axis, value: Any) -> str:
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


def _values(axis: Axis) -> str:
    if axis["kind"] == "list":
        return ", ".join(field_value(v) for v in axis["values"])
    low, high = map(field_value, axis["values"])
    how = "logarithm" if axis["kind"] == "log_uniform" else "value"
    return f"{low} to {high}, every {how} equally likely"


def _facts(search: Search) -> list[tuple[str, list[str]]]:
    rows = [
        ("search", f"{search['search']}, seed {search['search_seed']}"),
        ("config", search["config_file"]),
        ("sweep", search["sweep_file"]),
        ("compiled programs", str(search["budget"]["programs"])),
        ("notes", search["notes"]),
        *search["provenance"].items(),
        ("started", search["started"]),
    ]
    return wording.facts((name, value) for name, value in rows if value)


def _drawable(trials: list[Trial]) -> bool:
    """Tell whether any trial has a score."""
    return bool(np.isfinite(_scores(trials)).any())


def _beyond(trials: list[Trial]) -> int:
    """Count the trials whose score lies above the axis."""
    return int((_scores(trials) > _limits(trials)[1]).sum())


def _by_field(search: Search) -> Any:
    """Draw a panel for each direction of the space."""
    axes_of, trials = search["space"], search["trials"]
    columns = 2 if len(axes_of) in (2, 4) else 3
    figure, axes = panels(len(axes_of), columns, height=2.2)
    for ax, axis in zip(axes, axes_of, strict=True):
        _dots(ax, _places(axis, trials), search)
        if axis["kind"] == "list":
            names = [_short(v) for v in axis["values"]]
            ax.set_xticks(range(len(names)), names)
            ax.set_xlim(-0.5, len(names) - 0.5)
            ax.grid(visible=False, axis="x")
        else:
            low, high = axis["values"]
            margin = 0.04
            if axis["kind"] == "log_uniform":
                _log_axis(ax)
                factor = (high / low) ** margin
                ax.set_xlim(low / factor, high * factor)
            else:
                room = (high - low) * margin
                ax.set_xlim(low - room, high + room)
        ax.set_title(_title(axis["fields"]), fontsize=9)
        ax.set_ylim(*_limits(trials))
    for first in axes[::columns]:
        first.set_ylabel("validation loss")
    return figure


def _best_so_far(search: Search) -> Any:
    """Draw every trial in the order of drawing, and the lowest score so far."""
    trials = search["trials"]
    figure, (ax,) = panels(1, height=2.9)
    scores, at = _scores(trials), np.array([t["trial"] for t in trials], float)
    spread = np.nan_to_num(numbers([t["sd"] for t in trials]))
    low, high = _limits(trials)
    known = np.isfinite(scores) & (scores <= high)
    ends = scores[known] + spread[known] * np.array([[-1], [1]])
    ax.vlines(at[known], *ends, color=MUTED, linewidth=0.8, zorder=1)
    best = np.fmin.accumulate(scores)
    ax.step(at, best, where="post", color=INK, linewidth=1.2, zorder=2)
    _dots(ax, at, search)
    ax.set(xlabel="trial", ylabel="validation loss")
    ax.set_xlim(0.5, max(at) + 0.5)
    ax.locator_params(axis="x", integer=True)
    ax.set_ylim(low, high)
    return figure


def _log_axis(ax: Any) -> None:
    """Make the x axis logarithmic, its ticks plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_xscale("log")
    ticks = LogLocator(base=10, subs=(1, 3), numticks=6)
    ax.xaxis.set_major_locator(ticks)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _dots(ax: Any, at: np.ndarray, search: Search) -> None:
    """Draw trials as dots, the winner as a diamond, what lies above as triangles."""
    trials, best = search["trials"], search["best"]
    scores, high = _scores(trials), _limits(trials)[1]
    won = np.array([best is not None and t["trial"] == best["trial"] for t in trials])
    inside, above = (scores <= high) & ~won, scores > high
    ax.plot(at[inside], scores[inside], "o", color=_DOT, markersize=4, alpha=0.75)
    if above.any():  # an empty line without clipping would upset the layout
        edge = np.full(above.sum(), high)
        triangle = {"color": _DOT, "markersize": 5, "alpha": 0.75, "clip_on": False}
        ax.plot(at[above], edge, "^", **triangle)
    diamond = {"markersize": 6, "markeredgecolor": PAPER, "zorder": 4}
    ax.plot(at[won], scores[won], "D", color=_BEST, **diamond)


def _limits(trials: list[Trial]) -> tuple[float, float]:
    """Show the good half in detail: an axis up to a failed trial would hide it."""
    scores = _scores(trials)
    known = np.sort(scores[np.isfinite(scores)])
    low, top = known[0], known[-1]
    top = min(top, low + _ROOM * (np.median(known) - low)) if len(known) > 2 else top
    room = max(0.08 * (top - low), 1e-3 * abs(low), 1e-6)
    return float(low - room), float(top + room)


def _places(axis: Axis, trials: list[Trial]) -> np.ndarray:
    """Return where on the axis the trials stand; equal listed values side by side."""
    values = [t["values"][axis["fields"][0]] for t in trials]
    if axis["kind"] != "list":
        return np.array(values, float)
    at = np.array([axis["values"].index(v) for v in values], float)
    for ax in set(at):
        same = np.flatnonzero(at == ax)
        if len(same) > 1:
            at[same] += np.linspace(-_SPREAD, _SPREAD, len(same))
    return at


def _scores(trials: list[Trial]) -> np.ndarray:
    return numbers([t["score"] for t in trials])


def _title(fields: list[str]) -> str:
    """Name a field by its last parts; the others that share its value follow."""
    first = fields[0].removeprefix("optim.groups.")
    return first if len(fields) == 1 else f"{first} (+{len(fields) - 1})"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
