"""One look for all figures, and their two forms: inline SVG and PNG."""

import io
import re
from typing import Any

import numpy as np

# After Okabe and Ito; shifted so that each keeps 3.3 : 1 on both page backgrounds.
MODALITY_COLOURS = {
    "fusion": "#737373",
    "text": "#0f7ab8",
    "audio": "#d55e00",
    "vision": "#009e73",
}
SEED_COLOURS = ("#0f7ab8", "#d55e00", "#009e73", "#c26ba0", "#8f7a00", "#737373")
SEED_STYLES = ("-", "--", "-.", ":")

WIDE = 9.6  # inches, the width of the page's text

# These become CSS variables in the page, so that they follow light and dark.
INK, MUTED, RULE, PAPER = "#1f2429", "#5f6871", "#d4d9de", "#fefefd"
_CSS = {INK: "--ink", MUTED: "--muted", RULE: "--rule", PAPER: "--paper"}

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # to look for room measures all ticks, four times a figure
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",
    "svg.hashsalt": "msa_jax",
}


def panels(count: int, columns: int = 3, height: float = 2.3) -> tuple[Any, list[Any]]:
    """Make a figure of page width with `count` axes in rows; empty cells stay blank."""
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = -(-count // columns)
    width = WIDE if columns > 1 else 5.2
    figure = Figure(figsize=(width, height * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in axes[count:]:
        unused.set_axis_off()
    for used in axes[:count]:  # a factor of all ticks, "1e6": out of the title's way
        used.yaxis.get_offset_text().set_horizontalalignment("right")
    return figure, list(axes[:count])


def seed_line(lane: int) -> dict[str, str]:
    """Return colour and line style of a seed, distinct for the first 24."""
    colour = SEED_COLOURS[lane % len(SEED_COLOURS)]
    style = SEED_STYLES[lane // len(SEED_COLOURS) % len(SEED_STYLES)]
    return {"color": colour, "linestyle": style}


def seed_curve(
    ax: Any, lane: int, seed: Any, x: np.ndarray, y: np.ndarray, kept: np.ndarray
) -> None:
    """Draw a seed's line, and a dot where `kept` (bool) says so."""
    look = seed_line(lane)
    ax.plot(x, y, label=f"seed {seed}", **look)
    dot = {"marker": "o", "markersize": 6, "markeredgecolor": PAPER, "zorder": 3}
    ax.plot(x[kept], y[kept], color=look["color"], linestyle="none", **dot)


def legend_below(figure: Any, axes: Any, limit: int = 12) -> None:
    """Put one legend under all axes, unless it would be longer than `limit`."""
    handles, names = axes.get_legend_handles_labels()
    if 0 < len(handles) <= limit:
        figure.legend(
            handles,
            names,
            loc="outside lower left",
            ncols=6,
            fontsize=9,
            labelcolor=INK,
        )


def epoch_axis(axes: Any, epochs: np.ndarray, places: np.ndarray | None = None) -> None:
    """Label the x axis as epochs: at most eight ticks, the first at the first epoch.

    Args:
        places: where on the axis the epochs stand, if not at their own number.
    """
    every = max(1, -(-len(epochs) // 8))
    where = epochs if places is None else places
    axes.set_xticks(where[::every], [f"{epoch:g}" for epoch in epochs[::every]])
    axes.set_xlabel("epoch")


def to_png(figure: Any) -> bytes:
    """Return a PNG on white, for the markdown report."""
    _lay_out(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def to_svg(figure: Any, name: str, alt: str) -> str:
    """Return an inline SVG whose text and lines take the page's colours.

    Ids are prefixed by `name`: several figures share one document.
    """
    _lay_out(figure)
    buffer = io.StringIO()
    no_metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(
        buffer, format="svg", transparent=True, dpi=150, metadata=no_metadata
    )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', svg)
    svg = svg.replace("'DejaVu Sans'", "var(--font)")
    for colour, variable in _CSS.items():
        svg = svg.replace(colour, f"var({variable})")
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None  # matplotlib always writes one
    body = svg[svg.index(">") + 1 :]
    title = alt.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    single = ' class="single"' if figure.get_figwidth() < WIDE else ""
    return (
        f'<svg {box.group()}{single} role="img" aria-label="{title}" '
        'xmlns="http://www.w3.org/2000/svg" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink">{body}'
    )


def _lay_out(figure: Any) -> None:
    """Place what a finished figure holds, once: every form of it is drawn alike.

    Drawing would do it again for each form, after a first drawing that shows nothing.
    """
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def mean_over(values: np.ndarray, axis: int) -> np.ndarray:
    """Average the finite values; NaN, without a warning, where there are none."""
    finite = np.isfinite(values)
    count = finite.sum(axis=axis)
    total = np.where(finite, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
