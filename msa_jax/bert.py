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
from jax.extend.random import threefry2x32_p
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from msa_jax.packing import Packed, unpack

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": partial(nn.gelu, approximate=False),
    "gelu_new": partial(nn.gelu, approximate=True),
    "gelu_pytorch_tanh": partial(nn.gelu, approximate=True),
    "relu": nn.relu,
    "silu": nn.silu,
    "swish": nn.silu,
}


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
        self, text: Int[Array, "b 3 t"] | Packed, *, train: bool
    ) -> Float[Array, "b t h"]:
        """Return the last hidden states of (ids, mask, segments), padded or packed.

        Where packed text has padding, states are 0.
        """
        bert = Bert(self.shape, name="bert")
        if not isinstance(text, Packed):
            return _exact(bert(_rows_of_padded(text), train=train))
        hidden = _exact(bert(_rows_of_packed(text), train=train))
        return unpack(hidden.reshape(*text.ids.shape, -1), text)


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


class Bert(nn.Module):
    """Embeddings, then layers."""

    shape: Shape

    @nn.compact
    def __call__(self, rows: Rows, *, train: bool) -> Float[Array, "b t h"]:
        """Return the last hidden states."""
        x = Embeddings(self.shape, name="embeddings")(rows, train=train)
        return Encoder(self.shape, name="encoder")(x, rows, train=train)


class Embeddings(nn.Module):
    """The sum of what word, position and segment stand for, normalised."""

    shape: Shape

    @nn.compact
    def __call__(self, rows: Rows, *, train: bool) -> Float[Array, "b t h"]:
        """Return the first layer's input."""
        s = self.shape
        start = nn.initializers.normal(s.initializer_range)
        table = partial(
            nn.Embed, features=s.hidden_size, embedding_init=start, dtype=s.compute
        )
        word = table(s.vocab_size, name="word_embeddings")
        position = table(s.max_position_embeddings, name="position_embeddings")
        segment = table(s.type_vocab_size, name="token_type_embeddings")
        x = word(rows.ids) + segment(rows.segment) + position(rows.position)
        x = nn.LayerNorm(s.layer_norm_eps, dtype=s.compute, name="LayerNorm")(x)
        return Dropout(s.hidden_dropout_prob, name="dropout")(x, rows, train=train)


class Encoder(nn.Module):
    """A level of the tree's names, nothing else."""

    shape: Shape

    @nn.compact
    def __call__(self, x: Array, rows: Rows, *, train: bool) -> Float[Array, "b t h"]:
        """Return the last layer's output."""
        return Layers(self.shape, name="layer")(x, rows, train=train)


class Layers(nn.Module):
    """All layers, named by their numbers."""

    shape: Shape

    @nn.compact
    def __call__(self, x: Array, rows: Rows, *, train: bool) -> Float[Array, "b t h"]:
        """Return the last layer's output."""

        def run(layer: Layer, x: Array) -> Array:
            return layer(x, rows, train=train)

        if self.shape.remat and train:
            run = nn.remat(run)
        for i in range(self.shape.num_hidden_layers):
            layer = Layer(self.shape, name=str(i))
            x = run(layer, x)
        return x


class Layer(nn.Module):
    """Attention and feed-forward, each normalised after its residual."""

    shape: Shape

    @nn.compact
    def __call__(self, x: Array, rows: Rows, *, train: bool) -> Float[Array, "b t h"]:
        """Return the layer's output."""
        s = self.shape
        x = Attention(s, name="attention")(x, rows, train=train)
        wide = Intermediate(s, name="intermediate")(x)
        return Residual(s, name="output")(wide, x, rows, train=train)


class Attention(nn.Module):
    """Self-attention and its residual."""

    shape: Shape

    @nn.compact
    def __call__(self, x: Array, rows: Rows, *, train: bool) -> Float[Array, "b t h"]:
        """Return the normalised sum of input and what was attended to."""
        mixed = SelfAttention(self.shape, name="self")(x, rows, train=train)
        return Residual(self.shape, name="output")(mixed, x, rows, train=train)


class SelfAttention(nn.Module):
    """Scaled dot products of queries and keys, softmax, weighted sum of values."""

    shape: Shape

    @nn.compact
    def __call__(self, x: Array, rows: Rows, *, train: bool) -> Float[Array, "b t h"]:
        """Return the heads' sums side by side."""
        s = self.shape
        split = *x.shape[:2], s.num_attention_heads, -1
        query, key, value = (
            _dense(s.hidden_size, s, name)(x).reshape(split)
            for name in ("query", "key", "value")
        )
        query = query / jnp.sqrt(query.shape[-1]).astype(x.dtype)
        score = jnp.einsum("bqhc,bkhc->bhqk", query, key)
        hidden = jnp.finfo(x.dtype).min
        score = score + jnp.where(rows.visible, 0, hidden)[:, None].astype(x.dtype)
        exact = jnp.promote_types(x.dtype, jnp.float32)
        weight = jax.nn.softmax(score.astype(exact), axis=-1).astype(x.dtype)
        rate = s.attention_probs_dropout_prob
        if train and rate:
            steps = rows.padded[1]
            key = self.make_rng("dropout")
            kept = jax.random.bernoulli(key, 1 - rate, (steps, steps))[None]
            if rows.source is not None:
                kept = kept[0, rows.position[:, :, None], rows.position[:, None]]
            weight = weight * (kept.astype(x.dtype) / (1 - rate))[:, None]
        return jnp.einsum("bhqk,bkhc->bqhc", weight, value).reshape(x.shape)


class Intermediate(nn.Module):
    """The hidden layer of the feed-forward part."""

    shape: Shape

    @nn.compact
    def __call__(self, x: Float[Array, "b t h"]) -> Float[Array, "b t w"]:
        """Return it, after its activation."""
        hidden = _dense(self.shape.intermediate_size, self.shape, "dense")(x)
        return ACTIVATIONS[self.shape.hidden_act](hidden)


class Residual(nn.Module):
    """A linear map, dropout, the residual, LayerNorm."""

    shape: Shape

    @nn.compact
    def __call__(
        self, branch: Array, x: Array, rows: Rows, *, train: bool
    ) -> Float[Array, "b t h"]:
        """Return the normalised sum of x and the mapped branch."""
        s = self.shape
        branch = _dense(s.hidden_size, s, "dense")(branch)
        drop = Dropout(s.hidden_dropout_prob, name="dropout")
        branch = drop(branch, rows, train=train)
        return nn.LayerNorm(s.layer_norm_eps, dtype=s.compute, name="LayerNorm")(
            branch + x
        )


class Dropout(nn.Module):
    """Dropout of hidden states, as `nn.Dropout` draws it."""

    rate: float

    @nn.compact
    def __call__(self, x: Array, rows: Rows, *, train: bool) -> Float[Array, "b t h"]:
        """Return x, in training with numbers set to 0 and the rest made larger."""
        if not train or not self.rate:
            return x
        key, width = self.make_rng("dropout"), x.shape[-1]
        if rows.source is None:
            kept = jax.random.bernoulli(key, 1 - self.rate, x.shape)
        else:
            drawn = rows.padded[0] * rows.padded[1], width
            kept = rows_of_draw(key, 1 - self.rate, drawn, rows.source)
        return jnp.where(kept, x / (1 - self.rate), 0)


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


def _dense(features: int, shape: Shape, name: str) -> nn.Dense:
    start = nn.initializers.normal(shape.initializer_range)
    return nn.Dense(features, kernel_init=start, dtype=shape.compute, name=name)
