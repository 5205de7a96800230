from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from msa_jax.layers.norm import BatchNorm

VALID = np.array([True, False, True, True, False, True, True, False])
SHAPES = [((8, 3), -1), ((8, 4, 3), -1), ((8, 4, 3), 1)]  # x, axis of its channels
each_shape = pytest.mark.parametrize("shape, axis", SHAPES)


def batch(shape, seed=0):
    """Numbers of mean 5 and deviation 2; padding rows are NaN, infinite and large."""
    x = np.random.default_rng(seed).normal(5, 2, shape).astype(np.float32)
    x[1], x[4], x[7] = np.nan, np.inf, 1e30
    return x


def variables(shape, axis):
    """Return parameters and running statistics that differ in every channel."""
    channel = np.arange(shape[axis], dtype=np.float32)
    return {
        "params": {"scale": 1 + channel, "bias": 2 - channel},
        "batch_stats": {"running_mean": 3 * channel, "running_var": 4 + channel},
    }


def trained(axis, given, x, valid=VALID) -> Any:
    """Return (y, running statistics afterwards) of a batch in training."""
    given, x, valid = jax.tree.map(jnp.asarray, (given, x, valid))
    norm = BatchNorm(axis)
    y, after = norm.apply(given, x, valid, train=True, mutable=["batch_stats"])
    return y, after["batch_stats"]


def columns(x, axis):
    """Return x as [values, channels] in float64."""
    return np.moveaxis(np.asarray(x, float), axis, -1).reshape(-1, x.shape[axis])


@each_shape
def test_training_normalises_by_the_moments_of_valid_rows(shape, axis):
    x, given = batch(shape), variables(shape, axis)
    y, _ = trained(axis, given, x)
    values, p = columns(x[VALID], axis), given["params"]
    normed = (values - values.mean(0)) / np.sqrt(values.var(0) + 1e-5)
    expected = normed * p["scale"] + p["bias"]
    np.testing.assert_allclose(columns(y[VALID], axis), expected, rtol=0, atol=1e-5)
    assert np.isfinite(y).all()


@each_shape
def test_running_statistics_weigh_batches_by_their_age(shape, axis):
    """After two batches: .81 of the start, .09 of the first, .1 of the second."""
    given = variables(shape, axis)
    start, moments, after = given["batch_stats"], [], given["batch_stats"]
    for seed in (0, 1):
        x = batch(shape, seed)
        _, after = trained(axis, given | {"batch_stats": after}, x)
        values = columns(x[VALID], axis)
        moments.append((values.mean(0), values.var(0, ddof=1)))
    names = "running_mean", "running_var"
    for name, first, second in zip(names, *moments, strict=True):
        expected = 0.81 * start[name] + 0.09 * first + 0.1 * second
        np.testing.assert_allclose(after[name], expected, rtol=1e-6)


@each_shape
def test_answers_use_running_statistics(shape, axis):
    x = np.nan_to_num(batch(shape), posinf=0)
    p, stats = (given := variables(shape, axis)).values()
    given, *seen = jax.tree.map(jnp.asarray, (given, x, VALID))
    y: Any = BatchNorm(axis).apply(given, *seen, train=False)
    expected = (columns(x, axis) - stats["running_mean"]) * p["scale"]
    expected = expected / np.sqrt(stats["running_var"] + 1e-5) + p["bias"]
    np.testing.assert_allclose(columns(y, axis), expected, rtol=1e-5, atol=1e-5)


def test_a_new_norm_starts_as_torchs():
    x, valid = jnp.asarray(batch((8, 2))), jnp.asarray(VALID)
    start = BatchNorm().init(jax.random.key(0), x, valid, train=True)
    expected = {
        "params": {"scale": np.ones(2), "bias": np.zeros(2)},
        "batch_stats": {"running_mean": np.zeros(2), "running_var": np.ones(2)},
    }
    jax.tree.map(np.testing.assert_array_equal, start, expected)


@each_shape
def test_padding_and_the_order_of_samples_count_for_nothing(shape, axis):
    x, given = batch(shape), variables(shape, axis)
    y, after = trained(axis, given, x)
    other = x.copy()
    other[~VALID] = -7
    y_other, after_other = trained(axis, given, other)
    np.testing.assert_array_equal(y_other[VALID], y[VALID])
    jax.tree.map(np.testing.assert_array_equal, after_other, after)
    order = np.random.default_rng(2).permutation(8)
    y_other, after_other = trained(axis, given, x[order], VALID[order])
    kept = VALID[order]
    np.testing.assert_allclose(y_other[kept], y[order][kept], rtol=0, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, 1e-6), after_other, after
    )


@pytest.mark.parametrize("valid_rows", [0, 1])
def test_too_few_values_leave_running_statistics_alone(valid_rows):
    x, given = batch((8, 3)), variables((8, 3), -1)
    y, after = trained(-1, given, x, np.arange(8) < valid_rows)
    bias = np.broadcast_to(given["params"]["bias"], (valid_rows, 3))
    np.testing.assert_array_equal(y[:valid_rows], bias)
    assert np.isfinite(y).all()
    jax.tree.map(np.testing.assert_array_equal, after, given["batch_stats"])


def test_a_large_mean_costs_no_digits_of_the_variance():
    """Deviation 1 around 4096: squares of float32 have 2 of its 7 digits left."""
    x = np.where(np.arange(8) % 2, 4097, 4095).astype(np.float32)[:, None]
    given = variables(x.shape, -1)
    y, _ = trained(-1, given, x, np.ones(8, bool))
    expected = 2 + (x - 4096) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6)


@each_shape
def test_the_gradient_follows_its_formula(shape, axis):
    """dx = scale / sd (g - mean g - z mean(g z)), z the normalised x; 0 in padding."""
    x, given = batch(shape), variables(shape, axis)
    g = np.random.default_rng(3).normal(size=shape).astype(np.float32)

    def total(params, x):
        y, _ = trained(axis, given | {"params": params}, x)
        return jnp.vdot(y[VALID], g[VALID])

    weights, found = jax.grad(total, argnums=(0, 1))(given["params"], jnp.asarray(x))
    values, seen = columns(x[VALID], axis), columns(g[VALID], axis)
    sd = np.sqrt(values.var(0) + 1e-5)
    z = (values - values.mean(0)) / sd
    expected = seen - seen.mean(0) - z * (seen * z).mean(0)
    expected = expected * given["params"]["scale"] / sd
    np.testing.assert_allclose(columns(found[VALID], axis), expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found[~VALID], np.zeros_like(x[~VALID]))
    sums = {"scale": (seen * z).sum(0), "bias": seen.sum(0)}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-4), weights, sums
    )


@pytest.mark.parametrize("shape, axis", SHAPES[1:])
def test_devices_share_the_statistics_of_the_whole_batch(shape, axis):
    """A sample to a device, three of them with padding only."""
    mesh = Mesh(np.array(jax.devices()), "data")
    x, given = batch(shape), variables(shape, axis)
    divided = jax.device_put((x, VALID), NamedSharding(mesh, PartitionSpec("data")))
    y, after = jax.jit(lambda given, x, valid: trained(axis, given, x, valid))(
        given, *divided
    )
    assert len(y.sharding.device_set) == 8
    y_alone, after_alone = trained(axis, given, x)
    np.testing.assert_allclose(y[VALID], y_alone[VALID], rtol=0, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, 1e-6), after, after_alone
    )
