"""How far a replayed quantity is from its reference."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np


@contextmanager
def floats(precision: str) -> Iterator[Any]:
    """Compute in "float64" or "float32", whose type it gives."""
    import jax

    # Accelerators multiply in lower precision unless told otherwise.
    with (
        jax.enable_x64(precision == "float64"),
        jax.default_matmul_precision("highest"),
    ):
        yield np.dtype(precision).type


class Row(NamedTuple):
    """One compared quantity.

    max_abs, max_rel: largest |ours - reference|, and that over max(|reference|, 1e-12).
    tolerance: an entry passes if |ours - reference| <= tolerance * (1 + |reference|),
        or, of a metric ("exact"), |ours - reference| <= tolerance.
    """

    file: str
    scenario: str
    quantity: str
    precision: str
    max_abs: float
    max_rel: float
    tolerance: float
    passed: bool


class Comparison:
    """Collects the rows of one file and scenario at one precision."""

    def __init__(self, file: str, scenario: str, precision: str):
        """Start without rows; `precision` is "float64", "float32" or "exact"."""
        self.where = (file, scenario)
        self.precision = precision
        self.rows: list[Row] = []
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep what a reader of the comparison should know."""
        self.notes.append(" ".join([*self.where, self.precision, text]))

    def add(self, quantity: str, ours, reference, tolerance: float) -> None:
        """Compare; NaN equals NaN only, and shapes must be the same."""
        ours = np.asarray(ours, np.float64)
        reference = np.asarray(reference, np.float64)
        if ours.shape != reference.shape:
            worst = (float("inf"), float("inf"), False)
        else:
            scale = 1 if self.precision == "exact" else 1 + np.abs(reference)
            worst = _worst(ours, reference, tolerance * scale)
        row = Row(
            *self.where, quantity, self.precision, *worst[:2], tolerance, worst[2]
        )
        self.rows.append(row)


def _worst(
    ours: np.ndarray, reference: np.ndarray, allowed: np.ndarray | float
) -> tuple[float, float, bool]:
    if ours.size == 0:
        return 0.0, 0.0, True
    same = (np.isnan(ours) & np.isnan(reference)) | (ours == reference)
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(ours - reference))
        error = np.where(np.isnan(error), np.inf, error)
        relative = error / np.maximum(np.abs(reference), 1e-12)
        relative = np.where(same, 0.0, relative)
        relative = np.where(np.isnan(relative), np.inf, relative)
    passed = bool((same | (error <= allowed)).all())
    return float(error.max()), float(relative.max()), passed
