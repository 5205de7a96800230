"""Rows of an .npz file in the plain layout, without labels, to samples."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from msa_jax.data import checks, plain
from msa_jax.data.padding import settle_padding
from msa_jax.errors import UserError
from msa_jax.intake import FEATURES, NONVERBAL, UNREAD, Intake, Sample
from msa_jax.predict import reading
from msa_jax.predict.reading import Item


def read_arrays(path: Path, intake: Intake) -> Iterator[Item]:
    """Yield the sample, or what is wrong, of each row.

    Arrays that nothing reads (split, label and so on) are passed over, those of
    modalities that the run does not read are noted. Padding is told
    as `prepare` tells it: from lengths, else from all-zero steps of the whole file.

    Raises:
        UserError: the file as a whole cannot be read.
    """
    arrays = plain.read_npz(path)
    unread = {m: UNREAD for key, m in _OF.items() if key in arrays}
    unread = {m: x for m, x in unread.items() if m not in intake.reads}
    arrays = {key: x for key, x in arrays.items() if _OF.get(key) not in unread}
    try:
        n = _check(arrays, intake)
        columns = {m: _sequences(arrays, m) for m in _features(intake) if m in arrays}
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    for i in range(n):
        name = str(arrays["id"][i]) if "id" in arrays else None
        try:
            name = None if name is None else reading.checked_id(name)
            sample = _row(arrays, columns, i, intake)._replace(**unread)
            yield Item(i + 1, name, reading.require_something(sample, intake))
        except UserError as error:
            yield Item(i + 1, name, None, str(error))


def _features(intake: Intake) -> tuple[str, ...]:
    return (*(("text",) if intake.text == FEATURES else ()), *NONVERBAL)


def _check(arrays: Mapping[str, np.ndarray], intake: Intake) -> int:
    """Check types, ranks, widths and numbers of rows; return how many there are."""
    read = {key: x for key, x in arrays.items() if key in _KEYS}
    if not set(read) - {"id", *checks.LENGTH_KEYS}:
        raise UserError(
            "no modality: give at least one of transcript, text_bert, text, audio, "
            f"vision; found: {checks.listed(sorted(arrays)) or 'nothing'}"
        )
    first = next(iter(read))
    n = len(read[first]) if read[first].ndim else 0
    for key, array in read.items():
        strings, rank = key in ("id", "transcript"), checks.RANKS[key]
        kinds = {"id": "Uiu", "transcript": "U"}.get(key, "fiu")
        if array.dtype.kind not in kinds:
            what = "strings" if strings else "numbers"
            raise UserError(f"'{key}' must hold {what}, its dtype is {array.dtype}")
        if array.ndim != rank or len(array) != n or 0 in array.shape[1:]:
            raise UserError(
                f"'{key}' has shape {array.shape}; it must have {rank} axes, none of "
                f"size 0, and {n} rows as '{first}' has"
            )
        checks.check_sizes(key, n)
    for m in _features(intake):
        if m in read and read[m].shape[2] != intake.width[m]:
            raise UserError(
                f"'{m}' has {read[m].shape[2]} columns, this run reads "
                f"{intake.width[m]}"
            )
    return n


_OF = reading.OF | {"transcript": "text"}
_OF |= {key: key.removesuffix("_length") for key in checks.LENGTH_KEYS}
_KEYS = ("id", *_OF)


def _sequences(
    arrays: Mapping[str, np.ndarray], m: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a modality's sequences, its lengths, and which lengths cannot be."""
    array, given = arrays[m], arrays.get(f"{m}_length")
    wrong = np.zeros(len(array), bool)
    length = None
    if given is not None:
        wrong = ~(np.isfinite(given) & (given == np.floor(given)))
        wrong |= (given < 1) | (given > array.shape[1])
        length = np.where(wrong, 1, given).astype(np.int64)
    with np.errstate(over="ignore"):  # an overflow becomes inf and is refused
        array, length, _ = settle_padding(array, length)
    if m == "audio":
        array[np.isneginf(array)] = 0  # as `prepare` does
    return array, length, wrong


def _row(
    arrays: Mapping[str, np.ndarray], columns: Mapping, i: int, intake: Intake
) -> Sample:
    found: dict[str, Any] = {}
    if "text_bert" in arrays:
        found["text"] = reading.tokens(arrays["text_bert"][i], intake)
    elif "transcript" in arrays:
        found["text"] = reading.sentence(str(arrays["transcript"][i]), intake)
    for m, (array, length, wrong) in columns.items():
        if wrong[i]:
            raise UserError(
                f"'{m}_length' must be a whole number from 1 to {arrays[m].shape[1]}"
            )
        found[m] = reading.features(m, array[i, : length[i]], intake.width[m])
    return Sample(**found)
