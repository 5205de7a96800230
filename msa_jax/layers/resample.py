"""Sequences brought to the lengths of another modality."""

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from msa_jax.ground.types import Batch
from msa_jax.layers.subnets import time_mean

Align = Literal["block_mean", "valid"]  # see `side_by_side`


def side_by_side(
    module: nn.Module,
    batch: Batch,
    text: Float[Array, "b t d"],
    align: Align,
    *,
    tiled: bool = False,
) -> dict[str, Float[Array, "b t _"]]:
    """Return the three sequences of a batch with one step for each step of its text.

    -inf, of which COVAREP's files have some, becomes 0. Where intermediates are kept,
    the module has "seen_audio" and "seen_vision".

    Args:
        module: that calls, in its own `__call__`.
        batch: whose audio and vision are meant.
        text: what encodes its text; stays as it is.
        align: means of blocks of all stored steps, padding included, or of the valid
            ones, as many as the text's (`match_steps`). Aligned files stay as they are.
        tiled: audio and vision are their means over time, repeated.

    Source: MMSA a94e65d, its data loader (`need_normalized`) and AlignSubNet.
    """
    steps, found = text.shape[1], {"text": text}
    for m in ("audio", "vision"):
        x, length = getattr(batch, m), getattr(batch, f"{m}_length")
        if tiled:
            mean = time_mean(x, length, "all" if align == "block_mean" else "valid")
            x = jnp.repeat(mean[:, None], steps, axis=1)
        else:
            x = jnp.where(jnp.isneginf(x), 0, x)
            if align == "block_mean":
                x = block_mean(x, steps)
            else:
                x = match_steps(x, length, steps, batch.text_length)
        module.sow("intermediates", f"seen_{m}", x)
        found[m] = x.astype(jnp.promote_types(x.dtype, text.dtype))
    return found


def block_mean(x: Float[Array, "b s d"], steps: int) -> Float[Array, "b {steps} d"]:
    """Average (or repeat) stored steps, padding included, in blocks of one size.

    Where the blocks do not come out even, copies of the last stored step fill them up.

    Source: MMSA's AlignSubNet ("avg_pool").
    """
    stored = x.shape[1]
    size = -(-stored // steps)
    x = jnp.pad(x, ((0, 0), (0, size * steps - stored), (0, 0)), mode="edge")
    return x if size == 1 else x.reshape(len(x), steps, size, -1).mean(axis=2)


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
