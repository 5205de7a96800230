"""Sequences brought to the lengths of another modality."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def match_steps(
    x: Float[Array, "b s d"],
    length: Int[Array, " b"],
    steps: int,
    target_length: Int[Array, " b"],
) -> Float[Array, "b {steps} d"]:
    """Average (or repeat) the valid steps so that each row has its target's length.

    Step j of n is the mean of the source steps from floor(j L / n) to
    ceil((j + 1) L / n); with equal lengths nothing changes. Steps from `target_length`
    on are 0.

    Args:
        x: sequences.
        length: valid steps L of each, at least 1.
        steps: of the result.
        target_length: valid steps n of the result, in 1..steps.

    Source: torch.nn.functional.adaptive_avg_pool1d, here with lengths of each sample.
    """
    place = jnp.arange(steps)[None]
    valid, wanted = length[:, None], target_length[:, None]
    start = place * valid // wanted
    end = -(-(place + 1) * valid // wanted)
    source = jnp.arange(x.shape[1])[None, None]
    taken = (source >= start[:, :, None]) & (source < end[:, :, None])
    share = taken / jnp.maximum(end - start, 1)[:, :, None]
    share = jnp.where((place < wanted)[:, :, None], share, 0)
    # What lies beyond the length, NaN included, must not meet a weight of 0.
    kept = jnp.arange(x.shape[1])[None, :, None] < valid[:, :, None]
    return jnp.einsum("bjs,bsd->bjd", share.astype(x.dtype), jnp.where(kept, x, 0))
