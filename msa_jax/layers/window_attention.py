"""Attention from queries to windows of keys, with a backward pass of its own.

Sequences stand as [channels, steps, batch], windows as [channels, w, queries, s, batch]
(see `layers.windows`).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from msa_jax.layers import windows
from msa_jax.layers.windows import Sampling, Shift


class Kind(NamedTuple):
    """What is known when the program is built."""

    heads: int
    sampling: Sampling


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend(
    kind: Kind,
    query: Float[Array, "c q b"],
    key: Float[Array, "c t b"],
    value: Float[Array, "c t b"],
    shift: Shift,
    length: Int[Array, " b"] | None,
    keep: Float[Array, "h w q s b"] | None = None,
) -> Float[Array, "c q b"]:
    """Attend from every query to its window of keys.

    Sums over a head's few channels and over a window are written out: on a CPU that is
    several times faster than reductions over such short axes. Nothing of the size of
    all windows is kept for the backward pass, which cuts them again.

    Args:
        kind: number of heads (a divisor of c) and sampling.
        query: projected queries.
        key, value: projected context, not cut yet.
        shift, length: as for `windows.cut`.
        keep: factors of the weights (dropout); None = 1.
    """
    return _forward(kind, query, key, value, shift, length, keep)[0]


def weight_shape(
    kind: Kind, query: Array, shift: int | Array, length: Array | None
) -> tuple[int, ...]:
    """Return the shape of `keep`, [h, w, q, s, b]."""
    sliced = length is None and not jnp.ndim(shift)
    inner = windows.entries(kind.sampling).shape if sliced else (kind.sampling.width, 1)
    return kind.heads, inner[0], query.shape[1], inner[1], query.shape[2]


def _forward(kind, query, key, value, shift, length, keep):
    count = query.shape[1]
    keys = _heads(kind, windows.cut(key, count, kind.sampling, shift, length))
    values = _heads(kind, windows.cut(value, count, kind.sampling, shift, length))
    scaled = _heads(kind, query * _scale(kind, query))[:, :, None, :, None]
    score = _over_channels(scaled, keys)
    real = windows.entries(kind.sampling)
    if keys.shape[4] > 1 and not real.all():
        score = jnp.where(real[None, :, None, :, None], score, -jnp.inf)
    score = jnp.exp(score - _over_window(jnp.maximum, score)[:, None, :, None])
    weight = score / _over_window(jnp.add, score)[:, None, :, None]
    used = weight if keep is None else weight * keep
    mixed = _over_window(jnp.add, used[:, None] * values)
    saved = (query, key, value, shift, length, keep, weight)
    return mixed.reshape(query.shape), saved


def _backward(kind, saved, grad):
    query, key, value, shift, length, keep, weight = saved
    count = query.shape[1]

    def cut(x):
        return _heads(kind, windows.cut(x, count, kind.sampling, shift, length))

    keys, values = cut(key), cut(value)
    spread = _heads(kind, grad)[:, :, None, :, None]
    by_weight = _over_channels(spread, values)
    by_weight = by_weight if keep is None else by_weight * keep
    total = _over_window(jnp.add, weight * by_weight)[:, None, :, None]
    by_score = weight * (by_weight - total) * _scale(kind, query)
    by_query = _over_window(jnp.add, by_score[:, None] * keys).reshape(query.shape)
    used = weight if keep is None else weight * keep
    if length is None and not jnp.ndim(shift):
        by_key = _overlap(kind, by_score, query, key, shift)
        by_value = _overlap(kind, used, grad, value, shift)
    else:
        spread_query = _heads(kind, query)[:, :, None, :, None]
        (by_key,) = jax.vjp(cut, key)[1](by_score[:, None] * spread_query)
        (by_value,) = jax.vjp(cut, value)[1](used[:, None] * spread)
    return by_query, by_key, by_value, None, None, None


def _overlap(
    kind: Kind,
    factor: Float[Array, "h w q s b"],
    per_query: Float[Array, "c q b"],
    x: Float[Array, "c t b"],
    shift: int | Int[Array, ""],
) -> Float[Array, "c t b"]:
    """Add up, for each key, factor times per_query over the windows that hold it.

    That is the transpose of `windows.cut`, read from the keys' side: window i holds
    block i + w as its w-th, so block n collects query n - w.
    """
    blocks, count = factor.shape[1], factor.shape[2]
    edge = blocks - 1
    factor = jnp.pad(factor, ((0, 0), (0, 0), (edge, edge), (0, 0), (0, 0)))
    per_query = _heads(kind, jnp.pad(per_query, ((0, 0), (edge, edge), (0, 0))))
    terms = (
        factor[:, None, w, edge - w : edge - w + count + edge]
        * per_query[:, :, edge - w : edge - w + count + edge, None]
        for w in range(blocks)
    )
    total = functools.reduce(jnp.add, terms)
    total = total.reshape(x.shape[0], *total.shape[2:])
    _, back = jax.vjp(lambda x: windows.continued(x, count, kind.sampling, shift), x)
    return back(total)[0]


attend.defvjp(_forward, _backward)


def _scale(kind: Kind, query: Array) -> float:
    return (query.shape[0] // kind.heads) ** -0.5


def _heads(kind: Kind, x: Array) -> Array:
    """Split channels: [c, ...] to [heads, c / heads, ...]."""
    return x.reshape(kind.heads, -1, *x.shape[1:])


def _over_channels(a: Array, b: Array) -> Float[Array, "h w q s b"]:
    """Sum a b over a head's channels, written out."""
    return functools.reduce(jnp.add, (a[:, c] * b[:, c] for c in range(a.shape[1])))


def _over_window(join, x: Float[Array, "*h w q s b"]) -> Float[Array, "*h q b"]:
    """Join all entries of each window, written out as one chain."""
    entries = [(w, s) for w in range(x.shape[-4]) for s in range(x.shape[-2])]
    return functools.reduce(join, (x[..., w, :, s, :] for w, s in entries))
