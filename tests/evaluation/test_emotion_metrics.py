"""Emotion metrics against scikit-learn and by hand; classes without samples."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from msa_jax.evaluation.emotion_metrics import (
    emotion_metrics,
    rounded_class,
    sdk_class,
    weighted_accuracy,
)
from msa_jax.ground.names import EMOTIONS

RNG = np.random.default_rng(0)
INTENSITY = np.where(RNG.random((80, 6)) < 0.3, RNG.integers(1, 10, (80, 6)) / 3, 0)
LOGIT = INTENSITY - 0.5 + RNG.normal(size=(80, 6))


def test_every_value_is_scikit_learns():
    found = emotion_metrics(LOGIT, INTENSITY)
    answer, truth = LOGIT > 0, INTENSITY > 0
    wa = []
    for i, e in enumerate(EMOTIONS):
        p, y = answer[:, i], truth[:, i]
        wa.append((recall_score(y, p) + recall_score(~y, ~p)) / 2)
        assert found[f"wa_{e}"] == pytest.approx(wa[-1])
        assert found[f"acc_{e}"] == accuracy_score(y, p)
        assert found[f"f1_{e}"] == pytest.approx(f1_score(y, p, average="weighted"))
        assert found[f"acc_none_{e}"] == np.mean(~y)
        never = np.zeros_like(y)
        f1 = f1_score(y, never, average="weighted")
        assert found[f"f1_none_{e}"] == pytest.approx(f1)
        assert weighted_accuracy(never, y) == 0.5
    assert found["wa_avg"] == pytest.approx(np.mean(wa))
    assert found["acc_avg"] == pytest.approx(np.mean(answer == truth))
    assert all(type(v) is float for v in found.values())


def test_weighted_accuracy_by_hand():
    truth = np.array([1, 1, 0, 0, 0, 0], bool)
    found = np.array([1, 0, 1, 0, 0, 0], bool)
    # (TP N / P + TN) / 2N = (1 * 4 / 2 + 3) / 8
    assert weighted_accuracy(found, truth) == pytest.approx(5 / 8)


def test_emotions_without_samples_of_a_class():
    intensity = INTENSITY.copy()
    intensity[:, 1], intensity[:, 4] = 0, 2
    found = emotion_metrics(LOGIT, intensity)
    assert np.isnan(found["wa_sad"]) and np.isnan(found["wa_disgust"])
    others = [e for e in EMOTIONS if e not in ("sad", "disgust")]
    expected = np.mean([found[f"wa_{e}"] for e in others])
    assert found["wa_avg"] == pytest.approx(expected)
    assert found["acc_none_sad"] == 1 and found["f1_none_sad"] == 1
    assert all(np.isfinite(v) for k, v in found.items() if not k.startswith("wa"))
    none = emotion_metrics(LOGIT[:1] * 0, np.zeros((1, 6)))
    assert np.isnan(none["wa_avg"]) and none["acc_avg"] == none["f1_avg"] == 1


def test_a_diverged_model_has_no_metrics_but_its_baseline_has():
    logit = LOGIT.copy()
    logit[3, 2] = np.nan
    found = emotion_metrics(logit, INTENSITY)
    kept = {k: v for k, v in found.items() if "_none_" in k}
    assert len(kept) == 14 and all(np.isfinite(v) for v in kept.values())
    assert all(np.isnan(v) for k, v in found.items() if k not in kept)


@pytest.mark.parametrize(
    ("logit", "intensity", "message"),
    [
        (LOGIT[:, :5], INTENSITY[:, :5], "two arrays"),
        (LOGIT[:7], INTENSITY, "two arrays"),
        (LOGIT[:0], INTENSITY[:0], "at least one"),
        (LOGIT, INTENSITY + np.inf, "finite"),
    ],
)
def test_wrong_input_is_refused(logit, intensity, message):
    with pytest.raises(ValueError, match=message):
        emotion_metrics(logit, intensity)


def test_seven_classes():
    score = np.array([-3.5, -2.01, -2, -1, -0.5, -0.0, 0, 0.1, 1, 1.5, 2.5, 3])
    sdk = [-3, -3, -2, -1, -1, 0, 0, 1, 1, 2, 3, 3]
    rounded = [-3, -2, -2, -1, 0, 0, 0, 0, 1, 2, 2, 3]
    np.testing.assert_array_equal(sdk_class(score), sdk)
    np.testing.assert_array_equal(rounded_class(score), rounded)
