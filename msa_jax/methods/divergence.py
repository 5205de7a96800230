"""UCRN's regulariser: how far apart the distributions of the modalities are.

Rows that are not `valid` are 0, and whatever stands in them, NaN included, reaches
neither a value nor a gradient.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Vectors = Float[Array, "b h"]
Sequences = Float[Array, "b t h"]
Valid = Bool[Array, " b"]
PerSample = Float[Array, " b"]


def jensen_shannon(first: Vectors, second: Vectors) -> PerSample:
    """Return the divergence of two softmax distributions, in 0 to ln 2.

    From log-probabilities alone, so that nothing overflows where a softmax saturates.

    Source: UCRN, Eq. 7.
    Differs: the paper says "distributions over n classes", not how features become
        one: here softmax over the features, natural logarithm.
    """
    p, q = jax.nn.log_softmax(first, axis=-1), jax.nn.log_softmax(second, axis=-1)
    middle = jnp.logaddexp(p, q) - np.log(2)
    apart = jnp.exp(p) * (p - middle) + jnp.exp(q) * (q - middle)
    return apart.sum(axis=-1) / 2


def published_pair(
    first: Sequences, second: Sequences, *, softmax: bool = False
) -> PerSample:
    """Return what the public code computes of two modalities, not a divergence.

    Features p and q, or their softmax over time, count as log-probabilities, and their
    mean as the mixture's: sum of (e^p - e^q)(p - q) / 4, over the steps. At least 0,
    without an upper bound.

    Source: Redaimao/UCRN@21a6783 (its multimodal loss), in closed form.
    """
    if softmax:
        first, second = (jax.nn.softmax(x, axis=1) for x in (first, second))
    apart = (jnp.exp(first) - jnp.exp(second)) * (first - second)
    return apart.sum(axis=(1, 2)) / (4 * first.shape[1])


def multimodal(
    features: Mapping[str, Vectors],
    valid: Valid,
    reading: Literal["paper", "code"] = "paper",
) -> PerSample:
    """Compare every two modalities; fewer than two give 0.

        paper  the sum of the pairs' Jensen-Shannon divergences
        code   the mean of three pairs' `published_pair`; of two modalities 0, because
               its softmax there runs over the single step that is left

    Args:
        features: per modality, before the gates (x^U).
        valid: rows that count; average with `losses.masked_mean`.
        reading: which formula.

    Source: UCRN, Eq. 8; Redaimao/UCRN@21a6783.
    """
    kept = [jnp.where(valid[:, None], x, 0) for x in features.values()]
    pairs = list(combinations(kept, 2))
    match reading:
        case "paper":
            found = [jensen_shannon(a, b) for a, b in pairs]
            scale = 1
        case "code":
            several = len(kept) > 2
            rows = [(a[:, None], b[:, None]) for a, b in pairs if several]
            found = [published_pair(a, b) for a, b in rows]
            scale = max(1, len(found))
        case _:
            raise ValueError(f"unknown reading {reading!r}: paper or code")
    total = jnp.zeros(valid.shape, kept[0].dtype)
    for value in found:
        total = total + value / scale
    return jnp.where(valid, total, 0)
