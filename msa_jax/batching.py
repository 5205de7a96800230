"""Orders, batches and the rows they cut out of a split that lies on the device."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Int, PRNGKeyArray

from msa_jax.types import MODALITIES, Batch, Split

# Folded into a seed's root key: every use of chance has its own stream.
INIT_STREAM, ORDER_STREAM, DROPOUT_STREAM = 0, 1, 2


@struct.dataclass
class Folded:
    """Sequences [n, t, d] as rows [n, t * d]; indices take samples out of it.

    On an accelerator an array's last axis takes a multiple of 128 places: 35 features
    would take 3.7 times their room, and a program would copy all data into that form
    before it begins. Rows of t * d numbers are as long as they are.
    """

    rows: jax.Array | jax.ShapeDtypeStruct
    one: tuple[int, int] = struct.field(pytree_node=False)  # (t, d)

    @property
    def shape(self) -> tuple[int, int, int]:
        """As of the sequences."""
        return self.rows.shape[0], *self.one

    @property
    def dtype(self):
        """As of the sequences."""
        return self.rows.dtype

    def __getitem__(self, index: Array) -> Array:
        """Return the sequences of some samples."""
        return self.rows[index].reshape(*index.shape, *self.one)


def fold(split: Split) -> Split:
    """Return a split whose sequences lie as rows; shapes alone will do."""

    def folded(x):
        size = x.shape[0], math.prod(x.shape[1:])
        if isinstance(x, jax.ShapeDtypeStruct):
            return Folded(jax.ShapeDtypeStruct(size, x.dtype), x.shape[1:])
        return Folded(x.reshape(size), x.shape[1:])

    sequences = {m: folded(getattr(split, m)) for m in MODALITIES}
    return dataclasses.replace(split, **sequences)


def gather(split: Split, index: Int[Array, " b"]) -> Batch:
    """Cut the rows `index` out of a split; index n marks padding (`valid` False)."""
    n = split.label.shape[0]
    rows = jnp.minimum(index, n - 1)
    return Batch(
        text=split.text[rows],
        text_length=split.text_length[rows],
        audio=split.audio[rows],
        audio_length=split.audio_length[rows],
        vision=split.vision[rows],
        vision_length=split.vision_length[rows],
        label=split.label[rows],
        index=index,
        valid=index < n,
        emotion=None if split.emotion is None else split.emotion[rows],
    )


def batches(
    order: Int[Array, " n"], size: int, *, columns: int = 0, drop_last: bool = False
) -> Int[Array, "k b"]:
    """Cut an order of n samples into rows of `size`, the last one padded with n.

    Args:
        order: sample indices.
        size: samples per batch.
        columns: widen each row with padding to so many columns (0 = `size`), so that
            it divides over devices.
        drop_last: leave out the ragged last batch.
    """
    n = order.shape[0]
    count = n // size if drop_last else -(-n // size)
    order = order[: count * size]
    filled = jnp.pad(order, (0, count * size - order.shape[0]), constant_values=n)
    filled = filled.reshape(count, size)
    extra = max(columns - size, 0)
    return jnp.pad(filled, ((0, 0), (0, extra)), constant_values=n)


def shuffled(key: PRNGKeyArray, epoch: Int[Array, ""], n: int) -> Int[Array, " n"]:
    """Order the samples of an epoch: a pure function of seed and epoch."""
    key = jax.random.fold_in(jax.random.fold_in(key, ORDER_STREAM), epoch)
    return jax.random.permutation(key, n)
