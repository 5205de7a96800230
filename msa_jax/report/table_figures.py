"""Figures of a results table: values, paired differences, curves, what is used."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from msa_jax.report import table_rows
from msa_jax.report.drawing import (
    INK,
    MODALITY_COLOURS,
    MUTED,
    PAPER,
    WIDE,
    epoch_axis,
    legend_below,
    panels,
    seed_line,
)
from msa_jax.report.reading import number, numbers

OURS, CONTROL = MODALITY_COLOURS["text"], MODALITY_COLOURS["audio"]
ROW = 0.27  # inches
_NAME = 27  # characters of a row's name
_REACH = 0.6  # how far beyond the rows, in their range, a baseline is still drawn
_SMALL = 7.5


def values(part: dict[str, Any], baselines: Sequence[dict[str, Any]]) -> Any | None:
    """Draw every column: seeds, mean with interval, published value, baselines.

    Args:
        part: of table.json.
        baselines: trivial ones of the part.
    """
    shown = [
        row
        for row in part["rows"]
        if any(c["per_seed"] or c["published"] is not None for c in row["cells"])
    ]
    if not shown:
        return None
    figure, axes = _row_panels(len(part["columns"]), shown, extra=0.35)
    for i, (place, column) in enumerate(zip(axes, part["columns"], strict=True)):
        scale = 100 if column["percent"] else 1
        reach: list[float] = []
        for y, row in enumerate(shown):
            reach += _value_row(place, y, row, row["cells"][i], scale)
        _title(place, column)
        if reach:
            _limits(place, reach)
            if column["reading"] == "mean":
                _baselines(place, baselines, column, scale)
    _legend(figure, shown, any(c["published"] for r in shown for c in r["cells"]))
    return figure


def differences(part: dict[str, Any]) -> Any | None:
    """Draw differences to the reference with both intervals; None if none is known."""
    shown = [row for row in part["rows"] if any(map(_tested, row["cells"]))]
    columns = [
        i
        for i in range(len(part["columns"]))
        if any(_tested(row["cells"][i]) for row in shown)
    ]
    if not columns:
        return None
    figure, axes = _row_panels(len(columns), shown, columns=2, extra=0.35)
    for place, i in zip(axes, columns, strict=True):
        column = part["columns"][i]
        scale = 100 if column["percent"] else 1
        place.axvline(0, color=INK, linewidth=1, zorder=1)
        for y, row in enumerate(shown):
            if _tested(row["cells"][i]):
                _difference(place, y, row, row["cells"][i]["against"], scale)
        worse = "right" if column["lower_is_better"] else "left"
        _title(place, column)
        unit = "points" if column["percent"] else column["title"]
        place.set_xlabel(f"difference in {unit}; worse on the {worse}", fontsize=8)
        low, high = place.get_xlim()
        widest = max(abs(low), abs(high))
        place.set_xlim(-widest, widest)
    return figure


def learning(
    curves: dict[str, dict[str, dict[str, Any]]], rows: Sequence[str]
) -> Any | None:
    """Draw the validation loss over epochs: a panel per row, a line per seed.

    Args:
        curves: row -> seed -> epoch, valid_loss, selected.
        rows: in the order to draw them.
    """
    shown = [name for name in rows if curves.get(name)]
    if not shown:
        return None
    seeds = list(dict.fromkeys(seed for name in shown for seed in curves[name]))
    figure, axes = panels(len(shown), height=2.0)
    longest = 1
    everything = []
    for place, name in zip(axes, shown, strict=True):
        for seed, curve in curves[name].items():
            epoch, loss = numbers(curve["epoch"]), numbers(curve["valid_loss"])
            lane = seeds.index(seed)
            place.plot(epoch, loss, label=f"seed {seed}", **seed_line(lane))
            kept = epoch == number(curve["selected"])
            place.plot(
                epoch[kept],
                loss[kept],
                marker="o",
                markersize=6,
                markeredgecolor=PAPER,
                color=seed_line(lane)["color"],
                linestyle="none",
                zorder=3,
            )
            longest = max(longest, int(epoch.max(initial=1)))
            everything += loss[np.isfinite(loss)].tolist()
        place.set_title(_short(name))
        place.set_ylabel("validation loss")
    for place in axes:
        epoch_axis(place, np.arange(1, longest + 1))
    if everything:  # one scale, so that rows can be compared
        low, high = min(everything), max(everything)
        margin = 0.05 * max(high - low, 1e-9)
        for place in axes:
            place.set_ylim(low - margin, high + margin)
    legend_below(figure, axes[0], limit=24)
    return figure


def uses_audio_vision(part: dict[str, Any]) -> Any | None:
    """Draw what metrics lose when audio and vision of test samples are shuffled."""
    shown = [row for row in part["rows"] if row.get("uses_audio_vision")]
    columns = [
        column
        for column in part["columns"]
        if column["reading"] == "mean"
        and any(column["key"] in row["uses_audio_vision"] for row in shown)
    ]
    if not columns:
        return None
    figure, axes = _row_panels(len(columns), shown, extra=0.35)
    for place, column in zip(axes, columns, strict=True):
        scale = 100 if column["percent"] else 1
        place.axvline(0, color=INK, linewidth=1, zorder=1)
        for y, row in enumerate(shown):
            lost = row["uses_audio_vision"].get(column["key"])
            if lost is not None:
                _interval(place, y, lost["ci95"], scale, _colour(row), 2.2)
                _dot(place, y, lost["value"], scale, _colour(row))
        _title(place, column)
        unit = "points" if column["percent"] else column["title"]
        place.set_xlabel(f"lost, {unit}", fontsize=8)
    return figure


def _row_panels(
    count: int, rows: Sequence[dict[str, Any]], *, columns: int = 0, extra: float
) -> tuple[Any, list[Any]]:
    """Make panels whose y axis are rows, named in the first panel of each line."""
    columns = min(count, columns or (2 if count in (2, 4) else 3))
    figure, axes = panels(count, columns, height=ROW * (len(rows) + 1) + 0.55 + extra)
    figure.get_layout_engine().set(h_pad=0.11, w_pad=0.06)
    if columns == 1:
        figure.set_figwidth(WIDE * 0.75)
    for i, place in enumerate(axes):
        place.set_ylim(len(rows) - 0.5, -0.6)
        names = [_short(row["name"]) for row in rows] if i % columns == 0 else []
        place.set_yticks(range(len(rows)), names or [""] * len(rows))
        place.tick_params(axis="y", length=0, labelcolor=INK, labelsize=8)
        place.tick_params(axis="x", labelsize=8)
        place.locator_params(axis="x", nbins=5)
    return figure, axes


def _value_row(
    place: Any, y: int, row: dict[str, Any], cell: dict[str, Any], scale: float
) -> list[float]:
    """Draw one row of a column; return what its axis must reach."""
    colour = _colour(row)
    seeds = scale * numbers([v for v in cell["per_seed"].values() if v is not None])
    # Seeds lie a little apart, so that equal values show.
    apart = np.linspace(0.14, 0.3, len(seeds)) if len(seeds) > 1 else np.full(1, 0.22)
    place.plot(
        seeds,
        y + apart[: len(seeds)],
        linestyle="none",
        marker="o",
        markersize=2.8,
        markeredgewidth=0,
        color=colour,
        alpha=0.6,
        zorder=2,
    )
    reach = seeds.tolist()
    if cell["mean"] is not None:
        reach += _interval(place, y, cell["ci_seeds"], scale, colour, 2.0)
        _dot(place, y, cell["mean"], scale, colour)
        reach.append(scale * cell["mean"])
    elif table_rows.lost(cell):
        place.annotate(
            f"{len(table_rows.lost(cell))} of {len(cell['per_seed'])} without a value",
            (0.985, y - 0.12),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="center",
            fontsize=_SMALL,
            color=MUTED,
        )
    published = _published(cell["published"])
    if math.isfinite(published):
        place.plot(
            [published],
            [y],
            linestyle="none",
            marker="D",
            markersize=5.2,
            markerfacecolor="none",
            markeredgecolor=INK,
            markeredgewidth=1.1,
            zorder=4,
        )
        reach.append(published)
    return reach


def _published(text: str | None) -> float:
    """Return the printed number (in percent where it is printed so), or NaN."""
    try:
        return math.nan if text is None else float(text)
    except ValueError:
        return math.nan


def _limits(place: Any, reach: list[float]) -> None:
    low, high = min(reach), max(reach)
    margin = 0.08 * (high - low) or 0.02 * abs(high) or 1.0
    place.set_xlim(low - margin, high + margin)


def _baselines(
    place: Any,
    baselines: Sequence[dict[str, Any]],
    column: dict[str, Any],
    scale: float,
) -> None:
    """Draw baselines near the rows as dashed lines; name the others at the edge."""
    low, high = place.get_xlim()
    room = _REACH * (high - low)
    near, far = [], []
    for baseline in baselines:
        value = scale * number(baseline["values"].get(column["key"]))
        if not math.isfinite(value):
            continue
        inside = low - room <= value <= high + room
        (near if inside else far).append((value, baseline["name"]))
    for value, name in near:
        place.axvline(value, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        place.annotate(
            name,
            (value, 0.02),
            xycoords=("data", "axes fraction"),
            rotation=90,
            xytext=(-2, 0),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=6.5,
            color=MUTED,
        )
    if near:
        ends = [value for value, _ in near]
        margin = 0.08 * (high - low)
        place.set_xlim(min(low, min(ends) - margin), max(high, max(ends) + margin))
    far.sort()
    lines = [
        f"◂ {name} {form}" if value < low else f"{name} {form} ▸"
        for value, name in far
        for form in [f"{value:.{column['decimals']}f}"]
    ]
    if lines:
        place.set_xlabel("\n".join(lines), fontsize=_SMALL)


def _tested(cell: dict[str, Any]) -> bool:
    return cell["against"] is not None and cell["against"]["difference"] is not None


def _difference(
    place: Any, y: int, row: dict[str, Any], test: dict[str, Any], scale: float
) -> None:
    colour = _colour(row)
    _interval(place, y - 0.1, test["ci_seeds"], scale, colour, 2.6)
    _interval(place, y + 0.18, test["ci_samples"], scale, MUTED, 1.0)
    _dot(place, y - 0.1, test["difference"], scale, colour)
    place.annotate(
        in_words(test),
        (1.02, y),
        xycoords=("axes fraction", "data"),
        ha="left",
        va="center",
        fontsize=_SMALL,
        color=INK if test["significant"] else MUTED,
        annotation_clip=False,
    )


def in_words(test: dict[str, Any]) -> str:
    """Say whether a difference is significant, with the larger corrected p-value."""
    known = [test["p_seeds_holm"], test["p_samples_holm"]]
    known = [p for p in known if p is not None]
    p = table_rows.form_p(max(known)) if known else ""
    equals = f", p {p if p.startswith('under') else f'= {p}'}" if p else ""
    return f"{'significant' if test['significant'] else 'not significant'}{equals}"


def _interval(
    place: Any, y: float, ends: Any, scale: float, colour: str, width: float
) -> list[float]:
    if ends is None or None in ends:
        return []
    low, high = scale * ends[0], scale * ends[1]
    place.plot(
        [low, high],
        [y, y],
        color=colour,
        linewidth=width,
        solid_capstyle="butt",
        zorder=2.5,
    )
    return [low, high]


def _dot(place: Any, y: float, value: Any, scale: float, colour: str) -> None:
    place.plot(
        [scale * number(value)],
        [y],
        marker="o",
        markersize=5.5,
        color=colour,
        markeredgecolor=PAPER,
        markeredgewidth=0.8,
        linestyle="none",
        zorder=3,
    )


def _title(place: Any, column: dict[str, Any]) -> None:
    unit = ", %" if column["percent"] else ""
    arrow = table_rows.arrow(column)
    place.set_title(f"{column['title']}{unit} {arrow}".strip())


def _legend(figure: Any, rows: Sequence[dict[str, Any]], published: bool) -> None:
    from matplotlib.lines import Line2D

    def mark(colour: str, label: str, **look: Any) -> Line2D:
        return Line2D([], [], color=colour, label=label, **look)

    kinds = {row["kind"] for row in rows}
    handles = [mark(OURS, "ours: mean, 95 % interval over seeds", marker="o", lw=2)]
    if "control" in kinds:
        handles.append(mark(CONTROL, "control", marker="o", lw=2))
    handles.append(mark(OURS, "one seed", marker="o", ms=3, alpha=0.6, ls="none"))
    if published:
        look = {"marker": "D", "ms": 5, "mfc": "none", "ls": "none"}
        handles.append(mark(INK, "published", **look))
    handles.append(mark(MUTED, "trivial baseline", lw=1, ls=(0, (4, 3))))
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=len(handles),
        fontsize=8,
        labelcolor=INK,
    )


def _colour(row: dict[str, Any]) -> str:
    return CONTROL if row["kind"] == "control" else OURS


def _short(name: str) -> str:
    """Write a row's name on at most two lines."""
    return "\n".join(textwrap.wrap(name, _NAME, max_lines=2, placeholder=" …"))
