"""Dropout's random words are those of jax's own Threefry."""

import jax
import numpy as np
import pytest

from msa_jax.layers.dropout_bits import words


@pytest.mark.parametrize("count", [1, 2, 7, 1000, 1001])
@pytest.mark.parametrize("seed", [0, 3])
def test_the_words_are_jaxs(count, seed):
    key = jax.random.fold_in(jax.random.key(seed), 5)
    with jax.threefry_partitionable(False):
        expected = jax.random.bits(key, (count,))
    np.testing.assert_array_equal(words(key, count), expected)


def test_seeds_side_by_side_draw_what_each_draws_alone():
    keys = jax.random.split(jax.random.key(1), 3)
    side_by_side = jax.vmap(lambda key: words(key, 9))(keys)
    alone = [words(key, 9) for key in keys]
    np.testing.assert_array_equal(side_by_side, np.stack(alone))
