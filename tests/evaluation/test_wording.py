"""How numbers and lists are written for people."""

import math

import pytest

from msa_jax.evaluation import wording
from msa_jax.evaluation.metric_names import METRICS
from msa_jax.evaluation.results_table import Measure

MAE, CORR, ACC2 = METRICS["mosi"][:3]
PRINTED = Measure(0, "acc2", "Acc-2", True, False, 1)  # as a paper prints it


@pytest.mark.parametrize(
    "text, wanted",
    [
        (wording.form(MAE, 0.7304), "0.730"),
        (wording.form(MAE, -0.0001), "0.000"),  # zero has no sign
        (wording.form(CORR, -0.25, signed=True), "−0.250"),
        (wording.form(ACC2, 0.8234), "82.34"),
        (wording.form(PRINTED, 0.8234), "82.3"),
        (wording.form(PRINTED, 0.8234, 1, signed=True), "+82.34"),
        (wording.form(MAE, None), "–"),
        (wording.form(MAE, math.inf), "–"),
        (wording.form_interval(ACC2, [0.8, 0.9]), "[80.00, 90.00]"),
        (wording.form_interval(ACC2, [0.8, None]), "–"),
        (wording.amount(PRINTED, -0.012, signed=True), "−1.2 points"),
        (wording.change(MAE, 0.0123), "0.0123"),
        (wording.change(ACC2, 0.0123), "1.23 points"),
        (wording.decimal(1234567.0, 0), "1,234,567"),
        (wording.p_value(0.03125), "0.0312"),
        (wording.p_value(0.00001), "under 0.0001"),
        (wording.count(1, "seed"), "1 seed"),
        (wording.count(1200, "seed"), "1,200 seeds"),
        (wording.listed(["a"]), "a"),
        (wording.listed("abc"), "a, b and c"),
        (wording.listed([]), ""),
        (wording.span(59), "59 s"),
        (wording.span(3540), "59 min"),
        (wording.span(3600), "1 h 0 min"),
    ],
)
def test_written(text, wanted):
    assert text == wanted


def test_facts_leave_out_what_is_not_known():
    pairs = [("git_commit", "c0"), ("seconds", 0.0), ("device", None), ("note", ["a"])]
    assert wording.facts([*pairs, ("versions", {"jax": "1", "flax": "2"})]) == [
        ("git commit", ["c0"]),
        ("seconds", ["0"]),
        ("note", ["a"]),
        ("versions", ["jax 1, flax 2"]),
    ]
