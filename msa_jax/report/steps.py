"""Every part of the loss over training steps.

Source: MMCL, Figure 4.
"""

from typing import Any

import numpy as np

from msa_jax.report.drawing import legend_below, mean_over, panels, seed_line
from msa_jax.runs.finished import Steps

INTERVAL = 5  # steps
MOST_POINTS = 400  # of a line; more would be longer intervals
AS_EXPONENTIAL = "loss_uniform"  # a logarithm of a mean, often negative


def worth_drawing(steps: Steps) -> bool:
    """Tell whether there is more than the loss and one part, which says the same."""
    return len(steps.losses.keys() - {"loss"}) > 1


def interval(steps: int) -> int:
    """Return over how many steps a point of a line is the mean."""
    return max(INTERVAL, -(-steps // MOST_POINTS))


def interval_means(values: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Average [steps, s] over intervals of `length` steps; the last may be shorter.

    Returns: the middle of each interval, steps counted from 1; the means, [points, s],
        NaN where a seed had ended.
    """
    starts = range(0, len(values), length)
    pieces = [values[start : start + length] for start in starts]
    middle = [start + (len(p) + 1) / 2 for start, p in zip(starts, pieces, strict=True)]
    means = [mean_over(piece.astype(np.float64), axis=0) for piece in pieces]
    return np.asarray(middle), np.stack(means)


def curves(steps: Steps, seeds: list[int]) -> Any:
    """Draw the interval means of each part of the loss, one line per seed."""
    figure, axes = panels(len(steps.losses))
    length = interval(len(steps.epoch))
    for ax, (name, values) in zip(axes, steps.losses.items(), strict=True):
        middle, means = interval_means(values, length)
        if name == AS_EXPONENTIAL:
            means = np.exp(means)
        for lane, seed in enumerate(seeds):
            own = means[:, lane]
            ax.plot(middle, own, label=f"seed {seed}", **seed_line(lane))
        ax.set_title(_drawn_title(name))
        ax.set_xlabel("step")
        ax.set_ylabel("loss" if name != AS_EXPONENTIAL else "exp(mean loss)")
        ax.locator_params(axis="x", nbins=5, integer=True)
        ax.set_xlim(left=0)
    legend_below(figure, axes[0])
    return figure


def caption(steps: Steps, config: dict[str, Any] | None) -> str:
    """Say what a point of a line is."""
    seeds = next(iter(steps.losses.values())).shape[1]
    group = ((config or {}).get("optim") or {}).get("accumulate_batches", 1)
    grouped = (
        f" ({group} of them make one update of the parameters)" if group > 1 else ""
    )
    exponential = (
        " “Uniform” is drawn as the exponential of the mean."
        if AS_EXPONENTIAL in steps.losses
        else ""
    )
    return (
        f"Each step is one batch{grouped}, each point the mean of "
        f"{interval(len(steps.epoch))} steps, by part of the loss and seed."
        f"{exponential} A line ends where its seed stopped. The sentences compare the "
        "first and the last tenth of each seed's steps"
        f"{', mean over seeds' if seeds > 1 else ''}."
    )


def sentences(steps: Steps) -> list[str]:
    """Say of each part from what to what it went."""
    return [_sentence(name, values) for name, values in steps.losses.items()]


def from_to(values: np.ndarray) -> np.ndarray:
    """Average the first and the last tenth of a seed's own steps.

    Args:
        values: [steps, s], NaN where a seed had ended.

    Returns: [2, s]; NaN for a seed without a finite value.
    """
    ends = np.full((2, values.shape[1]), np.nan)
    for lane, column in enumerate(values.T.astype(np.float64)):
        own = column[np.isfinite(column)]
        if len(own):
            tenth = max(1, len(own) // 10)
            ends[:, lane] = own[:tenth].mean(), own[-tenth:].mean()
    return ends


def _sentence(name: str, values: np.ndarray) -> str:
    title = _title(name)
    ends = from_to(values)
    ends = ends[:, np.isfinite(ends[0])]
    count = ends.shape[1]
    if not count:
        return f"{title}: no finite value."
    first, last = ends.mean(axis=1)
    a, b = _form(first), _form(last)
    if a == b:
        return f"{title}: stayed at {a}."
    fell = last < first
    verb = "fell" if fell else "rose"
    agree = int(((ends[1] < ends[0]) == fell).sum())
    each = f" (in {agree} of {count} seeds)" if count > 1 else ""
    drawn = (
        f", as drawn from {_form(np.exp(first))} to {_form(np.exp(last))}"
        if name == AS_EXPONENTIAL
        else ""
    )
    return f"{title}: {verb} from {a} to {b}{drawn}{each}."


def _form(value: float) -> str:
    """Write three digits that count, with a true minus sign."""
    text = f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"
    return "0.000" if text == "-0.000" else text.replace("-", "−")


def _title(name: str) -> str:
    return name.removeprefix("loss").strip("_").replace("_", " ") or "total"


def _drawn_title(name: str) -> str:
    title = _title(name)
    return f"exp({title})" if name == AS_EXPONENTIAL else title
