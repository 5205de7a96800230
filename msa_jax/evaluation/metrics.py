"""The field's metrics, in natural units and unrounded (formulas: docs/metrics.md).

All comparisons are made in float32, as in the public code: a float32 0.1 then counts
as <= 0.1, which after conversion to float64 it would not.
"""

import numpy as np

from msa_jax.evaluation.class_metrics import seven_class_metrics, two_class_metrics
from msa_jax.evaluation.emotion_metrics import emotion_metrics
from msa_jax.ground.errors import UserError

SIMS_EDGES = {  # classes are open below and closed above, so 0 is negative
    "acc2": (0.0,),
    "acc3": (-0.1, 0.1),
    "acc5": (-0.7, -0.1, 0.1, 0.7),
}


def score(kind: str, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Compute the metrics of a kind.

    Args:
        kind: of a data set's sentiment, "mosi" (also MOSEI) or "sims"; or of another
            task, under its name in `tasks.make`.
        prediction: scores [n]; for other tasks logits [n, outputs].
        truth: labels [n]; emotions' intensities [n, 6].

    Raises:
        ValueError: other shapes, or labels that are not finite.
    """
    match kind:
        case "mosi":
            return mosi_metrics(prediction, truth)
        case "sims":
            return sims_metrics(prediction, truth)
        case "two_class":
            return two_class_metrics(prediction, truth)
        case "seven_class":
            return seven_class_metrics(prediction, truth, "rounded")
        case "seven_class_sdk":
            return seven_class_metrics(prediction, truth, "sdk")
        case "emotion":
            return emotion_metrics(prediction, truth)
        case _:
            raise UserError(f"metrics kind {kind!r} is unknown: use 'mosi' or 'sims'")


def mosi_metrics(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Compute the metrics of CMU-MOSI and CMU-MOSEI.

    Returns: mae (label units) and corr of the unclipped values; acc2, f1 with label 0
    as positive (has0) or left out (non0); acc3, acc5, acc7 after clipping to +-1, 2, 3
    and rounding half to even; f1_*_legacy, the weighted F1 with its two arguments
    swapped, as published by much of the field. All but mae, corr are 0 to 1.

    Source: thuiar/MMSA@a94e65d and thuiar/Self-MM@1786283, evaluation of MOSI, MOSEI.
    Differs: not rounded to 4 decimals; no sample with a label other than 0 gives NaN
    for the non0 metrics (the originals raise IndexError); a prediction that is not
    finite makes every metric NaN (the originals count it as a negative answer);
    constant predictions give corr NaN without a warning; acc3 is reported.
    """
    p, y = _checked(prediction, truth)
    kept = y != 0
    values = {
        "mae": _mae(p, y),
        "corr": _corr(p, y),
        "acc2_has0": _accuracy(p >= 0, y >= 0),
        "acc2_non0": _accuracy(p[kept] > 0, y[kept] > 0),
        "f1_has0": weighted_f1(p >= 0, y >= 0),
        "f1_non0": weighted_f1(p[kept] > 0, y[kept] > 0),
        "acc3": _accuracy(_rounded(p, 1), _rounded(y, 1)),
        "acc5": _accuracy(_rounded(p, 2), _rounded(y, 2)),
        "acc7": _accuracy(_rounded(p, 3), _rounded(y, 3)),
        "f1_has0_legacy": weighted_f1(y >= 0, p >= 0),
        "f1_non0_legacy": weighted_f1(y[kept] > 0, p[kept] > 0),
    }
    return _nan_unless_finite(values, p)


def sims_metrics(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Compute the metrics of CH-SIMS; both arguments are first clipped to +-1.

    Returns: mae (label units, of the clipped values), corr (too), acc2 and f1 with
    label 0 as negative, acc3, acc5 by the edges in `SIMS_EDGES`, and f1_legacy, the
    weighted F1 with its arguments swapped.

    Source: thuiar/MMSA@a94e65d and thuiar/Self-MM@1786283, evaluation of SIMS.
    Differs: as in `mosi_metrics`.
    """
    raw, y = _checked(prediction, truth)
    p, y = np.clip(raw, -1, 1), np.clip(y, -1, 1)
    classes = {
        name: (_classes(p, edges), _classes(y, edges))
        for name, edges in SIMS_EDGES.items()
    }
    values = {
        "mae": _mae(p, y),
        "corr": _corr(p, y),
        "acc2": _accuracy(*classes["acc2"]),
        "f1": weighted_f1(*classes["acc2"]),
        "acc3": _accuracy(*classes["acc3"]),
        "acc5": _accuracy(*classes["acc5"]),
        "f1_legacy": weighted_f1(*reversed(classes["acc2"])),
    }
    return _nan_unless_finite(values, raw)


def weighted_f1(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Average the F1 of each class, weighted by the class's share of `truth`.

    A class that `truth` lacks weighs nothing. NaN for empty arrays.
    """
    if truth.size == 0:
        return float("nan")
    total = 0.0
    for label in np.unique(truth):
        support, guessed = np.sum(truth == label), np.sum(prediction == label)
        hits = np.sum((truth == label) & (prediction == label))
        total += support * 2 * hits / (support + guessed)
    return float(total / truth.size)


def _checked(prediction, truth) -> tuple[np.ndarray, np.ndarray]:
    p, y = np.asarray(prediction, np.float32), np.asarray(truth, np.float32)
    if p.ndim != 1 or p.shape != y.shape or p.size == 0:
        raise ValueError(
            f"metrics need two equal vectors with at least one value, "
            f"got shapes {p.shape} and {y.shape}"
        )
    if not np.isfinite(y).all():
        raise ValueError("metrics need finite labels")
    return p, y


def _nan_unless_finite(values: dict[str, float], p: np.ndarray) -> dict[str, float]:
    # A comparison with NaN is False, so a diverged model would score a plain number.
    return values if np.isfinite(p).all() else dict.fromkeys(values, float("nan"))


def _mae(p: np.ndarray, y: np.ndarray) -> float:
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.mean(np.abs(p - y)))  # float32, to the bit as the originals


def _corr(p: np.ndarray, y: np.ndarray) -> float:
    varies = np.isfinite(p).all() and np.any(p != p[0]) and np.any(y != y[0])
    return float(np.corrcoef(p, y)[0, 1]) if varies else float("nan")


def _accuracy(p: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean(p == y)) if y.size else float("nan")


def _rounded(values: np.ndarray, limit: int) -> np.ndarray:
    return np.round(np.clip(values, -limit, limit))  # half to even


def _classes(values: np.ndarray, edges: tuple[float, ...]) -> np.ndarray:
    # Number of edges below the value; the edges must be float32 like the values.
    return np.searchsorted(np.asarray(edges, np.float32), values, side="left")
