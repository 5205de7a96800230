"""Attention over long sequences that never lays out all weights at once.

Queries are taken in blocks, and going back a block's weights are made again from the
logarithm of their sum: what is kept grows with the sequence, not with its square. A
causal block reads no key beyond its last query.

Source: the recurrence of FlashAttention (Dao et al., NeurIPS 2022), over whole rows.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from msa_jax.ground.backend import by_platform

BLOCK = 128  # queries at most
_HIDDEN = -1e30  # a score whose weight is 0


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def attend(
    query: Float[Array, "b h q c"],
    key: Float[Array, "b h t c"],
    value: Float[Array, "b h t c"],
    seen: Bool[Array, "b _ t"],
    causal: bool,
) -> Float[Array, "b h q c"]:
    """Return the weighted sums of the values.

    Args:
        query: scaled already.
        key, value: what is attended to.
        seen: keys that a query may see; one row for all queries, or a row for each.
        causal: a query sees the keys up to its own step only; q is t.
    """
    return _forward(query, key, value, seen, causal)[0]


def _forward(query, key, value, seen, causal):
    def sample(given):
        query, key, value, seen = given
        found = []
        for start, end, keys in _blocks(query.shape[1], key.shape[1], causal):
            score = _scores(query, key, seen, start, end, keys, causal)
            largest = score.max(axis=-1, keepdims=True)
            weight = jnp.exp(score - largest)
            total = weight.sum(axis=-1, keepdims=True)
            mixed = jnp.einsum("hqt,htc->hqc", weight, value[:, :keys]) / total
            found.append((mixed, largest + jnp.log(total)))
        return tuple(jnp.concatenate(part, axis=1) for part in zip(*found, strict=True))

    mixed, total = _over_samples(sample, (query, key, value, seen))
    return mixed, (query, key, value, seen, mixed, total)


def _backward(causal, saved, gradient):
    def sample(given):
        query, key, value, seen, mixed, total, gradient = given
        by_query, by_key, by_value = [], jnp.zeros_like(key), jnp.zeros_like(value)
        along = (mixed * gradient).sum(axis=-1, keepdims=True)
        for start, end, keys in _blocks(query.shape[1], key.shape[1], causal):
            rows = slice(start, end)
            score = _scores(query, key, seen, start, end, keys, causal)
            weight = jnp.exp(score - total[:, rows])
            by_mixed = gradient[:, rows]
            by_weight = jnp.einsum("hqc,htc->hqt", by_mixed, value[:, :keys])
            by_score = weight * (by_weight - along[:, rows])
            by_query.append(jnp.einsum("hqt,htc->hqc", by_score, key[:, :keys]))
            by_key = by_key.at[:, :keys].add(
                jnp.einsum("hqt,hqc->htc", by_score, query[:, rows])
            )
            by_value = by_value.at[:, :keys].add(
                jnp.einsum("hqt,hqc->htc", weight, by_mixed)
            )
        return jnp.concatenate(by_query, axis=1), by_key, by_value

    return (*_over_samples(sample, (*saved, gradient)), None)


attend.defvjp(_forward, _backward)


def _over_samples(function, given):
    """In turn on a CPU, where one sample fits the cache; else all at once."""
    return by_platform(
        given,
        cpu=lambda given: jax.lax.map(function, given),
        default=jax.vmap(function),
    )


def _blocks(queries: int, keys: int, causal: bool) -> list[tuple[int, int, int]]:
    """Return (first query, end, how many keys it reads) of blocks of similar size."""
    count = -(-queries // BLOCK)
    edges = [round(k * queries / count) for k in range(count + 1)]
    return [
        (start, end, end if causal else keys)
        for start, end in zip(edges, edges[1:], strict=False)
    ]


def _scores(query, key, seen, start, end, keys, causal):
    score = jnp.einsum("hqc,htc->hqt", query[:, start:end], key[:, :keys])
    kept = (seen if len(seen) == 1 else seen[start:end])[:, :keys]
    if causal:
        kept &= jnp.arange(start, end)[:, None] >= jnp.arange(keys)[None]
    return jnp.where(kept[None], score, _HIDDEN)
