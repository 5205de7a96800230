"""Summaries, intervals and tests against scipy, closed forms, and simulations."""

import doctest
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from msa_jax.evaluation import statistics
from msa_jax.evaluation.metrics import score
from msa_jax.evaluation.statistics import smallest_sign_flip_p, summarise
from msa_jax.ground.files import json_safe

DOCS = Path(__file__).parents[2] / "docs" / "statistics.md"


def regression(rng, n: int, seeds: int, noise: float = 1.0):
    """Return labels on a grid and scores of several seeds around them."""
    label = np.round(2 * rng.normal(size=n)).astype(np.float32) / 2
    prediction = label + noise * rng.normal(size=(seeds, n))
    return label, prediction.astype(np.float32)


def test_the_examples_of_the_document():
    failed, tried = doctest.testfile(str(DOCS), module_relative=False)
    assert tried > 20 and failed == 0


def test_iqm_cuts_a_quarter_at_each_end():
    assert statistics.iqm([1, 2, 3, 4, 100]) == pytest.approx(3)
    assert statistics.iqm([1, 2, 6]) == pytest.approx(3)  # nothing to cut
    assert statistics.iqm([0, 0, 2, 3, 4, 5, 9, 9]) == pytest.approx(3.5)
    assert math.isnan(statistics.iqm([1, 2, 3, math.nan, 5]))


def test_interval_over_seeds_by_efrons_formula():
    values = np.sort(np.random.default_rng(1).gamma(1, size=6))
    rng = np.random.default_rng(statistics.GENERATOR)
    drawn = values[rng.integers(0, 6, (statistics.RESAMPLES, 6))].mean(axis=1)
    mean, tie = values.mean(), 1e-9
    below = np.mean(drawn < mean - tie) + np.mean(np.abs(drawn - mean) <= tie) / 2
    bias = stats.norm.ppf(below)
    gaps = mean - (6 * mean - values) / 5  # of the means without one value
    skewness = np.sum(gaps**3) / (6 * np.sum(gaps**2) ** 1.5)
    z = bias + stats.norm.ppf([0.025, 0.975])
    wanted = np.quantile(drawn, stats.norm.cdf(bias + z / (1 - skewness * z)))
    found = statistics.interval_over_seeds(values)
    assert found == pytest.approx(wanted, abs=1e-9)
    assert statistics.interval_over_seeds(values[::-1]) == found
    plain = np.quantile(drawn, [0.025, 0.975])
    assert abs(plain[0] - wanted[0]) > 0.01  # here it matters


def test_unit_and_origin_change_no_interval_over_seeds():
    # Accuracies: many resamples have the mean of all, up to rounding.
    values = np.array([540, 551, 560, 571, 580]) / 686
    low, high = statistics.interval_over_seeds(values)  # type: ignore[misc]
    found = statistics.interval_over_seeds(10 * values + 3)
    assert found == pytest.approx((10 * low + 3, 10 * high + 3), abs=1e-8)


def test_interval_over_all_multisets_of_three_seeds():
    # Of 27 equally likely resamples less than one lies beyond each end: the ends are
    # the extremes, or by BCa the next mean.
    low, high = statistics.interval_over_seeds([0.0, 1.0, 2.0])  # type: ignore[misc]
    assert (low, high) == pytest.approx((0, 2), abs=1 / 3)


@pytest.mark.parametrize("value", [0.5, 0.1 + 0.2])
def test_equal_seeds_have_a_point(value):
    found = statistics.interval_over_seeds([value] * 4)
    assert found == pytest.approx((value, value), abs=1e-12)


@pytest.mark.parametrize("values", [[], [0.5], [0.5, math.nan, 0.6], [0.5, math.inf]])
def test_no_interval_over_seeds(values):
    assert statistics.interval_over_seeds(values) is None


def test_coverage_over_seeds_is_what_the_document_says():
    rows = re.findall(r"^\| (\d+) \| (\.\d+) \| (\.\d+) \|$", DOCS.read_text(), re.M)
    said = {int(n): (float(bca), float(t)) for n, bca, t in rows}
    rng, repetitions = np.random.default_rng(7), 300
    for n in (5, 20):
        hits = np.zeros(2)
        for values in rng.normal(size=(repetitions, n)):
            intervals = (
                statistics.interval_over_seeds(values),
                summarise(values)["ci95"],
            )
            hits += [low <= 0 <= high for low, high in intervals]
        for share, nominal in zip(hits / repetitions, said[n], strict=True):
            sd = math.sqrt(nominal * (1 - nominal) / repetitions)
            assert share == pytest.approx(nominal, abs=3 * sd + 0.005)


