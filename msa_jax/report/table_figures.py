"""Figures of a results table: values, paired differences, curves, what is used."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from msa_jax.evaluation.results_table import (
    Against,
    Baseline,
    Cell,
    Learning,
    Measure,
    Part,
    Row,
    measures_of,
)
from msa_jax.evaluation.wording import count, number, numbers, p_value
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
    seed_curve,
)

_REACH = 0.6  # how far beyond the rows, in their range, a baseline is still drawn
_SMALL = 7.5
_OURS, _CONTROL = MODALITY_COLOURS["text"], MODALITY_COLOURS["audio"]
_ROW = 0.27  # inches
_TALL = 12.0  # inches, of a figure that a printed page can hold
_NAME = 27  # characters of a line of a row's name


def values(part: Part, baselines: Sequence[Baseline]) -> list[Any]:
    """Draw every column: seeds, mean with interval, published value, baselines.

    Args:
        part: of table.json.
        baselines: trivial ones of the part.

    Returns: figures, as many as it takes to print each on a page; none without data.
    """
    shown = [
        row
        for row in part["rows"]
        if any(c["per_seed"] or c["published"] is not None for c in row["cells"])
    ]
    figures = []
    for columns in _pages(range(len(part["columns"])), shown, 3):
        figure, axes = _row_panels(len(columns), shown)
        for ax, i in zip(axes, columns, strict=True):
            column = measures_of(part)[i]
            scale = 100 if column.percent else 1
            reach: list[float] = []
            for y, row in enumerate(shown):
                reach += _value_row(ax, y, row, row["cells"][i], scale)
            _title(ax, column)
            if reach:
                _limits(ax, reach)
                _without_value(ax, shown, i, scale)
                if column.reading == "mean":
                    _baselines(ax, baselines, column, scale)
        printed = any(c["published"] for row in shown for c in row["cells"])
        _legend(figure, shown, printed, [b["name"] for b in baselines])
        figures.append(figure)
    return figures


def differences(part: Part) -> list[Any]:
    """Draw differences to the reference with both intervals and p-values in words.

    Returns: figures like `values`; none if no difference is known.
    """
    shown = [row for row in part["rows"] if any(map(_tested, row["cells"]))]
    columns = [
        i
        for i in range(len(part["columns"]))
        if any(_tested(row["cells"][i]) for row in shown)
    ]
    figures = []
    for few in _pages(columns, shown, 2):
        figure, axes = _row_panels(len(few), shown, columns=2)
        for ax, i in zip(axes, few, strict=True):
            _difference_panel(ax, measures_of(part)[i], shown, i)
        figures.append(figure)
    return figures


def _difference_panel(ax: Any, column: Measure, shown: list[Row], i: int) -> None:
    scale = 100 if column.percent else 1
    ax.axvline(0, color=INK, linewidth=1, zorder=1)
    for y, row in enumerate(shown):
        test = row["cells"][i]["against"]
        if test is not None and test["difference"] is not None:
            _difference(ax, y, row, test, scale)
    worse = "right" if column.lower_is_better else "left"
    _title(ax, column)
    unit = "points" if column.percent else column.title
    ax.set_xlabel(f"difference in {unit}; worse on the {worse}", fontsize=8)
    widest = max(map(abs, ax.get_xlim()))
    ax.set_xlim(-widest, widest)


def learning(curves: Learning, rows: Sequence[str]) -> list[Any]:
    """Draw the validation loss over epochs: a panel per row, a line per seed.

    Args:
        curves: row -> seed -> epoch, valid_loss, selected.
        rows: in the order to draw them.

    Returns: one figure; none without curves.
    """
    shown = [name for name in rows if curves.get(name)]
    if not shown:
        return []
    seeds = list(dict.fromkeys(seed for name in shown for seed in curves[name]))
    figure, axes = panels(len(shown), height=2.0)
    longest = 1
    everything = []
    for ax, name in zip(axes, shown, strict=True):
        for seed, curve in curves[name].items():
            epoch, loss = numbers(curve["epoch"]), numbers(curve["valid_loss"])
            lane = seeds.index(seed)
            kept = epoch == number(curve["selected"])
            seed_curve(ax, lane, seed, epoch, loss, kept)
            longest = max(longest, int(epoch.max(initial=1)))
            everything += loss[np.isfinite(loss)].tolist()
        ax.set_title(_short(name))
        ax.set_ylabel("validation loss")
    for ax in axes:
        epoch_axis(ax, np.arange(1, longest + 1))
    if everything:  # one scale, so that rows can be compared
        low, high = min(everything), max(everything)
        margin = 0.05 * max(high - low, 1e-9)
        for ax in axes:
            ax.set_ylim(low - margin, high + margin)
    legend_below(figure, axes[0], limit=24)
    return [figure]


def uses_audio_vision(part: Part) -> list[Any]:
    """Draw what metrics lose when audio and vision of test samples are shuffled.

    Returns: one figure; none without such numbers.
    """
    shown = [row for row in part["rows"] if row.get("uses_audio_vision")]
    columns = [
        column
        for column in measures_of(part)
        if column.reading == "mean"
        and any(column.key in row["uses_audio_vision"] for row in shown)
    ]
    if not columns:
        return []
    figure, axes = _row_panels(len(columns), shown)
    for ax, column in zip(axes, columns, strict=True):
        scale = 100 if column.percent else 1
        ax.axvline(0, color=INK, linewidth=1, zorder=1)
        for y, row in enumerate(shown):
            lost = row["uses_audio_vision"].get(column.key)
            if lost is not None:
                _interval(ax, y, lost["ci95"], scale, _colour(row), 2.2)
                _dot(ax, y, lost["value"], scale, _colour(row))
        _title(ax, column)
        unit = "points" if column.percent else column.title
        ax.set_xlabel(f"lost, {unit}", fontsize=8)
    return [figure]


def _value_row(ax: Any, y: int, row: Row, cell: Cell, scale: float) -> list[float]:
    """Draw one row of a column; return what its axis must reach."""
    colour = _colour(row)
    seeds = scale * numbers([v for v in cell["per_seed"].values() if v is not None])
    # Seeds lie a little apart, so that equal values show.
    apart = np.linspace(0.14, 0.3, len(seeds)) if len(seeds) > 1 else np.full(1, 0.22)
    ax.plot(
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
        student = cell.get("ci_student")
        # Of two seeds it can be ten times as wide as all else: it is cut, then.
        _interval(ax, y, student, scale, colour, 0.9)
        reach += _interval(ax, y, cell["ci_seeds"], scale, colour, 2.0)
        _dot(ax, y, cell["mean"], scale, colour)
        reach.append(scale * cell["mean"])
    published = _published(cell["published"])
    if math.isfinite(published):
        ax.plot(
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


def _without_value(ax: Any, rows: Sequence[Row], i: int, scale: float) -> None:
    """Say in which rows seeds gave no value, where the row has room for it."""
    middle = sum(ax.get_xlim()) / 2
    for y, row in enumerate(rows):
        cell = row["cells"][i]
        if not (lost := table_rows.lost(cell)):
            continue
        drawn = [scale * v for v in cell["per_seed"].values() if v is not None]
        drawn.append(_published(cell["published"]))
        left = np.nanmean(drawn) > middle if np.isfinite(drawn).any() else False
        ax.annotate(
            f"{count(len(lost), 'seed')} lost",
            (0.015 if left else 0.985, y),
            xycoords=("axes fraction", "data"),
            ha="left" if left else "right",
            va="center",
            fontsize=_SMALL,
            color=MUTED,
        )


def _published(text: str | None) -> float:
    """Return the printed number (in percent where it is printed so), or NaN."""
    try:
        return math.nan if text is None else float(text)
    except ValueError:
        return math.nan


def _limits(ax: Any, reach: list[float]) -> None:
    low, high = min(reach), max(reach)
    margin = 0.08 * (high - low) or 0.02 * abs(high) or 1.0
    ax.set_xlim(low - margin, high + margin)


def _baselines(
    ax: Any,
    baselines: Sequence[Baseline],
    column: Measure,
    scale: float,
) -> None:
    """Draw baselines near the rows as dashed lines, name the others below the axis."""
    low, high = ax.get_xlim()
    room = _REACH * (high - low)
    near, far = [], []
    for i, baseline in enumerate(baselines):
        value = scale * number(baseline["values"].get(column.key))
        if not math.isfinite(value):
            continue
        inside = low - room <= value <= high + room
        (near if inside else far).append((value, baseline["name"], _dashes(i)))
    for value, _, dashes in near:
        ax.axvline(value, color=MUTED, linewidth=1.1, linestyle=dashes, zorder=1)
    if near:
        ends = [value for value, _, _ in near]
        margin = 0.08 * (high - low)
        ax.set_xlim(min(low, min(ends) - margin), max(high, max(ends) + margin))
    far.sort(key=lambda one: one[0])
    lines = [
        f"◂ {name} {form}" if value < low else f"{name} {form} ▸"
        for value, name, _ in far
        for form in [f"{value:.{column.decimals}f}"]
    ]
    if lines:
        ax.set_xlabel("\n".join(lines), fontsize=_SMALL)


def _tested(cell: Cell) -> bool:
    return cell["against"] is not None and cell["against"]["difference"] is not None


def _difference(ax: Any, y: int, row: Row, test: Against, scale: float) -> None:
    colour = _colour(row)
    _interval(ax, y - 0.1, test["ci_seeds"], scale, colour, 2.6)
    _interval(ax, y + 0.18, test["ci_samples"], scale, MUTED, 1.0)
    _dot(ax, y - 0.1, test["difference"], scale, colour)
    ax.annotate(
        in_words(test),
        (1.02, y),
        xycoords=("axes fraction", "data"),
        ha="left",
        va="center",
        fontsize=_SMALL,
        color=INK if test["significant"] else MUTED,
        annotation_clip=False,
    )


def in_words(test: Against) -> str:
    """Say whether a difference is significant, with the larger corrected p-value."""
    known = [test["p_seeds_holm"], test["p_samples_holm"]]
    known = [p for p in known if p is not None]
    p = p_value(max(known)) if known else ""
    equals = f", p {p if p.startswith('under') else f'= {p}'}" if p else ""
    return f"{'significant' if test['significant'] else 'not significant'}{equals}"


def _dashes(i: int) -> tuple[int, tuple[float, ...]]:
    """Return how the line of a baseline is dashed."""
    return 0, ((6, 3), (2, 2), (6, 2, 1.5, 2), (1, 3))[i % 4]


def _legend(
    figure: Any, rows: Sequence[Row], published: bool, trivial: Sequence[str]
) -> None:
    from matplotlib.lines import Line2D

    def mark(colour: str, label: str, **look: Any) -> Line2D:
        return Line2D([], [], color=colour, label=label, **look)

    kinds = {row["kind"] for row in rows}
    handles = [mark(_OURS, "ours: mean, 95 % interval over seeds", marker="o", lw=2)]
    if "control" in kinds:
        handles.append(mark(_CONTROL, "control", marker="o", lw=2))
    handles.append(mark(_OURS, "one seed", marker="o", ms=3, alpha=0.6, ls="none"))
    if published:
        look = {"marker": "D", "ms": 5, "mfc": "none", "ls": "none"}
        handles.append(mark(INK, "published", **look))
    handles += [
        mark(MUTED, name, lw=1.1, ls=_dashes(i)) for i, name in enumerate(trivial)
    ]
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=4,
        fontsize=8,
        labelcolor=INK,
    )


def _pages(columns: Sequence[int], rows: Sequence[Any], beside: int) -> list[list[int]]:
    """Divide columns among figures that a printed page can hold.

    Args:
        columns: to divide, each a panel.
        rows: of each panel; without any there is no figure.
        beside: how many panels stand beside each other.
    """
    if not rows:
        return []
    most = beside * max(1, int(_TALL / _height(len(rows))))
    return [list(columns[i : i + most]) for i in range(0, len(columns), most)]


def _height(rows: int) -> float:
    """Return the height of a panel, in inches."""
    return _ROW * (rows + 1) + 0.9


def _row_panels(
    count: int, rows: Sequence[Row], *, columns: int = 0
) -> tuple[Any, list[Any]]:
    """Make panels whose y axis are rows, named in the first panel of each line."""
    columns = min(count, columns or (2 if count in (2, 4) else 3))
    figure, axes = panels(count, columns, height=_height(len(rows)))
    figure.get_layout_engine().set(h_pad=0.11, w_pad=0.06)
    if columns == 1:
        figure.set_figwidth(WIDE * 0.75)
    for i, ax in enumerate(axes):
        ax.set_ylim(len(rows) - 0.5, -0.6)
        names = [_short(row["name"]) for row in rows] if i % columns == 0 else []
        ax.set_yticks(range(len(rows)), names or [""] * len(rows))
        ax.tick_params(axis="y", length=0, labelcolor=INK, labelsize=8)
        ax.tick_params(axis="x", labelsize=8)
        ax.locator_params(axis="x", nbins=5)
    return figure, axes


def _interval(
    ax: Any, y: float, ends: Any, scale: float, colour: str, width: float
) -> list[float]:
    """Draw an interval, given in natural units; return its ends as drawn."""
    if ends is None or None in ends:
        return []
    low, high = scale * ends[0], scale * ends[1]
    ax.plot(
        [low, high],
        [y, y],
        color=colour,
        linewidth=width,
        solid_capstyle="butt",
        zorder=2.5,
    )
    return [low, high]


def _dot(ax: Any, y: float, value: Any, scale: float, colour: str) -> None:
    """Draw a mean, given in natural units."""
    ax.plot(
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


def _title(ax: Any, column: Measure) -> None:
    """Name a panel after its column."""
    unit = ", %" if column.percent else ""
    arrow = table_rows.arrow(column)
    ax.set_title(f"{column.title}{unit} {arrow}".strip())


def _colour(row: Row) -> str:
    """Return the colour of a row of ours or of a control."""
    return _CONTROL if row["kind"] == "control" else _OURS


def _short(name: str) -> str:
    """Write a row's name on at most two lines."""
    return "\n".join(textwrap.wrap(name, _NAME, max_lines=2, placeholder=" …"))
