"""Trivial baselines: what anybody gets without a method, beside every result.

A reader who sees them cannot mistake a constant predictor for a model, which has
happened to published tables (docs/metrics.md).
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from msa_jax.experiment import classifiers
from msa_jax.metrics import score
from msa_jax.types import Examples

MEAN = "mean predictor"
BAG_OF_WORDS = "ridge, bag of words"
FROZEN_TEXT = "ridge, frozen text features"
MAJORITY = "majority class"
ALL_ABSENT = "all absent"  # of emotions
LOGISTIC_BAG = "logistic regression, bag of words"
LOGISTIC_TEXT = "logistic regression, frozen text features"

ALPHAS = tuple(float(alpha) for alpha in np.logspace(-2, 5, 15))  # ridge penalties

# Chinese transcripts have no spaces: every CJK character counts as a word there.
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+(?:'[^\W\u3400-\u9fff]+)?")


def baselines(
    train: Examples,
    valid: Examples,
    test: Examples,
    kind: str,
    frozen: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> dict[str, dict[str, float]]:
    """Score the trivial baselines on `test`.

    Args:
        train: fits every baseline; the only source of vocabulary and scaling.
        valid: chooses the penalty, by MAE; of classes and emotions by cross-entropy.
        test: scored once with that penalty.
        kind: the metrics (`msa_jax.metrics.score`): scores are asked of ridge
            regression, classes and emotions of logistic regression.
        frozen: features [n, h] of the texts of train, valid and test from an encoder
            that was not trained on them. Text given as features [n, t, d] is used in
            its place, averaged over the valid steps.

    Returns: metrics by the name of the baseline; those that the data do not allow are
    left out. Deterministic.
    """
    splits = (train, valid, test)
    asked = classifiers.questions(kind)
    if asked is None:
        names = (MEAN, BAG_OF_WORDS, FROZEN_TEXT)
        labels = [np.asarray(s.label, np.float32) for s in splits]
        mean = labels[0].mean(dtype=np.float64)
        truth, guess = labels[2], np.full(len(labels[2]), mean, np.float32)
        answer = partial(ridge, labels=labels)
    else:
        constant = ALL_ABSENT if kind == "emotion" else MAJORITY
        names = (constant, LOGISTIC_BAG, LOGISTIC_TEXT)
        answers = [asked.answers(getattr(s, asked.labels)) for s in (train, valid)]
        truth = np.asarray(getattr(test, asked.labels), np.float32)
        guess = classifiers.most_frequent(asked, answers[0], len(truth))
        answer = partial(classifiers.logistic, asked, answers=answers)
    scores = {names[0]: score(kind, guess, truth)}
    documents = [_documents(s) for s in splits]
    if documents[0] and any(documents[0]):  # at least one word to train on
        scores[names[1]] = score(kind, answer(_bags_of_words(documents)), truth)
    features = [_mean_over_steps(s) for s in splits] if frozen is None else frozen
    if features[0] is not None:
        matrices = _standardised([np.asarray(x, np.float64) for x in features])
        scores[names[2]] = score(kind, answer(matrices), truth)
    return scores


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

    train, valid, test = features
    solver = "sparse_cg" if issparse(train) else "cholesky"
    best, chosen = np.inf, None
    for alpha in reversed(ALPHAS):
        model = Ridge(alpha=alpha, solver=solver, tol=1e-6).fit(train, labels[0])
        mae = float(np.mean(np.abs(model.predict(valid) - labels[1])))
        if mae < best:
            best, chosen = mae, model
    if chosen is None:
        raise ValueError("ridge baseline: features or labels are not finite")
    return np.asarray(chosen.predict(test), np.float32)


def words(text: str) -> list[str]:
    """Split a transcript into lower-case words, Chinese into characters."""
    return _WORD.findall(text.lower())


def _documents(split: Examples) -> list[list[str]] | None:
    """Each text as a list of words, or of token ids where there is no raw text."""
    if split.transcript is not None:
        return [words(str(text)) for text in split.transcript]
    if split.text is not None and np.issubdtype(split.text.dtype, np.integer):
        return [[str(token) for token in ids[mask > 0]] for ids, mask, _ in split.text]
    return None


def _bags_of_words(documents: Sequence[Any]) -> list[Any]:
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.pipeline import make_pipeline

    weights = make_pipeline(DictVectorizer(), TfidfTransformer(sublinear_tf=True))
    counts = [[Counter(document) for document in part] for part in documents]
    train = weights.fit_transform(counts[0])
    return [train, *(weights.transform(part) for part in counts[1:])]


def _mean_over_steps(split: Examples) -> np.ndarray | None:
    if split.text is None or not np.issubdtype(split.text.dtype, np.floating):
        return None
    assert split.text_length is not None  # comes with `text`
    steps = np.arange(split.text.shape[1])
    kept = (steps < split.text_length[:, None])[..., None]
    total = np.sum(split.text, axis=1, where=kept, dtype=np.float64)
    return total / np.maximum(split.text_length, 1)[:, None]


def _standardised(features: list[np.ndarray]) -> list[np.ndarray]:
    mean, sd = features[0].mean(axis=0), features[0].std(axis=0)
    return [(x - mean) / np.where(sd > 0, sd, 1.0) for x in features]
