"""The vanilla crossmodal transformer against a NumPy loop over samples and heads."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import leaves, make_params, make_split, quick, small

from msa_jax import methods
from msa_jax.data.batches import gather
from msa_jax.ground.names import MODALITIES
from msa_jax.layers import crossmodal
from msa_jax.layers.spt import Readings
from msa_jax.methods import PAPERS
from msa_jax.text.encoders import FeatureEncoder

B, HEADS, EMBED = 3, 2, 4
READINGS = Readings(embed=EMBED, heads=HEADS, rounds=2)
STEPS = {"text": 4, "audio": 6, "vision": 5}
WIDTH = {"text": 6, "audio": 3, "vision": 5}
LENGTH = {"text": [4, 1, 2], "audio": [3, 6, 1], "vision": [5, 2, 4]}
NET = crossmodal.CrossmodalTransformer(READINGS)


def draw_params(net, *args):
    """Draw with NumPy, norms and biases too."""
    rng = np.random.default_rng(1)
    init = partial(net.init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), *args)
    return jax.tree.map(
        lambda s: jnp.asarray(rng.uniform(-0.6, 0.6, s.shape), jnp.float32), shapes
    )


@pytest.fixture(scope="module")
def case():
    """Parameters, inputs (padding holds numbers, not zeros) and lengths."""
    rng = np.random.default_rng(0)
    x = {m: rng.normal(size=(B, STEPS[m], WIDTH[m])) for m in MODALITIES}
    x = {m: jnp.asarray(v, jnp.float32) for m, v in x.items()}
    length = {m: jnp.array(v) for m, v in LENGTH.items()}
    return draw_params(NET, x, length), x, length


def norm(x, scale, shift):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * scale + shift


def embedded(x):
    """Step t, from 1: sin and cos of t / 10000^(k / (half - 1))."""
    steps, width = x.shape
    half = width // 2
    code = np.zeros_like(x)
    for t in range(steps):
        for k in range(half):
            angle = (t + 1) / 10000 ** (k / (half - 1))
            code[t, k], code[t, half + k] = np.sin(angle), np.cos(angle)
    return np.sqrt(width) * x + code


def stack_twin(params, target, source):
    """One sample, [steps, channels], its true length only."""
    x = embedded(target)
    context = None if source is None else embedded(source)
    w = {k: np.asarray(v, float) for k, v in params["layers"].items()}
    for i in range(READINGS.rounds):
        p = {k: v[i] for k, v in w.items()}

        def affine(name, z, p=p):
            return z @ p[f"{name}_kernel"] + p[f"{name}_bias"]

        z = norm(x, p["norm_scale"], p["norm_bias"])
        c = z if context is None else norm(context, p["norm_scale"], p["norm_bias"])
        query, key, value = affine("query", z), affine("key", c), affine("value", c)
        mixed, size = [], x.shape[1] // HEADS
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            score = np.exp(query[:, part] @ key[:, part].T / np.sqrt(size))
            mixed.append(score / score.sum(1, keepdims=True) @ value[:, part])
        x = x + affine("output", np.concatenate(mixed, axis=1))
        hidden = norm(x, p["forward_norm_scale"], p["forward_norm_bias"])
        x = x + affine("fall", np.maximum(affine("rise", hidden), 0))
    final = {k: np.asarray(v, float) for k, v in params["final"].items()}
    return norm(x, final["norm_scale"], final["norm_bias"])


def twin(params, x, length):
    """MulT's network, sample by sample."""
    params, out = params["params"], {m: [] for m in MODALITIES}
    for row in range(B):
        own = {
            m: np.asarray(x[m][row, : length[m][row]], float)
            @ np.asarray(params[f"{m}_kernel"], float)
            for m in MODALITIES
        }
        for m in MODALITIES:
            read = [
                stack_twin(params[f"{m}_reads_{other}"], own[m], own[other])
                for other in MODALITIES
                if other != m
            ]
            both = np.concatenate(read, axis=1)
            last = stack_twin(params[f"{m}_memory"], both, None)[-1]
            linear = params[f"{m}_state"]["linear"]
            out[m].append(last @ linear["kernel"] + linear["bias"])
    return {m: np.stack(v) for m, v in out.items()}


@pytest.fixture(scope="module")
def evaluate():
    return quick(partial(NET.apply, train=False))


