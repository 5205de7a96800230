"""The field's metrics of a reweighted test set, for thousands of weightings at once.

A resampled test set is the same samples with other counts, and every metric here is a
function of a few sums over samples. So ten thousand resamples are one matrix product,
counts times the samples' `terms`, and `values` of its result. The definitions are
those of `msa_jax.evaluation.metrics.score`, which a test compares on random resamples.
"""

from collections.abc import Mapping

import numpy as np

from msa_jax.evaluation.emotion_metrics import rounded_class, sdk_class
from msa_jax.evaluation.metrics import SIMS_EDGES
from msa_jax.ground.names import EMOTIONS

# A variance below this share of the mean square is rounding: the values are constant.
_CONSTANT = 1e-10
_ACCURACIES = {"mosi": ("acc3", "acc5", "acc7"), "sims": ("acc3", "acc5")}

Values = dict[str, np.ndarray]


def terms(kind: str, prediction: np.ndarray, label: np.ndarray) -> Values:
    """Return what must be summed over samples to get the metrics of a kind.

    Args:
        kind: as `metrics.score` takes it.
        prediction: of systems g and their seeds s, [g, s, n]; logits [g, s, n, k].
            Finite: a diverged seed has no metrics.
        label: [n], or of emotions [n, 6].

    Returns: name -> [g, s, n] float64, or [1, 1, n] where only labels matter. A term
        is the same function of one sample's answer for all systems, so that swapping
        the answers of two systems swaps their terms.
    """
    match kind:
        case "mosi":
            p, y = (np.asarray(x, np.float32) for x in (prediction, label))
            kept = y != 0
            found = _two("has0", p >= 0, y >= 0)
            found |= _two("non0", (p > 0) & kept, (y > 0) & kept, kept)
            found |= _distance(p, y)
            for limit, name in enumerate(_ACCURACIES[kind], start=1):
                found[name] = _rounded(p, limit) == _rounded(y, limit)
        case "sims":
            p, y = (np.asarray(x, np.float32) for x in (prediction, label))
            p, y = np.clip(p, -1, 1), np.clip(y, -1, 1)
            found = _two("", p > 0, y > 0) | _distance(p, y)
            for name in _ACCURACIES[kind]:
                edges = np.asarray(SIMS_EDGES[name], np.float32)
                found[name] = np.searchsorted(edges, p) == np.searchsorted(edges, y)
        case "two_class":
            answer, kept = prediction.argmax(axis=-1) == 1, label != 0
            found = _two("has0", answer, label >= 0)
            found |= _two("non0", answer & kept, (label > 0) & kept, kept)
        case "seven_class" | "seven_class_sdk":
            bins = sdk_class if kind == "seven_class_sdk" else rounded_class
            answer, truth = prediction.argmax(axis=-1), bins(label) + 3
            found = {"distance": np.abs(answer - truth)}
            for c in range(7):
                found |= _two(f"{c}", answer == c, truth == c)
        case "emotion":
            found = {}
            for i, name in enumerate(EMOTIONS):
                found |= _two(name, prediction[..., i] > 0, label[:, i] > 0)
        case _:
            raise ValueError(f"metrics kind {kind!r} is unknown")
    found["total"] = np.ones(len(label))
    shapes = {2: prediction.shape[:3], 1: (1, 1, len(label))}
    return {
        name: np.broadcast_to(x, shapes[1 if x.ndim == 1 else 2]).astype(np.float64)
        for name, x in found.items()
    }


def values(kind: str, sums: Mapping[str, np.ndarray]) -> Values:
    """Return the metrics whose terms have these weighted sums, elementwise.

    Args:
        kind: as in `terms`.
        sums: name -> sums, of shapes that broadcast together.

    Returns: the metrics of `metrics.score`; NaN where one is undefined.
    """
    total = sums["total"]
    with np.errstate(invalid="ignore", divide="ignore"):
        match kind:
            case "mosi":
                found = _score_values(sums)
                for which in ("has0", "non0"):
                    accuracy, f1, legacy = _two_values(which, sums)
                    found |= {f"acc2_{which}": accuracy, f"f1_{which}": f1}
                    found[f"f1_{which}_legacy"] = legacy
            case "sims":
                accuracy, f1, legacy = _two_values("", sums)
                found = _score_values(sums)
                found |= {"acc2": accuracy, "f1": f1, "f1_legacy": legacy}
            case "two_class":
                found = {}
                for which in ("has0", "non0"):
                    accuracy, f1, _ = _two_values(which, sums)
                    found |= {f"acc2_{which}": accuracy, f"f1_{which}": f1}
            case "seven_class" | "seven_class_sdk":
                per_class = [_counts(f"{c}", sums) for c in range(7)]
                found = {
                    "acc7": sum(hits for _, _, hits in per_class) / total,
                    "f1": sum(s * _f1(s, p, h) for s, p, h in per_class) / total,
                    "mae7": sums["distance"] / total,
                }
            case "emotion":
                found = _emotion_values(sums)
            case _:
                raise ValueError(f"metrics kind {kind!r} is unknown")
        for name in _ACCURACIES.get(kind, ()):
            found[name] = sums[name] / total
    shape = np.broadcast_shapes(*(x.shape for x in sums.values()))
    return {name: np.broadcast_to(x, shape) for name, x in found.items()}


