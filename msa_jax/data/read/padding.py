"""Lengths of padded sequences, and moving front padding to the back.

Modalities of one time axis (aligned files) are moved together: a row of vision stays
beside the word that it belongs to.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

ALIGNMENT = 64  # bytes, of what a CPU's compiled programs read


class Padding(NamedTuple):
    """How one modality was padded in its file."""

    side: str  # "front", "back" or "none"
    lengths: str  # "given", "derived" from all-zero steps, "recomputed" or "array"
    blank: int  # samples without one non-zero step; alone, their length is 1 if derived
    dropped: int  # non-zero steps beyond the given lengths, set to zero
    recomputed: int = 0  # given lengths that the padding contradicts


class Axis(NamedTuple):
    """The time axis that several modalities of a file share.

    names: those that are on it, text also as tokens; () if padding is each one's own.
    apart: samples in which one of the features begins or ends with zeros of its own;
        one that is nothing but zeros does not count.
    elsewhere: tokens have as many steps, but most contents lie outside of their mask.
    unlike: those that have as many steps, but not the same ends in most samples.
    """

    names: tuple[str, ...] = ()
    apart: int = 0
    elsewhere: bool = False
    unlike: tuple[str, ...] = ()


Settled = tuple[np.ndarray, np.ndarray, Padding]

_CHUNK = 1 << 22  # values at a time


def aligned_zeros(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """Return zeros that begin where a CPU's compiled programs can read them in place.

    jax takes such an array as it lies (`jax.device_put`), any other it copies: the data
    of a large set would be in memory twice.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def settle_padding(
    sequences: Mapping[str, np.ndarray],
    lengths: Mapping[str, np.ndarray],
    side: str = "auto",
    mask: np.ndarray | None = None,
) -> tuple[dict[str, Settled], Axis]:
    """Bring sequences [n, t, d] to back padding with exact zeros after each length.

    The results are new float32 arrays, cut to the longest; nothing else as large is
    made on the way. Lengths [n] are int32 and at least 1.

    Without lengths, a sample's padding is its run of all-zero steps at the side where
    it is the longer one in more samples; zero steps inside and at the other side are
    kept (as a row of zeros for [CLS] in front of back padding). Given
    lengths are believed, 0 as 1 and those beyond the array as all its steps. They
    count from the back only if, for every sample, all steps before that are zero and
    some sample has contents after its length. If they fit neither way and the zeros say
    front, they are recomputed: an LSTM that stops after a stored length of 1 would see
    padding only.

    Modalities share a time axis if all in the file have equally many steps and none has
    lengths. If only some have as many, or have lengths, they do if these and the zeros
    of most samples end in the same places. What is told from zeros
    is told of the axis: padding is what is zero in every modality at once (and beyond
    lengths, where one has lengths), so that equal steps stay side by side.

    Args:
        lengths: [n], of the modalities that have them, 0 or more.
        side: where padding is: "auto" finds out as above, "front" and "back" are
            taken as said. "as_stored" believes lengths to count from the front, or
            takes all steps without lengths, zeros or not, as the originals do.
        mask: [n, t], where tokens are; on the axis unless, in most samples, features
            stand where no token does.
    """
    used = {m: contents(x) for m, x in sequences.items()}
    told = {m: _tell(u, u, lengths.get(m), side) for m, u in used.items()}
    axis, shared = _shared_axis(used, told, mask)
    for m in set(axis.names) & set(used):
        told[m] = _tell(used[m], shared, lengths.get(m), side)
    return {m: _move(x, *told[m]) for m, x in sequences.items()}, axis


def _shared_axis(
    used: Mapping[str, np.ndarray],
    told: Mapping[str, tuple[bool, np.ndarray, Padding]],
    mask: np.ndarray | None,
) -> tuple[Axis, np.ndarray]:
    """Find the modalities of one time axis, and the steps [n, t] with contents there.

    A file of few modalities has at most one: text, audio and vision are three.
    """
    nothing = Axis(), np.zeros((0, 0), bool)
    counts = [u.shape[1] for u in used.values()]
    counts += [] if mask is None else [mask.shape[1]]
    steps = max(counts, key=counts.count, default=0)
    names = [m for m, u in used.items() if u.shape[1] == steps]
    from_zeros = [told[m][2].lengths in ("derived", "recomputed") for m in names]
    if counts.count(steps) < 2 or not any(from_zeros):
        return nothing
    extents = [_extent(used[m], *told[m]) for m in names]
    features = np.logical_or.reduce(extents)
    ends, some = _ends(features), np.array([e.any(axis=1) for e in extents])
    alike = [(_ends(e) == ends).all(axis=0) for e in extents]
    same = np.all(alike | ~some, axis=0)  # what is blank tells nothing
    telling = some.sum(axis=0) > 1
    certain = counts.count(steps) == len(counts) and all(from_zeros)
    alone = len(names) == 1  # beside tokens
    if not (certain or alone) and 2 * np.sum(same & telling) <= telling.sum():
        return Axis(unlike=tuple(names)), nothing[1]
    axis = Axis(() if alone else tuple(names), int(np.sum(~same)))
    if mask is None or mask.shape[1] != steps:
        return axis, features
    token = mask > 0
    if 2 * np.sum((features & ~token).any(axis=1)) > len(token):
        return axis._replace(elsewhere=True), features
    return axis._replace(names=("text", *names)), features | token