def test_interval_over_samples_is_scipys():
    label, prediction = regression(np.random.default_rng(8), 40, 3)
    order = np.lexsort([*prediction, label])  # as the code sorts: last key first
    y, p = label[order], prediction[:, order]

    def mae(drawn, axis):
        return np.abs(p - y)[:, drawn].mean(axis=(0, -1), dtype=np.float64)

    def accuracy(drawn, axis):
        return ((p >= 0) == (y >= 0))[:, drawn].mean(axis=(0, -1))

    found = statistics.interval_over_samples("mosi", label, prediction)
    for key, statistic in {"mae": mae, "acc2_has0": accuracy}.items():
        wanted = stats.bootstrap(
            (np.arange(40),),
            lambda drawn, axis, of=statistic: of(drawn.astype(int), axis),
            method="percentile",
            vectorized=True,
            n_resamples=statistics.RESAMPLES,
            rng=np.random.default_rng(statistics.GENERATOR),
        ).confidence_interval
        assert found[key] == pytest.approx(tuple(wanted), abs=1e-7)


def test_interval_over_samples_of_an_accuracy_is_binomial():
    label = np.ones(500, np.float32)
    prediction = np.where(np.arange(500) < 400, 1, -1).astype(np.float32)[None]
    found = statistics.interval_over_samples("mosi", label, prediction)
    wanted = stats.binom.ppf([0.025, 0.975], 500, 0.8) / 500
    assert found["acc2_has0"] == pytest.approx(wanted, abs=1.5 / 500)
    assert found["corr"] is None  # labels do not vary
    # Seeds that answer alike are no further information: the same interval.
    again = statistics.interval_over_samples("mosi", label, np.repeat(prediction, 4, 0))
    assert again["acc2_has0"] == pytest.approx(found["acc2_has0"], abs=1e-12)


def test_an_interval_of_a_difference_is_paired():
    rng = np.random.default_rng(9)
    label, a = regression(rng, 200, 2)
    b = a + np.float32(0.1)
    found = statistics.interval_over_samples("mosi", label, a, b)
    alone = statistics.interval_over_samples("mosi", label, a)
    assert found["corr"] == pytest.approx((0, 0), abs=1e-6)  # a shift changes none
    assert np.ptp(found["mae"]) < np.ptp(alone["mae"]) / 2  # type: ignore[arg-type]
    back = statistics.interval_over_samples("mosi", label, b, a)
    assert found["mae"] == pytest.approx([-end for end in back["mae"]][::-1], abs=5e-3)


def test_a_class_that_many_resamples_lack_has_no_interval():
    intensity = np.zeros((60, 6), np.float32)
    intensity[:2, 0] = intensity[:30, 1] = 1
    logit = np.random.default_rng(10).normal(size=(2, 60, 6))
    found = statistics.interval_over_samples("emotion", intensity, logit)
    assert found["wa_happy"] is None and found["wa_sad"] is not None
    assert found["acc_happy"] is not None and found["wa_avg"] is not None
    assert found["acc_none_sad"] is not None


def test_coverage_over_samples(monkeypatch):
    # Accuracy .8 of a fixed network over many test sets of 100.
    monkeypatch.setattr(statistics, "RESAMPLES", 999)
    rng, hits, repetitions = np.random.default_rng(11), 0, 200
    label = np.ones(100, np.float32)
    for right in rng.random((repetitions, 1, 100)) < 0.8:
        answers = np.where(right, 1, -1).astype(np.float32)
        found = statistics.interval_over_samples("mosi", label, answers)["acc2_has0"]
        assert found is not None
        hits += found[0] - 1e-9 <= 0.8 <= found[1] + 1e-9
    assert 0.89 <= hits / repetitions <= 0.985  # 3 sd about .94


