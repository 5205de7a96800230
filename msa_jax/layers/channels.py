"""Transformer parts over sequences that stand as [channels, steps, batch].

Channels lead and the batch is last, so a projection of all steps of all samples is one
matrix product, normalisation is a sum over the leading axis, and a window of keys is a
slice of contiguous rows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from msa_jax.ground.backend import by_platform, divides_batches
from msa_jax.ground.types import PyTree
from msa_jax.layers import block_attention, dropout_bits
from msa_jax.layers.dense import product, uniform

Drop = Callable[[Array, float], Array]  # (x, rate) -> x with entries dropped


class Affine(NamedTuple):
    """A matrix [inputs, outputs] and a bias, or a norm's scale and bias (both [c])."""

    kernel: Array
    bias: Array


class Attention(NamedTuple):
    """Weights of one attention; `context_norm` normalises keys and values."""

    query: Affine
    key: Affine
    value: Affine
    output: Affine
    query_norm: Affine
    context_norm: Affine


class FeedForward(NamedTuple):
    """Weights of one feed-forward block."""

    norm: Affine
    rise: Affine
    fall: Affine


class Weights(nn.Module):
    """Creates the parameters of named affine maps and norms.

    maps: per name (inputs, outputs, bound of the uniform start); bias starts at 0.
    norms: per name its width.
    """

    maps: dict[str, tuple[int, int, float]]
    norms: dict[str, int]

    @nn.compact
    def __call__(self) -> dict[str, Affine]:
        """Return the parameters by name."""
        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        made = {}
        for name, (inputs, outputs, bound) in self.maps.items():
            kernel = self.param(f"{name}_kernel", uniform(bound), (inputs, outputs))
            made[name] = Affine(kernel, self.param(f"{name}_bias", zeros, (outputs,)))
        for name, width in self.norms.items():
            scale = self.param(f"{name}_scale", ones, (width,))
            made[name] = Affine(scale, self.param(f"{name}_bias", zeros, (width,)))
        return made


def attention_weights(embed: int, context: int, name: str) -> Attention:
    """Create an attention's parameters in the calling module.

    Source: torch.nn.MultiheadAttention draws one stacked matrix [embed + 2 context,
        embed] from Xavier's range; so do SP-Transformer's and fairseq's.
    """
    stacked = (6 / (2 * embed + 2 * context)) ** 0.5
    maps = {
        "query": (embed, embed, stacked),
        "key": (context, embed, stacked),
        "value": (context, embed, stacked),
        "output": (embed, embed, (6 / (2 * embed)) ** 0.5),
    }
    norms = {"query_norm": embed, "context_norm": context}
    return Attention(**Weights(maps, norms, name=name)())


def feed_forward_weights(embed: int, name: str) -> FeedForward:
    """Create a feed-forward block's parameters: embed to 4 embed and back."""
    bound = (6 / (5 * embed)) ** 0.5
    maps = {"rise": (embed, 4 * embed, bound), "fall": (4 * embed, embed, bound)}
    return FeedForward(**Weights(maps, {"norm": embed}, name=name)())


def normalise(x: Array, axis: int = 0) -> Array:
    """Bring an axis to mean 0 and variance 1 (LayerNorm without its affine map)."""
    centred = x - x.mean(axis, keepdims=True)
    variance = jnp.square(centred).mean(axis, keepdims=True)
    return centred * jax.lax.rsqrt(variance + 1e-5)


def project(
    x: Float[Array, "c t b"], affine: Affine, norm: Affine | None = None
) -> Float[Array, "o t b"]:
    """Map the channels; a norm's affine part is folded into the matrix first.

    (x scale + shift) W + b = x (scale W) + (shift W + b): a small product instead of a
    pass over the sequence.
    """
    kernel, bias = folded(affine, norm)
    return product(x, kernel, 0) + bias[:, None, None]


def folded(affine: Affine, norm: Affine | None) -> Affine:
    """Return the affine map that follows a norm's own scale and bias as one map."""
    if norm is None:
        return affine
    kernel = norm.kernel[:, None] * affine.kernel
    return Affine(kernel, norm.bias @ affine.kernel + affine.bias)


