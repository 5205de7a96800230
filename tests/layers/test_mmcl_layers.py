"""MMCL's layers: torch's arrays, loops over steps, padding, starts, the cutoff."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msa_jax.layers import cutoff, encoder_stack
from msa_jax.layers.cutoff import FeatureCutoff
from msa_jax.layers.encoder_stack import EncoderStack, mean_step
from msa_jax.layers.recurrent import BidirectionalLstm, SequenceLstm, run_both_ways
from msa_jax.layers.siamese_cnn import (
    ConvStack,
    SiameseCnn,
    mean_position,
    output_steps,
)

KEY = jax.random.key(3)


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def behind(x, length, value):
    """Put a value into every step from `length` on."""
    padded = jnp.arange(x.shape[1])[None, :, None] >= length[:, None, None]
    return jnp.where(padded, value, x)


def finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def test_the_last_output_is_the_last_state():
    x, length = draw(0, 3, 6, 4), jnp.array([6, 1, 4])
    params = SequenceLstm(5).init(KEY, x, length)
    run = SequenceLstm(5).apply(params, x, length)
    last = run.output[jnp.arange(3), length - 1]
    np.testing.assert_array_equal(last, run.hidden)
    assert not behind(run.output, length, 0.0)[1, 1:].any()
    assert not run.output[1, 1:].any() and run.output[0].all()


def test_backwards_is_forwards_on_the_reversed_valid_part():
    x, length = draw(1, 3, 6, 4), jnp.array([6, 1, 4])
    params = BidirectionalLstm(5).init(KEY, x, length)
    run = BidirectionalLstm(5).apply(params, x, length)
    backward = {"params": params["params"]["backward"]}
    for row, steps in enumerate([6, 1, 4]):
        turned = x[row : row + 1, :steps][:, ::-1]
        alone = SequenceLstm(5).apply(backward, turned)
        ours = run.output[row, :steps, 5:][::-1]
        np.testing.assert_allclose(ours, alone.output[0], atol=1e-6)
        np.testing.assert_allclose(run.hidden[row, 5:], alone.hidden[0], atol=1e-6)
        np.testing.assert_allclose(run.cell[row, 5:], alone.cell[0], atol=1e-6)
        assert not run.output[row, steps:].any()


def test_several_run_as_each_does_alone():
    shapes = ((7, 3, 5), (4, 2, 6))  # steps, inputs, width
    lengths = jnp.array([7, 1, 3]), jnp.array([2, 4, 1])
    lstms, alone = [], []
    for (steps, read, width), length in zip(shapes, lengths, strict=True):
        x, model = draw(width, 3, steps, read), BidirectionalLstm(width)
        params = model.init(KEY, x, length)
        lstms.append(model.apply(params, x, length, method="reads"))
        alone.append(model.apply(params, x, length))
    for ours, expected in zip(run_both_ways(lstms), alone, strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, expected)


def models():
    length = jnp.array([5, 1, 8])
    valid = jnp.arange(8)[None] < length[:, None]
    return {
        "lstm": (BidirectionalLstm(4), (length,), {}),
        "encoder": (EncoderStack(2, 2), (valid,), {"train": False}),
        "cnn": (ConvStack(4, "same"), (length,), {}),
    }


@pytest.mark.parametrize("name", models())
def test_padding_reaches_neither_values_nor_gradients(name):
    model, args, named = models()[name]
    length = jnp.array([5, 1, 8])
    x = draw(2, 3, 8, 4)
    params = model.init(KEY, x, *args, **named)

    @jax.jit
    def run(params, x):
        def loss(params, x):
            out = model.apply(params, x, *args, **named)
            return sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(out)), out

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, x)

    expected = run(params, behind(x, length, 0.0))
    ours = run(params, behind(x, length, jnp.nan))
    jax.tree.map(np.testing.assert_array_equal, ours, expected)
    assert not behind(ours[1][1], length, 0.0)[1, 1:].any() and finite(ours)


@pytest.mark.parametrize("name", models())
def test_more_padding_changes_nothing(name):
    model, args, named = models()[name]
    x = draw(3, 3, 8, 4)
    params = model.init(KEY, x, *args, **named)
    longer = jnp.pad(x, ((0, 0), (0, 3), (0, 0)))
    more = (jnp.pad(args[0], ((0, 0), (0, 3))),) if name == "encoder" else args
    ours = jax.tree.leaves(model.apply(params, longer, *more, **named))
    theirs = jax.tree.leaves(model.apply(params, x, *args, **named))
    for a, b in zip(ours, theirs, strict=True):
        a = a[:, : b.shape[1]] if b.ndim == 3 else a
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("side_by_side", [False, True])
@pytest.mark.long(60)
def test_encoder_leaves_padding_out_with_the_same_numbers(monkeypatch, side_by_side):
    """8 of 24 steps are valid, and of a second batch 9: products over 9 rows."""
    model, x = EncoderStack(2, 4), draw(12, 2, 3, 8, 8)
    length = jnp.array([[3, 1, 4], [6, 2, 1]])
    valid = jnp.arange(8)[None, None] < length[:, :, None]
    params = model.init(KEY, x[0], valid[0], train=False)
    x = jax.vmap(functools.partial(behind, value=jnp.nan))(x, length)

    def run(few):
        monkeypatch.setattr(encoder_stack, "FEW", few)

        def loss(params, x, valid):
            out = model.apply(params, x, valid, train=True)
            return jnp.sin(out).sum(), out

        both = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        if side_by_side:
            return jax.jit(jax.vmap(both, in_axes=(None, 0, 0)))(params, x, valid)
        return [jax.jit(both)(params, x[i], valid[i]) for i in range(2)]

    ours, padded, too_many = run(3 / 8), run(0), run(7 / 24)
    for other in (padded, too_many):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), ours, other
        )
    assert finite(ours)


def test_encoder_normalises_after_the_residual():
    x, valid = draw(4, 2, 5, 8), jnp.ones((2, 5), bool)
    model = EncoderStack(3, 4)
    params = model.init(KEY, x, valid, train=False)
    out = model.apply(params, x, valid, train=False)
    np.testing.assert_allclose(out.mean(-1), 0, atol=1e-6)  # scale 1, bias 0
    np.testing.assert_allclose(out.std(-1), 1, rtol=1e-3)
    order = jnp.array([3, 0, 4, 1, 2])  # no position code
    again = model.apply(params, x[:, order], valid, train=False)
    np.testing.assert_allclose(again, out[:, order], atol=1e-5)


def test_encoder_drops_only_in_training_and_anew():
    x, valid = draw(5, 2, 5, 8), jnp.ones((2, 5), bool)
    model = EncoderStack(2, 4, dropout=0.3)
    params = model.init(KEY, x, valid, train=False)

    @functools.partial(jax.jit, static_argnames="train")
    def run(seed, train=True):
        rngs = {"dropout": jax.random.key(seed)}
        return model.apply(params, x, valid, train=train, rngs=rngs)

    assert np.abs(run(0) - run(1)).max() > 0.01
    np.testing.assert_array_equal(run(0), run(0))
    without = EncoderStack(2, 4).apply(params, x, valid, train=True)
    np.testing.assert_allclose(run(0, train=False), without, atol=1e-6)


def test_encoder_heads_divide_the_width():
    with pytest.raises(ValueError, match="no multiple of 8"):
        EncoderStack().init(KEY, draw(0, 1, 2, 12), jnp.ones((1, 2), bool), train=False)


def test_mean_step():
    x = jnp.array([[[1.0], [3.0], [np.nan]], [[5.0], [7.0], [9.0]], [[2.0]] * 3])
    valid = jnp.array([[True, True, False], [False] * 3, [True, False, False]])
    np.testing.assert_array_equal(mean_step(x, valid), [[2.0], [0.0], [2.0]])


@pytest.mark.parametrize(
    ("steps", "padding", "expected"),
    [
        (50, "same", (10, 3, 2, 1, 1)),
        (375, "cpc", (75, 18, 9, 4, 2)),
        (500, "valid", (99, 23, 10, 4, 1)),
        (768, "cpc", (153, 38, 19, 9, 4)),
        (768, "valid", (152, 37, 17, 7, 2)),
        (768, "same", (154, 39, 20, 10, 5)),
    ],
)
def test_output_steps(steps, padding, expected):
    assert output_steps(steps, padding) == expected
    x = jnp.zeros((1, steps, 1))
    shape = jax.eval_shape(lambda: ConvStack(2, padding).init_with_output(KEY, x)[0])
    assert shape.shape == (1, expected[-1], 2)


@pytest.mark.parametrize(("padding", "least"), [("cpc", 159), ("valid", 465)])
def test_too_short_an_input_is_refused(padding, least):
    model = ConvStack(2, padding)
    jax.eval_shape(model.init, KEY, jnp.zeros((1, least, 1)))
    with pytest.raises(ValueError, match=f"{least - 1} steps are too few"):
        jax.eval_shape(model.init, KEY, jnp.zeros((1, least - 1, 1)))


def test_feature_axis_reads_a_vector_as_a_signal():
    vector, model = draw(6, 2, 768), SiameseCnn(3)
    params = model.init(KEY, vector)
    stack = {"params": params["params"]["stack"]}
    expected = ConvStack(3, "cpc").apply(stack, vector[:, :, None])
    np.testing.assert_array_equal(model.apply(params, vector), expected)
    over_time = SiameseCnn(3, "time")
    aligned = jax.eval_shape(over_time.init_with_output, KEY, draw(7, 2, 50, 6))[0]
    assert aligned.shape == (2, 1, 3)
    with pytest.raises(ValueError, match="one vector"):
        model.init(KEY, draw(7, 2, 50, 6))


def test_convolutions_over_time_end_at_each_length():
    x, length = draw(9, 2, 400, 3), jnp.array([320, 150])
    params = ConvStack(2, "same").init(KEY, x, length)
    ours = ConvStack(2, "same").apply(params, x, length)
    for row, steps, outputs in ((0, 320, 2), (1, 150, 1)):
        alone = ConvStack(2, "same").apply(params, x[row : row + 1, :steps])
        assert alone.shape == (1, outputs, 2)
        np.testing.assert_allclose(ours[row, :outputs], alone[0], atol=1e-6)
        assert not ours[row, outputs:].any()


def test_published_size_of_one_network():
    shapes = jax.eval_shape(SiameseCnn().init, KEY, jnp.zeros((1, 768)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 1_314_560


def test_mean_position():
    x = jnp.array([[[1.0], [3.0]], [[5.0], [0.0]]])
    np.testing.assert_array_equal(mean_position(x), [[2.0], [2.5]])
    np.testing.assert_array_equal(mean_position(x, jnp.array([2, 1])), [[2.0], [5.0]])


def test_starts_are_torchs():
    """Each leaf fills U(+-bound) and no more, or is constant."""
    lstm = SequenceLstm(16).init(KEY, draw(0, 1, 2, 40))["params"]
    bounds = dict.fromkeys(lstm, 16**-0.5)
    conv = ConvStack(64).init(KEY, draw(0, 1, 160, 1))["params"]
    for layer, inputs in (("layer_1", 10), ("layer_2", 64 * 8), ("layer_5", 64 * 4)):
        lstm |= {f"{layer}/{k}": v for k, v in conv[layer].items()}
        bounds |= {f"{layer}/{k}": inputs**-0.5 for k in conv[layer]}
    valid = jnp.ones((1, 2), bool)
    model = EncoderStack(3, 8)
    lstm |= model.init(KEY, draw(0, 1, 2, 32), valid, train=False)["params"]
    xavier = (6 / (32 + 96)) ** 0.5
    bounds |= {"attend_kernel": xavier, "output_kernel": 32**-0.5}
    bounds |= {"rise_kernel": 32**-0.5, "rise_bias": 32**-0.5}
    bounds |= {"fall_kernel": 128**-0.5, "fall_bias": 128**-0.5}
    for name, leaf in lstm.items():
        if name not in bounds:
            assert (leaf == float(name.endswith("_scale"))).all(), name
            continue
        share = np.abs(leaf).max() / bounds[name]
        assert 0.9 < share <= 1 and abs(leaf.mean()) < 0.2 * bounds[name], name


@pytest.mark.parametrize(
    ("width", "ratio", "count"),
    [(20, 0.2, 4), (128, 0.2, 25), (100, 0.29, 29), (7, 0.0, 0), (6, 1.0, 6)],
)
def test_exactly_that_many_channels_are_cut(width, ratio, count):
    kept = cutoff.kept_channels(KEY, 50, width, ratio)
    assert ((~kept).sum(axis=1) == count).all()


def test_every_channel_is_cut_equally_often():
    kept = cutoff.kept_channels(KEY, 4000, 10, 0.2)
    np.testing.assert_allclose((~kept).mean(axis=0), 0.2, atol=0.03)


def test_cutoff_cuts_whole_columns_anew_and_only_in_training():
    x, model = draw(8, 6, 5, 20), FeatureCutoff(0.2)

    def run(seed, train=True):
        rngs = {"dropout": jax.random.key(seed)}
        return np.asarray(model.apply({}, x, train=train, rngs=rngs))

    out = run(0)
    zero = out == 0
    assert (zero.all(axis=1) == zero.any(axis=1)).all()  # at every step or at none
    assert (zero[:, 0].sum(axis=1) == 4).all()
    np.testing.assert_array_equal(out[~zero], np.asarray(x)[~zero])  # not rescaled
    columns = zero[:, 0]
    assert (columns[0] != columns[1]).any()  # per sample
    assert (columns != (run(1) == 0)[:, 0]).any()  # per step
    np.testing.assert_array_equal(model.apply({}, x, train=False), x)
