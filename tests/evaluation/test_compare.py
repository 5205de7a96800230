"""Cells, differences and verdicts of tables whose answers are made up."""

import json
import math

import numpy as np
import pytest

from msa_jax.evaluation import statistics
from msa_jax.evaluation.compare import Answers, cells, warnings_of
from msa_jax.evaluation.metric_names import METRICS
from msa_jax.evaluation.metrics import score
from msa_jax.evaluation.results_table import Measure, columns_of
from msa_jax.evaluation.statistics import summarise
from msa_jax.ground.errors import UserError

KINDS = ("mosi", "sims", "two_class", "seven_class", "seven_class_sdk", "emotion")
MAE = Measure(0, "mae", "MAE", False, True, 3)
CORR = Measure(1, "corr", "Corr", False, False, 3)
ACC2 = Measure(2, "acc2_has0", "Acc-2", True, False, 2)
COLUMNS = (MAE, CORR, ACC2)
N = 120


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 199)


def answers(name: str, noise: float, seeds, n: int = N) -> Answers:
    """Return a row whose seeds' answers are independent of each other."""
    label = np.round(2 * np.random.default_rng(0).normal(size=n)) / 2
    each = [
        label + noise * np.random.default_rng([seed, int(100 * noise)]).normal(size=n)
        for seed in seeds
    ]
    label, prediction = label.astype(np.float32), np.asarray(each, np.float32)
    return Answers(name, tuple(seeds), label, prediction, "mosi")


def lost(row: Answers, lane: int) -> Answers:
    prediction = row.prediction.copy()
    prediction[lane, 3] = math.nan
    return row._replace(prediction=prediction)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_are_described_as_in_a_report(kind):
    columns = columns_of(kind)
    for i, (column, metric) in enumerate(zip(columns, METRICS[kind], strict=True)):
        assert column.index == i and column.metrics_kind == kind
        for name in ("key", "title", "percent", "lower_is_better", "decimals"):
            assert getattr(column, name) == getattr(metric, name)


def test_a_cell_holds_what_its_parts_say():
    row = answers("ours", 0.5, (3, 1, 2))
    table = cells({"ours": row}, COLUMNS, published={"ours": ("0.4", None, "90.1")})
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    for cell, measure in zip(table["ours"], COLUMNS, strict=True):
        per_seed = {
            str(seed): score("mosi", p, row.label)[measure.key]
            for seed, p in zip(row.seeds, row.prediction, strict=True)
        }
        values = list(per_seed.values())
        assert cell["column"] == measure.index and cell["per_seed"] == per_seed
        assert list(cell["per_seed"]) == ["1", "2", "3"]
        summary = summarise(values)
        assert cell["mean"] == pytest.approx(summary["mean"])
        assert cell["sd"] == pytest.approx(summary["sd"])
        assert cell["ci_student"] == pytest.approx(summary["ci95"])
        assert cell["iqm"] == pytest.approx(statistics.iqm(values))
        assert cell["ci_seeds"] == list(statistics.interval_over_seeds(values) or ())
        samples = statistics.interval_over_samples(
            "mosi", row.label, row.prediction[[1, 2, 0]]
        )
        assert cell["ci_samples"] == list(samples[measure.key] or ())
        assert cell["against"] is None and cell["mmsa"] is None
    assert [cell["published"] for cell in table["ours"]] == ["0.4", None, "90.1"]


def test_rows_that_were_not_run():
    table = cells({"ours": answers("ours", 0.5, (1, 2)), "x": None}, COLUMNS, "ours")
    assert len(table["x"]) == 3
    for cell in table["x"]:
        assert cell["verdict"] == {"kind": "not_run", "text": "not run"}
        assert cell["mean"] is None and cell["per_seed"] == {}
        assert cell["against"] is None
    none = cells({"ours": answers("ours", 0.5, (1, 2)), "x": None}, COLUMNS, "x")
    assert all(cell["against"] is None for row in none.values() for cell in row)


def test_a_difference_is_paired_by_seed_number():
    a, b = answers("a", 0.5, (5, 1, 2, 9)), answers("b", 0.6, (2, 7, 5, 1, 0))
    found = cells({"a": a, "b": b}, COLUMNS, "b")["a"][0]["against"]
    value = {
        name: {
            seed: score("mosi", p, row.label)["mae"]
            for seed, p in zip(row.seeds, row.prediction, strict=True)
        }
        for name, row in (("a", a), ("b", b))
    }
    gaps = [value["a"][seed] - value["b"][seed] for seed in (1, 2, 5)]
    assert found["n_seeds"] == 3 and found["row"] == "b"
    assert found["difference"] == pytest.approx(np.mean(gaps))
    assert found["ci_seeds"] == list(statistics.interval_over_seeds(gaps) or ())
    assert found["p_seeds"] == 0.25 == found["smallest_p"]
    pa, pb = a.prediction[[1, 2, 0]], b.prediction[[3, 0, 2]]
    samples = statistics.interval_over_samples("mosi", a.label, pa, pb)
    assert found["ci_samples"] == list(samples["mae"] or ())
    p = statistics.paired_samples_test("mosi", a.label, pa, pb)
    assert found["p_samples"] == p["mae"]


