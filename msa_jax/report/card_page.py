"""The data card as a page: every check with its verdict, and what the data look like.

Everything comes from the card (`msa_jax.data.card.make_card`), not from the data.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from msa_jax.ground import files
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.report import rendering
from msa_jax.report.drawing import (
    MODALITY_COLOURS,
    MUTED,
    SEED_COLOURS,
    SEED_STYLES,
    legend_below,
    panels,
)
from msa_jax.report.rendering import Drawn

PAGE = "card.html"
_SPLITS = ("train", "valid", "test")


def write_card_page(card: Mapping, folder: Path) -> Path:
    """Write `card.html` beside the card, whole or not at all."""
    path = folder / PAGE
    try:
        files.write(path, render(card).encode())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def render(card: Mapping) -> str:
    """Return the page, one self-contained HTML document."""
    with rendering.style():
        figures = rendering.printed(_figures(card))
    counts = {
        verdict: sum(c["verdict"] == verdict for c in card["checks"])
        for verdict in ("error", "warning", "ok")
    }
    content = {
        "card": card,
        "counts": counts,
        "figures": figures.drawn,
        "modalities": [(m, card[m]) for m in MODALITIES],
        "splits": _SPLITS,
    }
    return rendering.render("card.html.j2", content, figures.svg)


def _figures(card: Mapping) -> Iterator[Drawn]:
    yield Drawn(
        "labels",
        "Labels",
        "Share of each split's samples per bin; the title names how many samples.",
        "Histograms of the labels of train, valid and test",
        _label_histograms(card["label"], card["size"]),
    )
    if card["unimodal_label"]:
        yield Drawn(
            "unimodal_labels",
            "Labels of single modalities",
            "Made up like all the rest. Train split."
            if card["synthetic"]
            else "By people who saw, heard or read one modality only. Train split.",
            "Histograms of the labels of text, audio and vision",
            _unimodal_histograms(card["unimodal_label"]),
        )
    measured = [m for m in MODALITIES if card[m] and "histogram" in card[m]]
    if measured:
        yield Drawn(
            "lengths",
            "Lengths",
            "Share of each split's samples by number of valid steps (words for raw "
            "text). A peak at the right end is sequences cut to a limit, one at 1 is "
            "empty clips or padding taken for content.",
            "Histograms of sequence lengths, one panel per modality",
            _length_histograms(card, measured),
        )
    if card["normaliser"]:
        yield Drawn(
            "columns",
            "Feature columns in train",
            "Per column: from the smallest to the largest value (pale), mean plus and "
            "minus one standard deviation (strong), mean (line). Over valid steps, in "
            "the units of the file; the scale is logarithmic except around zero. "
            "Columns that never change are marked at the lower edge.",
            "Per modality, a strip of the ranges of all feature columns",
            _column_strips(card["normaliser"]),
        )


def _label_histograms(label: Mapping, size: Mapping[str, int]) -> Any:
    figure, axes = panels(3)
    for ax, split in zip(axes, _SPLITS, strict=True):
        _bars(ax, label["edges"], label["histogram"][split], SEED_COLOURS[0])
        ax.set_title(f"{split}, {size[split]} samples")
        ax.set_xlabel("label")
    axes[0].set_ylabel("percent of samples")
    _same_height(axes)
    return figure


def _unimodal_histograms(labels: Mapping) -> Any:
    figure, axes = panels(3)
    for ax, (modality, entry) in zip(axes, labels.items(), strict=True):
        colour = MODALITY_COLOURS[modality]
        _bars(ax, entry["edges"], entry["histogram"]["train"], colour)
        ax.set_title(modality)
        ax.set_xlabel("label")
    axes[0].set_ylabel("percent of samples")
    _same_height(axes)
    return figure


def _bars(ax: Any, edges: list, counts: list, colour: str) -> None:
    left, total = np.array(edges[:-1]), max(sum(counts), 1)
    width = np.diff(edges)
    ax.bar(left + width / 2, 100 * np.array(counts) / total, 0.92 * width, color=colour)
    ax.grid(axis="x", visible=False)


def _same_height(axes: list[Any]) -> None:
    top = max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(0, top)


def _length_histograms(card: Mapping, modalities: list[str]) -> Any:
    figure, axes = panels(len(modalities))
    for ax, modality in zip(axes, modalities, strict=True):
        entry = card[modality]
        edges, counts = entry["histogram"]["edges"], entry["histogram"]["counts"]
        for lane, split in enumerate(_SPLITS):
            share = 100 * np.array(counts[split]) / max(sum(counts[split]), 1)
            ax.stairs(
                share,
                edges,
                color=SEED_COLOURS[lane],
                linestyle=SEED_STYLES[lane],
                linewidth=1.4,
                label=split,
            )
        ax.set_title(modality)
        ax.set_xlabel("words" if "words" in entry else "steps")
        ax.set_ylim(bottom=0)
    axes[0].set_ylabel("percent of samples")
    legend_below(figure, axes[0])
    return figure


def _column_strips(normaliser: Mapping[str, Mapping[str, list]]) -> Any:
    figure, axes = panels(len(normaliser), columns=1, height=2.2)
    figure.set_size_inches(9.6, figure.get_figheight())
    for ax, (modality, entry) in zip(axes, normaliser.items(), strict=True):
        low, high, mean, std = (
            np.array(entry[key]) for key in ("low", "high", "mean", "std")
        )
        edges = np.arange(len(mean) + 1) - 0.5
        colour = MODALITY_COLOURS[modality]
        for bottom, top, alpha in (
            (low, high, 0.22),
            (np.maximum(mean - std, low), np.minimum(mean + std, high), 0.65),
        ):
            ax.stairs(top, edges, baseline=bottom, fill=True, color=colour, alpha=alpha)
        ax.stairs(mean, edges, baseline=None, color=colour, linewidth=1)
        changing = std[std > 0]
        scale = float(np.median(changing)) if len(changing) else 1.0
        scale = 10.0 ** round(np.log10(scale))
        if max(np.abs(low).max(), np.abs(high).max()) > 20 * scale:
            ax.set_yscale("symlog", linthresh=scale)
            ax.yaxis.set_major_locator(_few_decades(scale))
            ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        constant = np.flatnonzero(low == high)
        ax.plot(
            constant,
            np.full(len(constant), 0.02),
            "|",
            color=MUTED,
            markersize=8,
            transform=ax.get_xaxis_transform(),
        )
        ax.set_title(f"{modality}, {len(mean)} columns")
        ax.set_xlim(edges[0], edges[-1])
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[-1].set_xlabel("column")
    return figure


def _few_decades(scale: float) -> Any:
    """Place ticks so that labels of a symmetric log axis do not overlap."""
    from matplotlib.ticker import SymmetricalLogLocator

    locator = SymmetricalLogLocator(base=10, linthresh=scale)
    locator.set_params(numticks=7)
    return locator
