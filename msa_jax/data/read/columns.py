"""From what a file holds to rectangular columns on disk, within a budget of bytes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from msa_jax.data.check.checks import check_sizes, check_transcripts, odd_ones, shown
from msa_jax.data.read import pickled
from msa_jax.ground.errors import UserError

SEQUENCES = ("text", "audio", "vision")
_TIME = {**dict.fromkeys(SEQUENCES, 0), "text_bert": 1}  # the axis of a row
_ROWS = 128  # of a block that is padded at once

Part = np.ndarray | list[np.ndarray] | list[str]


class Layout(NamedTuple):
    """What a file turned out to be: plain keys per split, and what was assumed."""

    name: str
    splits: Mapping[str, Mapping[str, Part]]
    assumptions: tuple[str, ...]
    unused: tuple[str, ...]


class Budget:
    """How many bytes may still be made of a file; few bytes can claim to be many."""

    def __init__(self, left: int):
        """Start with so many bytes."""
        self.total = self.left = left

    def spend(self, key: str, count: int) -> None:
        """Take `count` bytes, or refuse."""
        self.left -= count
        if self.left < 0:
            raise UserError(
                f"refused: '{key}' unfolds to more than {self.total >> 20} MiB, far "
                "more than the file holds"
            )


def numbers(key: str, value: Any, budget: Budget, depth: int = 0) -> Any:
    """Return numbers as one array, or as a list of arrays if rows differ in shape.

    An empty list or None among matrices is one without rows.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub":
            raise UserError(f"'{key}' must hold numbers, it holds strings")
        return value
    if type(value) in (bool, int, float):
        return np.asarray(numbers(key, [value], budget, depth)[0])
    if value is None and depth:
        return np.zeros(0)
    if not isinstance(value, list | tuple) or depth > 3:
        what = "nested lists" if depth > 3 else kind(value)
        raise UserError(f"'{key}' must hold numbers, it holds {what}")
    budget.spend(key, 16 * len(value))
    kinds = {type(item) for item in value}
    if kinds <= {bool, int, float}:
        try:
            return np.array(value, np.int64 if kinds == {int} else np.float64)
        except OverflowError:
            raise UserError(f"'{key}' holds an integer beyond 64 bits") from None
    rows = [
        numbers(key if depth else f"{key}[{i}]", item, budget, depth + 1)
        for i, item in enumerate(value)
    ]
    if any(isinstance(row, list) for row in rows):
        raise UserError(f"'{key}' is ragged on more than one axis")
    rank = max(row.ndim for row in rows)
    rows = [row if row.size else row.reshape(_without_steps(row, rank)) for row in rows]
    shapes = {row.shape for row in rows}
    if len({len(shape) for shape in shapes}) > 1:
        odd, usual, count = odd_ones([row.ndim for row in rows])
        if value[odd] is None:
            raise UserError(f"'{key}[{odd}]' must hold numbers, it holds None")
        raise UserError(
            f"'{key}' mixes rows of shapes {rows[usual].shape} and {rows[odd].shape}: "
            f"row {odd} is the first of {count} that differ from most"
        )
    if len(shapes) == 1 and rows[0].ndim < 2:
        budget.spend(key, 8 * len(rows) * rows[0].size)
        return np.stack(rows)
    return rows


def _without_steps(row: np.ndarray, rank: int) -> tuple[int, ...]:
    return row.shape if row.ndim == rank else (0,) * rank


def sentences(key: str, value: Any, budget: Budget) -> list[str]:
    """Return what each clip says: strings, or lists of words, which are joined.

    None, NaN and a list of no words say nothing: "". Words that are None or NaN, what
    pandas makes of the word "null", are left out.
    """
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "Of":
        budget.spend(key, value.dtype.itemsize * value.size)
        value = value.tolist()
    if isinstance(value, list | tuple):
        value = [sentence(f"{key}[{i}]", said, budget) for i, said in enumerate(value)]
    return strings(key, value, budget)


