"""Attention by blocks of queries against softmax over all keys, gradients included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msa_jax.layers import block_attention, channels


def draw(queries, keys, causal):
    rng = np.random.default_rng(0)
    shapes = ((3, 2, n, 4) for n in (queries, keys, keys))
    arrays = [jnp.asarray(rng.normal(size=shape)) for shape in shapes]
    length = jnp.array([keys, 1, keys - 2])
    seen = jnp.arange(keys)[None, None] < length[:, None, None]
    if not causal:  # a row for each query: the first sees one key less
        first = jnp.arange(queries)[None, :, None] == 0
        seen = seen & ~(first & (jnp.arange(keys) == 3)[None, None])
    return arrays, seen


def whole(query, key, value, seen, causal):
    if causal:
        seen = seen & jnp.tril(jnp.ones(2 * (key.shape[2],), bool))[None]
    score = jnp.einsum("bhqc,bhtc->bhqt", query, key)
    weight = jax.nn.softmax(jnp.where(seen[:, None], score, -jnp.inf), axis=-1)
    return jnp.einsum("bhqt,bhtc->bhqc", weight, value)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])  # samples in turn, or at once
@pytest.mark.parametrize(
    ("queries", "keys", "causal"), [(11, 11, True), (7, 11, False), (11, 5, False)]
)
def test_equals_softmax_over_all_keys(monkeypatch, queries, keys, causal, backend):
    monkeypatch.setattr(block_attention, "BLOCK", 4)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    with jax.enable_x64(True):
        arrays, seen = draw(queries, keys, causal)
        results = []
        for attend in (block_attention.attend, whole):

            def number(*arrays, attend=attend):
                return jnp.sin(attend(*arrays, seen, causal)).sum()

            both = jax.value_and_grad(number, argnums=(0, 1, 2))
            results.append((attend(*arrays, seen, causal), both(*arrays)))
        for a, b in zip(*map(jax.tree.leaves, results), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_a_causal_block_reads_no_later_key():
    """Blocks of 9 steps in three: 3, 6 and 9 keys."""
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(block_attention, "BLOCK", 3)
        blocks = block_attention._blocks(9, 9, True)
        assert blocks == [(0, 3, 3), (3, 6, 6), (6, 9, 9)]
        assert block_attention._blocks(9, 5, False)[0] == (0, 3, 5)


@pytest.mark.parametrize("causal", [False, True])
def test_long_and_short_sequences_take_the_same_mathematics(monkeypatch, causal):
    """`attend_all` goes by blocks from BLOCK steps on, if no weights are dropped."""
    x = jnp.asarray(np.random.default_rng(1).normal(size=(3, 6, 9, 2)), jnp.float32)
    seen = jnp.arange(9)[None, :, None] < jnp.array([9, 4])[None, None]
    short = channels.attend_all(*x, 3, None, seen, causal=causal)
    kept = channels.attend_all(*x, 3, lambda weight: weight, seen, causal=causal)
    np.testing.assert_array_equal(short, kept)
    monkeypatch.setattr(block_attention, "BLOCK", 4)
    calls, attend = [], block_attention.attend
    monkeypatch.setattr(
        block_attention, "attend", lambda *a: calls.append(1) or attend(*a)
    )
    long = channels.attend_all(*x, 3, None, seen, causal=causal)
    assert calls == [1]
    np.testing.assert_allclose(long, short, rtol=0, atol=1e-6)
