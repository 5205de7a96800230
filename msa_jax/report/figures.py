"""Figures of training and of the test predictions."""

from typing import Any

import numpy as np

from msa_jax.evaluation.metric_names import CURVES, METRICS
from msa_jax.report.drawing import (
    INK,
    MUTED,
    epoch_axis,
    legend_below,
    panels,
    seed_curve,
    seed_line,
)
from msa_jax.runs.finished import History, Predictions

SCATTER_PANELS = 6


def loss_curves(history: History, seeds: list[int], selected: dict[str, int]) -> Any:
    """Draw each part of the training loss, and the loss on valid, over epochs.

    The only part of a loss is the loss: it is drawn once.
    """
    parts = history.train
    if len(parts) == 2 and "loss" in parts:
        parts = {"loss": parts["loss"]}
    curves = [(_loss_title(k, "train"), v) for k, v in parts.items()]
    if "loss" in history.valid:
        curves.append((_loss_title("loss", "valid"), history.valid["loss"]))
    figure, axes = panels(len(curves))
    for ax, (title, values) in zip(axes, curves, strict=True):
        _lines(ax, history, values, seeds, selected)
        ax.set_title(title)
        ax.set_ylabel("loss")
    legend_below(figure, axes[0])
    return figure


def metric_curves(
    history: History, seeds: list[int], selected: dict[str, int], kind: str
) -> Any | None:
    """Draw the main metrics on valid over epochs; None if none was recorded."""
    metrics = METRICS.get(kind, ())
    drawn = CURVES.get(kind, [m.key for m in metrics])
    metrics = [m for m in metrics if m.key in drawn and m.key in history.valid]
    if not metrics:
        return None
    figure, axes = panels(len(metrics), columns=3 if len(metrics) != 4 else 2)
    for ax, metric in zip(axes, metrics, strict=True):
        values = history.valid[metric.key] * (100 if metric.percent else 1)
        _lines(ax, history, values, seeds, selected)
        ax.set_title(f"valid {metric.title}")
        ax.set_ylabel(metric.unit)
    legend_below(figure, axes[0])
    return figure


def scatter(predictions: Predictions, seeds: list[int]) -> Any:
    """Draw predicted against true scores of the test split, one panel per seed."""
    shown = min(len(seeds), SCATTER_PANELS)
    figure, axes = panels(shown, height=3.1)
    everything = np.concatenate(
        [predictions.label, predictions.prediction[:shown].ravel()]
    )
    everything = everything[np.isfinite(everything)]
    low, high = (everything.min(), everything.max()) if everything.size else (-1, 1)
    margin = 0.05 * max(high - low, 1e-6)
    limits = (low - margin, high + margin)
    for lane, ax in enumerate(axes):
        predicted = predictions.prediction[lane]
        ax.plot(limits, limits, color=MUTED, linewidth=1, linestyle="--", zorder=1)
        ax.plot(
            predictions.label,
            predicted,
            linestyle="none",
            marker="o",
            markersize=3.2,
            markeredgewidth=0,
            color=seed_line(0)["color"],
            alpha=0.55,
            rasterized=True,
            zorder=2,
        )
        ax.set(xlim=limits, ylim=limits, xlabel="true score (label units)")
        ax.set_aspect("equal")
        ax.set_ylabel("predicted score (label units)")
        lost = int((~np.isfinite(predicted)).sum())
        ax.set_title(f"seed {seeds[lane]}" + (f": {lost} not finite" if lost else ""))
    return figure


def _lines(
    ax: Any,
    history: History,
    values: np.ndarray,
    seeds: list[int],
    selected: dict[str, int],
) -> None:
    """One line per seed until its training ended, a dot at the epoch it kept."""
    for lane, seed in enumerate(seeds):
        own = np.where(history.active[:, lane], values[:, lane], np.nan)
        kept = history.epoch == selected.get(str(seed), -1)
        seed_curve(ax, lane, seed, history.epoch, own, kept)
    epoch_axis(ax, history.epoch)
    if not np.isfinite(values).any():
        ax.text(
            0.5,
            0.5,
            "no finite value",
            transform=ax.transAxes,
            ha="center",
            color=INK,
        )


def _loss_title(key: str, split: str) -> str:
    part = key.removeprefix("loss").strip("_").replace("_", " ")
    return f"{split} loss, {part}" if part else f"{split} loss"
