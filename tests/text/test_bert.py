"""Our BERT against transformers' Flax BERT: the same numbers, dropout included.

Measured: bit for bit the same hidden states and start; gradients 2e-7 relative.
"""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import linen as nn
from flax import serialization
from safetensors.flax import save_file
from transformers import BertConfig
from transformers.models.bert.modeling_flax_bert import ACT2FN, FlaxBertModule

from msa_jax.ground.errors import UserError
from msa_jax.methods import PAPERS
from msa_jax.text import bert, bert_weights, encoders

# bert-base's proportions, a 32nd of its width; dropouts differ, so that none can stand
# in another's place.
SHAPE = bert.Shape(
    vocab_size=50,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=96,
    max_position_embeddings=16,
    hidden_dropout_prob=0.15,
    attention_probs_dropout_prob=0.25,
    initializer_range=0.4,
)
LENGTH = np.array([9, 3, 1, 6])


class Reference(nn.Module):
    """transformers' module, in any precision."""

    shape: bert.Shape
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens, *, train, states=False):
        settings = BertConfig(**self.shape.settings())
        ids, mask, segments = tokens[:, 0], tokens[:, 1], tokens[:, 2]
        position = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
        module = FlaxBertModule(
            settings, self.dtype, add_pooling_layer=False, name="bert"
        )
        given = ids, mask, segments, position, None
        found = module(*given, deterministic=not train, output_hidden_states=states)
        return found.hidden_states if states else found.last_hidden_state


def make_tokens(length=LENGTH, steps=9, seed=0):
    """Draw ids and segments everywhere, padding included; the mask says what counts."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, SHAPE.vocab_size, (len(length), steps))
    mask = np.arange(steps) < np.asarray(length)[:, None]
    segments = rng.integers(0, 2, ids.shape)
    return np.stack([ids, mask, segments], axis=1).astype(np.int32)


def make_params(shape=SHAPE, dtype=np.float32):
    """Draw every parameter, biases and scales too."""
    rng = np.random.default_rng(1)
    init = bert.OwnBertEncoder(shape).init
    shapes = jax.eval_shape(lambda: init(jax.random.key(0), make_tokens(), train=False))
    return jax.tree.map(lambda s: rng.normal(0.1, 0.4, s.shape).astype(dtype), shapes)


def states_and_gradient(module, params, tokens, train):
    """Return the valid hidden states and what a loss of them asks of the parameters."""
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(len(tokens), tokens.shape[2], module.shape.hidden_size))
    weight = (weight * tokens[:, 1, :, None]).astype(jax.tree.leaves(params)[0].dtype)

    def loss(params):
        rngs = {"dropout": jax.random.key(5)}
        hidden = module.apply(params, tokens, train=train, rngs=rngs)
        return (hidden * weight).sum(), hidden * (tokens[:, 1, :, None] > 0)

    return tiny.quick(jax.grad(loss, has_aux=True))(params)[::-1]


def assert_relative(found, expected, tolerance):
    """Every leaf agrees to `tolerance` of its largest number."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        # Keys' biases move all scores of a query alike: their gradient is rounding.
        largest = max(float(np.abs(b).max()), 0.1)
        assert float(np.abs(a - b).max()) <= tolerance * largest


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("train", [False, True])
def test_equals_transformers(train):
    """From the same key, so dropout's bits are the same, too."""
    params, tokens = make_params(), make_tokens()
    found, expected = (
        states_and_gradient(module(SHAPE), params, tokens, train)
        for module in (bert.OwnBertEncoder, Reference)
    )
    assert_relative(found, expected, 1e-5)
    assert (np.asarray(found[0])[tokens[:, 1] > 0] != 0).any()


@pytest.mark.parametrize("name", bert.ACTIVATIONS)
def test_activations_have_the_meaning_of_their_names(name):
    x = jnp.linspace(-6, 6, 101)
    expected = ACT2FN[name](x)
    np.testing.assert_array_equal(bert.ACTIVATIONS[name](x), expected)


