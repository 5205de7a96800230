"""Transformer parts in channels-first layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from msa_jax.layers import channels, dense, dropout_bits
from msa_jax.training.train_state import make_mesh


def two_places(x, rates):
    def run(drop):
        first = drop(x, rates[0])
        return first, drop(jnp.concatenate([x, x]), rates[1])

    return run


def test_dropping_keeps_the_share_and_the_mean():
    x = jnp.ones((3, 40_000))
    first, second = channels.dropping(two_places(x, (0.3, 0.1)), jax.random.key(0))
    for out, rate in ((first, 0.3), (second, 0.1)):
        kept = 1 - round((1 - rate) * 2**16) / 2**16
        values = np.unique(out)
        np.testing.assert_allclose(values, [0, 1 / (1 - kept)], rtol=1e-6)
        share = float((out == 0).mean())
        assert abs(share - rate) < 5 * np.sqrt(rate * (1 - rate) / out.size)
        assert abs(float(out.mean()) - 1) < 0.01


def test_places_and_keys_drop_apart():
    x = jnp.ones((2, 5_001))  # an odd count of 16-bit halves
    run = two_places(x, (0.5, 0.5))
    first, second = (
        np.asarray(o) != 0 for o in channels.dropping(run, jax.random.key(0))
    )
    again, _ = (np.asarray(o) != 0 for o in channels.dropping(run, jax.random.key(0)))
    other, _ = (np.asarray(o) != 0 for o in channels.dropping(run, jax.random.key(1)))
    np.testing.assert_array_equal(first, again)
    for a, b in ((first, second[:2]), (first, second[2:]), (first, other)):
        assert abs((a == b).mean() - 0.5) < 0.03  # independent
    assert abs((first[:, 1:] == first[:, :-1]).mean() - 0.5) < 0.03  # neighbours, too


@pytest.mark.parametrize("size", [999, 1_000])
def test_words_are_read_by_their_lower_then_by_their_upper_halves(size):
    """A run of before draws the same entries again, on every platform."""
    key, rate = jax.random.key(5), 0.3
    words = np.asarray(dropout_bits.words(key, -(-size // 2)))
    halves = np.concatenate([words % 2**16, words // 2**16])[:size]
    out = channels.dropping(lambda drop: drop(jnp.ones(size), rate), key)
    kept = round((1 - rate) * 2**16)
    np.testing.assert_array_equal(np.asarray(out) != 0, halves < kept)


@pytest.mark.platforms
@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
def test_only_a_cpu_writes_the_random_bits_out(platform):
    traced = jax.jit(
        lambda x, key: channels.dropping(lambda drop: drop(x, 0.5), key)
    ).trace(jnp.ones((32, 8)), jax.random.key(0))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("optimization_barrier" in text) == (platform == "cpu")


@pytest.mark.parametrize("key, rates", [(None, (0.5, 0.5)), (0, (0.0, 0.0))])
def test_nothing_is_dropped_without_a_key_or_a_rate(key, rates):
    x = jnp.arange(6.0).reshape(2, 3)
    key = None if key is None else jax.random.key(key)
    first, second = channels.dropping(two_places(x, rates), key)
    np.testing.assert_array_equal(first, x)
    np.testing.assert_array_equal(second, jnp.concatenate([x, x]))


def test_a_dropped_entry_gets_no_gradient():
    def loss(x):
        return channels.dropping(lambda drop: drop(x, 0.5), jax.random.key(3)).sum()

    x = jnp.ones(1_000)
    gradient = jax.grad(loss)(x)
    out = channels.dropping(lambda drop: drop(x, 0.5), jax.random.key(3))
    np.testing.assert_array_equal(gradient, out)


def test_devices_that_share_a_batch_send_no_random_numbers():
    """And drop what one device does."""
    mesh = make_mesh(8, 4, 2)
    x = jax.random.normal(jax.random.key(1), (2, 8, 3, 5))  # seed, batch, ...

    def dropped(x, key):
        return channels.dropping(lambda drop: drop(drop(x, 0.5), 0.3), key)

    def program(x):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            keys = jax.random.split(jax.random.key(0), 2)
            return jax.vmap(dropped, spmd_axis_name="seed")(x, keys)

    lie = NamedSharding(mesh, P("seed", "data"))
    shared = jax.jit(program, in_shardings=lie, out_shardings=lie)
    text = shared.lower(x).compile().as_text()
    for name in ("all-gather", "all-to-all", "collective-permute", "all-reduce"):
        assert name not in text
    alone = jax.vmap(dropped)(x, jax.random.split(jax.random.key(0), 2))
    np.testing.assert_array_equal(shared(x), alone)


def test_positions_are_sines_then_cosines_and_padding_has_none():
    x = jnp.ones((1, 3, 5)).at[0, 1, 0].set(0.0)
    code = channels.position_code(x)[0]
    rate = [1.0, 1e-4]  # 10000^(-k / (half - 1)), half = 2
    for step in (0, 2):
        expected = [f((step + 1) * r) for f in (np.sin, np.cos) for r in rate] + [0]
        np.testing.assert_allclose(code[step], expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(code[1], 0)


def test_a_norm_folds_into_the_map_behind_it():
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 5))
    scale, shift, bias = rng.normal(size=4), rng.normal(size=4), rng.normal(size=5)
    affine, norm = channels.Affine(kernel, bias), channels.Affine(scale, shift)
    out = channels.project(*jax.tree.map(jnp.float32, (x, affine, norm)))
    plain = np.einsum(
        "ctb,co->otb", x * scale[:, None, None] + shift[:, None, None], kernel
    )
    np.testing.assert_allclose(out, plain + bias[:, None, None], rtol=1e-4, atol=1e-5)


def through_two(axis):
    """Return a loss of two products, whose first gradient is worth fusing."""

    def loss(kernel, x):
        out = dense.product(jnp.tanh(dense.product(x, kernel, axis)), kernel, axis)
        return jnp.square(out).sum()

    return loss


@pytest.mark.parametrize(
    ("axis", "form"), [(0, "d...,do->o..."), (-1, "...d,do->...o")]
)
def test_a_product_is_that_of_the_axis_with_the_matrix(axis, form):
    """With its gradients; of two axes as of three."""
    rng = np.random.default_rng(0)
    kernel = jnp.float32(rng.standard_normal((6, 6)))
    for others in ((5,), (5, 4)):
        shape = (6, *others) if axis == 0 else (*others, 6)
        x = jnp.float32(rng.standard_normal(shape))
        right = jnp.einsum(form, x, kernel)
        np.testing.assert_allclose(dense.product(x, kernel, axis), right, 1e-5, 1e-5)

        def plain(kernel, x):
            out = jnp.einsum(form, jnp.tanh(jnp.einsum(form, x, kernel)), kernel)
            return jnp.square(out).sum()

        found = jax.grad(through_two(axis), (0, 1))(kernel, x)
        for a, b in zip(found, jax.grad(plain, (0, 1))(kernel, x), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("axis", [0, -1])
def test_no_gradient_is_turned_around_on_a_cpu(axis):
    """A copy of a transposed array would be made entry by entry."""
    shape = (8, 5, 4) if axis == 0 else (5, 4, 8)
    given = jnp.ones((8, 8)), jnp.ones(shape)
    gradient = jax.jit(jax.grad(through_two(axis), (0, 1)))
    text = gradient.lower(*given).compile().as_text()
    assert " dot(" in text and " transpose(" not in text


@pytest.mark.platforms
def test_products_are_joined_on_a_cpu_alone_and_not_where_a_batch_is_divided():
    """Elsewhere the joined axes would be laid out anew, or gathered."""
    x, kernel = jnp.ones((8, 5, 4)), jnp.ones((8, 8))

    def of(platform):
        traced = jax.jit(lambda x: dense.product(x, kernel, 0)).trace(x)
        return traced.lower(lowering_platforms=(platform,)).as_text()

    assert "tensor<8x20xf32>" in of("cpu")
    assert "tensor<8x20xf32>" not in of("tpu") and "tensor<8x20xf32>" not in of("cuda")
    with jax.sharding.use_abstract_mesh(make_mesh(8, 4, 2).abstract_mesh):
        assert "tensor<8x20xf32>" not in of("cpu")
