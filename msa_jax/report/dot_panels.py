"""Panels of dots: a line per row of a table, its name at the left."""

import textwrap
from collections.abc import Sequence
from typing import Any

from msa_jax.evaluation.results_table import Measure, Row
from msa_jax.evaluation.wording import number
from msa_jax.report import table_rows
from msa_jax.report.drawing import INK, MODALITY_COLOURS, PAPER, WIDE, panels

OURS, CONTROL = MODALITY_COLOURS["text"], MODALITY_COLOURS["audio"]
_ROW = 0.27  # inches
_TALL = 12.0  # inches, of a figure that a printed page can hold
_NAME = 27  # characters of a line of a row's name


def pages(columns: Sequence[int], rows: Sequence[Any], beside: int) -> list[list[int]]:
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


def row_panels(
    count: int, rows: Sequence[Row], *, columns: int = 0
) -> tuple[Any, list[Any]]:
    """Make panels whose y axis are rows, named in the first panel of each line."""
    columns = min(count, columns or (2 if count in (2, 4) else 3))
    figure, axes = panels(count, columns, height=_height(len(rows)))
    figure.get_layout_engine().set(h_pad=0.11, w_pad=0.06)
    if columns == 1:
        figure.set_figwidth(WIDE * 0.75)
    for i, place in enumerate(axes):
        place.set_ylim(len(rows) - 0.5, -0.6)
        names = [short(row["name"]) for row in rows] if i % columns == 0 else []
        place.set_yticks(range(len(rows)), names or [""] * len(rows))
        place.tick_params(axis="y", length=0, labelcolor=INK, labelsize=8)
        place.tick_params(axis="x", labelsize=8)
        place.locator_params(axis="x", nbins=5)
    return figure, axes


def interval(
    place: Any, y: float, ends: Any, scale: float, colour: str, width: float
) -> list[float]:
    """Draw an interval, given in natural units; return its ends as drawn."""
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


def dot(place: Any, y: float, value: Any, scale: float, colour: str) -> None:
    """Draw a mean, given in natural units."""
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


def title(place: Any, column: Measure) -> None:
    """Name a panel after its column."""
    unit = ", %" if column.percent else ""
    arrow = table_rows.arrow(column)
    place.set_title(f"{column.title}{unit} {arrow}".strip())


def colour(row: Row) -> str:
    """Return the colour of a row of ours or of a control."""
    return CONTROL if row["kind"] == "control" else OURS


def short(name: str) -> str:
    """Write a row's name on at most two lines."""
    return "\n".join(textwrap.wrap(name, _NAME, max_lines=2, placeholder=" …"))
