"""Metrics of reweighted test sets against `metrics.score` on the resampled arrays."""

import math

import numpy as np
import pytest

from msa_jax.evaluation import weighted
from msa_jax.evaluation.metrics import score

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
    found = weighted.terms(kind, prediction, label)
    return weighted.values(kind, {name: term @ counts for name, term in found.items()})


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
    before = weighted.terms("mosi", both, label)
    for name, term in weighted.terms("mosi", mixed, label).items():
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


def test_an_unknown_kind():
    with pytest.raises(ValueError, match="'mood' is unknown"):
        weighted.terms("mood", np.zeros((1, 1, 2)), np.zeros(2))
