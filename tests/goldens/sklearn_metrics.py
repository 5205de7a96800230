"""The field's metrics as MMSA and Self-MM report them, with scikit-learn.

Source: thuiar/MMSA@a94e65d (all rounded), thuiar/Self-MM@1786283 (SIMS unrounded).
"""

import warnings
from typing import Any

import numpy as np
from sklearn.metrics import f1_score


def labels(rng: np.random.Generator, n: int, high: float = 3.0) -> np.ndarray:
    """Draw human labels in steps of .2."""
    return np.round(rng.uniform(-high, high, n) * 5) / 5


def metric_values(
    pred: np.ndarray, truth: np.ndarray, sims: bool
) -> dict[str, np.ndarray]:
    """Return names and values of both codes' metrics."""
    p, y = (np.clip(x, -1, 1) for x in (pred, truth)) if sims else (pred, truth)
    values: dict[str, Any] = {}
    if sims:
        edges = {2: (0.0,), 3: (-0.1, 0.1), 5: (-0.7, -0.1, 0.1, 0.7)}
        for count, at in edges.items():
            p_class, y_class = (sum(x > np.float32(e) for e in at) for x in (p, y))
            values[f"Mult_acc_{count}"] = np.mean(p_class == y_class)
        values["F1_score"] = f1_score(y > 0, p > 0, average="weighted")
    else:
        some = y != 0
        for name, guess, fact in (
            ("Has0", p >= 0, y >= 0),
            ("Non0", p[some] > 0, y[some] > 0),
        ):
            values[f"{name}_acc_2"] = np.mean(guess == fact)
            values[f"{name}_F1_score"] = f1_score(fact, guess, average="weighted")
        for count, high in ((5, 2), (7, 3)):
            p_class, y_class = (np.rint(np.clip(x, -high, high)) for x in (p, y))
            values[f"Mult_acc_{count}"] = np.mean(p_class == y_class)
    values["MAE"] = np.mean(np.abs(p - y))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # constant predictions
        values["Corr"] = np.corrcoef(p, y)[0, 1]
    numbers = list(values.values())
    out = {f"{code}/keys": np.asarray(list(values)) for code in ("mmsa", "selfmm")}
    out["mmsa/values"] = np.asarray([round(float(v), 4) for v in numbers])
    plain = [float(v if sims else round(v, 4)) for v in numbers]
    return out | {"selfmm/values": np.asarray(plain)}


def metric_inputs(rng: np.random.Generator) -> dict[str, tuple]:
    """Draw predictions and truths, random and on every edge."""

    def near(y, spread):
        return y + spread * rng.normal(size=len(y))

    mosi, mosei = labels(rng, 200), np.round(rng.uniform(-3, 3, 500) * 3) / 3
    sims, low = labels(rng, 150, 1.0), labels(rng, 20, 1.0)
    mosi[:20], sims[:20] = 0, 0
    pred = near(mosi, 1.0)
    pred[:5] = 0
    halves = rng.choice([-3.5, -2.5, -1.5, -0.5, -0.0, 0.0, 0.5, 1.5, 2.5, 3.5], 40)
    edge = np.repeat(rng.choice([-1, -0.7, -0.1, 0.0, 0.1, 0.7, 1], 20), 3)
    edge += np.tile([-1e-5, 0, 1e-5], 20)
    positive = np.abs(labels(rng, 30)) + 0.2
    return {
        "mosi_random": (pred, mosi),
        "mosi_ties": (halves, np.round(near(halves, 0.6) * 2) / 2),
        "mosi_all_positive_pred": (np.abs(pred) + 0.1, mosi),
        "mosi_constant_pred": (np.full(40, 0.3), labels(rng, 40)),
        "mosi_no_negative_truth": (rng.normal(size=30), positive),
        "mosei_random": (rng.normal(size=500), mosei),
        "sims_random": (near(sims, 0.4), sims),
        "sims_edges": (edge, np.round(near(edge, 0.1) * 5) / 5),
        "sims_constant_pred": (np.full(20, 0.05), low),
    }
