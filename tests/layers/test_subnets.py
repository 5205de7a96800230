"""Blocks of TFN and its relatives from plain formulations."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import quick

from msa_jax.layers.subnets import LowRank, OuterLinear, TextNet, outer, time_mean

KEY = jax.random.key(0)


def drawn(module, *args, **given):
    """Draw variables of a module: parameters around 0, statistics around 1."""
    given = given or {"train": False}
    shapes = jax.eval_shape(lambda key: module.init(key, *args, **given), KEY)
    rng = np.random.default_rng(0)
    middle = {"params": 0.05, "batch_stats": 1}
    return {
        name: jax.tree.map(
            lambda s, m=middle[name]: jnp.asarray(
                rng.uniform(m - 0.5, m + 0.5, s.shape)
            ),
            tree,
        )
        for name, tree in shapes.items()
    }


def test_the_outer_product_holds_every_product():
    """Entry (i, j) of two vectors, each after a 1, is entry i (n + 1) + j."""
    a, b = jnp.array([[2.0, 3.0]]), jnp.array([[5.0, 7.0, 11.0]])
    expected = [1, 5, 7, 11, 2, 10, 14, 22, 3, 15, 21, 33]
    np.testing.assert_array_equal(outer(a, b)[0], expected)


def test_the_contraction_is_the_map_of_the_outer_product():
    """To the vectors' gradients, too; and nothing as large as the product is formed."""
    keys = jax.random.split(jax.random.key(0), 5)
    vectors = [
        jax.random.normal(k, (3, d)) for k, d in zip(keys, (4, 19, 6), strict=False)
    ]
    module = OuterLinear(2, 0.5)
    params = drawn(module, *vectors)
    kernel = params["params"]["kernel"]
    assert kernel.shape == (5 * 20 * 7, 2)
    weight = jax.random.normal(keys[4], (3, 2))

    def contracted(x):
        return (module.apply(params, *x, train=False) * weight).sum()

    def plain(x):
        return ((outer(*x) @ kernel + params["params"]["bias"][None]) * weight).sum()

    ours, theirs = (quick(jax.value_and_grad(f))(vectors) for f in (contracted, plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), ours, theirs)
    formed = jax.make_jaxpr(contracted)(vectors).eqns
    largest = max(out.aval.size for eqn in formed for out in eqn.outvars)
    assert largest == kernel.size < 3 * len(kernel)


def test_dropped_entries_are_the_products():
    """What is kept is doubled at rate .5; no vector is dropped as a whole."""
    x = [jnp.ones((1, 9)), jnp.ones((1, 9)), jnp.ones((1, 9))]
    module = OuterLinear(1, 0.5)
    params = {"params": {"kernel": jnp.ones((1000, 1)), "bias": jnp.zeros(1)}}
    rngs = {"dropout": jax.random.key(1)}
    (total,) = module.apply(params, *x, train=True, rngs=rngs)[0]
    assert total % 2 == 0 and abs(total - 1000) < 150 and total != 1000


def test_low_rank_is_a_map_of_the_outer_product():
    """Row r of the map is the outer product of column r of each factor."""
    widths = {"a": 4, "v": 2, "t": 5}
    x: Any = {m: jax.random.normal(KEY, (3, width)) for m, width in widths.items()}
    module = LowRank(2)
    params = drawn(module, **x)
    factors = [params["params"][f"{name}_factor"] for name in x]
    kernel = np.einsum("ir,jr,kr->ijkr", *factors).reshape(-1, 2)
    expected = outer(*x.values()) @ kernel
    np.testing.assert_allclose(module.apply(params, **x), expected, rtol=1e-5)


@pytest.mark.parametrize("outputs", [1, 4])
def test_factors_start_as_xavier_normal_of_pytorch(outputs):
    """Fan-in and fan-out are 1 + d and the rank, of an output; nothing is cut off."""
    x: Any = {"a": jnp.zeros((1, 999))}
    (factor,) = jax.tree.leaves(LowRank(500, outputs).init(jax.random.key(0), **x))
    assert factor.shape == (1000, 500 * outputs)
    deviation = (2 / (1500 * outputs)) ** 0.5
    np.testing.assert_allclose(factor.std(), deviation, rtol=1e-2)
    assert np.abs(factor).max() > 4 * factor.std()


def test_means_over_time():
    x = jnp.array([[[1.0, -jnp.inf], [3.0, 4.0], [8.0, jnp.nan]]])
    length = jnp.array([2])
    np.testing.assert_array_equal(time_mean(x, length, "all"), [[4.0, 0.0]])
    np.testing.assert_array_equal(time_mean(x, length, "valid"), [[2.0, 2.0]])
    np.testing.assert_array_equal(time_mean(x[:, 1:2], length, "all"), [[3.0, 4.0]])


def test_the_text_state_is_at_the_end_that_is_asked_for():
    x = jax.random.normal(jax.random.key(0), (1, 4, 3))
    end, valid = (TextNet(2, 2, 0.0, state) for state in ("padded_end", "last_valid"))
    params = drawn(end, x, jnp.array([2]))

    def run(module, x):
        apply = quick(lambda x: module.apply(params, x, jnp.array([2]), train=False))
        return np.asarray(apply(x))

    np.testing.assert_allclose(run(valid, x), run(end, x[:, :2]), rtol=1e-6)
    assert np.abs(run(valid, x) - run(end, x)).max() > 1e-3
