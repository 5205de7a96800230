import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from msa_jax.data.batches import batches, fold, gather, shuffled

N = 23
KEY = jax.random.key(7)


def epoch_rows(epoch, size=5, key=KEY, **options):
    return np.asarray(batches(shuffled(key, jnp.asarray(epoch), N), size, **options))


@pytest.mark.parametrize("columns", [0, 5, 8])
def test_an_epoch_holds_every_sample_once(columns):
    rows = epoch_rows(1, columns=columns)
    assert rows.shape == (5, max(columns, 5))
    assert sorted(rows[rows < N]) == list(range(N))
    # The ragged last batch and the extra columns are padded with n.
    full = [5, 5, 5, 5, 3]
    for row, count in zip(rows, full, strict=True):
        assert (row[:count] < N).all() and (row[count:] == N).all()


def test_columns_only_add_padding():
    wide, plain = epoch_rows(1, columns=8), epoch_rows(1)
    np.testing.assert_array_equal(wide[:, :5], plain)


def test_drop_last_leaves_out_the_ragged_batch_only():
    whole = epoch_rows(1, drop_last=True)
    np.testing.assert_array_equal(whole, epoch_rows(1)[:4])
    order = jnp.arange(20)
    np.testing.assert_array_equal(batches(order, 5, drop_last=True), batches(order, 5))


@pytest.mark.parametrize("size", [1, N, N + 4])
def test_one_sample_per_batch_and_one_batch_for_all(size):
    rows = epoch_rows(1, size=size)
    assert rows.shape == (-(-N // size), size)
    assert sorted(rows[rows < N]) == list(range(N))


def test_the_order_depends_on_seed_and_epoch_alone():
    again = jax.jit(shuffled, static_argnums=2)(KEY, jnp.asarray(3), N)
    np.testing.assert_array_equal(shuffled(KEY, jnp.asarray(3), N), again)
    orders = {
        tuple(epoch_rows(epoch, key=jax.random.key(seed)).reshape(-1).tolist())
        for seed in (1, 2, 3)
        for epoch in (1, 2, 3)
    }
    assert len(orders) == 9


def test_gather_cuts_rows_and_marks_padding():
    six = jnp.arange(6.0 * N).reshape(N, 6)
    split = dataclasses.replace(tiny.make_split(N), emotion=six)
    index = jnp.array([4, 0, N, 22, N])
    batch = gather(split, index)
    np.testing.assert_array_equal(batch.valid, [True, True, False, True, False])
    np.testing.assert_array_equal(batch.index, index)
    real, some = np.array([0, 1, 3]), np.array([4, 0, 22])
    for name in set(split.__dataclass_fields__) & set(batch.__dataclass_fields__):
        found, every = (np.asarray(getattr(x, name)) for x in (batch, split))
        np.testing.assert_array_equal(found[real], every[some])
        # Padding holds a real row: finite numbers and lengths of at least 1.
        assert any((found[2] == row).all() for row in every)
    assert gather(tiny.make_split(N), index).emotion is None


def test_folded_sequences_give_the_same_batches():
    split = tiny.make_split(N)
    rows = jnp.asarray([3, 0, N, 22])
    folded = fold(split)
    assert folded.audio.rows.ndim == 2 and folded.audio.shape == split.audio.shape
    expected, found = gather(split, rows), gather(folded, rows)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    shapes = jax.eval_shape(lambda s: s, split)
    assert fold(shapes).text.shape == split.text.shape  # nothing is computed
