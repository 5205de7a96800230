"""BERT's encoder in linen, with the parameter tree of transformers' Flax BERT.

No pooler, no decoder, no cache: what an encoder of sentences needs. It computes what
transformers' `FlaxBertModule` computes, to float rounding, dropout included: modules
have the same names, and linen derives random numbers from names.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jax.extend.random import threefry2x32_p
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from msa_jax.ground.backend import by_platform
from msa_jax.text.packing import Packed, unpack

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": partial(nn.gelu, approximate=False),
    "gelu_new": partial(nn.gelu, approximate=True),
    "gelu_pytorch_tanh": partial(nn.gelu, approximate=True),
    "relu": nn.relu,
    "silu": nn.silu,
    "swish": nn.silu,
}

# See `OwnBertEncoder.__call__`.
Between = Callable[[int, Float[Array, "b t h"]], Float[Array, "b t h"]]

_KEPT = "kept"  # what dropout leaves: a name for `jax.checkpoint`


class Shape(NamedTuple):
    """What a BERT's config.json says of its encoder, under the same names."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    # Not of the file: how it is computed.
    compute: Any = None  # dtype of products and activations; None: the parameters'
    remat: bool = False  # keep layers' inputs only; make the rest again going back

    def settings(self) -> dict[str, Any]:
        """Return what a config.json would say."""
        return {k: getattr(self, k) for k in Shape._fields[:-2]}


def shape_of(settings: Mapping[str, Any]) -> Shape:
    """Read the encoder's shape from the contents of a config.json.

    Raises:
        ValueError: it is not a BERT, or one that this module does not compute.
    """
    wanted = {
        "model_type": ("bert",),
        "position_embedding_type": ("absolute",),
        "is_decoder": (False,),
        "add_cross_attention": (False,),
        "hidden_act": tuple(ACTIVATIONS),
    }
    for name, known in wanted.items():
        value = settings.get(name, known[0])
        if value not in known:
            listed = ", ".join(map(str, known))
            raise ValueError(f"config.json: {name} is {value!r}, only {listed} is read")
    shape = Shape(**{k: settings[k] for k in Shape().settings() if k in settings})
    if shape.hidden_size % shape.num_attention_heads:
        raise ValueError(
            f"config.json: hidden_size {shape.hidden_size} is no multiple of "
            f"num_attention_heads {shape.num_attention_heads}"
        )
    return shape


class Rows(NamedTuple):
    """Tokens as the encoder reads them, t to a row.

    visible: which keys (last axis) a query (the axis before) attends to.
    source: where the tokens stand in the padded batch, counted row by row; None: the
        rows are the padded batch. Dropout draws what it would draw there.
    padded: sentences and steps of the padded batch.
    """

    ids: Int[Array, "b t"]
    position: Int[Array, "b t"]
    segment: Int[Array, "b t"]
    visible: Bool[Array, "b _ t"]
    source: Int[Array, "b t"] | None
    padded: tuple[int, int]


class OwnBertEncoder(nn.Module):
    """BERT without its pooler; the same parameters and results as `text.BertEncoder`.

    Source: BERT (Devlin et al., NAACL 2019); transformers, modeling_flax_bert.py: as
        there, a step draws one mask of attention weights for all its sentences and
        heads (PyTorch's BERT draws one for each).
    """

    shape: Shape

    @nn.compact
    def __call__(
        self,
        text: Int[Array, "b 3 t"] | Packed,
        *,
        train: bool,
        between: Between | None = None,
    ) -> Float[Array, "b t h"]:
        """Return the last hidden states of (ids, mask, segments), padded or packed.

        Where packed text has padding, states are 0.

        Args:
            between: (layer, counted from 0; states [b, t, h] that would enter it) ->
                the states that do. Layer 0's are the embeddings after their norm and
                dropout. It may call modules of the caller. Layers then are no loop: an
                accelerator's compiler sees every one.

        Raises:
            ValueError: a function between the layers of packed text.
        """
        bert = Named(_wanted(self.shape), name="bert")(train=train)
        if not isinstance(text, Packed):
            rows = _rows_of_padded(text)
            return _exact(_encode(bert, rows, self.shape, between))
        if between is not None:
            raise ValueError("packed text has no states [b, t, h] between layers")
        hidden = _exact(_encode(bert, _rows_of_packed(text), self.shape))
        return unpack(hidden.reshape(*text.ids.shape, -1), text)


