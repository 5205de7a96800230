"""Orders, batches and the rows they cut out of a split that lies on the device."""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Int, PRNGKeyArray

from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch, PyTree, Split

# Folded into a seed's root key: every use of chance has its own stream.
INIT_STREAM, ORDER_STREAM, DROPOUT_STREAM = 0, 1, 2
_CLIP = re.compile(r"(.+?)(?:\$_\$|_|\[)(\d+)\]?")  # of a video; all three ways occur


@struct.dataclass
class Folded:
    """Sequences [n, t, d] as rows [n, t * d]; indices take samples out of it.

    On an accelerator an array's last axis takes a multiple of 128 places: 35 features
    would take 3.7 times their room, and a program would copy all data into that form
    before it begins. Rows of t * d numbers are as long as they are.
    """

    rows: Array
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
            rows: Any = jax.ShapeDtypeStruct(size, x.dtype)
        else:
            rows = x.reshape(size)
        return Folded(rows, x.shape[1:])

    sequences = {m: folded(getattr(split, m)) for m in MODALITIES}
    return dataclasses.replace(split, **sequences)


def gather(split: Split, index: Int[Array, " b"], videos: bool = False) -> Batch:
    """Cut the rows `index` out of a split; index n marks padding (`valid` False).

    With `videos` they are whole videos, from `cut`.
    """
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
        utterances=utterances(split, videos),
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


def video_index(ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return which samples make up each video, [videos, utterances] int32.

    An id is video$_$clip, video_clip or video[clip], with the clip's number in the
    video; any other sample is a video of its own. Videos come in the order of their
    first sample, shorter ones padded with the number of samples.

    Source: ids of MMSA's files (video$_$clip) and of CMU's SDK (video[clip]).
    """
    videos: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for row, name in enumerate(map(str, ids)):
        match = _CLIP.fullmatch(name)
        video, clip = ((match[1], -1), int(match[2])) if match else ((name, row), 0)
        videos.setdefault(video, []).append((clip, row))
    longest = max(map(len, videos.values()))
    table = np.full((len(videos), longest), len(ids), np.int32)
    for line, clips in zip(table, videos.values(), strict=True):
        line[: len(clips)] = [row for _, row in sorted(clips)]
    return table


def _table(split: Split) -> Int[Array, "v u"]:
    """Return a split's videos; every sample is one where it does not say."""
    if split.videos is not None:
        return split.videos
    return jnp.arange(split.label.shape[0])[:, None]


def utterances(split: Split, videos: bool) -> int:
    """Return how many samples a row of `cut` has for each that is shuffled."""
    return _table(split).shape[1] if videos else 1


def count(split: Split, videos: bool) -> int:
    """Return how many samples, or videos, are shuffled."""
    return (_table(split) if videos else split.label).shape[0]


def cut(
    split: Split,
    order: Int[Array, " n"],
    size: int,
    videos: bool,
    *,
    columns: int = 0,
    drop_last: bool = False,
) -> Int[Array, "k b"]:
    """Cut an order of samples, or of videos, into batches of samples, see `batches`.

    A video's samples lie one after another, padded to the longest video.
    """
    rows = batches(order, size, columns=columns, drop_last=drop_last)
    if not videos:
        return rows
    n = split.label.shape[0]
    table = jnp.pad(_table(split), ((0, 1), (0, 0)), constant_values=n)
    table = table[rows]
    return table.reshape(rows.shape[0], -1)


def in_order(
    split: Split, found: PyTree, index: Int[Array, "k b"], videos: bool
) -> PyTree:
    """Return what batches from `cut` gave, [k, b, ...], in the split's order: [n, ...].

    Without videos the order is cut as it is.
    """
    n = split.label.shape[0]

    def place(x):
        x = x.reshape(-1, *x.shape[2:])
        if not videos:
            return x[:n]
        return (
            jnp.zeros((n, *x.shape[1:]), x.dtype).at[index.ravel()].set(x, mode="drop")
        )

    return jax.tree.map(place, found)
