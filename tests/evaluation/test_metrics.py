"""Metrics against the public code, scikit-learn and by hand; of resampled sets."""

import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from msa_jax.evaluation.metrics import rounded_class, score, sdk_class, terms, values
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import EMOTIONS

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


KINDS = {
    "mosi": 0,
    "sims": 0,
    "two_class": 2,
    "seven_class": 7,
    "seven_class_sdk": 7,
    "emotion": 6,
}
# Edges of every class, halves, zeros of both signs, and values beyond the range.
EDGES = (-3.4, -3, -2.5, -1.5, -1, -0.7, -0.5, -0.1, -0.0, 0.0, 0.1, 0.5, 0.7, 1, 2.5)


def made_up(kind: str, rng, n: int, seeds: int):
    """Return labels and predictions [1, s, n, ...] that lie on edges often."""
    width = KINDS[kind]
    if kind == "emotion":
        label = rng.choice([0, 0, 0, 0.3, 1, 3], (n, 6))
    else:
        label = rng.choice([*EDGES, 0, 0], n)
    if kind == "sims":
        label = np.clip(label, -1, 1)
    prediction = rng.normal(size=(1, seeds, n, *([width] if width else [])))
    at_edge = rng.random(prediction.shape) < 0.4
    prediction[at_edge] = rng.choice(EDGES, at_edge.sum())
    return label.astype(np.float32), prediction.astype(np.float32)


def weigh(kind: str, label, prediction, counts) -> dict[str, np.ndarray]:
    of_samples = terms(kind, prediction, label)
    return values(kind, {name: x @ counts for name, x in of_samples.items()})


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
    found = score("mosi", prediction, truth)
    assert found["mae"] == pytest.approx((1 + 0 + 1.5 + 1) / 4)
    assert found["acc2_has0"] == 2 / 4  # 0 is positive on both sides
    assert found["acc2_non0"] == 2 / 3  # a prediction of 0 is negative here
    assert found["acc7"] == 2 / 4  # 0.5 and -0.5 both round to 0, half to even
    assert found["acc5"] == 3 / 4  # 3.5 and 2 both clip to 2
    assert found["acc3"] == 3 / 4


def test_sims_clips_and_compares_in_float32():
    truth = np.array([-3.0, 0.1, 0.7, 0.0], np.float64)
    prediction = np.array([-1.0, 0.05, 0.6, 0.01], np.float64)
    found = score("sims", prediction, truth)
    assert found["mae"] == pytest.approx((0 + 0.05 + 0.1 + 0.01) / 4, rel=1e-6)
    assert found["acc3"] == 1.0  # float32 0.1 lies in the middle class
    assert found["acc5"] == 1.0  # and float32 0.7 in the fourth
    assert found["acc2"] == 3 / 4  # label 0 is negative


def test_accuracy_and_f1_are_scikit_learns():
    rng = np.random.default_rng(0)
    for kind in ("mosi", "sims", "two_class", "seven_class", "seven_class_sdk"):
        for _ in range(5):
            label, prediction = made_up(kind, rng, 30, 1)
            found = score(kind, prediction[0, 0], label)
            for name, (p, y) in sides(kind, prediction[0, 0], label).items():
                accuracy, f1 = name
                assert found[accuracy] == pytest.approx(accuracy_score(y, p), abs=1e-14)
                theirs = f1_score(y, p, average="weighted")
                assert f1 not in found or found[f1] == pytest.approx(theirs, abs=1e-14)
                swapped = f1_score(p, y, average="weighted")
                legacy = found.get(f"{f1}_legacy", swapped)
                assert legacy == pytest.approx(swapped, abs=1e-14)