def test_network_equals_a_numpy_loop(case, evaluate):
    found, expected = evaluate(*case), twin(*case)
    for m in MODALITIES:
        assert found[m].shape == (B, EMBED)
        np.testing.assert_allclose(found[m], expected[m], rtol=0, atol=2e-5)


def test_padding_is_never_read(case, evaluate):
    params, x, length = case
    other = {}
    for m in MODALITIES:
        valid = jnp.arange(STEPS[m])[None] < length[m][:, None]
        other[m] = jnp.where(valid[:, :, None], x[m], 7.0)
        assert (other[m] != x[m]).any()
    found, expected = evaluate(params, other, length), evaluate(params, x, length)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.fixture(scope="module")
def stack():
    """One crossmodal stack in training, with attention dropout, and its gradients."""
    net = crossmodal.Stack(READINGS._replace(attention_dropout=0.2))
    rng = np.random.default_rng(2)
    shapes = ((EMBED, 5, B), (EMBED, 6, B))
    x, y = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)
    length = jnp.array([6, 1, 3])
    params = draw_params(net, x, y, length)

    def total(params, x, y, key):
        out: Any = net.apply(params, x, y, length, train=True, rngs={"dropout": key})
        return jnp.sin(out).sum()

    program = quick(jax.value_and_grad(total, argnums=(0, 1, 2)))
    return partial(program, params, x, y), length


def test_gradients_are_finite_and_reach_what_is_seen(stack):
    program, length = stack
    _, (weights, target, source) = program(jax.random.key(0))
    assert all(np.isfinite(w).all() for w in leaves((weights, target, source)))
    # Of keys' bias a softmax sees nothing; dropout may silence single entries.
    norms = {k: jnp.abs(v).max() for k, v in weights["params"]["layers"].items()}
    assert all(v > 0 for k, v in norms.items() if k != "key_bias")
    assert (jnp.abs(target).max(axis=(0, 1)) > 0).all()
    seen = jnp.arange(6)[:, None] < length[None]
    largest = np.abs(source).max(axis=0)
    assert (largest[~seen] == 0).all() and (largest[seen] > 0).mean() > 0.8


def test_dropout_follows_its_key(stack):
    program, _ = stack
    first, again, other = (program(jax.random.key(k))[0] for k in (0, 0, 1))
    assert first == again != other


def test_number_of_parameters_at_real_widths():
    """Per width E: 12 E^2 + 13 E a layer (query to output, rise, fall, two norms)."""
    net = crossmodal.CrossmodalTransformer(Readings())
    widths = {"text": 768, "audio": 5, "vision": 20}
    x = {m: jax.ShapeDtypeStruct((1, 2, w), jnp.float32) for m, w in widths.items()}
    one = dict.fromkeys(MODALITIES, jax.ShapeDtypeStruct((1,), jnp.int32))
    init = partial(net.init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), x, one)

    def stack(width):
        return 4 * (12 * width**2 + 13 * width) + 2 * width

    expected = 32 * 793 + 6 * stack(32) + 3 * stack(64) + 3 * (64 * 32 + 32)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == expected == 937_088


def test_layers_of_a_stack_start_apart_and_within_their_bounds():
    net = crossmodal.Stack(Readings(embed=16, heads=2, rounds=3))
    x, one = jnp.ones((16, 2, 1)), jnp.ones(1, jnp.int32)
    init = quick(partial(net.init, train=False))
    layers = init(jax.random.key(0), x, x, one)["params"]["layers"]
    bounds = {"query": 64, "key": 64, "value": 64, "output": 32, "rise": 80, "fall": 80}
    for name, total in bounds.items():
        kernel, bound = layers[f"{name}_kernel"], (6 / total) ** 0.5
        assert 0.9 * bound < jnp.abs(kernel).max() <= bound
        assert (kernel[0] != kernel[1]).any() and (kernel[1] != kernel[2]).any()


def test_sugrm_takes_it_in_place_of_spt():
    method = methods.make(
        small(PAPERS["sugrm"], model__sequence="transformer"),
        FeatureEncoder(),
        (-3.0, 3.0),
    )
    split = make_split(4)
    params = make_params(method, split)
    assert "transformer" in params and "spt" not in params
    assert method.groups("transformer/text_kernel") == "spt"
    batch = gather(split, jnp.arange(4))
    outputs = quick(partial(method.model.apply, train=False))({"params": params}, batch)
    assert outputs.prediction.shape == (4, 4)
    assert np.isfinite(outputs.prediction).all()