class Named(nn.Module):
    """Parameters, and keys of dropout, as a tree of the same names.

    wanted: name -> what stands there: (initialiser, shape) of a parameter, the rate of
        a dropout, or more names.
    """

    wanted: Mapping[str, Any]

    @nn.compact
    def __call__(self, *, train: bool) -> dict[str, Any]:
        """Return the tree; None for the key of a dropout that drops nothing."""
        found: dict[str, Any] = {}
        for name, what in self.wanted.items():
            if isinstance(what, Mapping):
                found[name] = Named(what, name=name)(train=train)
            elif isinstance(what, tuple):
                # `param` would trace the initialiser again, to compare shapes.
                stored = self.get_variable("params", name)
                drawn = stored is None
                found[name] = self.param(name, *what, jnp.float32) if drawn else stored
            else:
                found[name] = self.make_rng("dropout") if train and what else None
        return found


def _wanted(s: Shape) -> dict[str, Any]:
    start, ones = nn.initializers.normal(s.initializer_range), nn.initializers.ones
    zeros, width, wide = nn.initializers.zeros, s.hidden_size, s.intermediate_size
    norm = {"scale": (ones, (width,)), "bias": (zeros, (width,))}
    drop = {"key": s.hidden_dropout_prob}

    def table(size: int) -> dict[str, Any]:
        return {"embedding": (start, (size, width))}

    def dense(inputs: int, outputs: int) -> dict[str, Any]:
        return {"kernel": (start, (inputs, outputs)), "bias": (zeros, (outputs,))}

    def residual(inputs: int) -> dict[str, Any]:
        return {"dense": dense(inputs, width), "LayerNorm": norm, "dropout": drop}

    maps = {name: dense(width, width) for name in ("query", "key", "value")}
    attention = {**maps, "kept": s.attention_probs_dropout_prob}
    layer = {
        "attention": {"self": attention, "output": residual(width)},
        "intermediate": {"dense": dense(width, wide)},
        "output": residual(wide),
    }
    return {
        "embeddings": {
            "word_embeddings": table(s.vocab_size),
            "position_embeddings": table(s.max_position_embeddings),
            "token_type_embeddings": table(s.type_vocab_size),
            "LayerNorm": norm,
            "dropout": drop,
        },
        "encoder": {"layer": {str(i): layer for i in range(s.num_hidden_layers)}},
    }


