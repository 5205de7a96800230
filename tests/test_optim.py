import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from msa_jax import optim
from msa_jax.errors import UserError


def torch_adam(weights, gradients, rate, decay):
    """torch.optim.Adam(weight_decay=...) in NumPy, float64; returns every step."""
    w = np.array(weights, float)
    m = v = np.zeros_like(w)
    steps = []
    for t, gradient in enumerate(gradients, start=1):
        g = gradient + decay * w
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        w = w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        steps.append(w)
    return np.stack(steps)


def run(transform, params, gradients):
    state, steps = transform.init(params), []
    update = jax.jit(transform.update)
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        steps.append(params)
    return steps


def test_adam_equals_torch_over_five_steps():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=6).astype(np.float32)
    # gradients small enough for the decay to count
    gradients = 0.05 * rng.normal(size=(5, 6)).astype(np.float32)
    found = run(
        optim.adam_coupled_l2(1e-2, 0.1), jnp.asarray(weights), jnp.asarray(gradients)
    )
    expected = torch_adam(weights, gradients, 1e-2, 0.1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_bias_correction_is_exact():
    """Under a constant gradient both corrected moments are constant: steps of 1."""
    adam = optim.adam_coupled_l2(rate=1.0, decay=0.0)
    state, update = adam.init(jnp.zeros(2)), jax.jit(adam.update)
    for _ in range(20):
        step, state = update(jnp.array([0.5, -3.0]), state, jnp.zeros(2))
        # float32 has 6e-8; 1 - 0.999 computed in float32 is off by 1e-5
        np.testing.assert_allclose(step, [-1, 1], rtol=2e-6)


def test_zero_gradient_still_moves_every_weight_by_the_rate():
    weights = jnp.array([1.0, -0.5, 0.01, 20.0])
    gradients = jnp.zeros((3, 4))
    found = run(optim.adam_coupled_l2(1e-3, 1e-2), weights, gradients)
    expected = weights - 3e-3 * jnp.sign(weights)
    np.testing.assert_allclose(found[-1], expected, rtol=0, atol=2e-5)
    unmoved = run(optim.adam_coupled_l2(1e-3, 0.0), weights, gradients)
    np.testing.assert_array_equal(unmoved[-1], weights)


PARAMS = {"slow": {"kernel": jnp.ones(3)}, "fast": {"kernel": jnp.ones(3)}}
GROUPS = {"slow": {"rate": 1e-4, "decay": 0.0}, "fast": {"rate": 1e-2, "decay": 0.0}}


def top(path):
    return path.split("/")[0]


def test_group_labels_name_every_path():
    params = {"a": {"b": {"kernel": 1.0}}, "c": 2.0}
    found = optim.group_labels(params, lambda path: path)
    assert found == {"a": {"b": {"kernel": "a/b/kernel"}}, "c": "c"}


def test_groups_get_their_rates_and_decays():
    groups = {**GROUPS, "slow": {"rate": 1e-4, "decay": 3.0}}
    gradients = [jax.tree.map(lambda p: 0.5 * p, PARAMS)] * 5
    found = run(optim.make_optimizer(groups, top), PARAMS, gradients)
    for name, group in groups.items():
        steps = np.stack([params[name]["kernel"] for params in found])
        expected = torch_adam(np.ones(3), [0.5] * 5, group["rate"], group["decay"])
        np.testing.assert_allclose(steps, expected, rtol=0, atol=1e-6)


def test_frozen_parameters_never_move():
    def group(path):
        return "frozen" if path.startswith("slow") else "fast"

    gradients = [jax.tree.map(lambda p: 5 * p, PARAMS)] * 3
    found = run(
        optim.make_optimizer({"fast": GROUPS["fast"]}, group), PARAMS, gradients
    )
    np.testing.assert_array_equal(found[-1]["slow"]["kernel"], np.ones(3))
    assert (found[-1]["fast"]["kernel"] < 0.98).all()


def test_a_missing_group_is_named():
    optimizer = optim.make_optimizer({"slow": GROUPS["slow"]}, top)
    with pytest.raises(UserError, match=r"no group 'fast'.*\['fast', 'slow'\]"):
        optimizer.init(PARAMS)
