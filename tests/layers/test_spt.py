"""The sparse phased transformer: sampled keys, attention and what it must not see."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from tiny import quick

from msa_jax.ground.names import MODALITIES
from msa_jax.layers import window_attention, windows
from msa_jax.layers.spt import Readings, SparsePhasedTransformer
from msa_jax.layers.windows import Sampling

CASES = [  # queries, keys, sampling, shift
    (4, 20, Sampling(5, 8), 0),
    (4, 19, Sampling(5, 3), 2),
    (7, 3, Sampling(1, 4), 3),
    (3, 7, Sampling(1, 1), 6),
    (5, 2, Sampling(1, 3), 1),
]


def sampled(queries, keys, sampling, shift):
    """The sampling rule, key by key: [q][j]."""
    w, s = 2 * sampling.radius + 1, sampling.stride
    return [
        [((i + 1) * s - w + shift + j) % keys for j in range(w)] for i in range(queries)
    ]


@pytest.mark.parametrize("queries, keys, sampling, shift", CASES)
def test_windows_hold_the_sampled_keys(queries, keys, sampling, shift):
    expected = sampled(queries, keys, sampling, shift)
    index = windows.window_index(queries, keys, sampling, shift)
    np.testing.assert_array_equal(index.T, expected)
    x = jnp.arange(2.0 * keys).reshape(1, keys, 2)  # step t, sample b: 2 t + b
    real = windows.entries(sampling)
    for given in (shift, jnp.asarray(shift), jnp.full(queries, shift)):
        cut = windows.cut(x, queries, sampling, given)
        kept = real if cut.shape[3] > 1 else np.ones(cut.shape[1:4:2], bool)
        for b in range(2):
            got = [cut[0, :, i, :, b][kept].tolist() for i in range(queries)]
            assert got == [[2 * t + b for t in row] for row in expected]


def test_windows_wrap_at_each_sample_s_length():
    x = jnp.arange(12.0).reshape(1, 6, 2)
    cut = windows.cut(x, 2, Sampling(1, 1), 0, jnp.array([6, 4]))
    rows = [sampled(2, n, Sampling(1, 1), 0) for n in (6, 4)]
    for b, row in enumerate(rows):
        got = cut[0, :, :, 0, b].T.tolist()
        assert got == [[2 * t + b for t in keys] for keys in row]


def plain_attention(query, key, value, index, heads):
    """Attention by loops: query [c, q, b], key and value [c, t, b], index [q][j]."""
    c, count, batch = query.shape
    d = c // heads
    out = np.zeros_like(query)
    for b in range(batch):
        for i in range(count):
            for h in range(heads):
                rows = slice(h * d, (h + 1) * d)
                k, v = key[rows, :, b][:, index[i]], value[rows, :, b][:, index[i]]
                score = query[rows, i, b] @ k / np.sqrt(d)
                weight = np.exp(score - score.max())
                out[rows, i, b] = v @ (weight / weight.sum())
    return out


@pytest.mark.parametrize("queries, keys, sampling, shift", CASES)
def test_attention_and_its_own_backward_pass(queries, keys, sampling, shift):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        q = jnp.asarray(rng.normal(size=(6, queries, 2)))
        k, v = jnp.asarray(rng.normal(size=(2, 6, keys, 2)))
        kind = window_attention.Kind(3, sampling)
        index = sampled(queries, keys, sampling, shift)
        expected = plain_attention(*map(np.asarray, (q, k, v)), index, 3)
        for given in (shift, jnp.full(queries, shift)):

            @jax.jit
            def run(q, k, v, given=given):
                return window_attention.attend(kind, q, k, v, given, None)

            np.testing.assert_allclose(run(q, k, v), expected, atol=1e-12)
            check_grads(run, (q, k, v), order=1, modes=["rev"])


def test_dropped_weights_count_nothing_and_get_no_gradient():
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        q, k, v = jnp.asarray(rng.normal(size=(3, 4, 5, 2)))
        kind = window_attention.Kind(2, Sampling(1, 1))
        shape = window_attention.weight_shape(kind, q, 0, None)
        keep = jnp.asarray(rng.integers(0, 2, shape) * 2.0)

        @jax.jit
        def run(q, k, v):
            return window_attention.attend(kind, q, k, v, 0, None, keep)

        check_grads(run, (q, k, v), order=1, modes=["rev"])
        none = window_attention.attend(kind, q, k, v, 0, None, 0 * keep)
        np.testing.assert_array_equal(none, 0 * q)


SMALL = Readings(
    embed=4,
    heads=2,
    rounds=2,
    relu_dropout=0.0,
    residual_dropout=0.0,
    embed_dropout=0.0,
)


def sequences(n=2, steps=(4, 11, 13)):
    rng = np.random.default_rng(2)
    shapes = zip(MODALITIES, steps, (3, 2, 4), strict=True)
    return {m: rng.normal(size=(n, t, d)).astype(np.float32) for m, t, d in shapes}


def encode(readings, x, lengths=None, params=None, train=False, key=0):
    """Run the encoder: (its vectors, its parameters)."""
    if lengths is None:
        lengths = {m: np.full(len(v), v.shape[1]) for m, v in x.items()}
    lengths = jax.tree.map(np.asarray, lengths)
    if params is None:
        start = partial(SparsePhasedTransformer(readings).init, train=False)
        shapes = jax.eval_shape(start, jax.random.key(0), x, lengths)["params"]
        rng = np.random.default_rng(5)
        params = jax.tree.map(
            lambda s: rng.uniform(-0.5, 0.5, s.shape).astype(s.dtype), shapes
        )
    run = compiled(readings, train)
    return run(params, x, lengths, jax.random.key(key)), params


@cache
def compiled(readings, train):
    model = SparsePhasedTransformer(readings)

    def run(params, x, lengths, key):
        rngs = {"dropout": key}
        return model.apply({"params": params}, x, lengths, train=train, rngs=rngs)

    return quick(run)


def test_true_lengths_make_padding_invisible():
    """The same samples in a longer array, rubbish behind them: the same vectors."""
    readings = SMALL._replace(
        respect_lengths=True, input_letters="SP", cross_letters="SP"
    )
    x = sequences()
    lengths = {"text": [4, 1], "audio": [11, 6], "vision": [9, 13]}
    lengths = {m: np.array(v) for m, v in lengths.items()}
    first, params = encode(readings, x, lengths)
    longer = {}
    for m, v in x.items():
        longer[m] = np.full((2, v.shape[1] + 7, v.shape[2]), 3.0, np.float32)
        for b, n in enumerate(lengths[m]):
            longer[m][b, :n] = v[b, :n]
    second, _ = encode(readings, longer, lengths, params)
    for m in MODALITIES:
        np.testing.assert_allclose(first[m], second[m], rtol=2e-5, atol=2e-6)
    published, _ = encode(
        readings._replace(respect_lengths=False), longer, None, params
    )
    assert np.abs(published["audio"] - first["audio"]).max() > 1e-3


def test_samples_do_not_see_each_other():
    x = sequences(n=3)
    together, params = encode(SMALL, x)
    alone, _ = encode(SMALL, {m: v[1:2] for m, v in x.items()}, params=params)
    for m in MODALITIES:
        np.testing.assert_allclose(together[m][1:2], alone[m], rtol=2e-5, atol=1e-6)


def test_dropout_differs_by_key_and_is_off_in_evaluation():
    readings = SMALL._replace(relu_dropout=0.5, embed_dropout=0.5, residual_dropout=0.5)
    x = sequences()
    still, params = encode(readings, x)
    plain, _ = encode(SMALL, x, params=params)
    runs = [encode(readings, x, None, params, True, key)[0] for key in (1, 1, 2)]
    for m in MODALITIES:
        np.testing.assert_array_equal(still[m], plain[m])
        np.testing.assert_array_equal(runs[0][m], runs[1][m])
        assert np.abs(runs[0][m] - runs[2][m]).max() > 0


def test_random_shifts_are_drawn_in_range_and_repeat_with_the_key():
    sampling = Sampling(5, 8, "R", random_share=0.5)
    assert windows.random_limit(37, 8, sampling) == 3  # ceil(18.5 / 8)
    assert windows.random_limit(500, 10, Sampling(5, 8)) == 3  # vision over text
    readings = SMALL._replace(input_letters="R", random_share=0.5)
    assert readings.input == sampling
    x = sequences()
    first, params = encode(readings, x)
    second, _ = encode(readings, x, params=params)
    unshifted, _ = encode(SMALL, x, params=params)
    np.testing.assert_array_equal(first["vision"], second["vision"])
    assert np.abs(first["vision"] - unshifted["vision"]).max() > 0