def sides(kind, p, y):
    """Return (accuracy, F1) -> classes of answers and labels, from the definitions."""
    kept = y != 0
    match kind:
        case "mosi":
            clipped = {
                (f"acc{2 * k + 1}", ""): [np.round(np.clip(x, -k, k)) for x in (p, y)]
                for k in (1, 2, 3)
            }
            return clipped | {
                ("acc2_has0", "f1_has0"): (p >= 0, y >= 0),
                ("acc2_non0", "f1_non0"): (p[kept] > 0, y[kept] > 0),
            }
        case "sims":
            three, five = (-0.1, 0.1), (-0.7, -0.1, 0.1, 0.7)
            return {("acc2", "f1"): (p > 0, y > 0)} | {
                (name, ""): [
                    sum((x > np.float32(edge)).astype(int) for edge in edges)
                    for x in (p, y)
                ]
                for name, edges in (("acc3", three), ("acc5", five))
            }
        case "two_class":
            yes = p[:, 1] > p[:, 0]
            return {
                ("acc2_has0", "f1_has0"): (yes, y >= 0),
                ("acc2_non0", "f1_non0"): (yes[kept], y[kept] > 0),
            }
    whole = (
        np.sign(y) * np.ceil(np.abs(y)) if kind == "seven_class_sdk" else np.round(y)
    )
    return {("acc7", "f1"): (p.argmax(1) - 3, np.clip(whole, -3, 3).astype(int))}


def test_legacy_f1_flatters_a_constant_predictor():
    # docs/metrics.md: share of positives .6937, as in a published SIMS row.
    truth = np.where(np.arange(10_000) < 6937, 1.0, -1.0).astype(np.float32)
    found = score("sims", np.full(10_000, 0.3, np.float32), truth)
    assert round(found["f1"], 4) == 0.5682
    assert round(found["f1_legacy"], 4) == 0.8192
    found = score("mosi", np.full(10_000, 0.3, np.float32), truth)
    assert found["f1_has0_legacy"] == found["f1_non0_legacy"] > found["f1_has0"]


def test_constant_predictions_have_no_correlation():
    truth = np.array([0.1, -0.4, 0.9], np.float32)
    for p in (0.05, 7.0):
        assert math.isnan(score("sims", np.full(3, p, np.float32), truth)["corr"])
    varied = np.array([2.0, 3.0, 4.0], np.float32)  # constant only after clipping
    assert math.isnan(score("sims", varied, truth)["corr"])
    assert math.isfinite(score("mosi", varied, truth)["corr"])


def test_only_zero_labels_leave_non0_undefined():
    found = score("mosi", np.array([0.5, -0.5], np.float32), np.zeros(2, np.float32))
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


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_the_metrics_of_the_resampled_arrays(kind):
    rng = np.random.default_rng(3)
    undefined = 0
    for _ in range(40):
        n = int(rng.choice([1, 3, 12, 40]))
        label, prediction = made_up(kind, rng, n, 2)
        drawn = rng.integers(0, n, n)
        found = weigh(kind, label, prediction, np.bincount(drawn, minlength=n))
        for seed in range(2):
            wanted = score(kind, prediction[0, seed, drawn], label[drawn])
            assert set(found) == set(wanted)
            for key, value in wanted.items():
                # Only MAE is a float32 mean there.
                close = pytest.approx(value, abs=1e-6 if key == "mae" else 1e-9)
                undefined += math.isnan(value)
                both_nan = math.isnan(value) and math.isnan(found[key][0, seed])
                assert both_nan or found[key][0, seed] == close, key
    assert undefined or kind.startswith("seven")  # small sets reach every branch


@pytest.mark.parametrize("kind", KINDS)
def test_a_system_and_its_seeds_are_scored_alone(kind):
    rng = np.random.default_rng(4)
    label, a = made_up(kind, rng, 30, 3)
    _, b = made_up(kind, rng, 30, 3)
    both = weigh(kind, label, np.concatenate([a, b]), np.ones(30))
    for key, value in weigh(kind, label, b, np.ones(30)).items():
        np.testing.assert_allclose(both[key][1], value[0], atol=1e-12)


def test_swapping_answers_swaps_terms():
    rng = np.random.default_rng(5)
    label, a = made_up("mosi", rng, 30, 2)
    _, b = made_up("mosi", rng, 30, 2)
    both = np.concatenate([a, b])
    swapped = rng.random(30) < 0.5
    mixed = np.where(swapped, both[::-1], both)
    before = terms("mosi", both, label)
    for name, term in terms("mosi", mixed, label).items():
        np.testing.assert_allclose(
            term, np.where(swapped, before[name][::-1], before[name]), atol=1e-12
        )


