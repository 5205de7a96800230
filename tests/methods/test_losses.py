import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from msa_jax.methods import losses

VALUES = jnp.array([1.0, 2.0, 6.0, jnp.nan])
VALID = jnp.array([True, False, True, False])


def test_masked_mean_counts_valid_entries_only():
    assert losses.masked_mean(VALUES, VALID) == 3.5
    assert losses.masked_mean(VALUES[:3], jnp.ones(3, bool)) == 3.0


@pytest.mark.parametrize("rest", [2.0, jnp.nan, jnp.inf])
def test_masked_mean_lets_no_gradient_into_padding(rest):
    values = jnp.where(VALID, VALUES, rest)
    value, gradient = jax.value_and_grad(losses.masked_mean)(values, VALID)
    assert value == 3.5
    np.testing.assert_array_equal(gradient, [0.5, 0, 0.5, 0])


def test_masked_mean_of_nothing_is_zero_with_zero_gradient():
    none = jnp.zeros(4, bool)
    value, gradient = jax.value_and_grad(losses.masked_mean)(VALUES, none)
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros(4))


def test_absolute_error():
    found = losses.absolute_error(jnp.array([1.0, -2.0, 0.5]), jnp.array([3.0, 1, 0.5]))
    np.testing.assert_array_equal(found, [2, 3, 0])


@pytest.mark.parametrize("kind", ["l1", "l2", "huber"])
def test_regression_error(kind):
    """e = -2, 0.5, -0.25, 3, 1: the Huber loss changes its form at 1."""
    expected = {
        "l1": [2, 0.5, 0.25, 3, 1],
        "l2": [4, 0.25, 0.0625, 9, 1],
        "huber": [1.5, 0.125, 0.03125, 2.5, 0.5],
    }
    slope = {
        "l1": [-1, 1, -1, 1, 1],
        "l2": [-4, 1, -0.5, 6, 2],
        "huber": [-1, 0.5, -0.25, 1, 1],
    }
    label = jnp.array([1.0, -1, 2, 0, 1])
    prediction = label + jnp.array([-2, 0.5, -0.25, 3, 1])

    def total(prediction):
        error = losses.regression_error(prediction, label, kind)
        return error.sum(), error

    gradient, found = jax.grad(total, has_aux=True)(prediction)
    np.testing.assert_allclose(found, expected[kind], rtol=1e-6)
    np.testing.assert_allclose(gradient, slope[kind], rtol=1e-6)


def test_a_huge_error_keeps_a_finite_huber_loss():
    far = jnp.array([1e30])
    found = losses.regression_error(far, jnp.zeros(1), "huber")
    np.testing.assert_allclose(found, far)


def test_disagreement_weight():
    u_label, m_label = jnp.array([0.0, 1, -3]), jnp.array([0.0, -1, 3])
    found = losses.disagreement_weight(u_label, m_label)
    np.testing.assert_allclose(found, np.tanh([0.0, 2, 6]), rtol=1e-6)
    assert found[0] == 0  # exactly: no unimodal loss before labels move


@pytest.mark.parametrize(
    "function", [losses.masked_mean, losses.absolute_error, losses.disagreement_weight]
)
def test_a_column_against_a_row_is_an_error(function):
    rows = jnp.ones(3, bool) if function is losses.masked_mean else jnp.ones(3)
    with pytest.raises(TypeCheckError):
        function(jnp.ones((3, 1)), rows)


def test_no_error_has_no_gradient():
    """As in PyTorch; `jnp.abs` has 1 there."""
    label = jnp.array([1.0, 1.0, 1.0])
    prediction = jnp.array([1.0, 2.0, -3.0])
    gradient = jax.grad(lambda p: losses.absolute_error(p, label).sum())(prediction)
    np.testing.assert_array_equal(gradient, [0, 1, -1])