def sentence(where: str, value: Any, budget: Budget) -> str:
    """Return what one clip says, see `sentences`."""
    if is_nothing(value):
        return ""
    if isinstance(value, str | bytes | memoryview):
        return text(value)
    if isinstance(value, list | tuple):
        value = [word for word in value if not is_nothing(word)]
    return " ".join(strings(where, value, budget))


def is_nothing(value: Any) -> bool:
    """Tell whether a value is None, NaN or without items: it tells no kind."""
    if isinstance(value, np.ndarray):
        return not value.size
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (
        isinstance(value, str | bytes | list | tuple) and not value
    )


def strings(key: str, value: Any, budget: Budget) -> list[str]:
    """Return strings as a list; Python 2's and HDF5's bytes become text."""
    if isinstance(value, np.ndarray):
        if value.ndim != 1 or value.dtype.kind not in "USO":
            there = f"{value.dtype.kind}{value.shape}"
            raise UserError(f"'{key}' must hold strings: {there} is there")
        budget.spend(key, value.dtype.itemsize * value.size)
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise UserError(f"'{key}' must hold strings, it holds {kind(value)}")
    for i, item in enumerate(value):
        if type(item) not in (str, bytes, memoryview):
            raise UserError(
                f"'{key}' must hold strings, it holds {kind(item)} too (row {i})"
            )
    found = [text(item) for item in value]
    budget.spend(key, 4 * len(found) * max(map(len, found), default=0))
    try:
        "".join(found).encode()
    except UnicodeEncodeError:
        raise UserError(f"'{key}' holds text that is not Unicode") from None
    return found


def text(value: str | bytes | memoryview) -> str:
    """Return one string as text."""
    return value if isinstance(value, str) else pickled.text(bytes(value))


def kind(value: Any) -> str:
    """Name what is there in place of numbers or strings."""
    if isinstance(value, pickled.Other):
        return f"an array of dtype {value.dtype}"
    return "None" if value is None else type(value).__name__


def write_columns(layout: Layout, folder: Path, budget: Budget) -> tuple[str, ...]:
    """Write each plain key as one .npy, sequences padded at the back.

    Returns: notes about lengths that the file did not give.
    """
    splits, notes = list(layout.splits), []
    first = layout.splits[splits[0]]
    _check_keys(layout.splits)
    check_sizes("id", sum(len(table["id"]) for table in layout.splits.values()))
    names = [s for s in splits for _ in range(len(layout.splits[s]["id"]))]
    np.save(folder / "split.npy", np.array(names))
    for key in first:
        parts = [layout.splits[split][key] for split in splits]
        for split, part in zip(splits, parts, strict=True):
            rows, ids = len(part), len(layout.splits[split]["id"])
            if rows != ids:
                raise UserError(f"'{key}' has {rows} rows in {split}, 'id' has {ids}")
        if isinstance(parts[0], list) and parts[0] and isinstance(parts[0][0], str):
            together = [str(item) for part in parts for item in part]
            if key == "transcript":
                ids = [str(i) for s in splits for i in layout.splits[s]["id"]]
                check_transcripts(together, ids)
            longest = max(map(len, together))
            budget.spend(key, 4 * longest * len(together))
            np.save(folder / f"{key}.npy", np.array(together, dtype=str))
            continue
        if key in SEQUENCES and f"{key}_length" not in first:
            note = _write_lengths(folder, key, parts)
            notes += [note] if note else []
        _write_array(folder / f"{key}.npy", key, parts, layout, budget)
    return tuple(notes)


def _check_keys(splits: Mapping[str, Mapping[str, Part]]) -> None:
    for key in dict.fromkeys(key for table in splits.values() for key in table):
        there = [split for split, table in splits.items() if key in table]
        without = [split for split in splits if split not in there]
        if without:
            raise UserError(f"'{key}' is in {there[0]}, but not in {without[0]}")