def test_correlation_far_from_zero_and_nearly_constant():
    rng = np.random.default_rng(6)
    label = rng.normal(size=50).astype(np.float32)
    near = (0.05 + 1e-6 * (label + rng.normal(size=50))).astype(np.float32)
    far = (1000 + label + rng.normal(size=50)).astype(np.float32)
    for prediction in (near, far):
        found = weigh("mosi", label, prediction[None, None], np.ones(50))["corr"]
        assert found[0, 0] == pytest.approx(
            score("mosi", prediction, label)["corr"], abs=1e-9
        )


def test_a_resample_without_the_only_other_value_has_no_correlation():
    rng = np.random.default_rng(7)
    for _ in range(20):
        label = rng.normal(size=31).astype(np.float32)
        prediction = np.full((1, 1, 31), rng.normal(), np.float32)
        prediction[..., 0] += 3
        counts = np.bincount(rng.integers(1, 31, 31), minlength=31)
        assert math.isnan(weigh("mosi", label, prediction, counts)["corr"][0, 0])


RNG = np.random.default_rng(0)
INTENSITY = np.where(RNG.random((80, 6)) < 0.3, RNG.integers(1, 10, (80, 6)) / 3, 0)
LOGIT = INTENSITY - 0.5 + RNG.normal(size=(80, 6))


def test_every_value_is_scikit_learns():
    found = score("emotion", LOGIT, INTENSITY)
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
    assert found["wa_avg"] == pytest.approx(np.mean(wa))
    assert found["acc_avg"] == pytest.approx(np.mean(answer == truth))
    assert all(type(v) is float for v in found.values())


def test_weighted_accuracy_by_hand():
    truth, logit = np.zeros((6, 6)), np.full((6, 6), -1.0)
    truth[:2, 0], logit[[0, 2], 0] = 1, 1
    # (TP N / P + TN) / 2N = (1 * 4 / 2 + 3) / 8
    assert score("emotion", logit, truth)["wa_happy"] == pytest.approx(5 / 8)
    assert score("emotion", -np.abs(logit), truth)["wa_happy"] == 0.5


def test_emotions_without_samples_of_a_class():
    intensity = INTENSITY.copy()
    intensity[:, 1], intensity[:, 4] = 0, 2
    found = score("emotion", LOGIT, intensity)
    assert np.isnan(found["wa_sad"]) and np.isnan(found["wa_disgust"])
    others = [e for e in EMOTIONS if e not in ("sad", "disgust")]
    expected = np.mean([found[f"wa_{e}"] for e in others])
    assert found["wa_avg"] == pytest.approx(expected)
    assert found["acc_none_sad"] == 1 and found["f1_none_sad"] == 1
    assert all(np.isfinite(v) for k, v in found.items() if not k.startswith("wa"))
    none = score("emotion", LOGIT[:1] * 0, np.zeros((1, 6)))
    assert np.isnan(none["wa_avg"]) and none["acc_avg"] == none["f1_avg"] == 1


def test_a_diverged_model_has_no_metrics_but_its_baseline_has():
    logit = LOGIT.copy()
    logit[3, 2] = np.nan
    found = score("emotion", logit, INTENSITY)
    kept = {k: v for k, v in found.items() if "_none_" in k}
    assert len(kept) == 14 and all(np.isfinite(v) for v in kept.values())
    assert all(np.isnan(v) for k, v in found.items() if k not in kept)


@pytest.mark.parametrize(
    ("logit", "intensity", "message"),
    [
        (LOGIT[:, :5], INTENSITY[:, :5], r"\[n, 6\] and labels \[n, 6\]"),
        (LOGIT[:7], INTENSITY, r"\[n, 6\] and labels \[n, 6\]"),
        (LOGIT[:0], INTENSITY[:0], "at least one"),
        (LOGIT, INTENSITY + np.inf, "finite"),
    ],
)
def test_wrong_input_is_refused(logit, intensity, message):
    with pytest.raises(ValueError, match=message):
        score("emotion", logit, intensity)


def test_seven_classes():
    scores = np.array([-3.5, -2.01, -2, -1, -0.5, -0.0, 0, 0.1, 1, 1.5, 2.5, 3])
    sdk = [-3, -3, -2, -1, -1, 0, 0, 1, 1, 2, 3, 3]
    rounded = [-3, -2, -2, -1, 0, 0, 0, 0, 1, 2, 2, 3]
    np.testing.assert_array_equal(sdk_class(scores), sdk)
    np.testing.assert_array_equal(rounded_class(scores), rounded)
