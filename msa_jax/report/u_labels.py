"""Figures and sentences on the generated unimodal labels (u-labels)."""

import math
from typing import Any

import numpy as np

from msa_jax.evaluation.statistics import summarise
from msa_jax.ground.names import MODALITIES, TARGETS
from msa_jax.report.drawing import (
    INK,
    MODALITY_COLOURS,
    MUTED,
    epoch_axis,
    legend_below,
    mean_over,
    panels,
)
from msa_jax.runs.finished import ULabels

BINS = 31
SNAPSHOTS = 6


def distributions(u: ULabels) -> Any:
    """Draw, per modality, where the u-labels of all seeds lie after each epoch."""
    from matplotlib.colors import to_rgb

    figure, axes = panels(len(MODALITIES), height=2.8)
    edges = _edges(u)
    shares = {name: _shares(_of(u, name), edges) for name in MODALITIES}
    # One colour scale for the three panels; a spike (say at the clipping limit) may
    # saturate it, or everything else would be invisible.
    full = [float(np.quantile(s[s > 0], 0.98)) for s in shares.values() if s.any()]
    top = max(full, default=1.0)
    for ax, (name, share) in zip(axes, shares.items(), strict=True):
        image = np.empty((*share.T.shape, 4))
        image[..., :3] = to_rgb(MODALITY_COLOURS[name])
        image[..., 3] = np.clip(share.T / top, 0, 1)
        ends = (0.5, len(u.epoch) + 0.5, edges[0], edges[-1])
        ax.imshow(image, aspect="auto", origin="lower", extent=ends, zorder=1)
        # Mid-tone grid lines would read as data on the image.
        ax.grid(visible=False)
        # Recorded epochs need not be evenly spaced, so their places are numbered.
        middle = [_quantile(values, 0.5) for values in _of(u, name)]
        steps = np.arange(1, len(u.epoch) + 1)
        ax.plot(steps, middle, color=INK, linewidth=1.2, label="median")
        ax.set_title(f"{name} u-labels")
        ax.set_ylabel("u-label (label units)")
        epoch_axis(ax, u.epoch, steps)
    legend_below(figure, axes[0])
    return figure