def attend_all(
    query: Float[Array, "c q b"],
    key: Float[Array, "c t b"],
    value: Float[Array, "c t b"],
    heads: int,
    drop: Callable[[Array], Array] | None,
    seen: Bool[Array, "_ t"] | Bool[Array, "_ t b"] | None = None,
    *,
    causal: bool = False,
) -> Float[Array, "c q b"]:
    """Attend from each query to every key that it may see.

    Args:
        query, key, value: channels first.
        heads: each has channels of its own.
        drop: drops weights; None: none are, and long sequences go block by block.
        seen: keys that may be seen; one row for all queries, or a row for each.
        causal: a query sees no later step than its own.
    """
    size = query.shape[0] // heads
    # The batch leads inside: products of matrices that lie together are 1.3 to 2 times
    # as fast on a CPU, the more the longer the sequence.
    query, key, value = (
        x.reshape(heads, size, *x.shape[1:]).transpose(3, 0, 2, 1)
        for x in (query, key, value)
    )
    query = query * size**-0.5
    (batch, _, queries, _), keys = query.shape, key.shape[2]
    if seen is None:
        seen = jnp.ones((1, keys), bool)
    seen = seen if seen.ndim == 3 else seen[:, :, None]
    kept = jnp.broadcast_to(seen.transpose(2, 0, 1), (batch, len(seen), keys))
    mixed: Any  # custom_vjp hides the type
    if drop is None and max(queries, keys) > block_attention.BLOCK:
        mixed = block_attention.attend(query, key, value, kept, causal)
    else:
        if causal:
            steps = np.arange(keys)
            kept = kept & (steps[None] <= steps[:, None])[None]
        score = jnp.einsum("bhqc,bhtc->bhqt", query, key)
        score = jnp.where(kept[:, None], score, jnp.finfo(score.dtype).min)
        weight = jax.nn.softmax(score, axis=3)
        weight = weight if drop is None else drop(weight)
        mixed = jnp.einsum("bhqt,bhtc->bhqc", weight, value)
    mixed = mixed.transpose(1, 3, 2, 0)
    return mixed.reshape(-1, *mixed.shape[2:])


def feed_forward(
    x: Float[Array, "c t b"],
    weights: FeedForward,
    drop: Drop,
    relu_dropout: float,
    residual_dropout: float,
) -> Float[Array, "c t b"]:
    """Add Linear-ReLU-Linear of the normalised x to x."""
    hidden = nn.relu(project(normalise(x), weights.rise, weights.norm))
    return x + drop(project(drop(hidden, relu_dropout), weights.fall), residual_dropout)


def position_code(x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
    """Return the sinusoid code of x: sines, then cosines, of step + 1.

    Frequencies are 10000^(-k / (half - 1)); an odd width gets a last zero. A step whose
    first feature is exactly 0 counts as padding and gets zeros, inside a sequence too.

    Source: fairseq's and MulT's sinusoidal embedding, SP-Transformer's code.
    """
    table = jnp.asarray(position_table(x.shape[1], x.shape[2]), x.dtype)
    return jnp.where(x[:, :, :1] != 0, table[None], 0)


def position_table(steps: int, width: int) -> np.ndarray:
    """Return `position_code`'s values for steps 1 to `steps`, [steps, width]."""
    half = width // 2
    rate = np.exp(np.arange(half) * -(np.log(10000) / max(half - 1, 1)))
    angle = np.arange(1, steps + 1)[:, None] * rate
    table = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    return np.pad(table, ((0, 0), (0, width - 2 * half)))


def laid_out(x: Array) -> Array:
    """Return x; a CPU's compiler may not move what reads it in front of what makes it.

    Early passes alone obey: later, when loops are fused, the barrier is gone
    (docs/performance.md).
    """
    return by_platform(x, cpu=jax.lax.optimization_barrier, default=lambda x: x)


def dropping(run: Callable[[Drop], PyTree], key: PRNGKeyArray | None) -> PyTree:
    """Run a function that drops entries at several places, all from one draw.

    One draw for all places costs less than half of a draw for each, in compilation
    above all (docs/performance.md). 16 bits decide an entry; what is kept is scaled by
    the exact share, so that means stay.

    Args:
        run: takes a function (x, rate) -> x with entries dropped; is traced twice.
        key: None drops nothing.
    """
    if key is None:
        return run(lambda x, rate: x)
    sizes: list[int] = []

    def count(x: Array, rate: float) -> Array:
        sizes.append(x.size if rate else 0)
        return x

    jax.eval_shape(lambda: run(count))
    words = dropout_bits.words(key, -(-sum(sizes) // 2))
    # Not a bitcast: its last axis of 2 would be padded to 128 lanes on a TPU.
    # Narrowed first: a CPU concatenates and narrows in one slow loop.
    low, high = words.astype(jnp.uint16), (words >> 16).astype(jnp.uint16)
    halves = laid_out(jnp.concatenate([low, high]))
    several = divides_batches()
    starts = iter(np.cumsum([0, *sizes]).tolist())

    def drop(x: Array, rate: float) -> Array:
        start = next(starts)
        if rate == 0:
            return x
        kept = round((1 - rate) * 2**16)
        bits = jax.lax.slice_in_dim(halves, start, start + x.size)
        if several:
            # Devices that share a batch draw all; else each draws a part and sends it.
            bits = jax.lax.with_sharding_constraint(bits, PartitionSpec())
        # Compared first: reshaped bytes take half of what a TPU pads.
        keep = (bits < kept).reshape(x.shape)
        return jnp.where(keep, x * (2**16 / kept), 0)

    return run(drop)
