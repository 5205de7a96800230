"""Lengths of padded sequences, and moving front padding to the back."""

from typing import NamedTuple

import numpy as np


class Padding(NamedTuple):
    """How one modality was padded in its file."""

    side: str  # "front", "back" or "none"
    lengths: str  # "given" in the file or "derived" from all-zero steps
    blank: int  # samples without one non-zero step; their length is 1 if derived
    dropped: int  # non-zero steps beyond the given lengths, set to zero


def settle_padding(
    sequence: np.ndarray, length: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, Padding]:
    """Bring sequences [n, t, d] to back padding with exact zeros after each length.

    Without lengths, a sample's padding is its run of all-zero steps at the side where
    more samples have one; zero steps inside and at the other side are kept. Given
    lengths are believed. They count from the back only if, for every sample, all
    steps before that are zero and some sample has contents after its length.

    Returns: sequences cut to the longest, lengths [n] int32 (at least 1), findings.
    """
    n, steps, _ = sequence.shape
    position = np.arange(steps)
    used = np.any(sequence != 0, axis=-1)  # NaN counts as contents
    some = used.any(axis=1)
    blank = int(n - some.sum())
    first = np.where(some, used.argmax(axis=1), 0)
    last = np.where(some, steps - used[:, ::-1].argmax(axis=1), 1)
    if length is None:
        at_front = int(np.sum(first > 0))
        at_back = int(np.sum(last[some] < steps))
        front = at_front > at_back
        length = np.where(some, steps - first, 1) if front else last
        side = "front" if front else "back" if at_back else "none"
        found = Padding(side, "derived", blank, 0)
    else:
        after = used & (position >= length[:, None])
        before_tail = used & (position < steps - length[:, None])
        front = bool(after.any() and not before_tail.any())
        side = "front" if front else "back" if np.any(length < steps) else "none"
        found = Padding(side, "given", blank, 0 if front else int(after.sum()))
    length = length.astype(np.int32)
    longest = int(length.max())
    if front:
        start = steps - length
        index = np.minimum(start[:, None] + position[:longest], steps - 1)
        sequence = np.take_along_axis(sequence, index[:, :, None], axis=1)
    else:
        sequence = sequence[:, :longest].copy()
    sequence[position[:longest] >= length[:, None]] = 0
    return sequence, length, found
