"""Trivial baselines: what anybody gets without a method, beside every result.

A reader who sees them cannot mistake a constant predictor for a model, which has
happened to published tables (docs/metrics.md).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from msa_jax.evaluation import boosting, classifiers, pooling
from msa_jax.evaluation.metrics import score
from msa_jax.ground.types import Examples

MEAN = "mean predictor"
MAJORITY = "majority class"
ALL_ABSENT = "all absent"  # of emotions
BAG_OF_WORDS = "ridge, bag of words"
FROZEN_TEXT = "ridge, frozen text features"
AUDIO_VISION = "ridge, audio and vision"
RIDGE = "ridge, all modalities"
LOGISTIC_BAG = "logistic regression, bag of words"
LOGISTIC_TEXT = "logistic regression, frozen text features"
LOGISTIC_AUDIO_VISION = "logistic regression, audio and vision"
LOGISTIC = "logistic regression, all modalities"
BOOSTING = "gradient boosting, all modalities"
# As they are listed.
NAMES = (
    *(MEAN, MAJORITY, ALL_ABSENT),
    *(BAG_OF_WORDS, FROZEN_TEXT, AUDIO_VISION, RIDGE),
    *(LOGISTIC_BAG, LOGISTIC_TEXT, LOGISTIC_AUDIO_VISION, LOGISTIC),
    BOOSTING,
)

ALPHAS = tuple(float(alpha) for alpha in np.logspace(-2, 5, 15))  # of ridge penalties

Texts = tuple[np.ndarray, np.ndarray, np.ndarray]
T = TypeVar("T")


class _Asked(NamedTuple):
    """Who answers, by what is asked.

    constants: answers to test that read nothing.
    linear, trees: matrices of train, valid and test -> answers to test.
    names: of the linear one on words, text, audio and vision, all of them.
    """

    constants: dict[str, np.ndarray]
    linear: Callable[[Sequence[Any]], np.ndarray]
    trees: Callable[[Sequence[np.ndarray]], np.ndarray]
    names: tuple[str, str, str, str]


def scores(
    kind: str, found: Mapping[str, np.ndarray], truth: np.ndarray
) -> dict[str, dict[str, float]]:
    """Score `answers` with the metrics of a kind; returns them by name."""
    truth = np.asarray(truth, np.float32)
    return {name: score(kind, answer, truth) for name, answer in found.items()}


def answers(
    train: Examples,
    valid: Examples,
    test: Examples,
    kind: str,
    frozen: Texts | None = None,
) -> dict[str, np.ndarray]:
    """Return every trivial baseline's answer to every sample of `test`.

    Args:
        train: fits every baseline; the only source of vocabulary and scaling.
        valid: chooses penalty and number of trees, by MAE; of classes and emotions by
            cross-entropy.
        test: answered once.
        kind: the metrics (`metrics.score`): scores are asked of ridge
            regression, classes and emotions of logistic regression.
        frozen: features [n, h] of the texts of train, valid and test from an encoder
            that was not trained on them. Text given as features [n, t, d] is used in
            its place, averaged over the valid steps.

    Returns: scores [n] or logits [n, outputs] by the name of the baseline; those that
    the data do not allow are left out. Deterministic.
    """
    splits = (train, valid, test)
    asked = _ask(train, valid, len(test.label), kind)
    found = dict(asked.constants)
    bag, text_alone, audio_vision_alone, every = asked.names
    documents = [pooling.documents(s) for s in splits]
    if documents[0] and any(documents[0]):  # at least one word to train on
        found[bag] = asked.linear(pooling.bags_of_words(documents))
    text = _scaled(
        [pooling.text_features(s) for s in splits] if frozen is None else frozen
    )
    if text is not None:
        found[text_alone] = asked.linear(text)
    others = _scaled([pooling.audio_and_vision(s) for s in splits])
    if others is not None:
        others = pooling.within_reach(others)
        found[audio_vision_alone] = asked.linear(others)
        if text is not None:
            both = [np.hstack(pair) for pair in zip(text, others, strict=True)]
            found[every] = asked.linear(both)
            found[BOOSTING] = asked.trees(both)
    return found


def majority(train: np.ndarray, zero_is_positive: bool) -> float:
    """Return the constant with the best Acc-2 on train, near the least MAE.

    The median has the least MAE, and the side of the more frequent class. One case is
    apart: a score of 0 is negative in Non0, where most labels may be positive.

    Args:
        train: labels.
        zero_is_positive: of MOSI and MOSEI; of SIMS a score of 0 is negative.
    """
    median, positive = np.median(train), train[train > 0]
    if zero_is_positive and median == 0 and len(positive) > (train < 0).sum():
        return float(positive.min())
    return float(median)


def ridge(features: Sequence[Any], labels: Sequence[np.ndarray]) -> np.ndarray:
    """Fit ridge regression on train, choose its penalty on valid, predict test.

    Args:
        features: matrices of train, valid and test, dense or scipy sparse.
        labels: of train and valid; any further entry is not looked at.

    Returns: predictions for test with the penalty of `ALPHAS` whose MAE on valid is
    least; the largest of them on a tie.
    """
    from scipy.sparse import issparse
    from sklearn.linear_model import Ridge
    from threadpoolctl import threadpool_limits

    train, valid, test = features
    solver = "sparse_cg" if issparse(train) else "cholesky"
    best, chosen = np.inf, None
    with threadpool_limits(1):
        for alpha in reversed(ALPHAS):
            model = Ridge(alpha=alpha, solver=solver, tol=1e-6).fit(train, labels[0])
            mae = float(np.mean(np.abs(model.predict(valid) - labels[1])))
            if mae < best:
                best, chosen = mae, model
        if chosen is None:
            raise ValueError("ridge baseline: features or labels are not finite")
        return np.asarray(chosen.predict(test), np.float32)


def in_order(found: Mapping[str, T]) -> dict[str, T]:
    """Sort what is there of each baseline as `NAMES`; others last."""
    known = {name: found[name] for name in NAMES if name in found}
    return known | {name: found[name] for name in found if name not in known}


def _ask(train: Examples, valid: Examples, n: int, kind: str) -> _Asked:
    asked = classifiers.questions(kind)
    if asked is None:
        labels = [np.asarray(s.label, np.float32) for s in (train, valid)]
        mean = labels[0].mean(dtype=np.float64)
        constant = majority(labels[0], zero_is_positive=kind != "sims")
        return _Asked(
            {
                MEAN: np.full(n, mean, np.float32),
                MAJORITY: np.full(n, constant, np.float32),
            },
            partial(ridge, labels=labels),
            partial(boosting.scores, labels=labels),
            (BAG_OF_WORDS, FROZEN_TEXT, AUDIO_VISION, RIDGE),
        )
    replies = [asked.answers(getattr(s, asked.labels)) for s in (train, valid)]
    constant = ALL_ABSENT if kind == "emotion" else MAJORITY
    return _Asked(
        {constant: classifiers.most_frequent(asked, replies[0], n)},
        partial(classifiers.logistic, asked, answers=replies),
        partial(boosting.logits, asked, answers=replies),
        (LOGISTIC_BAG, LOGISTIC_TEXT, LOGISTIC_AUDIO_VISION, LOGISTIC),
    )


def _scaled(features: Sequence[np.ndarray | None]) -> list[np.ndarray] | None:
    """Standardise the features of all splits; None if there are none."""
    there = [np.asarray(x, np.float64) for x in features if x is not None]
    return pooling.standardised(there) if len(there) == len(features) else None
