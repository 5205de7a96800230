"""Feature columns brought to mean 0 and deviation 1 by train's statistics."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from msa_jax.data.read.padding import aligned_zeros
from msa_jax.ground.types import Examples

# What is far from 1. The field's own files stay inside and are read as they are:
# COVAREP's pitch reaches 500, CMU-MOSI's openSMILE vectors 356 at a root mean square of
# 202, means are up to 18 deviations away. eGeMAPS's frequencies reach thousands.
_REACH, _LARGE = 1000.0, 250.0  # largest value, root mean square
_SMALL = 0.01  # largest value
_OFFSET, _DEVIATIONS = 3.0, 50.0  # mean at least, and this many deviations
_CHUNK = 64 << 20  # bytes at a time: float64 copies of a whole split may not fit


class Columns(NamedTuple):
    """Statistics per feature column over valid steps, float64 [d]."""

    mean: np.ndarray
    std: np.ndarray  # divided by the count, as scikit-learn's StandardScaler
    low: np.ndarray
    high: np.ndarray

    @property
    def constant(self) -> np.ndarray:
        """Which columns never change, by their values and not by a rounded std."""
        return self.low == self.high


def of_card(card: Mapping) -> dict[str, Columns]:
    """Return the statistics of train that a data card holds, per modality."""
    return {
        m: Columns(**{k: np.asarray(v, np.float64) for k, v in c.items()})
        for m, c in card.get("normaliser", {}).items()
    }


def far_from_one(modality: str, columns: Columns) -> str:
    """Say which columns are of a size that networks do not learn from; "" if none.

    Columns that never change have a check of their own, unless they are large.
    """
    reach = np.maximum(np.abs(columns.low), np.abs(columns.high))
    large = (reach > _REACH) | (np.hypot(columns.mean, columns.std) > _LARGE)
    rest = ~large & ~columns.constant
    small = rest & (reach < _SMALL)
    size = np.abs(columns.mean)
    offset = rest & (size > _OFFSET) & (size > _DEVIATIONS * columns.std)
    width, found = len(reach), []
    if large.any():
        most = reach.max()
        shown = f"{most:,.0f}" if most < 1e7 else f"{most:.1e}"
        count = f" ({large.sum()} of {width} are large)" if not large.all() else ""
        found.append(f"columns of train reach {shown}{count}")
    if small.any():
        most = f"{reach[small].max():.2g}"
        found.append(f"{small.sum()} of {width} columns of train stay below {most}")
    if offset.any():
        i = int(np.argmax(np.where(offset, size, 0)))
        found.append(
            f"{offset.sum()} of {width} columns of train hardly leave their mean (one "
            f"is {columns.mean[i]:.4g}, give or take {columns.std[i]:.2g})"
        )
    if not found:
        return ""
    advice = "scale them in the file, data.standardise leaves text alone"
    if modality != "text":
        advice = "most networks need --config.data.standardise=train"
    return f"{modality}: {', '.join(found)}; {advice}"


def valid_steps(steps: int, length: np.ndarray) -> np.ndarray:
    """Return [n, steps] bool: True before each sample's length."""
    return np.arange(steps) < length[:, None]


def column_statistics(sequence: np.ndarray, length: np.ndarray) -> Columns:
    """Measure every column of [n, t, d] over the valid steps only."""
    valid = valid_steps(sequence.shape[1], length)
    count = valid.sum()
    chunks = _chunks(sequence)
    mean = sum(sequence[c][valid[c]].sum(axis=0, dtype=np.float64) for c in chunks)
    mean = np.asarray(mean / count)
    squares = sum(((sequence[c][valid[c]] - mean) ** 2).sum(axis=0) for c in chunks)
    low = np.min([sequence[c][valid[c]].min(axis=0) for c in chunks], axis=0)
    high = np.max([sequence[c][valid[c]].max(axis=0) for c in chunks], axis=0)
    return Columns(mean, np.sqrt(squares / count), low, high)


def _chunks(sequence: np.ndarray) -> list[slice]:
    """Cut [n, t, d] into parts that as float64 take about `_CHUNK` bytes each."""
    n, steps, width = sequence.shape
    samples = max(1, _CHUNK // (8 * steps * width))
    return [slice(i, i + samples) for i in range(0, n, samples)]


def train_columns(
    splits: Mapping[str, Examples], modalities: tuple[str, ...] = ("audio", "vision")
) -> dict[str, Columns]:
    """Measure train's columns of the named modalities, of those that are there."""
    found = {}
    for modality in modalities:
        sequence = getattr(splits["train"], modality)
        if sequence is not None:
            length = getattr(splits["train"], f"{modality}_length")
            found[modality] = column_statistics(sequence, length)
    return found


def scale(sequence: np.ndarray, length: np.ndarray, columns: Columns) -> np.ndarray:
    """Standardise sequences [n, t, d] of these valid lengths [n] by train's columns."""
    std = np.where(columns.constant, 1.0, columns.std)
    scaled = aligned_zeros(sequence.shape)
    for part in _chunks(sequence):
        valid = valid_steps(sequence.shape[1], length[part])
        scaled[part][valid] = (sequence[part][valid] - columns.mean) / std
    scaled[:, :, columns.constant] = 0
    return scaled
