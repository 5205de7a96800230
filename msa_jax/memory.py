"""What a run needs of the device's memory, from shapes alone, before it is compiled."""

import math
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp

from msa_jax.batching import DROPOUT_STREAM, gather
from msa_jax.types import Method, PyTree, Split, TrainState

SHARE = 0.9  # of the device's memory that a run may plan with


class Memory(NamedTuple):
    """Bytes on the device.

    data: both splits.
    state: of one seed: parameters, the best ones, Adam's moments, label tables.
    step: of one seed while it steps: gradients and what the backward pass keeps, before
        the compiler saves any of it.
    """

    data: int
    state: int
    step: int

    def total(self, seeds: int, at_once: int) -> int:
        """Add up for so many seeds, of which some step at a time."""
        return self.data + seeds * self.state + at_once * self.step


def estimate(
    method: Method, state: TrainState, train: Split, valid: Split, batch_size: int
) -> Memory:
    """Count what a training keeps.

    Args:
        method: the method.
        state: of one seed; shapes will do.
        train, valid: the splits; shapes will do.
        batch_size: samples per batch; text counts as padded.
    """
    index = jnp.zeros(batch_size, jnp.int32)

    def forward(state, split):
        batch = gather(split, index)
        key = jax.random.fold_in(state.key, DROPOUT_STREAM)

        def loss(params):
            outputs = method.model.apply(
                {"params": params}, batch, train=True, rngs={"dropout": key}
            )
            return method.loss(outputs, batch, state.labels)[0]

        # The second result is a pytree: its leaves are what the way back needs.
        return jax.vjp(loss, state.params)[1]

    kept = size_of(jax.eval_shape(forward, state, train))
    params = size_of(state.params)
    return Memory(
        data=size_of((train, valid)),
        state=size_of(state),
        step=max(kept - params, 0) + 2 * params,
    )


def size_of(tree: PyTree) -> int:
    """Return the bytes of all arrays of a pytree."""
    return sum(_bytes(x) for x in jax.tree.leaves(tree))


def capacity() -> int | None:
    """Return the bytes that one device has (a CPU: the machine); None if unknown."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # not a Unix
        return None


def group_of_seeds(need: Memory, seeds: int, room: int | None) -> int:
    """Return how many seeds can step at a time: the largest divisor that fits, or 1."""
    if room is None:
        return seeds
    fits = [n for n in _divisors(seeds) if need.total(seeds, n) <= SHARE * room]
    return max(fits, default=1)


def describe(need: Memory, seeds: int, at_once: int, room: int | None) -> str:
    """Say in a line what a run needs, and what to do where that is too much."""
    line = (
        f"memory: about {_human(need.total(seeds, at_once))} "
        f"(data {_human(need.data)}, {seeds} x {_human(need.state)} state, "
        f"{at_once} x {_human(need.step)} step)"
    )
    if room is None:
        return line
    line += f" of {_human(room)}"
    if need.total(seeds, at_once) > room:
        line += (
            "; it may not fit: fewer seeds, --config.text.remat with "
            "--config.text.implementation=own, or smaller batches with more of "
            "--config.optim.accumulate_batches"
        )
    return line


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


def _bytes(x: jax.Array) -> int:
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return math.prod(x.shape) * 8
    return math.prod(x.shape) * x.dtype.itemsize


def _human(size: float) -> str:
    """For example "1.2 GB"."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
