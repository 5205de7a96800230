"""A folder of one CSV and one .npy file per clip (docs/bring_your_own.md)."""

import csv
import hashlib
import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from msa_jax.data.check.checks import (
    MISSING,
    UNIMODAL_KEYS,
    check_sizes,
    check_split_names,
    check_transcripts,
    listed,
    most_unfolded,
    no_scores,
    odd_ones,
)
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import EMOTIONS

MODALITIES = ("text", "audio", "vision")
_NUMBERS = ("label", *UNIMODAL_KEYS, *EMOTIONS)
_LARGEST = 64 << 30  # bytes of one padded modality; more is a mistake in a file
_NAME = 255  # bytes of a file name
_TEXTS = ("id", "split", "transcript")
_TABLE = 128 << 20  # bytes of a CSV
_NEEDED = ("split", "label")
# Source: thuiar/MMSA and CH-SIMS, label.csv.
_FIELD_ID = ("video_id", "clip_id")
_FIELD = {
    "text": "transcript",
    "mode": "split",
    "label_T": "label_text",
    "label_A": "label_audio",
    "label_V": "label_vision",
}


class Folder(NamedTuple):
    """A folder as read: arrays of the plain layout, and what to tell about it."""

    arrays: dict[str, np.ndarray]
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]
    sha256: str  # of the CSV and every feature file, by name and content


def read_folder(folder: Path) -> Folder:
    """Read the CSV and the features of every clip it names.

    Raises: UserError, naming file and line, for everything that does not fit.
    """
    table = _find_table(folder)
    columns, lines = _read_table(table)
    columns, assumptions = _plain_columns(table, columns, lines)
    for line, sample in zip(lines, columns["id"], strict=True):
        _check_id(table, line, sample)
    _check_cells(table, columns)
    arrays = {
        key: np.array(values) if key in _TEXTS else np.zeros(len(values))
        for key, values in columns.items()
    }
    for key in set(_NUMBERS) & set(columns):
        arrays[key] = _numbers(table, key, columns[key], lines)
    arrays |= _emotions(arrays)
    digest = hashlib.sha256(table.read_bytes())
    warnings, held = [], 0
    for modality in MODALITIES:
        if not (folder / modality).is_dir():
            continue
        files = [folder / modality / f"{sample}.npy" for sample in columns["id"]]
        _check_files(table, files, lines)
        held += sum(file.stat().st_size for file in files)
        taken = sum(arrays[m].nbytes for m in MODALITIES if m in arrays)
        left = most_unfolded(held) - taken
        arrays[modality], arrays[f"{modality}_length"] = _stack(files, left)
        for file in files:
            digest.update(f"{modality}/{file.name}\n".encode())
            digest.update(_file_sha256(file))
        extra = {f.name for f in (folder / modality).iterdir()}
        extra -= {f.name for f in files}
        if extra:
            warnings.append(
                f"{modality}: {len(extra)} files have no line in {table.name}, first "
                f"'{min(extra)}'"
            )
    others = {item.name for item in folder.iterdir()} - {table.name, *MODALITIES}
    if others:
        assumptions.append(f"not read, beside {table.name}: {listed(sorted(others))}")
    return Folder(arrays, tuple(assumptions), tuple(warnings), digest.hexdigest())


def _find_table(folder: Path) -> Path:
    tables = sorted(t for t in folder.glob("*.csv") if t.is_file())
    if len(tables) == 1:
        return tables[0]
    if not tables:
        raise UserError(
            f"{folder}: no .csv file in it; it needs one with the columns id, split, "
            "label and transcript (docs/bring_your_own.md)"
        )
    names = ", ".join(table.name for table in tables[:4])
    raise UserError(f"{folder}: {len(tables)} .csv files ({names}): keep one")


