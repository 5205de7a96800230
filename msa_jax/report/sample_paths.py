"""The path of one sample's u-labels over epochs: numbers, a small SVG, a figure."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

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


class Box(NamedTuple):
    """The small SVG and where its curves lie, in its own units."""

    width: int = 330
    height: int = 164
    left: int = 30
    right: int = 296
    top: int = 8
    bottom: int = 140


BOX = Box()
APART = 12.0  # between the letters at the ends of the curves


@dataclass(frozen=True)
class Curve:
    """One modality's path as SVG path data, and where its letter stands."""

    letter: str
    colour: str
    mean: str
    seeds: list[str]
    kept: list[tuple[float, float]]  # where each seed stood at its selected epoch
    end: tuple[float, float]  # the last point of the mean
    letter_y: float
    true_y: float | None  # of the true unimodal label


@dataclass(frozen=True)
class Path:
    """All that is drawn of a sample.

    values: [e, s, 3], u-labels; label: the human one; true: [3] or None.
    ticks: (y, text) of the scale.
    """

    values: np.ndarray
    label: float
    true: np.ndarray | None
    limits: tuple[float, float]
    curves: list[Curve]
    label_y: float
    ticks: list[tuple[float, str]]
    ends: tuple[str, str]  # first and last epoch
    words: str  # for those who cannot see it


def paths_of(u: ULabels, chosen: np.ndarray, at: list[int]) -> list[Path]:
    """Lay out the paths of some samples, all on one scale.

    Args:
        u: the u-labels of train.
        chosen: places of the samples.
        at: per seed, where in `u.epoch` the epoch stands that it kept.
    """
    rows = [TARGETS.index(m) for m in MODALITIES]
    values = u.value[:, :, rows][..., chosen].astype(np.float64)  # [e, s, 3, k]
    label = u.label[chosen]
    true = None if u.unimodal_label is None else u.unimodal_label[chosen]
    everything = [values.ravel(), label] + ([] if true is None else [true.ravel()])
    limits = _limits(np.concatenate(everything))
    return [
        _path(
            u.epoch,
            values[..., k],
            float(label[k]),
            None if true is None else true[k],
            limits,
            at,
        )
        for k in range(len(chosen))
    ]


def figure(paths: list[Path], epoch: np.ndarray) -> Any:
    """Draw the paths in small multiples, numbered from 1."""
    drawing, axes = panels(len(paths), columns=4, height=1.7)
    for number, (ax, path) in enumerate(zip(axes, paths, strict=True), 1):
        for row, name in enumerate(MODALITIES):
            own, colour = path.values[..., row], MODALITY_COLOURS[name]
            if own.shape[1] > 1:
                ax.plot(epoch, own, color=colour, linewidth=0.6, alpha=0.4)
            middle = mean_over(own, axis=1)
            ax.plot(epoch, middle, color=colour, linewidth=1.6, label=name)
            if path.true is not None:
                true = path.true[row : row + 1]
                ax.plot(epoch[-1:], true, "D", color=colour, markersize=4)
        ax.axhline(path.label, color=INK, linestyle="--", linewidth=1, label="human")
        ax.set_ylim(path.limits)
        ax.set_title(str(number))
        epoch_axis(ax, epoch)
    axes[0].set_ylabel("label units", color=MUTED)
    legend_below(drawing, axes[0])
    return drawing


def spaced(wanted: list[float], apart: float, low: float, high: float) -> list[float]:
    """Move heights as little as seems good until neighbours are `apart`.

    Order is kept; everything stays between low and high if there is room.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    moved, floor = list(wanted), low
    for i in order:
        moved[i] = max(moved[i], floor)
        floor = moved[i] + apart
    ceiling = high
    for i in reversed(order):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - apart
    return moved


def _path(
    epoch: np.ndarray,
    values: np.ndarray,
    label: float,
    true: np.ndarray | None,
    limits: tuple[float, float],
    at: list[int],
) -> Path:
    x = _x(epoch)
    means = mean_over(values, axis=1)  # [e, 3]
    ends, curves = [], []
    for row in range(len(MODALITIES)):
        known = np.flatnonzero(np.isfinite(means[:, row]))
        last = known[-1] if len(known) else None
        ends.append(
            (float(x[-1]), _y(label, limits))
            if last is None
            else (float(x[last]), _y(means[last, row], limits))
        )
    letters = spaced([y for _, y in ends], APART, BOX.top + 4, BOX.bottom - 2)
    for row, name in enumerate(MODALITIES):
        own = values[..., row]
        is_true = true is not None and math.isfinite(true[row])
        curves.append(
            Curve(
                letter=name[0].upper(),
                colour=MODALITY_COLOURS[name],
                mean=_data(x, means[:, row], limits),
                seeds=[_data(x, seed, limits) for seed in own.T]
                if own.shape[1] > 1
                else [],
                kept=[
                    (round(float(x[e]), 1), _y(own[e, lane], limits))
                    for lane, e in enumerate(at)
                    if math.isfinite(own[e, lane])
                ],
                end=ends[row],
                letter_y=round(letters[row], 1),
                true_y=_y(true[row], limits) if is_true and true is not None else None,
            )
        )
    low, high = limits
    return Path(
        values=values,
        label=label,
        true=true,
        limits=limits,
        curves=curves,
        label_y=_y(label, limits),
        ticks=[(_y(t, limits), f"{t:g}".replace("-", "−")) for t in _whole(low, high)],
        ends=(f"{epoch[0]:g}", f"{epoch[-1]:g}"),
        words=_words(means, label),
    )


def _words(means: np.ndarray, label: float) -> str:
    moves = [
        f"{name} from {means[0, row]:.2f} to {means[-1, row]:.2f}"
        for row, name in enumerate(MODALITIES)
        if np.isfinite(means[[0, -1], row]).all()
    ]
    return f"u-labels over epochs: {', '.join(moves)}; human label {label:.2f}"


def _data(x: np.ndarray, values: np.ndarray, limits: tuple[float, float]) -> str:
    """Write a curve as SVG path data; it is broken where a value is not finite."""
    pieces, pen = [], "M"
    for at, value in zip(x, values, strict=True):
        if not math.isfinite(value):
            pen = "M"
            continue
        pieces.append(f"{pen}{at:.1f} {_y(value, limits):.1f}")
        pen = "L"
    return "".join(pieces)


def _x(epoch: np.ndarray) -> np.ndarray:
    """Return where epochs stand; recorded ones need not be evenly spaced."""
    if len(epoch) == 1:
        return np.array([(BOX.left + BOX.right) / 2])
    share = (epoch - epoch[0]) / (epoch[-1] - epoch[0])
    return BOX.left + share * (BOX.right - BOX.left)


def _y(value: float, limits: tuple[float, float]) -> float:
    low, high = limits
    return round(
        float(BOX.bottom - (value - low) / (high - low) * (BOX.bottom - BOX.top)), 1
    )


def _limits(values: np.ndarray) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (-1.0, 1.0)
    margin = 0.06 * max(high - low, 1e-3)
    return float(low - margin), float(high + margin)


def _whole(low: float, high: float) -> list[float]:
    """Return the ends and the middle of a scale, on round numbers inside it."""
    step = 10.0 ** math.floor(math.log10(high - low))
    for size in (step / 4, step / 2, step, 2 * step, 5 * step):
        first, last = math.ceil(low / size), math.floor(high / size)
        if last - first <= 3:
            return [round(k * size, 6) + 0.0 for k in range(first, last + 1)]
    return [round(math.ceil(low / step) * step, 6)]
