"""UCRN's layers: NumPy twins sample by sample, padding, starts, each switch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import make_split, quick

from msa_jax.data.batches import gather
from msa_jax.ground.names import MODALITIES
from msa_jax.layers.dense import ResidualHead, TwoLayerHead
from msa_jax.layers.quality import ReluGate, SqueezeGate
from msa_jax.layers.refinement import RefinementStack, StepMix, last_step
from msa_jax.layers.spt import Readings
from msa_jax.methods.ucrn import Ucrn
from msa_jax.text.encoders import FeatureEncoder

KEY = jax.random.key(0)
RATES = ("attention_dropout", "relu_dropout", "residual_dropout", "embed_dropout")
STILL = Readings(6, 3, 2, **dict.fromkeys(RATES, 0.0))
LENGTH = jnp.array([5, 1, 3])
VALID = (jnp.arange(5)[:, None] < LENGTH[None])[None]  # [1, t, b]


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def draw_params(model, *args, **named):
    """Draw with NumPy, norms and biases too."""
    rng = np.random.default_rng(1)
    start = jax.eval_shape(lambda: model.init(KEY, *args, **named))
    return jax.tree.map(
        lambda s: jnp.asarray(rng.uniform(-0.6, 0.6, s.shape), jnp.float32), start
    )


@pytest.fixture(scope="module", params=["paper", "code"])
def stack(request):
    """Return a stack, its parameters and sequences whose padding is not 0."""
    model = RefinementStack(STILL, request.param, causal=request.param == "code")
    x = draw(0, 6, 5, 3)
    return model, draw_params(model, x, LENGTH, train=False), x


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def norm(x, scale, shift):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * scale + shift


def twin(model, params, x):
    """One sample [t, c] of its true length."""
    layers = {k: np.asarray(v, float) for k, v in params["params"]["layers"].items()}
    sliced, heads = model.block == "paper", model.readings.heads
    size = x.shape[1] // heads
    hidden = np.triu(np.ones((len(x), len(x))), 1) * -1e9 if model.causal else 0
    for i in range(model.readings.rounds):
        p = {k: v[i] for k, v in layers.items()}
        read = x if sliced else norm(x, p["norm_scale"], p["norm_bias"])
        mixed = []
        for k in range(heads):
            part = slice(k * size, (k + 1) * size)

            def mapped(name, k=k, part=part, p=p, read=read):
                kernel, bias = p[f"{name}_kernel"], p[f"{name}_bias"]
                if sliced:
                    return read[:, part] @ kernel[k] + bias[k]
                return read @ kernel[:, part] + bias[part]

            score = mapped("query") @ mapped("key").T / np.sqrt(size) + hidden
            mixed.append(softmax(score) @ mapped("value"))
        mixed = np.concatenate(mixed, axis=1) + (x if sliced else 0)
        mixed = mixed @ p["output_kernel"] + p["output_bias"]
        z = mixed if sliced else x + mixed
        wide = norm(z, p["forward_norm_scale"], p["forward_norm_bias"])
        wide = np.maximum(wide @ p["rise_kernel"] + p["rise_bias"], 0)
        x = z + wide @ p["fall_kernel"] + p["fall_bias"]
    if sliced:
        return x
    final = params["params"]["final"]
    return norm(x, np.asarray(final["norm_scale"]), np.asarray(final["norm_bias"]))


def test_stack_equals_a_numpy_loop(stack):
    model, params, x = stack
    found = quick(lambda x: model.apply(params, x, LENGTH, train=False))(x)
    for row, steps in enumerate(LENGTH):
        expected = twin(model, params, np.asarray(x[:, :steps, row], float).T)
        np.testing.assert_allclose(found[:, :steps, row].T, expected, atol=2e-5)


def test_padding_reaches_neither_values_nor_gradients(stack):
    model, params, x = stack

    @quick
    def run(params, x):
        def total(params, x):
            out = model.apply(params, x, LENGTH, train=False)
            return jnp.square(last_step(out, LENGTH)).sum()

        return jax.value_and_grad(total, argnums=(0, 1))(params, x)

    ours = run(params, jnp.where(VALID, x, jnp.nan))
    expected = run(params, jnp.where(VALID, x, 0))
    jax.tree.map(np.testing.assert_array_equal, ours, expected)
    assert not jnp.where(VALID, 0, ours[1][1]).any()
    assert np.abs(ours[1][1]).max() > 0


def test_causal_steps_see_nothing_of_what_follows():
    x = draw(2, 6, 5, 3)
    changed = x.at[:, 3:].set(draw(9, 6, 2, 3))
    length = jnp.full(3, 5)
    for block in ("paper", "code"):
        for causal in (True, False):
            model = RefinementStack(STILL, block, causal)
            params = draw_params(model, x, length, train=False)
            run = quick(lambda x, m=model, p=params: m.apply(p, x, length, train=False))
            same = np.isclose(run(x), run(changed), atol=1e-6).all(axis=(0, 2))
            assert same.tolist() == [causal] * 3 + [False] * 2


def test_scaling_is_by_the_root_of_the_width():
    x, length = draw(3, 6, 5, 3), jnp.full(3, 5)
    params = draw_params(RefinementStack(STILL), x, length, train=False)
    scaled = RefinementStack(STILL, scaled=True).apply(params, x, length, train=False)
    plain = RefinementStack(STILL).apply(params, x * 6**0.5, length, train=False)
    np.testing.assert_allclose(scaled, plain, atol=1e-5)


@pytest.mark.parametrize("place", ["attention", "relu", "residual", "embed"])
@pytest.mark.parametrize("block", ["paper", "code"])
def test_each_dropout_drops_in_training_only(block, place):
    x, length = draw(4, 6, 5, 3), jnp.full(3, 5)
    readings = STILL._replace(rounds=1, **{f"{place}_dropout": 0.5})
    model = RefinementStack(readings, block)
    params = draw_params(model, x, length, train=False)

    @partial(quick, static_argnames="train")
    def run(seed, train=True):
        rngs = {"dropout": jax.random.key(seed)}
        return model.apply(params, x, length, train=train, rngs=rngs)

    assert np.abs(run(0) - run(1)).max() > 1e-3
    np.testing.assert_array_equal(run(0), run(0))
    still = RefinementStack(STILL._replace(rounds=1), block)
    expected = still.apply(params, x, length, train=True)
    np.testing.assert_allclose(run(0, train=False), expected, atol=1e-6)


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="no multiple of 3 heads"):
        RefinementStack(STILL).init(KEY, draw(0, 7, 2, 1), jnp.array([1]), train=False)


def test_the_paper_block_starts_as_linear_layers():
    """Each leaf fills U(+-bound) and no more, or is constant."""
    x, readings = jnp.zeros((24, 2, 1)), Readings(24, 3, 5)
    start = quick(partial(RefinementStack(readings).init, train=False))
    params = start(KEY, x, jnp.array([1]))
    bounds = dict.fromkeys(("query", "key", "value"), 8**-0.5)
    bounds |= {"output": 24**-0.5, "rise": 24**-0.5, "fall": 96**-0.5}
    for name, leaf in params["params"]["layers"].items():
        if "norm" in name:
            assert (leaf == float(name.endswith("_scale"))).all(), name
            continue
        share = np.abs(leaf).max() / bounds[name.rpartition("_")[0]]
        assert 0.9 < share <= 1, name


def test_last_step_and_mix():
    x = jnp.arange(30.0).reshape(2, 5, 3)
    np.testing.assert_array_equal(last_step(x, LENGTH), [[12, 27], [1, 16], [8, 23]])
    model, weight = StepMix(), jnp.array([1.0, 2.0, 0.0, -1.0, 0.5])
    params = {"params": {"kernel": weight}}
    mixed = model.apply(params, jnp.where(VALID, x, jnp.nan), LENGTH)
    for row, steps in enumerate(LENGTH):
        expected = x[:, :steps, row] @ weight[:steps]
        np.testing.assert_allclose(mixed[row], expected, rtol=1e-6)
    start = model.init(KEY, jnp.zeros((1, 400, 1)), jnp.array([1]))["params"]["kernel"]
    assert 0.95 / 20 < np.abs(start).max() <= 1 / 20


def test_relu_gate_starts_open():
    x = draw(5, 200, 24)
    params = ReluGate().init(KEY, x)
    assert (params["params"]["linear"]["bias"] == 1).all()
    gate = ReluGate().apply(params, x)
    assert (gate >= 0).all() and (gate > 0).mean() > 0.8
    closed = jax.tree.map(lambda leaf: leaf - 100, params)
    assert not ReluGate().apply(closed, jnp.abs(x)).any()


def test_squeeze_gate():
    x = draw(6, 4, 30)
    params = SqueezeGate().init(KEY, x)["params"]
    assert jax.tree.map(jnp.shape, params) == {
        "squeeze_kernel": (30, 1),
        "excite_kernel": (1, 30),
    }
    gate = SqueezeGate().apply({"params": params}, x)
    hidden = np.maximum(x @ params["squeeze_kernel"], 0)
    expected = 1 / (1 + np.exp(-hidden @ params["excite_kernel"]))
    np.testing.assert_allclose(gate, expected, rtol=1e-5)
    narrow = SqueezeGate().init(KEY, draw(6, 4, 12))["params"]
    assert narrow["squeeze_kernel"].shape == (12, 1)  # 12 // 16 would be none


def test_heads():
    x = draw(7, 4, 6)
    for head, residual in ((ResidualHead(3, 0.5), True), (TwoLayerHead(3, 0.5), False)):
        params = draw_params(head, x, train=False)
        p = {k: v["linear"] for k, v in params["params"].items()}
        p = jax.tree.map(np.asarray, p)
        hidden = np.maximum(
            np.asarray(x) @ p["layer_1"]["kernel"] + p["layer_1"]["bias"], 0
        )
        if residual:
            hidden = (
                np.asarray(x) + hidden @ p["layer_2"]["kernel"] + p["layer_2"]["bias"]
            )
        expected = hidden @ p["score"]["kernel"] + p["score"]["bias"]
        found = head.apply(params, x, train=False)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        rngs = {"dropout": KEY}
        other = head.apply(params, x, train=True, rngs=rngs)
        assert np.abs(other - found).max() > 0.01


def test_the_paper_network_equals_a_numpy_loop():
    """Project, refine, last step, gate, concatenate, refine, two layers."""
    network = Ucrn(FeatureEncoder(), width=6, unimodal_layers=2, crossmodal_layers=1)
    batch = gather(make_split(6), jnp.arange(6))
    params = draw_params(network, batch, train=False)
    out = quick(partial(network.apply, train=False))(params, batch)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, float), params["params"])

    def refine(name, x, layers):
        model = RefinementStack(Readings(6, 3, layers))
        return twin(model, {"params": p[name]}, x)

    for row in range(6):
        gated = []
        for m in MODALITIES:
            steps = int(getattr(batch, f"{m}_length")[row])
            x = np.asarray(getattr(batch, m)[row, :steps], float) @ p[f"{m}_kernel"]
            x = refine(f"{m}_stack", x, 2)[-1]
            np.testing.assert_allclose(out.feature[m][row], x, atol=1e-4)
            gate = p[f"{m}_gate_1"]["linear"]
            gated.append(x * np.maximum(x @ gate["kernel"] + gate["bias"], 0))
        x = refine("crossmodal_stack", np.concatenate(gated)[None], 1)[0]
        np.testing.assert_allclose(out.feature["fusion"][row], x, atol=1e-4, rtol=1e-4)
        first, score = (p["head"][k]["linear"] for k in ("layer_1", "score"))
        hidden = np.maximum(x @ first["kernel"] + first["bias"], 0)
        expected = hidden @ score["kernel"] + score["bias"]
        np.testing.assert_allclose(out.prediction[:, row], expected, rtol=1e-4)