def snapshots(u: ULabels) -> Any:
    """Draw histograms of the u-labels at a few epochs, one row per modality.

    The m-labels, from which all u-labels start, stand behind in grey.

    Source: Self-MM, Figure 4; SUGRM, Figure 4.
    """
    shown = _spread_out(len(u.epoch), SNAPSHOTS)
    figure, axes = panels(len(MODALITIES) * len(shown), columns=len(shown), height=1.6)
    edges = _edges(u)
    behind = 100 * _shares(u.label[None], edges)[0]
    for row, name in enumerate(MODALITIES):
        share = 100 * _shares(_of(u, name)[shown], edges)
        line = axes[row * len(shown) : (row + 1) * len(shown)]
        top = max(share.max(), behind.max(), 1.0)
        for ax, epoch, own in zip(line, u.epoch[shown], share, strict=True):
            ax.stairs(behind, edges, fill=True, color=MUTED, alpha=0.3)
            colour = MODALITY_COLOURS[name]
            ax.stairs(own, edges, color=colour, linewidth=1.4, label=name)
            ax.set_ylim(0, 1.05 * top)
            ax.set_xlim(edges[0], edges[-1])
            ax.grid(axis="x", visible=False)
            if row == 0:
                ax.set_title(f"epoch {epoch:g}")
            if ax is not line[0]:
                ax.tick_params(labelleft=False)
            if row < len(MODALITIES) - 1:
                ax.tick_params(labelbottom=False)
        line[0].set_ylabel(f"{name}, % of labels")
    middle = axes[(len(MODALITIES) - 1) * len(shown) + (len(shown) - 1) // 2]
    middle.set_xlabel("label (label units)")
    return figure


def _spread_out(epochs: int, count: int) -> list[int]:
    """Return places of at most `count` epochs from the first to the last, evenly."""
    return sorted(set(np.linspace(0, epochs - 1, count).round().astype(int).tolist()))


def shifts(u: ULabels, seeds: list[int]) -> Any:
    """Draw the mean distance of the u-labels from the m-label over epochs."""
    figure, axes = panels(len(MODALITIES), height=2.4)
    values = {n: np.abs(_of(u, n) - u.label) for n in MODALITIES}
    top = 0.0
    for ax, name in zip(axes, MODALITIES, strict=True):
        curves = mean_over(values[name], axis=2)
        _seeds_and_mean(ax, u.epoch, curves, name, len(seeds))
        ax.set_title(name)
        ax.set_ylabel("mean |u-label − m-label|")
        top = max([top, *curves[np.isfinite(curves)]])
    for ax in axes:
        ax.set_ylim(0, 1.05 * top if top > 0 else 1)
    legend_below(figure, axes[0])
    return figure


def correlations(u: ULabels, seeds: list[int]) -> Any:
    """Draw how the u-labels, and the m-label, correlate with the true sentiments."""
    figure, axes = panels(len(MODALITIES), height=2.6)
    own, multimodal = true_correlations(u)
    everything = np.concatenate([own.ravel(), multimodal])
    everything = everything[np.isfinite(everything)]
    for row, (ax, name) in enumerate(zip(axes, MODALITIES, strict=True)):
        _seeds_and_mean(ax, u.epoch, own[..., row], name, len(seeds))
        ax.axhline(
            multimodal[row], color=INK, linestyle="--", linewidth=1.2, label="m-label"
        )
        ax.set_title(f"{name}: correlation with the truth")
        ax.set_ylabel("Pearson correlation")
        if everything.size:
            ax.set_ylim(everything.min() - 0.02, everything.max() + 0.02)
    legend_below(figure, axes[0])
    return figure


def true_correlations(u: ULabels) -> tuple[np.ndarray, np.ndarray]:
    """Correlate labels with the true unimodal sentiments.

    Returns: of the u-labels, [e, s, 3], and of the m-label, [3].
    """
    assert u.unimodal_label is not None
    own = np.empty((*u.value.shape[:2], len(MODALITIES)))
    for row, name in enumerate(MODALITIES):
        true, values = u.unimodal_label[:, row], _of(u, name)
        for e, s in np.ndindex(*own.shape[:2]):
            own[e, s, row] = _corr(values[e, s], true)
    multimodal = [_corr(u.label, true) for true in u.unimodal_label.T]
    return own, np.asarray(multimodal)


def sentences(u: ULabels, seeds: list[int], selected: dict[str, int]) -> list[str]:
    """Say, per modality, whether the u-labels are nearer the truth than the m-label.

    Each seed is judged at the epoch it kept, the last recorded one if that is unknown.
    """
    if u.unimodal_label is None:
        return []
    own, multimodal = true_correlations(u)
    at = recorded_at(u.epoch, seeds, selected)
    lines = []
    for row, name in enumerate(MODALITIES):
        each = [own[at[lane], lane, row] for lane in range(len(seeds))]
        lines.append(_sentence(name, each, float(multimodal[row])))
    return lines


def recorded_at(
    epochs: np.ndarray, seeds: list[int], selected: dict[str, int]
) -> list[int]:
    """Return where in `epochs` each seed's kept epoch stands; the last if unknown."""
    places = []
    for seed in seeds:
        found = np.flatnonzero(epochs == selected.get(str(seed), math.nan))
        places.append(int(found[0]) if len(found) else len(epochs) - 1)
    return places


def _sentence(name: str, each: list[float], multimodal: float) -> str:
    here, gap = summarise(each), summarise([c - multimodal for c in each])
    if here["mean"] is None or gap["mean"] is None:
        return f"{name}: a correlation is not defined for every seed (constant labels)."
    head = (
        f"{name}: the u-labels correlate {here['mean']:.3f} with the true {name} "
        f"sentiment, the m-label itself {multimodal:.3f}"
    )
    if gap["ci95"] is None:
        return f"{head}; difference {gap['mean']:+.3f} (one seed, no interval)."
    low, high = gap["ci95"]
    verdict = (
        "label generation brought them closer to the truth"
        if low > 0
        else "label generation took them away from the truth"
        if high < 0
        else "no difference that these seeds can show"
    )
    return (
        f"{head}; difference {gap['mean']:+.3f}, 95 % interval over seeds "
        f"[{low:+.3f}, {high:+.3f}]: {verdict}."
    ).replace("-0.", "−0.")


def _of(u: ULabels, name: str) -> np.ndarray:
    return u.value[:, :, TARGETS.index(name)]


def _edges(u: ULabels) -> np.ndarray:
    values = np.concatenate([u.value.ravel(), u.label])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (-1.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    half = (high - low) / (BINS - 1) / 2  # the extreme values get whole bins
    return np.linspace(low - half, high + half, BINS + 1)


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of the labels in each bin, [e, bin]; NaN labels are left out."""
    counts = np.stack([np.histogram(v[np.isfinite(v)], edges)[0] for v in values])
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _quantile(values: np.ndarray, q: float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.quantile(finite, q)) if finite.size else math.nan


def _corr(a: np.ndarray, b: np.ndarray) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known].astype(np.float64), b[known].astype(np.float64)
    if a.size < 2 or np.all(a == a[0]) or np.all(b == b[0]):
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def _seeds_and_mean(
    ax: Any, epoch: np.ndarray, curves: np.ndarray, name: str, seeds: int
) -> None:
    colour = MODALITY_COLOURS[name]
    if seeds > 1:
        ax.plot(epoch, curves, color=colour, linewidth=0.8, alpha=0.45)
    mean = mean_over(curves, axis=1)
    label = f"mean of {seeds} seeds" if seeds > 1 else "one seed"
    ax.plot(epoch, mean, color=colour, linewidth=2, marker="o", markersize=3)
    ax.plot([], [], color=MUTED, linewidth=2, label=label)
    if seeds > 1:
        ax.plot([], [], color=MUTED, linewidth=0.8, label="each seed")
    epoch_axis(ax, epoch)
