"""Trivial classifiers: the most frequent answer, and logistic regression."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from msa_jax.evaluation.metrics import rounded_class, sdk_class

# Inverse penalties of logistic regression; the strongest penalty first.
STRENGTHS = tuple(float(c) for c in np.logspace(-4, 2, 7))
ITERATIONS = 300
_RAREST = 1e-7  # probability given to a class that train lacks


class Questions(NamedTuple):
    """What is asked: questions with one answer each, and how answers become logits.

    labels: the field of `Examples` that metrics compare with.
    answers: those labels -> [n, questions] int, from 0.
    classes: how many answers a question has.
    """

    labels: str
    answers: Callable[[np.ndarray], np.ndarray]
    classes: int


def questions(kind: str) -> Questions | None:
    """Return what a kind of metrics asks; None where labels are scores.

    Args:
        kind: see `metrics.score`.
    """
    match kind:
        case "two_class":
            return Questions("label", lambda y: (y >= 0).astype(int)[:, None], 2)
        case "seven_class":
            return Questions("label", lambda y: rounded_class(y)[:, None] + 3, 7)
        case "seven_class_sdk":
            return Questions("label", lambda y: sdk_class(y)[:, None] + 3, 7)
        case "emotion":
            return Questions("emotion", lambda y: (y > 0).astype(int), 2)
    return None


def most_frequent(asked: Questions, train: np.ndarray, n: int) -> np.ndarray:
    """Give every sample the logits of the classes' shares of train; absent: -1.

    Args:
        asked: from `questions`.
        train: [m, questions], train's answers.
        n: how many samples.

    Returns: logits [n, classes], or [n, questions] where these are yes or no.
    """
    if asked.labels == "emotion":
        return np.full((n, train.shape[1]), -1.0, np.float32)
    shares = np.bincount(train[:, 0], minlength=asked.classes) / len(train)
    return np.tile(np.log(np.maximum(shares, _RAREST)), (n, 1)).astype(np.float32)


def logistic(
    asked: Questions, features: Sequence[Any], answers: Sequence[np.ndarray]
) -> np.ndarray:
    """Fit logistic regression on train, choose its penalty on valid, answer test.

    Args:
        asked: from `questions`.
        features: matrices of train, valid and test, dense or scipy sparse.
        answers: of train and valid, [n, questions].

    Returns: logits as in `most_frequent`; of every question with the penalty of
        `STRENGTHS` whose cross-entropy on valid is least, the stronger on a tie.
    """
    return each(asked, _fit, features, answers)


def each(
    asked: Questions,
    fit: Callable[..., np.ndarray],
    features: Sequence[Any],
    answers: Sequence[np.ndarray],
) -> np.ndarray:
    """Fit every question by itself; return logits as in `most_frequent`.

    Args:
        asked, features, answers: as of `logistic`.
        fit: (features, one question's answers of train, of valid, number of classes)
            -> log-probabilities for test, [n, classes].
    """
    columns = [
        fit(features, train, valid, asked.classes)
        for train, valid in zip(answers[0].T, answers[1].T, strict=True)
    ]
    if asked.labels == "emotion":
        columns = [(logs[:, 1] - logs[:, 0])[:, None] for logs in columns]
    return np.hstack(columns).astype(np.float32)


def constant(answer: int, n: int, classes: int) -> np.ndarray:
    """Return log-probabilities [n, classes] of the only answer that train has."""
    logs = np.full((n, classes), np.log(_RAREST))
    logs[:, answer] = 0.0
    return logs


def _fit(
    features: Sequence[Any], train: np.ndarray, valid: np.ndarray, classes: int
) -> np.ndarray:
    """Return log-probabilities of one question's answers for test, [n, classes]."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    seen = np.unique(train)
    if len(seen) == 1:
        return constant(seen[0], features[2].shape[0], classes)
    # Each fit starts where the one with a stronger penalty ended.
    model = LogisticRegression(max_iter=ITERATIONS, warm_start=True)
    best, chosen = np.inf, None
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly there is enough
        for strength in STRENGTHS:
            model.set_params(C=strength).fit(features[0], train)
            logs = spread(model.predict_proba(features[1]), seen, classes)
            loss = -float(logs[np.arange(len(valid)), valid].mean())
            if loss < best:
                best = loss
                chosen = spread(model.predict_proba(features[2]), seen, classes)
    if chosen is None:
        raise ValueError("logistic baseline: features or labels are not finite")
    return chosen


def spread(share: np.ndarray, seen: np.ndarray, classes: int) -> np.ndarray:
    """Put probabilities in their classes' columns, as logarithms."""
    out = np.zeros((len(share), classes))
    out[:, seen] = share
    return np.log(np.maximum(out, _RAREST))