def _distance(p: np.ndarray, y: np.ndarray) -> Values:
    """Terms of mae and corr; the float32 differences are those of `metrics.score`."""
    found = {"error": np.abs(p - y)}
    p, y = p.astype(np.float64), y.astype(np.float64)
    # A shift changes no correlation, and without one the sums cancel badly. It is one
    # shift for all systems of a seed, or swapped answers would not add up.
    p, y = p - p.mean(axis=(0, 2), keepdims=True), y - y.mean()
    return found | {"p": p, "y": y, "pp": p * p, "yy": y * y, "py": p * y}


def _score_values(sums: Mapping[str, np.ndarray]) -> Values:
    n = sums["total"]
    p, y = sums["p"] / n, sums["y"] / n
    pp, yy = sums["pp"] / n, sums["yy"] / n
    spread_p, spread_y = pp - p * p, yy - y * y
    varies = (spread_p > _CONSTANT * pp) & (spread_y > _CONSTANT * yy)
    corr = (sums["py"] / n - p * y) / np.sqrt(spread_p * spread_y)
    corr = np.clip(corr, -1, 1)
    return {"mae": sums["error"] / n, "corr": np.where(varies, corr, np.nan)}


def _two(
    name: str, found: np.ndarray, truth: np.ndarray, kept: np.ndarray | None = None
) -> Values:
    """Terms of yes-or-no answers; `kept`: which samples count, where not all do."""
    whole = {} if kept is None else {f"{name} total": kept}
    return whole | {
        f"{name} truth": truth,
        f"{name} found": found,
        f"{name} hits": found & truth,
    }


def _counts(name: str, sums: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    truth, found = sums[f"{name} truth"], sums[f"{name} found"]
    return truth, found, sums[f"{name} hits"]


def _two_values(name: str, sums: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return accuracy, F1 weighted by the truth, and F1 weighted by the answers."""
    n = sums.get(f"{name} total", sums["total"])
    truth, found, hits = _counts(name, sums)
    rest = n - truth - found + hits  # both say no
    yes, no = _f1(truth, found, hits), _f1(n - truth, n - found, rest)
    f1 = (truth * yes + (n - truth) * no) / n
    return (hits + rest) / n, f1, (found * yes + (n - found) * no) / n


def _f1(truth: np.ndarray, found: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Return one class's F1; 0 for a class that occurs nowhere: it weighs nothing."""
    both = truth + found
    return np.where(both > 0, 2 * hits / np.where(both > 0, both, 1), 0)


def _emotion_values(sums: Mapping[str, np.ndarray]) -> Values:
    n, found = sums["total"], {}
    for name in EMOTIONS:
        truth, _, hits = _counts(name, sums)
        accuracy, f1, _ = _two_values(name, sums)
        rest = accuracy * n - hits
        never = {f"{name} found": 0 * truth, f"{name} hits": 0 * truth}
        accuracy_none, f1_none, _ = _two_values(name, {**sums, **never})
        of_emotion = {
            "acc": accuracy,
            "wa": (hits / truth + rest / (n - truth)) / 2,  # 0 / 0 is NaN
            "f1": f1,
            "acc_none": accuracy_none,
            "f1_none": f1_none,
        }
        found |= {f"{key}_{name}": value for key, value in of_emotion.items()}
    for key in ("acc", "wa", "f1", "acc_none", "f1_none"):
        each = np.stack([found[f"{key}_{name}"] for name in EMOTIONS])
        known = np.isfinite(each)
        count = known.sum(axis=0)
        found[f"{key}_avg"] = np.where(known, each, 0).sum(axis=0) / count
    return found


def _rounded(x: np.ndarray, limit: int) -> np.ndarray:
    return np.round(np.clip(x, -limit, limit))
