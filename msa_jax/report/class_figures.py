"""Figures of answers that are classes, or yes and no to six emotions."""

from typing import Any

import numpy as np

from msa_jax.evaluation.baselines import ALL_ABSENT
from msa_jax.evaluation.classifiers import questions
from msa_jax.evaluation.metric_names import ANSWERS
from msa_jax.evaluation.wording import minus, number
from msa_jax.ground.names import EMOTIONS
from msa_jax.report.drawing import INK, MUTED, PAPER, panels, seed_line
from msa_jax.runs.finished import Predictions, Results

_STRONGEST = 0.6  # opacity of a cell with all of its row; ink stays readable on it


def confusion_counts(predictions: Predictions, kind: str) -> np.ndarray:
    """Count answers [truth, answer], all seeds together; lost seeds are left out."""
    asked = questions(kind)
    assert asked is not None  # callers draw scores otherwise
    truth = asked.answers(predictions.label)[:, 0]
    counts = np.zeros((asked.classes, asked.classes), int)
    for logit in predictions.prediction:
        if np.isfinite(logit).all():
            np.add.at(counts, (truth, logit.argmax(axis=1)), 1)
    return counts


def confusion(predictions: Predictions, kind: str) -> Any:
    """Draw which class was taken for which: counts, and the row's share as colour."""
    counts = confusion_counts(predictions, kind)
    classes = len(counts)
    names = list(map(minus, ANSWERS[kind]))
    figure, (ax,) = panels(1, height=4.2 if classes > 2 else 2.6)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    colour = seed_line(0)["color"]
    for row in range(classes):
        for column in range(classes):
            ax.axhspan(
                row - 0.48,
                row + 0.48,
                (column + 0.02) / classes,
                (column + 0.98) / classes,
                color=colour,
                alpha=_STRONGEST * share[row, column],
                linewidth=0,
            )
            ax.text(
                column,
                row,
                f"{counts[row, column]}",
                ha="center",
                va="center",
                color=INK,
                fontsize=9,
                fontweight="bold" if row == column else "normal",
            )
    ax.set_xlim(-0.5, classes - 0.5)
    ax.set_ylim(classes - 0.5, -0.5)
    ax.set_xticks(range(classes), names)
    ax.set_yticks(range(classes), names)
    ax.set(xlabel="answer (most likely class)", ylabel="class of the label")
    ax.grid(False)
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    return figure


def confusion_sentences(predictions: Predictions, kind: str) -> list[str]:
    """Say which classes are never answered, and which answer is the most frequent."""
    counts = confusion_counts(predictions, kind)
    total, names = counts.sum(), list(map(minus, ANSWERS[kind]))
    if not total:
        return ["No seed has finite logits."]
    answered, true = counts.sum(axis=0), counts.sum(axis=1)
    most = int(answered.argmax())
    lines = [
        f"The most frequent answer is {names[most]}: {100 * answered[most] / total:.0f}"
        f" % of all answers, while {100 * true[most] / total:.0f} % of labels are."
    ]
    never = [names[i] for i in np.flatnonzero((answered == 0) & (true > 0))]
    if never:
        lines.append(f"Never answered, though labels have it: {', '.join(never)}.")
    return lines


def emotion_dots(results: Results) -> Any:
    """Draw WA and accuracy of each emotion by seed, beside "absent" for everything."""
    figure, axes = panels(2, columns=2, height=3.6)
    nothing = (results.get("baselines") or {}).get(ALL_ABSENT, {})
    rows = (*EMOTIONS, "avg")
    for ax, key, title in zip(axes, ("wa", "acc"), ("WA", "Accuracy"), strict=True):
        for y, e in enumerate(rows):
            cell = results["test"].get(f"{key}_{e}", {})
            seeds = np.array([number(v) for v in cell.get("per_seed", [])])
            _points(ax, y, 100 * seeds, cell)
            if (absent := nothing.get(f"{key}_{e}")) is not None:
                ax.plot(
                    100 * absent,
                    y,
                    marker="|",
                    markersize=15,
                    markeredgewidth=2.2,
                    color=seed_line(1)["color"],
                    linestyle="none",
                    zorder=2,
                    label="“absent” for every sample" if y == 0 else None,
                )
        ax.set_yticks(range(len(rows)), [*EMOTIONS, "mean"])
        ax.set_ylim(len(rows) - 0.4, -0.6)
        low, high = ax.get_xlim()  # intervals of few seeds reach beyond any share
        ax.set_xlim(max(low, -2), min(high, 102))
        ax.axhline(len(EMOTIONS) - 0.5, color=MUTED, linewidth=0.6)
        ax.tick_params(axis="y", length=0)
        ax.set_title(title)
        ax.set_xlabel("percent")
    handles, names = axes[0].get_legend_handles_labels()
    found = dict(zip(names, handles, strict=True))  # each name once
    figure.legend(
        found.values(),
        found.keys(),
        loc="outside lower left",
        ncols=4,
        fontsize=9,
        labelcolor=INK,
    )
    return figure


def _points(ax: Any, y: int, seeds: np.ndarray, cell: Any) -> None:
    """One row: a faint dot per seed, the interval of their mean, the mean."""
    colour = seed_line(0)["color"]
    if (interval := cell.get("ci95")) is not None:
        low, high = (100 * number(v) for v in interval)
        ax.plot(
            (low, high),
            (y, y),
            color=colour,
            linewidth=1.6,
            solid_capstyle="butt",
            zorder=3,
            label="95 % interval of the mean",
        )
    ax.plot(
        seeds,
        np.full(len(seeds), y + 0.24),
        marker="o",
        markersize=4,
        markeredgewidth=0,
        alpha=0.75,
        color=colour,
        linestyle="none",
        zorder=3,
        label="a seed",
    )
    mean = number(cell.get("mean"))
    if len(seeds) > 1 and np.isfinite(mean):
        ax.plot(
            100 * mean,
            y,
            marker="o",
            markersize=6.5,
            markeredgecolor=PAPER,
            color=colour,
            linestyle="none",
            zorder=4,
            label="mean over seeds",
        )


def emotion_sentences(results: Results) -> list[str]:
    """Say for how many emotions WA and accuracy are above "absent" for everything."""
    nothing = (results.get("baselines") or {}).get(ALL_ABSENT)
    if nothing is None:
        return []
    lines = []
    for key, title in (("wa", "WA"), ("acc", "accuracy")):
        above, known = [], 0
        for e in EMOTIONS:
            mean = number(results["test"].get(f"{key}_{e}", {}).get("mean"))
            absent = number(nothing.get(f"{key}_{e}"))
            if np.isfinite(mean) and np.isfinite(absent):
                known += 1
                above += [e] if mean > absent else []
        lines.append(
            f"Mean {title} is above that of “absent” for every sample in "
            f"{len(above)} of {known} emotions"
            f"{': ' + ', '.join(above) if above else ''}."
        )
    return lines
