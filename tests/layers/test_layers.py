import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msa_jax.layers.dense import Linear, ScoreHead
from msa_jax.layers.recurrent import SequenceLstm

B, T, D, H = 4, 6, 3, 5
LENGTH = jnp.array([1, T, 3, 4])
LSTM = SequenceLstm(H)


@pytest.fixture(scope="module")
def lstm():
    """Parameters and inputs; padding is filled with numbers, not zeros."""
    rng = np.random.default_rng(0)
    params = LSTM.init(jax.random.key(0), jnp.ones((B, T, D)), LENGTH)
    return params, jnp.asarray(rng.normal(size=(B, T, D)), jnp.float32)


def lstm_twin(params, x, length):
    """torch.nn.LSTM's equations, one sample and one step at a time, float64."""
    p = {k: np.asarray(v, float) for k, v in params["params"].items()}
    out = []
    for sequence, steps in zip(np.asarray(x, float), length, strict=True):
        h = c = np.zeros(H)
        for frame in sequence[:steps]:
            drive = frame @ p["input_kernel"] + p["input_bias"]
            drive = drive + h @ p["state_kernel"] + p["state_bias"]
            i, f, g, o = drive.reshape(4, H)
            i, f, o = (1 / (1 + np.exp(-z)) for z in (i, f, o))
            c = f * c + i * np.tanh(g)
            h = o * np.tanh(c)
        out.append(h)
    return np.stack(out)


def test_lstm_equals_a_numpy_loop(lstm):
    params, x = lstm
    found = LSTM.apply(params, x, LENGTH).hidden
    expected = lstm_twin(params, x, LENGTH)  # lengths 1, full and between
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_lstm_reads_nothing_beyond_the_length(lstm):
    params, x = lstm
    valid = (jnp.arange(T)[None] < LENGTH[:, None])[:, :, None]

    def total(params, x):
        return jnp.sin(LSTM.apply(params, x, LENGTH).hidden).sum()

    both = jax.value_and_grad(total, argnums=(0, 1))
    value, (weights, inputs) = both(params, x)
    other_value, (other_weights, _) = both(params, jnp.where(valid, x, 1e3))
    assert value == other_value
    jax.tree.map(np.testing.assert_array_equal, weights, other_weights)
    np.testing.assert_array_equal(jnp.where(valid, 0, inputs), np.zeros_like(inputs))
    assert (jnp.where(valid, jnp.abs(inputs), 1) > 0).all()  # and all that is valid


def test_lstm_does_not_depend_on_the_padded_length(lstm):
    params, x = lstm
    longer = jnp.pad(x, ((0, 0), (0, 7), (0, 0)), constant_values=2.0)
    found = LSTM.apply(params, longer, LENGTH).hidden
    plain = LSTM.apply(params, x, LENGTH).hidden
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-6)


def assert_uniform(values, bound):
    """All within the bound, reaching towards it, mean near 0."""
    values = np.asarray(values)
    assert np.abs(values).max() <= bound
    assert np.abs(values).max() > 0.95 * bound
    # the mean of n draws deviates by bound / sqrt(3 n); 4 times that is rare
    assert abs(values.mean()) < 4 * bound / np.sqrt(3 * values.size)


def test_lstm_starts_within_one_over_root_width():
    lstm = SequenceLstm(25)
    x, length = jnp.ones((1, 2, 9)), jnp.ones(1, jnp.int32)
    params = lstm.init(jax.random.key(1), x, length)["params"]
    shapes = {k: v.shape for k, v in params.items()}
    assert shapes == {
        "input_kernel": (9, 100),
        "state_kernel": (25, 100),
        "input_bias": (100,),
        "state_bias": (100,),
    }
    for value in params.values():
        assert_uniform(value, 1 / 5)
    assert (params["input_bias"] != params["state_bias"]).any()


def test_linear_starts_within_one_over_root_inputs():
    params = Linear(200).init(jax.random.key(2), jnp.ones((1, 16)))["params"]["linear"]
    assert params["kernel"].shape == (16, 200)
    assert_uniform(params["kernel"], 1 / 4)
    assert_uniform(params["bias"], 1 / 4)


def relu_layer(params, x):
    linear = params["linear"]
    return np.maximum(x @ linear["kernel"] + linear["bias"][None], 0)


@pytest.mark.parametrize("layers", [1, 2])
def test_score_head_returns_the_first_hidden_layer_as_feature(layers):
    x = np.random.default_rng(3).normal(size=(7, D))
    x = jnp.asarray(x, jnp.float32)
    head = ScoreHead(H, dropout=0.5, hidden_layers=layers)
    params = head.init(jax.random.key(3), x, train=False)["params"]
    assert set(params) == {f"layer_{i + 1}" for i in range(layers)} | {"score"}
    score, feature = head.apply({"params": params}, x, train=False)
    first = relu_layer(params["layer_1"], x)
    np.testing.assert_allclose(feature, first, rtol=1e-5, atol=1e-6)
    last = relu_layer(params["layer_2"], first) if layers == 2 else first
    linear = params["score"]["linear"]
    expected = (last @ linear["kernel"] + linear["bias"][None])[:, 0]
    np.testing.assert_allclose(score, expected, rtol=1e-5, atol=1e-6)


def test_score_head_drops_inputs_and_only_while_training():
    head = ScoreHead(H, dropout=0.5)
    x = jnp.ones((1, 400))
    params = head.init(jax.random.key(4), x, train=False)

    def feature(x, key=5):
        key = jax.random.key(key)
        return head.apply(params, x, train=True, rngs={"dropout": key})[1]

    # Dropped before layer 1: a zero input stays what it is, a one does not.
    nothing = head.apply(params, 0 * x, train=False)[1]
    np.testing.assert_array_equal(feature(0 * x), nothing)
    assert (feature(x) != head.apply(params, x, train=False)[1]).any()
    assert (feature(x) != feature(x, key=6)).any()