@pytest.mark.usefixtures("form")
def test_equals_transformers_in_float64():
    with jax.enable_x64(True):
        params, tokens = make_params(dtype=np.float64), make_tokens()
        found, expected = (
            states_and_gradient(module, params, tokens, train=True)
            for module in (bert.OwnBertEncoder(SHAPE), Reference(SHAPE, jnp.float64))
        )
        assert_relative(found, expected, 1e-10)


def test_starts_from_the_same_numbers():
    shape = SHAPE._replace(num_hidden_layers=1)
    trees = [
        tiny.quick(lambda k, m=module: m(shape).init(k, make_tokens(), train=False))(
            jax.random.key(3)
        )
        for module in (bert.OwnBertEncoder, Reference)
    ]
    tiny.assert_same(*trees)
    assert jax.tree.structure(trees[0]) == jax.tree.structure(trees[1])


def test_the_real_weights_mean_the_same(minilm):
    sentences = ["a good movie", "the train to London was late again, as it always was"]
    both = [
        encoders.load_encoder(settings(weights="minilm", implementation=implementation))
        for implementation in ("own", "transformers")
    ]
    tiny.assert_same(*(encoder.params for encoder in both))
    tokens, _ = tiny.tokens(both[0], sentences)
    assert both[0][3:5] == both[1][3:5] == (512, 30522)
    params = {"params": both[0].params}
    own, theirs = (
        tiny.quick(lambda p, m=e.module: m.apply(p, tokens, train=False))(params)
        for e in both
    )
    assert np.abs(own - theirs)[tokens[:, 1] > 0].max() <= 1e-5 * np.abs(theirs).max()


# --- What must not matter -------------------------------------------------------------


def encode(params, tokens):
    module = bert.OwnBertEncoder(SHAPE)
    return tiny.quick(lambda p: module.apply(p, tokens, train=False))(params)


def test_padding_order_and_company_change_nothing():
    params, tokens = make_params(), make_tokens()
    valid = tokens[:, 1] > 0
    expected = np.asarray(encode(params, tokens))
    other = make_tokens(seed=9)
    changed = np.where(valid[:, None], tokens, other)
    wide = np.pad(changed, ((0, 0), (0, 0), (0, 4)))
    found = np.asarray(encode(params, wide))[:, :9]
    np.testing.assert_allclose(found[valid], expected[valid], rtol=0, atol=1e-5)
    order = [2, 0, 3, 1]
    found = np.asarray(encode(params, tokens[order]))
    np.testing.assert_allclose(found, expected[order], rtol=0, atol=1e-5)
    alone = np.asarray(encode(params, tokens[1:2, :, :3]))
    np.testing.assert_allclose(alone[0], expected[1, :3], rtol=0, atol=1e-5)


def test_dropout_keeps_the_mean():
    x, shape = jnp.ones((20, 50, 40)), SHAPE._replace(hidden_dropout_prob=0.2)
    rows = bert.Rows(*[None] * 5, padded=(20, 50))
    found = bert._drop(x, jax.random.key(0), rows, shape)
    np.testing.assert_allclose(np.unique(found), [0, 1.25])
    # 40,000 draws: the standard deviation of their mean is .0025.
    assert abs(float(found.mean()) - 1) < 0.01
    assert bert._drop(x, None, rows, shape) is x


# --- A function between layers --------------------------------------------------------


class Gated(nn.Module):
    """A network whose gate stands before one of BERT's layers."""

    layer: int
    shape: bert.Shape = SHAPE

    @nn.compact
    def __call__(self, tokens, *, train):
        gate = nn.Dense(self.shape.hidden_size, name="gate")

        def between(layer, states):
            return states + gate(states) if layer == self.layer else states

        encoder = bert.OwnBertEncoder(self.shape, name="encoder")
        return encoder(tokens, train=train, between=between)


