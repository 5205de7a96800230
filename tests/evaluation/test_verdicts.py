"""What is said of a cell and its published value."""

import pytest

from msa_jax.evaluation import statistics, verdicts
from msa_jax.evaluation.results_table import Measure
from msa_jax.evaluation.statistics import summarise

MAE = Measure(0, "mae", "MAE", False, True, 3)
CORR = Measure(1, "corr", "Corr", False, False, 3)
ACC2 = Measure(2, "acc2_has0", "Acc-2", True, False, 2)


def cell_of(per_seed, ci_seeds=None) -> dict:
    summary = summarise(per_seed)
    return {
        "per_seed": dict(enumerate(summary["per_seed"])),
        "mean": summary["mean"],
        "ci_seeds": ci_seeds or statistics.interval_over_seeds(per_seed),
        "ci_student": summary["ci95"],
    }


OURS = cell_of([0.70, 0.71, 0.72] * 4, (0.706, 0.714))  # mean .71


@pytest.mark.parametrize(
    "measure, published, kind, text",
    [
        (MAE, "0.710", "inside", "published value inside our interval"),
        (MAE, "0.7145", "lower", None),  # stands for .71445 at least
        (MAE, "0.714", "inside", None),
        (MAE, "0.715", "lower", None),  # .7145 at least
        (MAE, "0.71", "inside", None),
        (MAE, "0.72", "lower", None),  # .715 at least
        (MAE, ".7", "inside", None),  # .65 to .75
        (
            MAE,
            "0.73",
            "lower",
            "ours is lower by 0.020 (0.016 to 0.024), the better side",
        ),
        (
            CORR,
            "0.73",
            "lower",
            "ours is lower by 0.020 (0.016 to 0.024), the worse side",
        ),
        (
            MAE,
            "0.69",
            "higher",
            "ours is higher by 0.020 (0.016 to 0.024), the worse side",
        ),
        (
            ACC2,
            "69.0",
            "higher",
            "ours is higher by 2.00 points (1.60 to 2.40), the better side",
        ),
        (ACC2, "71.0", "inside", None),
        (ACC2, "71.45", "lower", None),
        (ACC2, "71", "inside", None),
        (MAE, None, "no_published", "no published value"),
    ],
)
def test_verdicts(measure, published, kind, text):
    found = verdicts.verdict(measure, OURS, published)
    assert found["kind"] == kind
    assert text is None or found["text"] == text


def test_a_verdict_names_the_wider_interval():
    values = [0.700, 0.704, 0.709, 0.712, 0.725]
    cell = cell_of(values)
    low, high = cell["ci_student"]
    printed = f"{(cell['ci_seeds'][1] + high) / 2:.4f}"
    found = verdicts.verdict(MAE, cell, printed)
    assert found["kind"] == "lower" and found["text"].endswith(
        "; Student's t interval of 5 seeds, wider, includes the published value"
    )
    assert "Student" not in verdicts.verdict(MAE, cell, f"{high + 0.01:.4f}")["text"]


def test_one_seed_has_no_verdict():
    cell = cell_of([0.7])
    found = verdicts.verdict(MAE, cell, "0.72")
    assert found["kind"] == "no_interval"
    assert found["text"] == "one seed, so no interval: ours is lower by 0.020"
    same = verdicts.verdict(MAE, cell, "0.700")
    assert same["text"] == "one seed, so no interval: ours is as published"


def test_other_data_are_no_comparison():
    found = verdicts.verdict(MAE, OURS, "0.71", "mosi_real is not the paper's file")
    text = "not comparable: mosi_real is not the paper's file"
    assert found == {"kind": "other_data", "text": text}
    assert verdicts.verdict(MAE, None, "0.71", "x")["kind"] == "not_run"


@pytest.mark.parametrize(
    "printed, percent, wanted",
    [
        ("0.730", False, (0.7295, 0.7305)),
        ("0.73", False, (0.725, 0.735)),
        (".7", False, (0.65, 0.75)),
        ("82.4", True, (0.8235, 0.8245)),
        ("82", True, (0.815, 0.825)),
        ("-0.10", False, (-0.105, -0.095)),
    ],
)
def test_printed_range(printed, percent, wanted):
    assert verdicts.printed_range(printed, percent) == pytest.approx(wanted, abs=1e-12)
