"""UCRN's regulariser against scipy and loops, saturated, with padding rows."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance
from scipy.special import softmax

from msa_jax.methods import divergence, losses

RNG = np.random.default_rng(0)
X = {
    m: jnp.asarray(RNG.normal(size=(6, 8)), jnp.float32)
    for m in ("text", "audio", "vision")
}
VALID = jnp.array([True, False, True, True, False, True])


def test_pair_is_scipys_distance_squared():
    found = divergence.jensen_shannon(X["text"], X["audio"])
    for row in range(6):
        p, q = (softmax(np.asarray(X[m][row], float)) for m in ("text", "audio"))
        expected = distance.jensenshannon(p, q) ** 2
        np.testing.assert_allclose(found[row], expected, rtol=1e-4)


def test_pair_is_symmetric_zero_on_itself_and_blind_to_shifts():
    a, b = X["text"], X["audio"]
    np.testing.assert_allclose(
        divergence.jensen_shannon(a, b), divergence.jensen_shannon(b, a), atol=1e-6
    )
    np.testing.assert_allclose(divergence.jensen_shannon(a, a + 3), 0, atol=1e-6)


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e30])
def test_saturated_softmax_stays_finite(scale):
    def total(a, b):
        return divergence.jensen_shannon(a, b).sum()

    a, b = jnp.eye(2, 5) * scale, jnp.eye(2, 5, 2) * scale
    value, gradients = jax.value_and_grad(total, argnums=(0, 1))(a, b)
    np.testing.assert_allclose(value, 2 * math.log(2), rtol=1e-6)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("reading", ["paper", "code"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_readings(reading, count):
    kept = dict(list(X.items())[:count])
    found = divergence.multimodal(kept, VALID, reading)
    names, expected = list(kept), np.zeros(6)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            a, b = np.asarray(kept[first]), np.asarray(kept[second])
            if reading == "paper":
                expected += divergence.jensen_shannon(kept[first], kept[second])
            elif count == 3:
                expected += ((np.exp(a) - np.exp(b)) * (a - b)).sum(1) / 4 / 3
    np.testing.assert_allclose(found, np.where(VALID, expected, 0), rtol=1e-5)
    assert (count == 1 or (reading, count) == ("code", 2)) == (not found.any())


@pytest.mark.parametrize("reading", ["paper", "code"])
def test_invalid_rows_reach_nothing(reading):
    def total(x):
        return losses.masked_mean(divergence.multimodal(x, VALID, reading), VALID)

    run = jax.value_and_grad(total)
    torn = {m: jnp.where(VALID[:, None], x, jnp.nan) for m, x in X.items()}
    ours, expected = run(torn), run(X)
    np.testing.assert_array_equal(ours[0], expected[0])
    for m in X:
        np.testing.assert_array_equal(ours[1][m], expected[1][m])
        assert not ours[1][m][~VALID].any() and ours[1][m][VALID].all()


def test_unknown_reading():
    with pytest.raises(ValueError, match="unknown reading"):
        divergence.multimodal(X, VALID, "other")


def test_published_pair_over_time():
    a, b = (jnp.asarray(RNG.normal(size=(4, 3, 5)), jnp.float32) for _ in range(2))
    found = divergence.published_pair(a, b, softmax=True)
    p, q = softmax(np.asarray(a), axis=1), softmax(np.asarray(b), axis=1)
    expected = ((np.exp(p) - np.exp(q)) * (p - q)).sum((1, 2)) / 4 / 3
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_cross_entropies():
    logit = jnp.array([[-1e4, 0.0, 2.0], [3.0, 0.0, 1e4]])
    present = jnp.array([[False, True, True], [True, False, True]])
    found = losses.binary_cross_entropy(logit, present)
    half = math.log(2)
    expected = [
        [0, half, math.log1p(math.exp(-2))],
        [math.log1p(math.exp(-3)), half, 0],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    wrong = losses.binary_cross_entropy(logit, ~present)
    np.testing.assert_allclose([wrong[0, 0], wrong[1, 2]], 1e4)
    k = jnp.array([[1.0, 0.0], [1.0, 50.0], [1.0, 0.0]])
    found = losses.cross_entropy(k, jnp.array([2, 1]))
    np.testing.assert_allclose(found, [math.log(3), 0], atol=1e-6)