def test_a_function_sees_and_sets_what_enters_a_layer():
    """Given the states of other sentences, BERT goes on with those."""
    tokens, other = make_tokens(), make_tokens(seed=9)
    params, seen = make_params(), {}
    module, theirs = bert.OwnBertEncoder(SHAPE), Reference(SHAPE)
    enter = theirs.apply(params, tokens, train=False, states=True)

    def run(tokens, between=None):
        return module.apply(params, tokens, train=False, between=between)

    def look(layer, states):
        seen[layer] = states
        return states

    plain = run(tokens)
    np.testing.assert_allclose(run(tokens, look), plain, rtol=0, atol=1e-5)
    assert list(seen) == [0, 1]
    for layer, states in seen.items():
        np.testing.assert_allclose(states, enter[layer], rtol=0, atol=1e-5)
    for layer, states in seen.items():

        def swap(i, entering, layer=layer, states=states):
            return states if i == layer else entering

        np.testing.assert_allclose(run(other, swap), plain, rtol=0, atol=1e-5)
    assert float(jnp.abs(run(other) - plain).max()) > 0.01


@pytest.mark.exact
def test_a_gate_between_layers_learns():
    """Its parameters are the caller's; layers may be made again going back."""
    tokens, rng = make_tokens(), np.random.default_rng(3)
    start = partial(Gated(1).init, jax.random.key(0), tokens, train=False)
    shapes = jax.eval_shape(start)["params"]
    bert_alone = jax.eval_shape(make_params)["params"]
    assert jax.tree.structure(shapes["encoder"]) == jax.tree.structure(bert_alone)
    params = jax.tree.map(
        lambda s: rng.normal(0.1, 0.4, s.shape).astype(np.float32), {"params": shapes}
    )
    found, again = (
        states_and_gradient(
            Gated(1, SHAPE._replace(remat=remat)), params, tokens, train=True
        )
        for remat in (False, True)
    )
    assert_relative(again, found, 1e-5)
    gradient = found[1]["params"]
    before = gradient["encoder"]["bert"]["embeddings"]["LayerNorm"]["scale"]
    after = gradient["encoder"]["bert"]["encoder"]["layer"]["1"]["output"]["dense"]
    for g in (gradient["gate"]["kernel"], before, after["kernel"]):
        assert float(jnp.abs(g).max()) > 0.1


@pytest.mark.usefixtures("form")
def test_states_between_layers_are_float32():
    """Products in bfloat16 are BERT's own affair; on no platform is it a loop."""
    seen, params, tokens = [], make_params(), make_tokens()
    module = bert.OwnBertEncoder(SHAPE._replace(compute=jnp.bfloat16))

    def look(layer, states):
        seen.append(states.dtype)
        return states

    run = partial(module.apply, params, tokens, train=False, between=look)
    assert {jax.eval_shape(run).dtype, *seen} == {jnp.dtype("float32")}
    assert len(seen) == 2


# --- Less memory ----------------------------------------------------------------------


@pytest.mark.exact
@pytest.mark.usefixtures("form")
def test_rematerialised_layers_compute_the_same():
    """Dropout included; going back, less is kept.

    In float64: what float32 makes of the keys' biases' gradient differs by processor.
    """
    tokens, found = make_tokens(), {}
    with jax.enable_x64(True):
        params = make_params(dtype=np.float64)
        for remat in (False, True):
            module = bert.OwnBertEncoder(SHAPE._replace(remat=remat))
            found[remat] = states_and_gradient(module, params, tokens, train=True)
        assert_relative(found[True], found[False], 1e-12)

    def kept(module):
        params = make_params()

        def loss(params):
            keys = {"dropout": jax.random.key(1)}
            return module.apply(params, tokens, train=True, rngs=keys).sum()

        back = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], params)
        return sum(x.size for x in jax.tree.leaves(back))

    plain = kept(bert.OwnBertEncoder(SHAPE))
    assert kept(bert.OwnBertEncoder(SHAPE._replace(remat=True))) < 0.6 * plain


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("own", [True, False])
def test_bfloat16_is_computed_from_float32_parameters(own):
    """Eight bits of mantissa: states agree to some per cent, and are float32 again."""
    settings = BertConfig(**SHAPE.settings())
    module = bert.OwnBertEncoder(SHAPE) if own else encoders.BertEncoder(settings)
    encoder = encoders.Encoder(module, None, None, 512, 100, "")
    half = encoders.computing(encoder, "bfloat16").module
    tokens = make_tokens()
    params = make_params()
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    full, less = (m.apply(params, tokens, train=False) for m in (module, half))
    assert less.dtype == jnp.float32
    assert 1e-4 < float(jnp.abs(full - less).max()) < 0.2
    program = jax.jit(half.apply, static_argnames="train")
    assert "bf16" in program.lower(params, tokens, train=False).as_text()
    assert encoders.computing(encoder, "highest").module == module