def test_better_and_worse_only_if_both_tests_say_so():
    seeds = range(8)
    rows = {
        "good": answers("good", 0.3, seeds),
        "bad": answers("bad", 1.2, seeds),
        "same": answers("same", 0.61, seeds),
        "reference": answers("reference", 0.6, seeds),
    }
    table = cells(rows, COLUMNS, "reference")
    texts = {name: [c["against"] for c in table[name]] for name in list(rows)[:3]}
    for found in texts["good"]:
        assert found["significant"] and found["text"].startswith("better by ")
    assert texts["good"][0]["p_seeds_holm"] == pytest.approx(3 * 2 / 256)
    for found in texts["bad"]:
        assert found["significant"] and found["text"].startswith("worse by ")
    for found in texts["same"]:
        assert not found["significant"]
        assert found["text"].startswith("no difference shown: ")
    assert texts["good"][0]["difference"] < 0 < texts["good"][1]["difference"]
    assert (
        "points" in texts["good"][2]["text"]
        and "(Holm over 3 rows)" in (texts["good"][2]["text"])
    )
    assert all(found["warning"] == "" for row in texts.values() for found in row)
    assert warnings_of(table) == []
    assert table == cells(rows, COLUMNS, "reference")


@pytest.mark.long(60)
def test_holm_counts_the_rows_of_a_column():
    seeds = range(6)
    reference = answers("reference", 0.6, seeds)
    good = answers("good", 0.3, seeds)
    alone = cells({"r": reference, "good": good}, COLUMNS, "r")["good"][0]["against"]
    assert alone["p_seeds_holm"] == alone["p_seeds"] == 2 / 64
    assert alone["significant"] and "Holm" not in alone["text"]
    other = answers("other", 0.4, seeds)
    table = cells({"r": reference, "good": good, "other": other}, COLUMNS, "r")
    two = table["good"][0]["against"]
    assert two["p_seeds"] == 2 / 64 and two["p_seeds_holm"] == 4 / 64
    assert not two["significant"] and two["text"].startswith("no difference shown")
    assert two["warning"] == (
        "6 seeds cannot show a difference: p is at least 0.0625 (Holm over 2 rows), "
        "it takes 7 seeds"
    )
    assert warnings_of(table) == [f"“good”, “other” against “r”: {two['warning']}."]


def test_many_rows_are_not_listed_one_by_one():
    rows = {name: answers(name, 0.5, range(4)) for name in "rabcd"}
    (said,) = warnings_of(cells(rows, COLUMNS, "r"))
    assert said.startswith("Every row against “r”: 4 seeds cannot show a difference")


def test_five_seeds_say_nothing_however_large_the_difference():
    rows = {"r": answers("r", 2.0, range(5)), "x": answers("x", 0.1, range(5))}
    found = cells(rows, COLUMNS, "r")["x"][0]["against"]
    assert found["p_samples"] < 0.05 and not found["significant"]
    assert found["warning"] == (
        "5 seeds cannot show a difference: p is at least 0.0625, it takes 6 seeds"
    )
    assert found["text"].endswith(found["warning"])


def test_one_seed_in_common():
    rows = {"r": answers("r", 2.0, (1, 2)), "x": answers("x", 0.1, (2, 3))}
    found = cells(rows, COLUMNS, "r")["x"][0]["against"]
    assert found["n_seeds"] == 1 and found["difference"] < 0
    assert found["ci_seeds"] is found["p_seeds"] is found["p_seeds_holm"] is None
    assert found["p_samples"] == pytest.approx(1 / 200) and not found["significant"]
    assert found["warning"] == "one seed in common: no test over seeds"


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda row: row._replace(seeds=(7, 8)), "no seed in common"),
        (lambda row: row._replace(label=row.label + 1), "other test samples"),
        (
            lambda row: row._replace(
                label=row.label[1:], prediction=row.prediction[:, 1:]
            ),
            "other test samples",
        ),
        (
            lambda row: row._replace(id=np.array([f"x{i}" for i in range(N)])),
            "other test samples",
        ),
    ],
)
def test_what_does_not_pair_is_not_compared(change, text):
    reference = answers("r", 0.5, (1, 2))
    reference = reference._replace(id=np.array([f"s{i}" for i in range(N)]))
    row = change(answers("x", 0.4, (1, 2)))
    found = cells({"r": reference, "x": row}, COLUMNS, "r")["x"][0]["against"]
    assert found["text"] == f"{text}: nothing is compared"
    assert found["difference"] is found["p_samples"] is found["p_seeds_holm"] is None
    assert not found["significant"]