def _extent(
    used: np.ndarray, front: bool, length: np.ndarray, found: Padding
) -> np.ndarray:
    """Return the steps [n, t] that given lengths cover, else those with contents."""
    if found.lengths != "given":
        return used
    position, steps = np.arange(used.shape[1]), used.shape[1]
    if front:
        return position >= steps - length[:, None]
    return position < length[:, None]


def _ends(used: np.ndarray) -> np.ndarray:
    """Return the first step with contents and how many follow the last, [2, n]."""
    return np.stack([used.argmax(axis=1), used[:, ::-1].argmax(axis=1)])


def contents(sequence: np.ndarray) -> np.ndarray:
    """Tell which steps of [n, t, d] are not all zero, [n, t]; NaN is no zero."""
    used = np.zeros(sequence.shape[:2], bool)
    for part in _chunks(sequence):  # after the cast: it can turn values into zeros
        used[part] = (sequence[part].astype(np.float32, copy=False) != 0).any(axis=-1)
    return used


def _chunks(sequence: np.ndarray) -> list[slice]:
    n, steps, width = sequence.shape
    chunk = max(1, _CHUNK // (steps * width))
    return [slice(i, i + chunk) for i in range(0, n, chunk)]


def _move(
    sequence: np.ndarray, front: bool, length: np.ndarray, found: Padding
) -> Settled:
    n, steps, width = sequence.shape
    position = np.arange(steps)
    longest = int(length.max())
    settled = np.zeros((n, longest, width), np.float32)
    for part in _chunks(sequence):
        block = sequence[part, :longest]
        if front:
            start = steps - length[part]
            index = np.minimum(start[:, None] + position[:longest], steps - 1)
            block = np.take_along_axis(sequence[part], index[:, :, None], axis=1)
        settled[part] = block
        settled[part][position[:longest] >= length[part, None]] = 0
    return settled, length, found


def _tell(
    used: np.ndarray, shared: np.ndarray, length: np.ndarray | None, side: str
) -> tuple[bool, np.ndarray, Padding]:
    """Tell from the steps with contents, [n, t], what `settle_padding` has to do.

    Returns: whether padding is at the front, lengths [n] int32, findings.
    """
    n, steps = used.shape
    position = np.arange(steps)
    blank = int(n - used.any(axis=1).sum())
    some = shared.any(axis=1)
    first = shared.argmax(axis=1)  # 0 if blank
    last = np.where(some, steps - shared[:, ::-1].argmax(axis=1), 1)
    after_last = np.where(some, steps - last, 0)
    at_front, at_back = np.sum(first > after_last), np.sum(after_last > first)
    front = side == "front" or (side == "auto" and bool(at_front > at_back))
    own = np.where(some, steps - first, 1) if front else last  # by all-zero steps
    dropped = recomputed = 0
    if length is None:
        lengths = "array" if side == "as_stored" else "derived"
        length = np.full(n, steps) if side == "as_stored" else own
        padded = (first if front else after_last).any()
    else:
        lengths, length = "given", np.clip(length, 1, steps)
        after = used & (position >= length[:, None])
        before_tail = used & (position < steps - length[:, None])
        from_back = bool(after.any() and not before_tail.any())
        if from_back or not (front and after.any()):
            front = from_back and side in ("auto", "front")
            dropped = 0 if front else int(after.sum())
        else:
            lengths, recomputed = "recomputed", int(np.sum(length != own))
            length = own
        padded = (length < steps).any()
    where = ("front" if front else "back") if padded else "none"
    found = Padding(where, lengths, blank, dropped, recomputed)
    return front, length.astype(np.int32), found


def tokens_first(tokens: np.ndarray) -> tuple[np.ndarray, bool]:
    """Move tokens [n, 3, t] to the start where every mask is zeros, then ones.

    Returns: the tokens, and whether they were moved. MMSA-FET can pad at the front.
    """
    mask = tokens[:, 1]
    # no difference: that of unsigned numbers wraps
    if not np.any(mask == 0) or not np.all(mask[:, 1:] >= mask[:, :-1]):
        return tokens, False
    steps = tokens.shape[2]
    index = (np.arange(steps) + np.sum(mask == 0, axis=1)[:, None]) % steps
    return np.take_along_axis(tokens, index[:, None, :], axis=2), True