def _read_table(table: Path) -> tuple[dict[str, list[str]], list[int]]:
    """Return every column by name, and the line each row begins in."""
    try:
        if table.stat().st_size > _TABLE:
            raise UserError(
                f"{table}: larger than {_TABLE >> 20} MiB: no table of clips"
            )
        text = table.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{table}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(
            f"{table}: line {line} is not UTF-8; save the table as 'CSV UTF-8'"
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, lines, start = [], [], 1
    try:
        for row in reader:
            if row:  # empty lines are nothing
                rows.append(row)
                lines.append(start)
            start = reader.line_num + 1  # a quoted field may span several lines
    except csv.Error as error:
        raise UserError(f"{table}: line {reader.line_num}: {error}") from None
    if len(rows) < 2:
        raise UserError(f"{table}: holds no samples below a line of column names")
    given = [name.strip() for name in rows[0]]
    names = _plain_names(given)
    _check_names(table, names, given)
    for line, row in zip(lines[1:], rows[1:], strict=True):
        if len(row) != len(names):
            raise UserError(
                f"{table}: line {line} has {len(row)} fields, but there are "
                f"{len(names)} columns; put quotes around text that holds commas"
            )
    columns = zip(*rows[1:], strict=True)
    return {n: list(c) for n, c in zip(names, columns, strict=True)}, lines[1:]


def _plain_names(names: list[str]) -> list[str]:
    """Rename the columns of the field's label.csv, which has no `id`, to ours."""
    if "id" in names or not {*_FIELD_ID} <= {*names}:
        return names
    return [
        new if (new := _FIELD.get(name, name)) not in names else name for name in names
    ]


def _plain_columns(
    table: Path, columns: dict[str, list[str]], lines: list[int]
) -> tuple[dict[str, list[str]], list[str]]:
    """Make ids of the field's two columns; leave optional columns out that are empty.

    Returns: the columns, and notes on both.
    """
    columns, notes = dict(columns), []
    called = {key: key for key in columns}
    if "id" not in columns:
        called |= {new: old for old, new in _FIELD.items()}
        parts = [columns.pop(name) for name in _FIELD_ID]
        for name, part in zip(_FIELD_ID, parts, strict=True):
            for line, cell in zip(lines, part, strict=True):
                _check_id(table, line, cell, name)
        columns["id"] = ["$_$".join(pair) for pair in zip(*parts, strict=True)]
        read = ", ".join(f"{old} as {new}" for old, new in _FIELD.items())
        notes.append(
            f"{table.name}: read as the field's label.csv: ids are video_id$_$clip_id, "
            f"as in MMSA's pickles; {read}"
        )
    for keys in (UNIMODAL_KEYS, EMOTIONS):
        there = [key for key in keys if key in columns]
        if there and len(there) < len(keys):
            names = [called.get(key, key) for key in keys]
            missing = [called.get(key, key) for key in keys if key not in there]
            raise UserError(
                f"{table}: of {', '.join(names)} all are needed, or none; missing: "
                f"{', '.join(missing)}"
            )
        empty = {
            key: [i for i, cell in enumerate(columns[key]) if not _filled(cell)]
            for key in there
        }
        if there and all(len(empty[key]) == len(lines) for key in there):
            notes.append(f"{', '.join(there)}: empty in every line and not read")
            for key in there:
                del columns[key]
            continue
        for key in there:
            if empty[key]:
                raise UserError(
                    f"{table}: line {lines[empty[key][0]]}: {called[key]} is empty, as "
                    f"in {len(empty[key])} of {len(lines)} lines: fill "
                    f"{', '.join(called[k] for k in there)} in every line, or in none"
                )
    return columns, notes


def _filled(cell: str) -> bool:
    return cell.strip() not in ("", *MISSING)


def _check_names(table: Path, names: list[str], given: list[str]) -> None:
    needed = () if "id" not in names and {*_FIELD_ID} <= {*names} else ("id",)
    missing = [name for name in (*needed, *_NEEDED) if name not in names]
    if missing:
        wanted = f"'{missing[0]}'"
        if missing[0] == "split" and not needed:
            wanted += " or 'mode'"
        hint = ""
        if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
            hint = "; separate columns with commas"
        elif missing[0] == "label":
            wanted += no_scores(given)
        raise UserError(f"{table}: no column {wanted}; found: {listed(given)}{hint}")
    reserved = {*MODALITIES, *(f"{m}_length" for m in MODALITIES)}
    reserved |= {"text_bert", "emotion"}
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"{table}: two columns are called '{name}'")
        if name in reserved:
            raise UserError(
                f"{table}: a column cannot be called '{name}': rename it, or put the "
                f"features into {name.removesuffix('_length')}/ID.npy"
            )
        seen.add(name)


def _check_id(table: Path, line: int, sample: str, name: str = "id") -> None:
    """Refuse ids that are no plain file name: they would lead out of the folder."""
    if not sample or sample.startswith(".") or set(sample) & set("/\\\0:"):
        raise UserError(
            f"{table}: line {line}: {name} {sample!r} must be a file name without / "
            "\\ : and not begin with a dot"
        )
    if sample != sample.strip() or not sample.isprintable() or len(sample) > 200:
        raise UserError(
            f"{table}: line {line}: {name} {sample[:40]!r} must not be longer than 200 "
            "characters, nor begin or end with blanks, nor hold control characters"
        )
    size = len(os.fsencode(f"{sample}.npy"))
    if size > _NAME:
        raise UserError(
            f"{table}: line {line}: {name} {sample[:40]!r} gives a file name of {size} "
            f"bytes, file systems allow {_NAME}: make it shorter"
        )


