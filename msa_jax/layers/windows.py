"""Which keys a query of the sparse phased transformer reads, and how they are cut out.

Sequences here stand as [channels, steps, batch]: channels lead, so that a projection of
all steps of all samples is one matrix product, and the batch is last, so that a window
is a slice of contiguous rows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Shift = int | Int[Array, ""] | Int[Array, " q"] | Int[Array, "q b"]


class Sampling(NamedTuple):
    """How one kind of attention samples its keys.

    Query i (from 0) reads the keys at ((i + 1) stride - width + shift + j) mod t,
    j = 0..width-1: a window that looks back, wraps around and repeats keys if it is
    wider than the sequence. The shift of round l is the sum over the letters:

        S  step_shift * l
        P  trunc(steps * sin(phase_rate * i)), steps = input steps of the modality
        R  uniform in 0..ceil(random_share * steps / hidden steps) - 1, per query

    Source: SP-Transformer's code; the fields are its A, B and G.
    """

    stride: int
    radius: int
    letters: str = ""
    step_shift: int = 1
    phase_rate: float = 0.25
    random_share: float = 0.05

    @property
    def width(self) -> int:
        """Number of keys per query."""
        return 2 * self.radius + 1


def phase(
    steps: int | Int[Array, " b"], queries: int, sampling: Sampling
) -> np.ndarray | Int[Array, "q b"]:
    """Return letter P's shift of each query (and, given lengths, of each sample)."""
    wave = np.sin(sampling.phase_rate * np.arange(queries))
    if isinstance(steps, int):
        return np.trunc(steps * wave).astype(np.int32)
    return jnp.trunc(steps[None] * wave[:, None]).astype(jnp.int32)


def random_limit(steps: int | Int[Array, " b"], hidden: int, sampling: Sampling) -> int:
    """Return how many values letter R draws from (1: always 0).

    Given lengths per sample, steps / hidden counts as the stride.
    """
    ratio = steps / hidden if isinstance(steps, int) else sampling.stride
    return max(1, int(np.ceil(sampling.random_share * ratio)))


def window_index(
    queries: int,
    steps: int | Int[Array, " b"],
    sampling: Sampling,
    shift: Shift = 0,
) -> Int[Array, "w q"] | Int[Array, "w q b"]:
    """Return the sampled key of every window entry and query.

    Args:
        queries: number of queries.
        steps: number of keys; given per sample, windows wrap at each one's own length.
        sampling: stride and width.
        shift: one for all queries, one per query, or per query and sample.
    """
    first = (jnp.arange(queries) + 1) * sampling.stride - sampling.width
    first = first.reshape(-1, *[1] * (jnp.ndim(shift) - 1)) + shift
    entry = jnp.arange(sampling.width).reshape(-1, *[1] * first.ndim)
    index = first[None] + entry
    if isinstance(steps, int):
        return index % steps
    index = index if index.ndim == 3 else index[:, :, None]
    return index % steps[None, None]


def cut(
    x: Float[Array, "c t b"],
    queries: int,
    sampling: Sampling,
    shift: Shift = 0,
    length: Int[Array, " b"] | None = None,
) -> Float[Array, "c w q s b"]:
    """Cut every query's window out of a sequence.

    Entry (w, s) of a window is its key w * stride + s; those from `width` on belong to
    no window, see `entries`. One shift for all queries is cut by slices of the
    periodically continued sequence, other samplings by a gather (then s is 1).

    Args:
        x: keys or values.
        queries: number of queries.
        sampling: stride and width.
        shift: as for `window_index`.
        length: windows wrap at each sample's own length instead of at t.
    """
    if length is not None or jnp.ndim(shift):
        steps = x.shape[1] if length is None else length
        index = window_index(queries, steps, sampling, shift)
        if index.ndim == 2:
            return x[:, index][:, :, :, None]
        flat = index.reshape(1, -1, index.shape[-1])
        out = jnp.take_along_axis(x, flat, axis=1)
        return out.reshape(x.shape[0], *index.shape[:2], 1, index.shape[2])
    again = continued(x, queries, sampling, shift)
    # Row w of the result is the sequence from block w on. Repeated `blocks` times and
    # read with rows one block longer, each row starts one block later.
    channels, need, stride, batch = again.shape
    blocks = need - queries + 1
    rows = jnp.broadcast_to(again[:, None], (channels, blocks, *again.shape[1:]))
    flat = rows.reshape(channels, blocks * need, stride, batch)
    flat = jnp.pad(flat, ((0, 0), (0, blocks), (0, 0), (0, 0)))
    rows = flat.reshape(channels, blocks, need + 1, stride, batch)
    return rows[:, :, :queries]


def continued(
    x: Float[Array, "c t b"],
    queries: int,
    sampling: Sampling,
    shift: int | Int[Array, ""],
) -> Float[Array, "c n s b"]:
    """Continue a sequence periodically, from the first key of the first window on.

    Returns:
        The steps in blocks of `stride`: window i is blocks i to i + w - 1.
    """
    steps, stride = x.shape[1], sampling.stride
    blocks = queries - 1 + entries(sampling).shape[0]
    start = (stride - sampling.width + shift) % steps
    farthest = start if isinstance(start, int) else steps - 1
    again = jnp.concatenate([x] * -(-(farthest + blocks * stride) // steps), axis=1)
    again = jax.lax.dynamic_slice_in_dim(again, start, blocks * stride, axis=1)
    return again.reshape(x.shape[0], blocks, stride, x.shape[2])


def entries(sampling: Sampling) -> np.ndarray:
    """Return which entries (w, s) of a window that `cut` made are real, [w, s] bool."""
    blocks = -(-sampling.width // sampling.stride)
    entry = np.arange(blocks * sampling.stride).reshape(blocks, -1)
    return entry < sampling.width


def dense_mask(queries: int, steps: int, sampling: Sampling) -> np.ndarray:
    """Return which keys the dense reading lets each query see, [queries, steps] bool.

    The windows without any shift; repeated keys count once.

    Source: SP-Transformer's code (its dense path ignores all shifts).
    """
    ends = (np.arange(queries) + 1) * sampling.stride
    index = (ends - sampling.width)[:, None] + np.arange(sampling.width)
    seen = np.zeros((queries, steps), bool)
    np.put_along_axis(seen, index % steps, True, axis=1)
    return seen
