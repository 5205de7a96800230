"""Arrays to samples: rows of the plain layout without labels, or one clip."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from msa_jax.data.check import checks
from msa_jax.data.preparation import (
    FEATURES,
    NONVERBAL,
    SENTENCES,
    TOKENS,
    Preparation,
)
from msa_jax.data.read import plain, sandbox
from msa_jax.data.read.padding import contents, tokens_first
from msa_jax.ground.errors import UserError
from msa_jax.predict import json_lines
from msa_jax.predict.json_lines import Item
from msa_jax.predict.samples import UNREAD, Sample


def read_arrays(path: Path, preparation: Preparation) -> Iterator[Item]:
    """Return the sample, or what is wrong, of each row of an .npz file.

    Arrays that nothing reads (split, label and so on) are passed over, those of
    modalities that the run does not read are noted. Padding is told
    as `prepare` tells it: from lengths, else from all-zero steps of the whole file.

    Raises:
        UserError: the file as a whole cannot be read.
    """
    return _rows(path, plain.read_npz(path), preparation)


def read_clip(path: Path, preparation: Preparation) -> Iterator[Item]:
    """Return the sample that a pickle of one clip holds; see `clips.from_one_clip`.

    A sandboxed process reads the pickle; the arrays that it hands back are all that
    comes here.

    Raises:
        UserError: the file as a whole cannot be read.
    """
    with sandbox.read_pickles([path], one_clip=True) as (arrays, _):
        items = list(_rows(path, arrays, preparation))
    if items[0].error is not None:
        raise UserError(f"{path}: {items[0].error}")
    return iter(items)


def _rows(
    path: Path, arrays: Mapping[str, np.ndarray], preparation: Preparation
) -> Iterator[Item]:
    names = checks.listed(sorted(arrays))
    wanted = [k for k in ("transcript", *json_lines.OF) if _OF[k] in preparation.reads]
    unread = {m: UNREAD for key, m in _OF.items() if key in arrays}
    unread = {m: x for m, x in unread.items() if m not in preparation.reads}
    whole, _ = checks.drop_absent(arrays)
    arrays = {key: x for key, x in whole.items() if _OF.get(key) not in unread}
    try:
        if not arrays.keys() & {*wanted}:
            raise UserError(
                "no modality that this run reads: give at least one of "
                f"{', '.join(wanted)}; found: {names or 'nothing'}"
            )
        arrays = _with_one_text(arrays, preparation)
        n = _check(arrays, preparation)
        arrays, columns = _sequences(arrays, whole, n, preparation)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error

    def items() -> Iterator[Item]:
        for i in range(n):
            name = str(arrays["id"][i]) if "id" in arrays else None
            try:
                name = None if name is None else json_lines.checked_id(name)
                sample = _row(arrays, columns, i, preparation)._replace(**unread)
                sample = json_lines.require_something(sample, preparation)
                yield Item(i + 1, name, sample)
            except UserError as error:
                yield Item(i + 1, name, None, str(error))

    return items()


def _with_one_text(
    arrays: Mapping[str, np.ndarray], preparation: Preparation
) -> dict[str, np.ndarray]:
    """Leave out texts of a kind that the run does not read, if there is one it reads.

    Raises:
        UserError: there are texts, but none that it reads.
    """
    there = [key for key in _TEXTS if key in arrays]
    key = next(
        (key for key in _TEXTS if key in there and preparation.text in _READ[key]), ""
    )
    if there and not key:
        wanted = {SENTENCES: "sentences or token ids", TOKENS: "token ids"}
        raise UserError(
            f"'{there[0]}' holds {_TEXTS[there[0]]}, this run reads "
            f"{wanted.get(preparation.text, 'text features')}; leave it out, or give "
            "those"
        )
    return {k: x for k, x in arrays.items() if k not in _TEXTS or k == key}


def _features(preparation: Preparation) -> tuple[str, ...]:
    return (*(("text",) if preparation.text == FEATURES else ()), *NONVERBAL)


def _check(arrays: dict[str, np.ndarray], preparation: Preparation) -> int:
    """Check types, ranks, widths and numbers of rows; return how many there are."""
    read = {key: x for key, x in arrays.items() if key in _KEYS}
    if "id" in read and read["id"].dtype.kind in "iu":
        read["id"] = read["id"].astype(str)
    first, n = next((key, x.shape[0] if x.ndim else 1) for key, x in read.items())
    for key, array in read.items():
        checks.check_array(key, array, n, first)
    if not n:
        raise UserError(f"'{first}' has no rows")
    for m in _features(preparation):
        if m in read and read[m].shape[2] != preparation.width[m]:
            raise UserError(
                f"'{m}' has {read[m].shape[2]} columns, this run reads "
                f"{preparation.width[m]}"
            )
    return n


_TEXTS = {
    "text_bert": "token ids",
    "transcript": "sentences",
    "text": "text features",
}
_READ = {
    "text_bert": (SENTENCES, TOKENS),
    "transcript": (SENTENCES,),
    "text": (FEATURES,),
}
_OF = json_lines.OF | {"transcript": "text"}
_OF |= {key: key.removesuffix("_length") for key in checks.LENGTH_KEYS}
_KEYS = ("id", *_OF)


def _sequences(
    arrays: dict[str, np.ndarray],
    whole: Mapping[str, np.ndarray],
    n: int,
    preparation: Preparation,
) -> tuple[dict[str, np.ndarray], dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Settle the padding of every modality, as `prepare` does.

    Args:
        arrays: what the run reads.
        whole: all that was given; what is not read tells of padding, too, if it fits.
        n: how many rows there are.

    Returns: the arrays with tokens at their start, and per modality its sequences, its
        lengths and which lengths cannot be.
    """
    fit = {
        m: whole[m]
        for m in _features(preparation)
        if m in whole and _fits(whole[m], checks.RANKS[m], n)
    }
    tokens = whole.get("text_bert")
    if "transcript" in arrays or (
        tokens is not None and not (_fits(tokens, 3, n) and tokens.shape[1] == 3)
    ):
        tokens = None
    lengths, wrong = {}, {}
    for m, sequence in fit.items():
        given, steps = whole.get(f"{m}_length"), sequence.shape[1]
        wrong[m] = np.zeros(n, bool)
        if given is not None and _fits(given, 1, n):
            wrong[m] = ~(np.isfinite(given) & (given == np.floor(given)))
            wrong[m] |= (given < 0) | (given > steps)
            none = np.flatnonzero(given == 0)
            wrong[m][none] = contents(sequence[none]).any(axis=1)
            # the whole array says nothing of where others are padded
            lengths[m] = np.where(wrong[m], steps, given).astype(np.int64)
    settled, _ = plain.settle(fit, lengths, tokens)
    if "audio" in settled:
        array = settled["audio"][0]
        array[np.isneginf(array)] = 0  # as `prepare` does
    if "text_bert" in arrays:
        arrays = {**arrays, "text_bert": tokens_first(arrays["text_bert"])[0]}
    return arrays, {m: (*settled[m][:2], wrong[m]) for m in fit if m in arrays}


def _fits(array: np.ndarray, rank: int, n: int) -> bool:
    numbers = array.dtype.kind in "fiu" and array.ndim == rank
    return numbers and len(array) == n and 0 not in array.shape


def _row(
    arrays: Mapping[str, np.ndarray], columns: Mapping, i: int, preparation: Preparation
) -> Sample:
    found: dict[str, Any] = {}
    if "text_bert" in arrays:
        found["text"] = json_lines.tokens(arrays["text_bert"][i], preparation)
    elif "transcript" in arrays:
        said = arrays["transcript"][i : i + 1]
        said = "" if plain.is_missing(said)[0] else str(said[0])
        found["text"] = json_lines.sentence(said, preparation)
    for m, (array, length, wrong) in columns.items():
        if wrong[i]:
            raise UserError(
                f"'{m}_length' must be a whole number from 1 to {arrays[m].shape[1]}, "
                "or 0 where all steps are zero"
            )
        found[m] = json_lines.features(m, array[i, : length[i]], preparation.width[m])
    return Sample(**found)