def test_a_diverged_seed_is_named_and_never_averaged_away():
    seeds = range(1, 8)
    rows = {
        "r": answers("r", 0.6, seeds),
        "x": lost(answers("x", 0.3, seeds), 2),
        "y": answers("y", 0.3, seeds),
    }
    table = cells(rows, COLUMNS, "r", published={"x": ("0.3", "0.9", "90")})
    for cell in table["x"]:
        assert cell["per_seed"]["3"] is None and cell["per_seed"]["4"] is not None
        for key in ("mean", "sd", "iqm", "ci_seeds", "ci_student", "ci_samples"):
            assert cell[key] is None
        text = "ours has no mean: seed 3 gave no value"
        assert cell["verdict"] == {"kind": "no_interval", "text": text}
        found = cell["against"]
        assert found["difference"] is found["p_seeds"] is found["p_samples"] is None
        assert found["text"] == (
            "seed 3 gave no value in this row or in the reference: nothing is compared"
        )
    # A test that was not made does not count in Holm's correction.
    assert table["y"][0]["against"]["p_seeds_holm"] == 2 / 2**7
    assert warnings_of(table) == [
        "“x”: seed 3 gave no value in at least one column, so it has no mean."
    ]


def test_a_constant_seed_loses_only_the_correlation():
    row = answers("x", 0.3, range(4))
    row.prediction[1] = 0.5
    rows = {"r": answers("r", 0.6, range(4)), "x": row}
    mae, corr, _ = cells(rows, COLUMNS, "r")["x"]
    assert corr["mean"] is corr["ci_samples"] is corr["against"]["p_samples"] is None
    assert mae["mean"] is not None and mae["against"]["p_samples"] is not None
    assert mae["per_seed"]["1"] is not None


def test_order_of_seeds_and_samples_changes_nothing():
    rng = np.random.default_rng(1)
    rows = {"r": answers("r", 0.6, range(4)), "x": answers("x", 0.5, range(4))}
    samples, shuffled = rng.permutation(N), {}
    for name, row in rows.items():
        seeds = rng.permutation(4)
        shuffled[name] = row._replace(
            seeds=tuple(int(seed) for seed in seeds),
            label=row.label[samples],
            prediction=row.prediction[seeds][:, samples],
        )
    mae = (MAE,)  # MMSA's float32 mean depends on order in the last digit
    a, b = cells(rows, COLUMNS[1:], "r"), cells(shuffled, COLUMNS[1:], "r")
    for name in rows:
        for one, other in zip(a[name], b[name], strict=True):
            assert one["ci_samples"] == other["ci_samples"]
            assert one["ci_seeds"] == pytest.approx(other["ci_seeds"], abs=1e-9)
            if one["against"]:
                for key in ("p_seeds", "p_samples", "ci_samples"):
                    assert one["against"][key] == other["against"][key]
    one, other = cells(rows, mae, "r")["x"][0], cells(shuffled, mae, "r")["x"][0]
    assert one["mean"] == pytest.approx(other["mean"], rel=1e-6)


def test_rows_that_cannot_stand_together():
    mosi = answers("a", 0.5, (1, 2))
    with pytest.raises(UserError, match="'a' and 'b' cannot stand in one table"):
        cells({"a": mosi, "b": mosi._replace(kind="sims")}, COLUMNS)
    with pytest.raises(UserError, match="column 'Acc-9': 'a' has no metric 'acc9'"):
        cells({"a": mosi}, [Measure(0, "acc9", "Acc-9", True, False, 2)])
    with pytest.raises(ValueError, match="a seed stands twice"):
        cells({"a": mosi._replace(seeds=(1, 1))}, COLUMNS)
    with pytest.raises(ValueError, match=r"predictions \[3, 120, ...\]"):
        cells({"a": mosi._replace(seeds=(1, 2, 3))}, COLUMNS)


def test_every_kind_makes_cells():
    rng = np.random.default_rng(2)
    widths = {"two_class": 2, "seven_class": 7, "seven_class_sdk": 7, "emotion": 6}
    for kind, width in widths.items():
        label = rng.normal(size=60).astype(np.float32)
        if kind == "emotion":
            label = (rng.random((60, 6)) < 0.4).astype(np.float32)
        rows = {
            name: Answers(name, (1, 2), label, rng.normal(size=(2, 60, width)), kind)
            for name in "ab"
        }
        table = cells(rows, columns_of(kind), "b")
        for cell in table["a"]:
            assert None not in (cell["ci_samples"], cell["against"]["p_samples"])
