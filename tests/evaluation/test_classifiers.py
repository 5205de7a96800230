"""Baselines of classes and emotions: against an independent fit, and constant ones."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from test_baselines import baselines, examples, spoken

from msa_jax.evaluation import boosting
from msa_jax.evaluation.baselines import (
    ALL_ABSENT,
    LOGISTIC_BAG,
    LOGISTIC_TEXT,
    MAJORITY,
)
from msa_jax.evaluation.classifiers import STRENGTHS, logistic, most_frequent, questions

CLASSES = ("two_class", "seven_class", "seven_class_sdk")


def fit_by_hand(x, y, strength, classes):
    """Minimise |W|^2 / 2 + C times the summed cross-entropy; biases are free."""
    width = x.shape[1]

    def logs(flat, x):
        flat = flat.reshape(width + 1, classes)
        return log_softmax(x @ flat[:-1] + flat[-1], axis=1)

    def objective(flat):
        weight = flat.reshape(width + 1, classes)[:-1]
        loss = -logs(flat, x)[np.arange(len(y)), y].sum()
        return 0.5 * (weight**2).sum() + strength * loss

    found = minimize(objective, np.zeros((width + 1) * classes), method="BFGS").x
    return lambda x: logs(found, x)


def test_logistic_equals_an_independent_fit_and_valid_chooses():
    rng = np.random.default_rng(1)
    x = [rng.normal(size=(n, 2)) for n in (60, 40, 20)]
    score = [2 * part[:, 0] + 1.5 * rng.normal(size=len(part)) for part in x]
    y = [np.digitize(s, (-1, 1)) + 2 for s in score]  # classes 2 to 4 of seven
    fits = [fit_by_hand(x[0], y[0] - 2, c, 3) for c in STRENGTHS]
    losses = [-f(x[1])[np.arange(40), y[1] - 2].mean() for f in fits]
    best = int(np.argmin(losses))
    assert 0 < best < len(STRENGTHS) - 1  # else nothing is chosen
    asked = questions("seven_class")
    assert asked is not None
    found = logistic(asked, x, [part[:, None] for part in y[:2]])
    assert found.shape == (20, 7) and np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 2:5], fits[best](x[2]), atol=5e-3)
    np.testing.assert_allclose(found[:, [0, 1, 5, 6]], np.log(1e-7), atol=1e-4)


def test_the_answers_are_those_that_metrics_compare_with():
    label = np.array([-3.0, -0.4, 0, 0.5, 1.5, 3], np.float32)
    split = examples(label)
    expected = {
        "two_class": [0, 0, 1, 1, 1, 1],
        "seven_class": [0, 3, 3, 3, 5, 6],  # halves to the even
        "seven_class_sdk": [0, 2, 3, 4, 5, 6],
    }
    for kind, classes in expected.items():
        asked = questions(kind)
        assert asked is not None
        assert asked.answers(split.label)[:, 0].tolist() == classes
    assert questions("mosi") is None and questions("sims") is None


def test_the_most_frequent_class_of_train_is_always_finite():
    train = examples([1.0, 2, 2.2, -1])
    for kind in CLASSES:
        found = baselines(train, examples([1.0]), examples([2.0, -1, 0]), kind)
        assert list(found) == [MAJORITY]
        assert all(math.isfinite(v) for v in found[MAJORITY].values())
    # sdk: 1, 2, 3 and -1, once each; the lowest wins
    assert found[MAJORITY]["acc7"] == pytest.approx(1 / 3)
    two = baselines(train, examples([1.0]), examples([2.0, -1, 0]), "two_class")
    assert two[MAJORITY]["acc2_has0"] == pytest.approx(2 / 3)
    assert two[MAJORITY]["acc2_non0"] == pytest.approx(1 / 2)
    asked = questions("seven_class")
    assert asked is not None
    logit = most_frequent(asked, np.array([[4], [5], [5], [2]]), 2)
    np.testing.assert_allclose(np.exp(logit[0, [2, 4, 5]]), [0.25, 0.25, 0.5])
    np.testing.assert_allclose(np.exp(logit[:, [0, 6]]), 1e-7, rtol=1e-3)


def felt(n, seed):
    """Return a split whose first emotion shows in its words, and whose last never."""
    ids, transcript, label = spoken(n, seed)
    emotion = np.zeros((n, 6), np.float32)
    emotion[:, 0] = np.maximum(0, (ids == 0).sum(1) - 1)
    emotion[:, 1:5] = np.random.default_rng(seed).integers(0, 2, (n, 4))
    return examples(label, transcript)._replace(emotion=emotion)


def test_emotions_one_by_one():
    train, valid, test = (felt(n, i) for i, n in enumerate((120, 40, 40)))
    found = baselines(train, valid, test, "emotion")
    assert list(found) == [ALL_ABSENT, LOGISTIC_BAG]
    absent, words = found[ALL_ABSENT], found[LOGISTIC_BAG]
    for name in ("happy", "sad", "anger", "surprise", "disgust"):
        assert absent[f"wa_{name}"] == 0.5
        assert absent[f"acc_{name}"] == absent[f"acc_none_{name}"]
    assert absent["wa_avg"] == 0.5 and math.isnan(absent["wa_fear"])
    assert words["wa_happy"] > 0.85 and words["acc_fear"] == 1
    assert abs(words["wa_sad"] - 0.5) < 0.2
    assert str(found) == str(baselines(train, valid, test, "emotion"))


@pytest.mark.parametrize("kind", CLASSES)
def test_words_and_features_beat_the_majority(kind):
    train, valid, test = (felt(n, i) for i, n in enumerate((120, 40, 40)))
    frozen = [
        np.stack([s.label, -(s.label**2), 0 * s.label + 1], 1)
        for s in (train, valid, test)
    ]
    found = baselines(train, valid, test, kind, (frozen[0], frozen[1], frozen[2]))
    assert list(found) == [MAJORITY, LOGISTIC_BAG, LOGISTIC_TEXT]
    key = "acc2_has0" if kind == "two_class" else "acc7"
    assert found[LOGISTIC_BAG][key] > found[MAJORITY][key] + 0.1
    assert found[LOGISTIC_TEXT][key] > 0.9


def test_a_class_that_train_lacks_and_a_train_of_one_class():
    train, valid, test = (felt(n, i) for i, n in enumerate((40, 20, 20)))
    one = train._replace(label=np.ones_like(train.label))
    found = baselines(one, valid, test, "seven_class")
    assert found[LOGISTIC_BAG] == found[MAJORITY]
    narrow = train._replace(label=np.clip(train.label, -1, 1))
    found = baselines(narrow, valid, test, "seven_class")[LOGISTIC_BAG]
    assert all(math.isfinite(v) for v in found.values())


def test_features_that_are_not_finite_are_an_error():
    x = [np.full((6, 2), np.nan)] * 3
    asked = questions("two_class")
    assert asked is not None
    with pytest.raises(ValueError):
        logistic(asked, x, [np.array([[0], [1]] * 3)] * 2)


def trees(train, valid, n=30):
    """Answer `n` samples of test with seven classes whose column 0 is the class."""
    asked = questions("seven_class")
    assert asked is not None
    rng = np.random.default_rng(0)
    test = np.arange(n) % 3 + 2
    x = [y[:, None] + 0.1 * rng.normal(size=(len(y), 2)) for y in (train, valid, test)]
    return test, boosting.logits(asked, x, [y[:, None] for y in (train, valid)])


def test_trees_classify_and_bear_answers_that_train_lacks():
    train = np.repeat([2, 3, 4], 50)
    for valid in (np.array([2, 3, 4, 6, 3]), np.array([5, 6])):
        test, found = trees(train, valid)
        assert found.shape == (30, 7) and np.isfinite(found).all()
        assert (found.argmax(axis=1) == test).mean() > 0.95
        np.testing.assert_allclose(found[:, [0, 1, 5, 6]], np.log(1e-7), rtol=1e-4)
        chance = np.exp(found).sum(axis=1)
        np.testing.assert_allclose(chance, 1, atol=1e-5)
    _, found = trees(np.full(20, 4), np.array([4, 3]))
    assert (found.argmax(axis=1) == 4).all()


def test_trees_find_each_emotion():
    asked = questions("emotion")
    assert asked is not None
    rng = np.random.default_rng(3)
    x = [rng.normal(size=(n, 6)) for n in (200, 60, 60)]
    y = [(part > 0).astype(int) for part in x]
    y[0][:, 5] = 0  # never seen
    found = boosting.logits(asked, x, y[:2])
    assert found.shape == (60, 6)
    right = ((found > 0) == y[2]).mean(axis=0)
    assert right[:5].min() > 0.9 and (found[:, 5] < 0).all()
