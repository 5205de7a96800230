"""Gradient-boosted trees as a trivial baseline: of scores, classes and emotions."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from msa_jax.evaluation.classifiers import Questions, constant, each, spread

ROUNDS, PATIENCE = 200, 15
# One thread: sums of several would be added in any order. Each split tries a fifth of
# the columns: half the time of all, and not worse on mosi_real.
RULES: dict[str, Any] = {
    "max_iter": ROUNDS,
    "learning_rate": 0.1,
    "max_leaf_nodes": 15,
    "max_features": 0.2,
    "early_stopping": True,
    "n_iter_no_change": PATIENCE,
    "random_state": 0,
}


def scores(features: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> np.ndarray:
    """Fit trees on train, choose their number on valid by MAE, predict test.

    Args:
        features: dense matrices of train, valid and test.
        labels: of train and valid.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    train, valid, test = features
    with threadpool_limits(1):
        model = HistGradientBoostingRegressor(**RULES)
        model.fit(train, labels[0], X_val=valid, y_val=labels[1])
        losses = [np.abs(p - labels[1]).mean() for p in model.staged_predict(valid)]
        return _stage(model.staged_predict(test), losses).astype(np.float32)


def logits(
    asked: Questions, features: Sequence[np.ndarray], answers: Sequence[np.ndarray]
) -> np.ndarray:
    """Do the same of every question, by cross-entropy; see `classifiers.logistic`."""
    return each(asked, _classify, features, answers)


def _classify(
    features: Sequence[np.ndarray], train: np.ndarray, valid: np.ndarray, classes: int
) -> np.ndarray:
    """Return log-probabilities of one question's answers for test, [n, classes]."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    seen = np.unique(train)
    if len(seen) == 1:
        return constant(seen[0], len(features[2]), classes)
    known = np.isin(valid, seen)  # an answer that train lacks cannot be learnt
    held_out: dict[str, Any] = {"X_val": features[1][known], "y_val": valid[known]}
    changed: dict[str, Any] = {"max_iter": ROUNDS if len(seen) == 2 else ROUNDS // 2}
    if not known.any():
        held_out, changed = {}, changed | {"early_stopping": False}
    with threadpool_limits(1):
        model = HistGradientBoostingClassifier(**(RULES | changed))
        model.fit(features[0], train, **held_out)
        losses = [
            -spread(share, seen, classes)[np.arange(len(valid)), valid].mean()
            for share in model.staged_predict_proba(features[1])
        ]
        share = _stage(model.staged_predict_proba(features[2]), losses)
        return spread(share, seen, classes)


def _stage(stages: Iterable[np.ndarray], losses: Sequence[float]) -> np.ndarray:
    """Return what the first number of trees with the least loss says."""
    return next(islice(stages, int(np.argmin(losses)), None))