def _exact(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _rows_of_padded(tokens: Int[Array, "b 3 t"]) -> Rows:
    ids, mask, segments = tokens[:, 0], tokens[:, 1], tokens[:, 2]
    sentences, steps = ids.shape
    position = jnp.broadcast_to(jnp.arange(steps), ids.shape)
    visible = mask[:, None] > 0
    return Rows(ids, position, segments, visible, None, (sentences, steps))


def _rows_of_packed(text: Packed) -> Rows:
    shards, sentences, steps = text.place.shape
    first = jnp.arange(shards) * (sentences * steps)
    source = text.source + first[:, None, None]
    flat = (x.reshape(-1, x.shape[-1]) for x in (*text[:4], source))
    ids, position, segment, sentence, source = flat
    visible = sentence[:, :, None] == sentence[:, None]
    padded = shards * sentences, steps
    return Rows(ids, position, segment, visible, source, padded)


def _encode(
    bert: Mapping[str, Any], rows: Rows, s: Shape, between: Between | None = None
) -> Float[Array, "b t h"]:
    """Return the last hidden states: embeddings, then layers."""
    x = _embed(bert["embeddings"], rows, s)
    named = bert["encoder"]["layer"]
    layers = [named[str(i)] for i in range(s.num_hidden_layers)]

    def run(x: Array, layer: Mapping[str, Any]) -> tuple[Array, None]:
        return _layer(x, layer, rows, s), None

    def one_by_one(x: Array, layers: list[Mapping[str, Any]]) -> Array:
        one = jax.checkpoint(run) if s.remat else run
        for i, layer in enumerate(layers):
            if between is not None:
                states = between(i, _exact(x).reshape(*rows.ids.shape, -1))
                x = states.reshape(x.shape).astype(x.dtype)
            x, _ = one(x, layer)
        return x

    def in_a_loop(x: Array, layers: list[Mapping[str, Any]]) -> Array:
        one = jax.checkpoint(
            run, prevent_cse=False, policy=None if s.remat else _products_and_bits
        )
        return jax.lax.scan(one, x, jax.tree.map(partial(_stack, s), *layers))[0]

    # The compilers of accelerators take minutes a layer, so they get one; on a CPU a
    # loop's copies of weights and states cost a step more than it saves in compilation.
    # A function between layers may make parameters, which it cannot inside of a loop.
    if between is not None:
        x = one_by_one(x, layers)
    else:
        x = by_platform(x, layers, cpu=one_by_one, default=in_a_loop)
    return x.reshape(*rows.ids.shape, -1)


# What a loop's way back is given; the rest is cheap to compute again.
_products_and_bits = jax.checkpoint_policies.save_from_both_policies(
    jax.checkpoint_policies.dots_saveable,
    jax.checkpoint_policies.save_only_these_names(_KEPT),
)


def _stack(s: Shape, *leaves: Array) -> Array:
    """Stack a leaf of all layers; matrices are cast before: the copy is smaller."""
    return jnp.stack([_cast(x, s) for x in leaves] if leaves[0].ndim == 2 else leaves)


def _cast(x: Array, s: Shape) -> Array:
    return x if s.compute is None else x.astype(s.compute)


def _embed(w: Mapping[str, Any], rows: Rows, s: Shape) -> Float[Array, "n h"]:
    """Return the first layer's input: what word, position and segment stand for."""

    def look_up(name: str, index: Array) -> Array:
        return _cast(jnp.take(w[name]["embedding"], index.ravel(), axis=0), s)

    x = look_up("word_embeddings", rows.ids)
    x += look_up("token_type_embeddings", rows.segment)
    x += look_up("position_embeddings", rows.position)
    return _drop(_norm(x, w["LayerNorm"], s), w["dropout"]["key"], rows, s)


def _layer(
    x: Float[Array, "n h"], w: Mapping[str, Any], rows: Rows, s: Shape
) -> Float[Array, "n h"]:
    """Attention and feed-forward, each normalised after its residual.

    Tokens of all rows stand in one axis: products are of two axes, which are quicker
    to compile and need no padding on a TPU.
    """
    mixed = _attend(x, w["attention"]["self"], rows, s)
    x = _residual(mixed, x, w["attention"]["output"], rows, s)
    hidden = _map(x, w["intermediate"]["dense"], s)
    return _residual(ACTIVATIONS[s.hidden_act](hidden), x, w["output"], rows, s)


def _attend(
    x: Float[Array, "n h"], w: Mapping[str, Any], rows: Rows, s: Shape
) -> Float[Array, "n h"]:
    """Scaled dot products of queries and keys, softmax, weighted sum of values."""
    split = *rows.ids.shape, s.num_attention_heads, -1
    query, key, value = (
        _map(x, w[name], s).reshape(split) for name in ("query", "key", "value")
    )
    query = query / jnp.sqrt(query.shape[-1]).astype(x.dtype)
    score = jnp.einsum("bqhc,bkhc->bhqk", query, key)
    hidden = jnp.finfo(x.dtype).min
    score = score + jnp.where(rows.visible, 0, hidden)[:, None].astype(x.dtype)
    exact = jnp.promote_types(x.dtype, jnp.float32)
    weight = jax.nn.softmax(score.astype(exact), axis=-1).astype(x.dtype)
    if w["kept"] is not None:
        p, steps = 1 - s.attention_probs_dropout_prob, rows.padded[1]
        kept = jax.random.bernoulli(w["kept"], p, (steps, steps))[None]
        if rows.source is not None:
            kept = kept[0, rows.position[:, :, None], rows.position[:, None]]
        weight = weight * (_drawn(kept).astype(x.dtype) / p)[:, None]
    return jnp.einsum("bhqk,bkhc->bqhc", weight, value).reshape(x.shape)


def _residual(
    branch: Float[Array, "n w"], x: Array, w: Mapping[str, Any], rows: Rows, s: Shape
) -> Float[Array, "n h"]:
    """A linear map, dropout, the residual, LayerNorm."""
    branch = _drop(_map(branch, w["dense"], s), w["dropout"]["key"], rows, s)
    return _norm(branch + x, w["LayerNorm"], s)


def _map(x: Array, w: Mapping[str, Array], s: Shape) -> Array:
    """Return x times a matrix, plus a bias.

    What is multiplied is computed before: with it inside of the product (an activation,
    a norm), a TPU's compiler takes half as long again.
    """
    mapped = jax.lax.dot(jax.lax.optimization_barrier(x), _cast(w["kernel"], s))
    return mapped + _cast(w["bias"], s)[None]


def _norm(x: Array, w: Mapping[str, Array], s: Shape) -> Array:
    """Bring the last axis to mean 0 and variance 1; then a scale and a bias."""
    norm = nn.LayerNorm(s.layer_norm_eps, dtype=s.compute, parent=None)
    normed: Any = norm.apply({"params": w}, x)
    return normed


def _drop(
    x: Float[Array, "n h"], key: PRNGKeyArray | None, rows: Rows, s: Shape
) -> Float[Array, "n h"]:
    """Set entries to 0 and make the rest larger, as `nn.Dropout` draws them."""
    if key is None:
        return x
    p, width = 1 - s.hidden_dropout_prob, x.shape[-1]
    if rows.source is None:
        kept = jax.random.bernoulli(key, p, x.shape)
    else:
        drawn = rows.padded[0] * rows.padded[1], width
        kept = rows_of_draw(key, p, drawn, rows.source.ravel())
    return jnp.where(_drawn(kept), x / p, 0)


def _drawn(kept: Array) -> Array:
    """Have random bits drawn before they are used.

    A TPU's compiler otherwise draws them inside the matrix product that reads them,
    which takes it minutes a layer to compile.
    """
    return checkpoint_name(jax.lax.optimization_barrier(kept), _KEPT)


def rows_of_draw(
    key: PRNGKeyArray, p: float, shape: tuple[int, int], index: Int[Array, "*any"]
) -> Bool[Array, "*any d"]:
    """Return rows of `jax.random.bernoulli(key, p, shape)` without drawing the others.

    jax's default generator turns the count of a number into its bits, so rows can be
    drawn by themselves. With another generator everything is drawn. Rows outside the
    shape hold anything.
    """
    counted = (
        str(jax.random.key_impl(key)) == "threefry2x32"
        and getattr(jax.config, "jax_threefry_partitionable", True)
        and jnp.result_type(float) == jnp.float32
        and (shape[0] + 1) * shape[1] < 2**32
    )
    if not counted:
        whole = jax.random.bernoulli(key, p, shape)
        return whole.at[index].get(mode="fill", fill_value=False)
    column = jnp.arange(shape[1], dtype=jnp.uint32)
    row = jnp.expand_dims(index.astype(jnp.uint32), -1)
    count = row * shape[1] + jnp.expand_dims(column, range(index.ndim))
    keys = jax.random.key_data(key)
    pair = threefry2x32_p.bind(keys[0], keys[1], jnp.zeros_like(count), count)
    # As jax.random.uniform: 23 bits are the mantissa of a number in [1, 2).
    bits = ((pair[0] ^ pair[1]) >> 9) | jnp.uint32(0x3F800000)
    return jax.lax.bitcast_convert_type(bits, jnp.float32) - 1 < p