# --- Weights and settings -------------------------------------------------------------


def settings(**changes):
    c = PAPERS["self_mm"].config().text
    c.update({"weights": "random", "implementation": "own", **changes})
    return c


def torch_names(params, old=False):
    """Name and lay out our parameters as PyTorch's files do."""
    made = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params["params"]["bert"]):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        stem, _, last = name.rpartition(".")
        norm = old and "LayerNorm" in stem
        last = {
            "kernel": "weight",
            "embedding": "weight",
            "scale": "gamma" if norm else "weight",
            "bias": "beta" if norm else "bias",
        }[last]
        made[f"{stem}.{last}"] = leaf.T if name.endswith("kernel") else leaf
    return {k: jnp.asarray(v) for k, v in made.items()}


def same_rounded(found, params, dtype):
    rounded = jax.tree.map(
        lambda x: np.asarray(jnp.asarray(x, dtype), np.float32), params["params"]
    )
    tiny.assert_same(found, rounded)


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_files_of_pytorch_are_read(tmp_path, prefix, old, dtype):
    params = make_params()
    named = {prefix + k: v.astype(dtype) for k, v in torch_names(params, old).items()}
    named["cls.predictions.bias"] = jnp.ones(3)
    save_file(named, tmp_path / "model.safetensors")
    same_rounded(bert_weights.read_params(tmp_path, SHAPE), params, dtype)


@pytest.mark.parametrize("prefix", [(), ("bert",), ("params", "bert")])
def test_files_of_flax_are_read(tmp_path, prefix):
    params = make_params()
    tree = {**params["params"]["bert"], "pooler": {"dense": {"bias": np.ones(2)}}}
    for name in reversed(prefix):
        tree = {name: tree}
    (tmp_path / "flax_model.msgpack").write_bytes(serialization.to_bytes(tree))
    same_rounded(bert_weights.read_params(tmp_path, SHAPE), params, jnp.float32)
    del params["params"]["bert"]["encoder"]["layer"]["1"]["attention"]
    broken = serialization.to_bytes(params["params"])
    (tmp_path / "flax_model.msgpack").write_bytes(broken)
    with pytest.raises(ValueError, match="no encoder/layer/1/attention.* in flax_mod"):
        bert_weights.read_params(tmp_path, SHAPE)


def test_damaged_weights_are_named(tmp_path):
    named = torch_names(make_params())
    bias = "encoder.layer.1.output.dense.bias"
    for wrong, message in (
        ({bias: named[bias][:-1]}, r"layer/1/output/dense/bias has shape \(23,\), not"),
        ({bias: named[bias].at[0].set(jnp.nan)}, "output/dense/bias is not finite"),
    ):
        save_file(named | wrong, tmp_path / "model.safetensors")
        with pytest.raises(ValueError, match=message):
            bert_weights.read_params(tmp_path, SHAPE)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"model_type": "roberta"}, "model_type is 'roberta', only bert is read"),
        ({"position_embedding_type": "relative_key"}, "only absolute is read"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"hidden_act": "quick_gelu"}, "only gelu, gelu_new"),
        ({"hidden_size": 25}, "hidden_size 25 is no multiple of .*heads 3"),
    ],
)
def test_other_models_are_refused(tmp_path, wrong, message):
    written = BertConfig(**SHAPE.settings()).to_dict()
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert bert_weights.read_shape(tmp_path) == SHAPE
    (tmp_path / "config.json").write_text(json.dumps(written | wrong))
    with pytest.raises(ValueError, match=message):
        bert_weights.read_shape(tmp_path)


def test_without_transformers_flax_classes(monkeypatch):
    """From version 5 on transformers has none; our module needs none."""
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: None)
    encoder = encoders.load_encoder(settings(), ["a good film"])
    assert isinstance(encoder.module, bert.OwnBertEncoder)
    with pytest.raises(UserError, match="^text.implementation = .*no Flax BERT"):
        encoders.load_encoder(settings(implementation="transformers"), ["a good film"])
