"""MFM's discrepancy and decoders from plain formulations; its draws."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import tiny

from msa_jax import methods
from msa_jax.data.batches import gather
from msa_jax.methods import network
from msa_jax.methods.mfm import discrepancy
from msa_jax.text.encoders import FeatureEncoder

SPLIT = tiny.make_split(6)


def test_the_discrepancy_counts_every_pair_of_valid_rows():
    """exp(-(a - b)^2) of one number a row; each row is paired with itself, too."""
    x, y = jnp.array([[0.0], [1.0], [9.0]]), jnp.array([[0.0], [2.0], [jnp.nan]])
    valid = jnp.array([True, True, False])
    e1, e4 = np.exp(-1.0), np.exp(-4.0)
    expected = (2 + 2 * e1) / 4 + (2 + 2 * e4) / 4 - 2 * (1 + e4 + e1 + e1) / 4
    run = tiny.quick(jax.value_and_grad(discrepancy))
    found, gradient = run(x, y, valid)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.isfinite(gradient).all() and gradient[2] == 0
    one = tiny.quick(discrepancy)(x[:1], y[:1], valid[:1])
    np.testing.assert_allclose(one, 0, atol=1e-7)
    # Of d numbers: the mean square, divided by d once more.
    apart = jnp.zeros((1, 3)), jnp.full((1, 3), 2.0), valid[:1]
    wide = tiny.quick(discrepancy)(*apart)
    np.testing.assert_allclose(wide, 2 - 2 * np.exp(-4 / 3), rtol=1e-6)


def made(words=""):
    c = tiny.small(methods.PAPERS["mfm"], words)
    return methods.make(c, FeatureEncoder(), (-3.0, 3.0))


def test_draws_are_of_training_alone_and_differ_from_step_to_step():
    method, batch = made(), gather(SPLIT, jnp.arange(4))
    variables = {"params": tiny.make_params(method, SPLIT)}

    @tiny.quick
    def run(variables, batch, key):
        learnt, _ = network.learn(method, variables, batch, key)
        return learnt.feature, network.answer(method, variables, batch).feature

    (first, answered), (second, _) = (
        run(variables, batch, jax.random.key(k)) for k in (0, 1)
    )
    drawn = {name for name in first if name.startswith("prior_")}
    assert drawn == first.keys() - answered.keys() and len(drawn) == 4
    for name in drawn:
        assert first[name].shape == first[name.removeprefix("prior_")].shape
        assert (first[name] != second[name]).all()
    assert len({float(first[name][0, 0]) for name in drawn}) == 4


def test_padding_is_no_part_of_a_reconstruction_where_lengths_count():
    """One step alone has the error of a clip of one step; else of all stored ones."""
    batch = gather(SPLIT, jnp.arange(4))
    short = dataclasses.replace(batch, text_length=jnp.ones(4, jnp.int32))
    cut = dataclasses.replace(short, text=short.text[:, :1])
    for words, same in (("sane", True), ("", False)):
        method = made(words)
        variables = {"params": tiny.make_params(method, SPLIT)}
        run = tiny.quick(partial(network.answer, method, variables))
        errors = [run(each).feature["reconstruction"] for each in (short, cut)]
        assert np.allclose(*errors, rtol=1e-5) == same