def _write_lengths(folder: Path, key: str, parts: Sequence[Any]) -> str | None:
    """Write the clips' own lengths where a file keeps clips apart."""
    lengths = [len(row) if np.ndim(row) else 0 for part in parts for row in part]
    if not any(isinstance(part, list) for part in parts) or len(set(lengths)) == 1:
        return None
    empty = lengths.count(0)
    np.save(folder / f"{key}_length.npy", np.maximum(lengths, 1).astype(np.int32))
    more = f"; {empty} empty ones become one step of zeros" if empty else ""
    return f"{key}: lengths are those of the clips' own arrays{more}"


def _write_array(
    path: Path, key: str, parts: Sequence[Any], layout: Layout, budget: Budget
) -> None:
    row = _row_shape(key, parts, layout)
    rows = sum(len(part) for part in parts)
    if key in SEQUENCES and len(row) == 2:
        check_sizes(key, rows, row[1])
    arrays = [a for part in parts for a in _arrays(part)]
    kinds = [a.dtype for a in arrays if a.size] or [a.dtype for a in arrays]
    dtype = np.result_type(*kinds).newbyteorder("=")
    # whoever reads it casts to float32
    budget.spend(key, math.prod([rows, *row]) * max(dtype.itemsize, 4))
    header = {"descr": dtype.str, "fortran_order": False, "shape": (rows, *row)}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for part in parts:
            for block in _blocks(part, tuple(row), dtype):
                stream.write(block.tobytes())


def _row_shape(key: str, parts: Sequence[Any], layout: Layout) -> list[int]:
    """Return the shape that all rows are padded to; their widths must be equal.

    A clip without steps has no width of its own; one without columns has.
    """
    time = _TIME.get(key)
    shapes = [s for part in parts for s in _shapes(part)]
    steps = slice(time, None if time is None else time + 1)
    telling = [i for i, s in enumerate(shapes) if time is None or s[steps] != (0,)]
    telling = telling or [max(range(len(shapes)), key=lambda i: shapes[i])]
    if len({len(shapes[i]) for i in telling}) > 1:
        raise UserError(_odd_clip(key, "shape", shapes, telling, layout))
    widths = [tuple(n for a, n in enumerate(s) if a != time) for s in shapes]
    if len({widths[i] for i in telling}) > 1:
        raise UserError(_odd_clip(key, "columns", widths, telling, layout))
    row = list(shapes[telling[0]])
    if time is not None and row:
        row[time] = max(shape[time] for shape in shapes)
    return row


def _odd_clip(
    key: str, what: str, values: Sequence[Any], telling: Sequence[int], layout: Layout
) -> str:
    """Say which clips differ from most, or which splits if whole ones do."""
    splits = [s for s, table in layout.splits.items() for _ in table["id"]]
    ids = [i for table in layout.splits.values() for i in table["id"]]
    odd, usual, count = odd_ones([values[i] for i in telling])
    odd, usual = telling[odd], telling[usual]
    has, wanted = (
        f"{v[0]} columns" if what == "columns" and len(v) == 1 else f"{what} {v}"
        for v in (values[odd], values[usual])
    )
    wanted = wanted.removesuffix(" columns")
    of = {split: {values[i] for i in telling if splits[i] == split} for split in splits}
    if all(len(found) == 1 for found in of.values()):
        wrong = [split for split, found in of.items() if found == {values[odd]}]
        return f"'{key}' has {has} in {' and '.join(wrong)}, but {wanted} in " + next(
            split for split, found in of.items() if found == {values[usual]}
        )
    return (
        f"'{key}' has {has} in '{shown(ids[odd])}' ({splits[odd]}), but {wanted} in "
        f"'{shown(ids[usual])}' ({count} such clips)"
    )


def _shapes(part: Any) -> list[tuple[int, ...]]:
    if isinstance(part, list):
        return [row.shape for row in part]
    return [part.shape[1:]] * len(part)


def _arrays(part: Any) -> Sequence[np.ndarray]:
    return part if isinstance(part, list) else [part]


def _blocks(part: Any, row: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    for start in range(0, len(part), _ROWS):
        rows = part[start : start + _ROWS]
        block = np.zeros((len(rows), *row), dtype)
        for i, value in enumerate(rows):
            if np.size(value):  # a clip without steps may have any width
                block[(i, *map(slice, np.shape(value)))] = value
        yield block