def test_sign_flips_by_hand():
    # Gaps 1, 2, -4 have mean -1/3; |sum| of all eight choices: 1 7 1 3 and mirrored.
    found = statistics.paired_seeds_test([1, 2, 0], [0, 0, 4])
    assert found == (pytest.approx(1.0), 0.25)
    found = statistics.paired_seeds_test([1, 2, 4], [0, 0, 0])
    assert found == (pytest.approx(2 / 8), 0.25)
    found = statistics.paired_seeds_test([4, 2, 0], [0, 0, 1])  # sums 5 7 3 1
    assert found.p == pytest.approx(4 / 8)
    assert statistics.paired_seeds_test([0.3, 0.3], [0.3, 0.3]).p == 1
    assert statistics.paired_seeds_test([0.3], [0.2]) == (1, 1)


def test_sign_flips_are_scipys_and_ties_tie():
    rng = np.random.default_rng(12)
    a, b = rng.normal(size=(2, 9))
    wanted = stats.permutation_test(
        (a - b,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert statistics.paired_seeds_test(a, b).p == pytest.approx(wanted)
    assert statistics.paired_seeds_test(b, a).p == pytest.approx(wanted)
    # Shares of 686 samples are no binary fractions: in the last bit, sums do not tie.
    for gaps in rng.integers(-6, 7, (50, 7)):
        whole = statistics.paired_seeds_test(gaps, np.zeros(7)).p
        shares = gaps / 686 + 0.7, np.full(7, 0.7)
        assert statistics.paired_seeds_test(*shares).p == whole


def test_sign_flips_of_many_seeds():
    found = statistics.paired_seeds_test(np.ones(20), np.zeros(20))
    assert found == (pytest.approx(2e-5), pytest.approx(2e-5))
    lost = statistics.paired_seeds_test([1, math.nan], [0, 0])
    assert math.isnan(lost.p)


def test_sign_flips_under_the_null():
    rng, repetitions = np.random.default_rng(13), 400
    for n, wanted in ((6, 2 / 64), (8, 12 / 256)):  # the steps of p below .05
        p = [
            statistics.paired_seeds_test(*rng.normal(size=(2, n))).p for _ in range(400)
        ]
        share = np.mean(np.asarray(p) < 0.05)
        assert share == pytest.approx(
            wanted, abs=3 * math.sqrt(wanted * (1 - wanted) / repetitions)
        )
    five = [statistics.paired_seeds_test(*rng.normal(size=(2, 5))).p for _ in range(50)]
    assert min(five) >= 0.0625


def test_swapped_answers_are_scipys():
    # scipy permutes 2 x 8 samples' places between two systems: all 256 ways.
    rng = np.random.default_rng(14)
    label, a = regression(rng, 8, 2, 0.7)
    b = (label + rng.normal(size=(2, 8)) + 0.8).astype(np.float32)
    answers, truth = np.concatenate([a, b], axis=1), np.concatenate([label, label])

    def difference(key):
        def statistic(x, y):
            means = [
                np.mean([score("mosi", seed[i], truth[i])[key] for seed in answers])
                for i in (x.astype(int), y.astype(int))
            ]
            return means[0] - means[1]

        return statistic

    found = statistics.paired_samples_test("mosi", label, a, b)
    for key in ("mae", "corr"):
        wanted = stats.permutation_test(
            (np.arange(8), np.arange(8, 16)),
            difference(key),
            permutation_type="samples",
            n_resamples=np.inf,
        ).pvalue
        assert found[key] == pytest.approx(wanted, abs=0.015), key


def test_swapped_answers_of_an_accuracy_are_mcnemars():
    label = np.ones(300, np.float32)
    a = np.repeat([1, -1, 1], [20, 9, 271]).astype(np.float32)[None]
    b = np.repeat([-1, 1, 1], [20, 9, 271]).astype(np.float32)[None]
    found = statistics.paired_samples_test("mosi", label, a, b)
    wanted = stats.binomtest(9, 29).pvalue
    assert found["acc2_has0"] == pytest.approx(wanted, abs=0.007)
    assert found["corr"] is None
    same = statistics.paired_samples_test("mosi", label, a, a)
    assert same["acc2_has0"] == 1


def test_swapped_answers_under_the_null(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 299)
    rng, repetitions, p = np.random.default_rng(15), 300, []
    for _ in range(repetitions):
        label, a = regression(rng, 60, 2)
        b = (label + rng.normal(size=(2, 60))).astype(np.float32)
        p.append(statistics.paired_samples_test("mosi", label, a, b))
    for key in ("mae", "corr"):
        share = np.mean([found[key] < 0.05 for found in p])
        sd = math.sqrt(0.05 * 0.95 / repetitions)
        assert share == pytest.approx(0.05, abs=3 * sd)
        assert stats.kstest([found[key] for found in p], "uniform").pvalue > 0.001


def test_swapped_answers_find_what_is_there():
    rng = np.random.default_rng(18)
    label, a = regression(rng, 300, 2, 0.2)
    b = (label + rng.normal(size=(2, 300))).astype(np.float32)
    found = statistics.paired_samples_test("mosi", label, a, b)
    assert {found[key] for key in ("mae", "corr", "acc2_has0", "acc7")} == {1e-4}


@pytest.mark.parametrize("kind", ["mosi", "emotion"])
def test_order_decides_nothing_and_twice_is_the_same(kind):
    rng = np.random.default_rng(16)
    label, a = regression(rng, 50, 2)
    b = (a + 0.5 * rng.normal(size=a.shape)).astype(np.float32)
    if kind == "emotion":
        label = (rng.random((50, 6)) < 0.4).astype(np.float32)
        a, b = rng.normal(size=(2, 2, 50, 6)).astype(np.float32)
    order = rng.permutation(50)
    shuffled = label[order], a[:, order], b[:, order]
    assert statistics.interval_over_samples(
        kind, label, a, b
    ) == statistics.interval_over_samples(kind, *shuffled)
    assert statistics.paired_samples_test(
        kind, label, a, b
    ) == statistics.paired_samples_test(kind, *shuffled)


def test_a_diverged_seed_has_no_interval_and_no_p():
    label, a = regression(np.random.default_rng(17), 20, 2)
    bad = a.copy()
    bad[1, 3] = math.nan
    assert set(statistics.interval_over_samples("mosi", label, bad).values()) == {None}
    found = statistics.paired_samples_test("mosi", label, a, bad)
    assert set(found) == set(score("mosi", a[0], label))
    assert set(found.values()) == {None}


def test_holm_by_hand():
    found = statistics.holm([0.01, None, 0.04, 0.03])
    assert found == [
        pytest.approx(0.03),
        None,
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]
    assert statistics.holm([0.5, 0.9]) == [1.0, 1.0]
    assert statistics.holm([None]) == [None]


def test_seeds_needed():
    assert [statistics.seeds_needed(m) for m in (1, 2, 4, 8)] == [6, 7, 8, 9]


def test_a_summary_by_hand():
    found = summarise([1.0, 2.0, 3.0])
    assert found["per_seed"] == [1.0, 2.0, 3.0]
    assert found["mean"] == pytest.approx(2.0)
    assert found["sd"] == pytest.approx(1.0)  # ddof 1; ddof 0 would give .816
    half = 4.302652729749462 / math.sqrt(3)  # t quantile .975, 2 degrees of freedom
    assert found["ci95"] == pytest.approx([2 - half, 2 + half], rel=1e-10)


def test_one_seed_has_no_spread():
    assert summarise([0.7]) == {
        "per_seed": [0.7],
        "mean": 0.7,
        "sd": None,
        "ci95": None,
    }


def test_equal_seeds_have_a_point_interval():
    found = summarise([0.5, 0.5])
    assert found["sd"] == 0 and found["ci95"] == [0.5, 0.5]


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_a_lost_seed_is_not_averaged_away(bad):
    found = summarise([0.5, bad, 0.6])
    assert found == {
        "per_seed": [0.5, None, 0.6],
        "mean": None,
        "sd": None,
        "ci95": None,
    }
    json.dumps(found, allow_nan=False)


def test_no_seed_is_a_mistake():
    with pytest.raises(ValueError, match="at least one seed"):
        summarise([])


def test_five_seeds_cannot_reach_five_percent():
    assert smallest_sign_flip_p(5) == 0.0625
    assert smallest_sign_flip_p(6) < 0.05
    assert smallest_sign_flip_p(1) == 1.0


def test_json_safe():
    found = json_safe(
        {"a": np.float32(0.5), 1: (np.nan, np.arange(2)), "b": [np.bool_(True), "x"]}
    )
    assert found == {"a": 0.5, "1": [None, [0, 1]], "b": [True, "x"]}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
