"""MMCL's contrastive losses over the rows of a batch.

Other samples of the batch are the negatives: whatever rows a function is given. Inside
`jit` an array is the whole batch however it is laid over devices, so a batch that is
divided over the mesh axis "data" still has all its rows as negatives; nothing here may
run per device (`shard_map`).

Rows that are not `valid` are neither anchors nor negatives; whatever stands in them,
NaN included, reaches neither a value nor a gradient.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Vectors = Float[Array, "b h"]
Valid = Bool[Array, " b"]
PerAnchor = Float[Array, " b"]
Scalar = Float[Array, ""]
Number = float | Scalar  # an array where lanes of a search differ

UniReading = Literal["prose", "literal", "keys", "simclr"]
UniformityReading = Literal["wang_isola", "literal", "union", "all_pairs"]
SentimentReading = Literal["log_outside_sum", "log_outside_mean", "log_inside"]


def unit(x: Vectors, valid: Valid) -> Vectors:
    """Scale each vector to length 1; vectors of length 0 and invalid rows become 0.

    Source: MMCL, section 3.4.2 (L2-normalisation).
    Differs: PyTorch's normalize divides what is shorter than 1e-12 by 1e-12; here it
        becomes 0 and passes no gradient, which would be up to 1e12 times as large.
    """
    x = _only(x, valid)
    square = jnp.square(x).sum(axis=1, keepdims=True)
    long = square > 1e-24
    return jnp.where(long, x * jax.lax.rsqrt(jnp.where(long, square, 1)), 0)


def in_turn(a: Vectors, b: Vectors) -> Float[Array, "2*b h"]:
    """Return both rows of a sample, one after the other: a[0], b[0], a[1], b[1], ...

    One set behind the other would send rows between devices that share the batch.
    """
    return jnp.stack([a, b], axis=1).reshape(-1, a.shape[1])


def info_nce(
    query: Vectors,
    key: Vectors,
    valid: Valid,
    temperature: Number,
    reading: UniReading = "prose",
) -> PerAnchor:
    """Return log(sum over candidates of exp(q.c / t)) - q.k+ / t of each query q.

    k+ is the key in the query's own row. Candidates:

        prose    k+ and the other samples' queries
        literal  all queries, q itself included and k+ not: no bound below; with
                 normalised vectors about (1 - q.k+) / t, with hardly any repulsion
        keys     all keys (in-batch keys, as MoCo's queue)
        simclr   all keys and the other samples' queries

    Without other samples the loss is 0 (literal: (q.q - q.k+) / t).

    Source: MMCL, section 3.3, prose and Eq. 4; MoCo (He et al., 2020), Eq. 1; SimCLR
        (Chen et al., 2020), Eq. 1.
    Differs: the paper does not normalise here; the caller does (`unit`) or does not.
    """
    query, key = _only(query, valid), _only(key, valid)
    positive = _row_products(query, key) / temperature
    among_queries = _products(query, query) / temperature
    others = valid[None] & ~jnp.eye(len(valid), dtype=bool)
    everyone = jnp.broadcast_to(valid[None], others.shape)
    match reading:
        case "prose":
            total = jnp.logaddexp(positive, _log_sum(among_queries, others))
        case "literal":
            total = _log_sum(among_queries, everyone)
        case "keys":
            total = _log_sum(_products(query, key) / temperature, everyone)
        case "simclr":
            scores = (_products(query, key) / temperature, among_queries)
            kept = jnp.concatenate([everyone, others], axis=1)
            total = _log_sum(jnp.concatenate(scores, axis=1), kept)
        case _:
            raise ValueError(f"unknown reading {reading!r}")
    return jnp.where(valid, total - positive, 0)


def cross_contrast(
    predicted: Vectors,
    target: Vectors,
    valid: Valid,
    temperature: Number,
    reduce: Literal["mean", "sum"] = "mean",
) -> PerAnchor:
    """Return the instance-based loss over the pairings (G, G), (P, P) and (G, P).

    The positive of the first two is the sample itself: they only push samples apart.

    Args:
        predicted: P, length 1.
        target: G, length 1; queries of the third pairing.
        valid: rows that count.
        temperature: of the softmax.
        reduce: over the three pairings.

    Source: MMCL, section 3.4.2, Eq. 5.
    Differs: "successively" names no steps at which one pairing follows another; all
        three count at every step. The expectation over pairings is their mean (`sum`
        is the other reading).
    """
    pairings = ((target, target), (predicted, predicted), (target, predicted))
    per_pairing = [info_nce(q, k, valid, temperature, "keys") for q, k in pairings]
    total = per_pairing[0] + per_pairing[1] + per_pairing[2]
    if reduce not in ("mean", "sum"):
        raise ValueError(f"unknown reduction {reduce!r}")
    return total / 3 if reduce == "mean" else total


def alignment(
    predicted: Vectors,
    target: Vectors,
    valid: Valid,
    power: float = 2.0,
    norm: Literal["euclidean", "taxicab"] = "euclidean",
) -> PerAnchor:
    """Return |P - G|^power of each row; at distance 0 the gradient is 0.

    Args:
        predicted: P, length 1.
        target: G, length 1.
        valid: rows that count.
        power: lambda, above 0.
        norm: the length that is raised: "euclidean", or "taxicab", the sum of absolute
            differences.

    Source: MMCL, Eq. 6; Wang & Isola (2020), section 4.1.
    Differs: lambda is 1 or 2 in the paper, "as L1 and L2 loss": read as powers of the
        Euclidean length, as Eq. 6 prints it; taxicab with power 1 is the L1 of the
        words. 2 is Wang and Isola's.
    """
    gap = _only(predicted, valid) - _only(target, valid)
    match norm:
        case "euclidean":
            square = jnp.square(gap).sum(axis=1)
            if power == 2:
                return square
            exponent = power / 2
        case "taxicab":
            square, exponent = (gap * jnp.sign(gap)).sum(axis=1), power
        case _:
            raise ValueError(f"unknown norm {norm!r}")
    apart = square > 0
    return jnp.where(apart, jnp.where(apart, square, 1) ** exponent, 0)


def uniformity(
    predicted: Vectors,
    target: Vectors,
    valid: Valid,
    kappa: Number = 2.0,
    reading: UniformityReading = "wang_isola",
) -> Scalar:
    """Return log of the mean of exp(-kappa |x - y|^2) over pairs of vectors.

        wang_isola  distinct pairs within P and within G; the mean of the two logs
        literal     each P with its own G: pushes what Eq. 6 pulls together
        union       distinct pairs of the 2b vectors
        all_pairs   every P with every G, its own included

    0 where there is no pair (a batch of one).

    Args:
        predicted: P, length 1.
        target: G, length 1.
        valid: rows that count.
        kappa: above 0.
        reading: which pairs.

    Source: MMCL, Eq. 7 (literal), appendix A.2 ("average pairwise"); Wang & Isola
        (2020), section 4.1, and ssnl/align_uniform (wang_isola, kappa 2).
    Differs: see docs/fidelity.md, why Eq. 7 as printed is not the default.
    """
    match reading:
        case "wang_isola":
            within = [_spread(x, valid, kappa) for x in (predicted, target)]
            return (within[0] + within[1]) / 2
        case "literal":
            apart = alignment(predicted, target, valid)
            return _log_mean(-kappa * apart, valid)
        case "union":
            both = in_turn(predicted, target)
            return _spread(both, jnp.repeat(valid, 2), kappa)
        case "all_pairs":
            apart = _square_distances(_only(predicted, valid), _only(target, valid))
            return _log_mean(-kappa * apart, valid[:, None] & valid[None])
    raise ValueError(f"unknown reading {reading!r}")


def sentiment_contrast(
    vectors: Vectors,
    label: Float[Array, " b"],
    valid: Valid,
    temperature: Number,
    reading: SentimentReading = "log_outside_sum",
    with_self: bool = False,
) -> tuple[PerAnchor, Valid]:
    """Contrast each vector with those whose label has another sign.

    Classes are the labels' signs: positive, zero, negative. With A(i) all other vectors
    (the anchor itself, too, if `with_self`) and S(i) those of them in i's class:

        log_outside_sum   log sum_A exp(z_i.z / t) - log sum_S exp(z_i.z / t)
        log_outside_mean  the same with the mean over S
        log_inside        log sum_A exp(z_i.z / t) - mean over S of z_i.z / t

    Returns:
        The loss of each anchor, and which anchors count: valid, with somebody in S.

    Source: MMCL, Eq. 8 (log_outside_sum); Khosla et al. (2020), Eq. 3
        (log_outside_mean) and Eq. 2 (log_inside).
    Differs: Eq. 8's sums may include the anchor itself; then it is its own positive and
        the loss is almost 0. The sets are introduced as query plus keys: excluded.
    """
    vectors = _only(vectors, valid)
    score = _products(vectors, vectors) / temperature
    kind = jnp.sign(jnp.where(valid, label, 0))
    present = jnp.broadcast_to(valid[None], score.shape)
    if not with_self:
        present = present & ~jnp.eye(len(valid), dtype=bool)
    same = present & (kind[:, None] == kind[None])
    count = same.sum(axis=1)
    counted = valid & (count > 0)
    size = jnp.maximum(count, 1).astype(score.dtype)
    match reading:
        case "log_outside_sum":
            near = _log_sum(score, same)
        case "log_outside_mean":
            near = _log_sum(score, same) - jnp.log(size)
        case "log_inside":
            near = jnp.where(same, score, 0).sum(axis=1) / size
        case _:
            raise ValueError(f"unknown reading {reading!r}")
    return jnp.where(counted, _log_sum(score, present) - near, 0), counted


def _only(x: Array, valid: Array) -> Array:
    return jnp.where(valid[:, None], x, 0)


def _products(a: Array, b: Array) -> Float[Array, "b c"]:
    """Multiply every row with every row, exactly.

    Divided by a small temperature, the 8 bits of an accelerator's fast products would
    be errors of order 1 in the exponent.
    """
    return jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)


def _row_products(a: Array, b: Array) -> PerAnchor:
    return (a * b).sum(axis=1)


def _log_sum(score: Float[Array, "b c"], kept: Bool[Array, "b c"]) -> PerAnchor:
    """Return log sum exp of each row's kept entries; the smallest float if none.

    Finite, not -inf: nothing infinite arises, not even in what a caller discards.
    """
    lowest = jnp.finfo(score.dtype).min
    return jax.nn.logsumexp(jnp.where(kept, score, lowest), axis=1)


def _log_mean(score: Array, kept: Array) -> Scalar:
    """Return log mean exp of the kept entries; 0 if there are none."""
    count = kept.sum()
    size = jnp.maximum(count, 1).astype(score.dtype)
    value = _log_sum(score.reshape(1, -1), kept.reshape(1, -1))[0] - jnp.log(size)
    return jnp.where(count > 0, value, 0)


def _spread(x: Array, valid: Array, kappa: Number) -> Scalar:
    """Return the log mean potential of the distinct pairs of one set."""
    x = _only(x, valid)
    pairs = jnp.triu(valid[:, None] & valid[None], 1)
    return _log_mean(-kappa * _square_distances(x, x), pairs)


def _square_distances(a: Array, b: Array) -> Float[Array, "b c"]:
    """Return |a_i - b_j|^2 by |a|^2 + |b|^2 - 2 a.b: no array of all differences."""
    lengths = jnp.square(a).sum(axis=1)[:, None] + jnp.square(b).sum(axis=1)[None]
    return lengths - 2 * _products(a, b)
