import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from msa_jax.evaluation.metrics import mosi_metrics, score, sims_metrics, weighted_f1
from msa_jax.ground.errors import UserError

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "metrics.npz")
CASES = sorted({key.split("/")[0] for key in GOLDENS.files if "/" in key})
NAMES = {  # the originals' names, in the order of ours
    "Has0_acc_2": "acc2_has0",
    "Has0_F1_score": "f1_has0",
    "Non0_acc_2": "acc2_non0",
    "Non0_F1_score": "f1_non0",
    "Mult_acc_2": "acc2",
    "Mult_acc_3": "acc3",
    "Mult_acc_5": "acc5",
    "Mult_acc_7": "acc7",
    "F1_score": "f1",
    "MAE": "mae",
    "Corr": "corr",
}


@pytest.mark.parametrize("source", ["mmsa", "selfmm"])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_public_code(case, source):
    kind = "sims" if case.startswith("sims") else "mosi"
    ours = score(kind, GOLDENS[f"{case}/pred"], GOLDENS[f"{case}/truth"])
    keys, values = GOLDENS[f"{case}/{source}/keys"], GOLDENS[f"{case}/{source}/values"]
    assert len(keys) == {"mosi": 8, "sims": 6}[kind]
    # Only Self-MM's SIMS values are unrounded; rounding in float32 costs another 1e-7.
    unrounded = kind == "sims" and source == "selfmm"
    tolerance = 1e-12 if unrounded else 5e-5 + 2e-7
    for key, value in zip(keys, values, strict=True):
        np.testing.assert_allclose(
            ours[NAMES[key]], value, rtol=0, atol=tolerance, err_msg=key
        )


def test_mosi_by_hand():
    truth = np.array([-1.0, 0.0, 2.0, 0.5], np.float32)
    prediction = np.array([0.0, 0.0, 3.5, -0.5], np.float32)
    found = mosi_metrics(prediction, truth)
    assert found["mae"] == pytest.approx((1 + 0 + 1.5 + 1) / 4)
    assert found["acc2_has0"] == 2 / 4  # 0 is positive on both sides
    assert found["acc2_non0"] == 2 / 3  # a prediction of 0 is negative here
    assert found["acc7"] == 2 / 4  # 0.5 and -0.5 both round to 0, half to even
    assert found["acc5"] == 3 / 4  # 3.5 and 2 both clip to 2
    assert found["acc3"] == 3 / 4


def test_sims_clips_and_compares_in_float32():
    truth = np.array([-3.0, 0.1, 0.7, 0.0], np.float64)
    prediction = np.array([-1.0, 0.05, 0.6, 0.01], np.float64)
    found = sims_metrics(prediction, truth)
    assert found["mae"] == pytest.approx((0 + 0.05 + 0.1 + 0.01) / 4, rel=1e-6)
    assert found["acc3"] == 1.0  # float32 0.1 lies in the middle class
    assert found["acc5"] == 1.0  # and float32 0.7 in the fourth
    assert found["acc2"] == 3 / 4  # label 0 is negative


def test_weighted_f1_equals_scikit_learn_in_both_orders():
    rng = np.random.default_rng(0)
    for _ in range(20):
        p, y = rng.random(30) < rng.random(), rng.random(30) < rng.random()
        for a, b in ((p, y), (y, p)):
            theirs = f1_score(b, a, average="weighted")
            assert weighted_f1(a, b) == pytest.approx(theirs, abs=1e-14)


def test_legacy_f1_flatters_a_constant_predictor():
    # docs/metrics.md: share of positives .6937, as in a published SIMS row.
    truth = np.where(np.arange(10_000) < 6937, 1.0, -1.0).astype(np.float32)
    found = sims_metrics(np.full(10_000, 0.3, np.float32), truth)
    assert round(found["f1"], 4) == 0.5682
    assert round(found["f1_legacy"], 4) == 0.8192
    found = mosi_metrics(np.full(10_000, 0.3, np.float32), truth)
    assert found["f1_has0_legacy"] == found["f1_non0_legacy"] > found["f1_has0"]


def test_constant_predictions_have_no_correlation():
    truth = np.array([0.1, -0.4, 0.9], np.float32)
    for p in (0.05, 7.0):
        assert math.isnan(sims_metrics(np.full(3, p, np.float32), truth)["corr"])
    varied = np.array([2.0, 3.0, 4.0], np.float32)  # constant only after clipping
    assert math.isnan(sims_metrics(varied, truth)["corr"])
    assert math.isfinite(mosi_metrics(varied, truth)["corr"])


def test_only_zero_labels_leave_non0_undefined():
    found = mosi_metrics(np.array([0.5, -0.5], np.float32), np.zeros(2, np.float32))
    undefined = {name for name, value in found.items() if math.isnan(value)}
    assert undefined == {"corr", "acc2_non0", "f1_non0", "f1_non0_legacy"}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("kind", ["mosi", "sims"])
def test_a_diverged_model_scores_nothing(kind, bad):
    truth = np.array([1.0, -1.0, 1.0], np.float32)
    found = score(kind, np.array([1.0, bad, 0.2], np.float32), truth)
    assert all(math.isnan(value) for value in found.values())


def test_mistakes_are_named():
    one = np.ones(3, np.float32)
    with pytest.raises(UserError, match="'mosi' or 'sims'"):
        score("mosei", one, one)
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        score("mosi", one, one[:2])
    with pytest.raises(ValueError, match=r"\(3, 1\)"):
        score("mosi", one[:, None], one[:, None])
    with pytest.raises(ValueError, match="finite labels"):
        score("sims", one, np.array([1, np.nan, 0], np.float32))
