"""Validation loss over the values of each field, and over the trials."""

from typing import Any

import numpy as np

from msa_jax.evaluation.wording import numbers
from msa_jax.report.drawing import INK, MUTED, PAPER, SEED_COLOURS, panels

_DOT, _BEST = SEED_COLOURS[:2]
_SPREAD = 0.13  # half the width over which dots of one listed value are laid out
_ROOM = 6.0  # the axis ends so many times the median's distance above the best


def drawable(trials: list[dict[str, Any]]) -> bool:
    """Tell whether any trial has a score."""
    return bool(np.isfinite(_scores(trials)).any())


def beyond(trials: list[dict[str, Any]]) -> int:
    """Count the trials whose score lies above the axis."""
    return int((_scores(trials) > _limits(trials)[1]).sum())


def by_field(found: dict[str, Any]) -> Any:
    """Draw a panel for each direction of the space."""
    axes_of, trials = found["space"], found["trials"]
    columns = 2 if len(axes_of) in (2, 4) else 3
    figure, axes = panels(len(axes_of), columns, height=2.2)
    for place, axis in zip(axes, axes_of, strict=True):
        at, scores = _places(axis, trials), _scores(trials)
        best = found["best"]["trial"]
        _dots(place, at, scores, [t["trial"] == best for t in trials], trials)
        if axis["kind"] == "list":
            names = [_short(v) for v in axis["values"]]
            place.set_xticks(range(len(names)), names)
            place.set_xlim(-0.5, len(names) - 0.5)
            place.grid(visible=False, axis="x")
        else:
            low, high = axis["values"]
            margin = 0.04
            if axis["kind"] == "log_uniform":
                _log_axis(place)
                factor = (high / low) ** margin
                place.set_xlim(low / factor, high * factor)
            else:
                room = (high - low) * margin
                place.set_xlim(low - room, high + room)
        place.set_title(_title(axis["fields"]), fontsize=9)
        place.set_ylim(*_limits(trials))
    for first in axes[::columns]:
        first.set_ylabel("validation loss")
    return figure


def best_so_far(found: dict[str, Any]) -> Any:
    """Draw every trial in the order of drawing, and the lowest score so far."""
    trials = found["trials"]
    figure, (place,) = panels(1, height=2.9)
    scores, at = _scores(trials), np.array([t["trial"] for t in trials], float)
    spread = np.nan_to_num(numbers([t["sd"] for t in trials]))
    low, high = _limits(trials)
    known = np.isfinite(scores) & (scores <= high)
    ends = scores[known] + spread[known] * np.array([[-1], [1]])
    place.vlines(at[known], *ends, color=MUTED, linewidth=0.8, zorder=1)
    best = np.fmin.accumulate(scores)
    place.step(at, best, where="post", color=INK, linewidth=1.2, zorder=2)
    winner = found["best"]["trial"]
    _dots(place, at, scores, [t["trial"] == winner for t in trials], trials)
    place.set(xlabel="trial", ylabel="validation loss")
    place.set_xlim(0.5, max(at) + 0.5)
    place.locator_params(axis="x", integer=True)
    place.set_ylim(low, high)
    return figure


def _log_axis(place: Any) -> None:
    """Make the x axis logarithmic, its ticks plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    place.set_xscale("log")
    ticks = LogLocator(base=10, subs=(1, 3), numticks=6)
    place.xaxis.set_major_locator(ticks)
    place.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    place.xaxis.set_minor_formatter(NullFormatter())


def _dots(
    place: Any,
    at: np.ndarray,
    scores: np.ndarray,
    best: list[bool],
    trials: list[dict[str, Any]],
) -> None:
    """Draw trials as dots, the winner as a diamond, what lies above as triangles."""
    high, won = _limits(trials)[1], np.array(best)
    inside, above = (scores <= high) & ~won, scores > high
    place.plot(at[inside], scores[inside], "o", color=_DOT, markersize=4, alpha=0.75)
    if above.any():  # an empty line without clipping would upset the layout
        edge = np.full(above.sum(), high)
        triangle = {"color": _DOT, "markersize": 5, "alpha": 0.75, "clip_on": False}
        place.plot(at[above], edge, "^", **triangle)
    place.plot(
        at[won],
        scores[won],
        "D",
        color=_BEST,
        markersize=6,
        markeredgecolor=PAPER,
        zorder=4,
    )


def _limits(trials: list[dict[str, Any]]) -> tuple[float, float]:
    """Show the good half in detail: an axis up to a failed trial would hide it."""
    scores = _scores(trials)
    known = np.sort(scores[np.isfinite(scores)])
    low, top = known[0], known[-1]
    top = min(top, low + _ROOM * (np.median(known) - low)) if len(known) > 2 else top
    room = max(0.08 * (top - low), 1e-3 * abs(low), 1e-6)
    return float(low - room), float(top + room)


def _places(axis: dict[str, Any], trials: list[dict[str, Any]]) -> np.ndarray:
    """Return where on the axis the trials stand; equal listed values side by side."""
    values = [t["values"][axis["fields"][0]] for t in trials]
    if axis["kind"] != "list":
        return np.array(values, float)
    at = np.array([axis["values"].index(v) for v in values], float)
    for place in set(at):
        same = np.flatnonzero(at == place)
        if len(same) > 1:
            at[same] += np.linspace(-_SPREAD, _SPREAD, len(same))
    return at


def _scores(trials: list[dict[str, Any]]) -> np.ndarray:
    return numbers([t["score"] for t in trials])


def _title(fields: list[str]) -> str:
    """Name a field by its last parts; the others that share its value follow."""
    first = fields[0].removeprefix("optim.groups.")
    return first if len(fields) == 1 else f"{first} (+{len(fields) - 1})"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
