"""Lengths of padded sequences, and moving front padding to the back."""

from typing import NamedTuple

import numpy as np


class Padding(NamedTuple):
    """How one modality was padded in its file."""

    side: str  # "front", "back" or "none"
    lengths: str  # "given", "derived" from all-zero steps, "recomputed" or "array"
    blank: int  # samples without one non-zero step; their length is 1 if derived
    dropped: int  # non-zero steps beyond the given lengths, set to zero
    recomputed: int = 0  # given lengths that the padding contradicts


_CHUNK = 1 << 22  # values at a time
SIDES = ("auto", "front", "back", "as_stored")


def settle_padding(
    sequence: np.ndarray, length: np.ndarray | None, side: str = "auto"
) -> tuple[np.ndarray, np.ndarray, Padding]:
    """Bring sequences [n, t, d] to back padding with exact zeros after each length.

    The result is one new float32 array; nothing else as large is made on the way.

    Without lengths, a sample's padding is its run of all-zero steps at the side where
    more samples have one; zero steps inside and at the other side are kept. Given
    lengths are believed. They count from the back only if, for every sample, all
    steps before that are zero and some sample has contents after its length. If they
    fit neither way and zeros come first in more samples than last, they are
    recomputed: an LSTM that stops after a stored length of 1 would see padding only.

    Args:
        side: where padding is: "auto" finds out as above, "front" and "back" are
            taken as said. "as_stored" believes lengths to count from the front, or
            takes all steps without lengths, zeros or not, as the originals do.

    Returns: sequences cut to the longest, lengths [n] int32 (at least 1), findings.
    """
    n, steps, width = sequence.shape
    position = np.arange(steps)
    chunk = max(1, _CHUNK // (steps * width))
    chunks = [slice(i, i + chunk) for i in range(0, n, chunk)]
    used = np.zeros((n, steps), bool)  # NaN counts as contents
    for part in chunks:  # after the cast: it can turn values into zeros
        used[part] = (sequence[part].astype(np.float32, copy=False) != 0).any(axis=-1)
    some = used.any(axis=1)
    blank = int(n - some.sum())
    first = used.argmax(axis=1)  # 0 if blank
    last = np.where(some, steps - used[:, ::-1].argmax(axis=1), 1)
    at_front = int(np.sum(first > 0))
    at_back = int(np.sum(last[some] < steps))
    front = side == "front" or (side == "auto" and at_front > at_back)
    own = np.where(some, steps - first, 1) if front else last  # by all-zero steps
    dropped = recomputed = 0
    if length is None:
        lengths = "array" if side == "as_stored" else "derived"
        length = np.full(n, steps) if side == "as_stored" else own
        padded = at_front if front else at_back
    else:
        lengths = "given"
        after = used & (position >= length[:, None])
        before_tail = used & (position < steps - length[:, None])
        from_back = bool(after.any() and not before_tail.any())
        if from_back or not (front and after.any()):
            front = from_back and side in ("auto", "front")
            dropped = 0 if front else int(after.sum())
        else:
            lengths, recomputed = "recomputed", int(np.sum(length != own))
            length = own
        padded = int(np.sum(length < steps))
    found = Padding(
        ("front" if front else "back") if padded else "none",
        lengths,
        blank,
        dropped,
        recomputed,
    )
    length = length.astype(np.int32)
    longest = int(length.max())
    settled = np.zeros((n, longest, width), np.float32)
    for part in chunks:
        block = sequence[part, :longest]
        if front:
            start = steps - length[part]
            index = np.minimum(start[:, None] + position[:longest], steps - 1)
            block = np.take_along_axis(sequence[part], index[:, :, None], axis=1)
        settled[part] = block
        settled[part][position[:longest] >= length[part, None]] = 0
    return settled, length, found