def _check_cells(table: Path, columns: dict[str, list[str]]) -> None:
    """Refuse what would need far more memory as an array than it takes in the file."""
    ids = columns["id"]
    try:
        check_sizes("id", len(ids))
        check_split_names(columns["split"], ids)
        transcripts = columns.get("transcript", [""] * len(ids))
        check_transcripts(transcripts, ids)
    except UserError as error:
        raise UserError(f"{table}: {error}") from None
    longest = max(range(len(ids)), key=lambda i: len(transcripts[i]))
    size = 4 * len(transcripts[longest]) * len(ids)
    if size > most_unfolded(table.stat().st_size):
        raise UserError(
            f"{table}: the transcript of '{ids[longest]}' has "
            f"{len(transcripts[longest])} characters; at that, all {len(ids)} need "
            f"{size >> 20} MiB: cut it"
        )


def _numbers(table: Path, key: str, texts: list[str], lines: list[int]) -> np.ndarray:
    values = np.empty(len(texts))
    for i, (text, line) in enumerate(zip(texts, lines, strict=True)):
        try:
            values[i] = float(text)
        except ValueError:
            raise UserError(
                f"{table}: line {line}: {key} is {text[:40]!r}, not a number"
            ) from None
    return values


def _emotions(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Take the emotion columns out and return them as one array, if they are there."""
    if EMOTIONS[0] not in arrays:
        return {}
    return {"emotion": np.stack([arrays.pop(name) for name in EMOTIONS], axis=1)}


def _check_files(table: Path, files: list[Path], lines: list[int]) -> None:
    missing = [i for i, file in enumerate(files) if not file.is_file()]
    if missing:
        file, line = files[missing[0]], lines[missing[0]]
        raise UserError(
            f"{file.parent.name}/{file.name} is missing (line {line} of {table}); "
            f"{len(missing)} of {len(files)} files of {file.parent.name} are; a clip "
            "without any has an empty array"
        )


def _open(file: Path) -> np.ndarray:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header raises many types
        if "Python objects" in str(error) or "pickled" in str(error):
            raise UserError(
                f"{file}: not a .npy file of numbers (an object array or a pickle); "
                "save it with np.save(file, array.astype('float32'))"
            ) from None
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file}: damaged or not a .npy file ({first})") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        kind = getattr(array, "dtype", "an archive")
        raise UserError(f"{file}: must hold numbers, not {kind}")
    return array


def _stack(files: list[Path], most: int) -> tuple[np.ndarray, np.ndarray]:
    """Read every file into one padded array, in the widest type that is needed.

    Shapes are looked at first: nothing is read before all files fit together. A clip
    without a step has length 0, and no width of its own.

    Args:
        most: bytes that the array may take.
    """
    # one at a time: each open file costs a descriptor
    heads = [(array.shape, array.dtype) for array in map(_open, files)]
    for file, (shape, _) in zip(files, heads, strict=True):
        if len(shape) != 2 and shape != (0,):
            raise UserError(f"{file}: shape {shape}, it must be [steps, width]")
    some = [i for i, (shape, _) in enumerate(heads) if shape[0]]
    widths = [heads[i][0][1] for i in some]
    width = widths[0] if widths else 0
    if len(set(widths)) > 1:
        odd, usual, count = odd_ones(widths)
        raise UserError(
            f"{files[some[odd]]}: width {widths[odd]}, but {files[some[usual]].name} "
            f"has {widths[usual]} ({count} such clips)"
        )
    lengths = np.array([shape[0] for shape, _ in heads], np.int64)
    kind = np.result_type(*{dtype for _, dtype in heads}, np.float32)
    size = len(files) * int(lengths.max()) * width * kind.itemsize
    if size > min(_LARGEST, most):
        raise UserError(
            f"{files[int(lengths.argmax())]}: {lengths.max()} steps; padded to that, "
            f"all {len(files)} clips need {size >> 20} MiB: cut or average the steps"
        )
    check_sizes(files[0].parent.name, len(files), width)
    padded = np.zeros((len(files), int(lengths.max()), width), kind)
    for i, file in enumerate(files):
        if lengths[i]:
            padded[i, : lengths[i]] = _open(file)
    return padded, lengths


def _file_sha256(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
