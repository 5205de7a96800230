"""Lines of JSON to samples: a bad line is one clear sentence, and the next is read."""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np

from msa_jax.data.check import checks
from msa_jax.data.preparation import FEATURES, NONVERBAL, SENTENCES, Preparation
from msa_jax.ground.errors import UserError
from msa_jax.predict.samples import UNREAD, Sample, missing

LONGEST = 32 << 20  # bytes of a line; no sequence of the field comes near it
LARGEST = 256 << 20  # bytes of a .npy file
BOM = b"\xef\xbb\xbf"  # that some editors put in front of UTF-8
OF = {"text": "text", "text_bert": "text", "audio": "audio", "vision": "vision"}
FIELDS = ("id", *OF)
_FLOAT32 = float(np.finfo(np.float32).max)
_KINDS = {
    bool: "true or false",
    str: "a string",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


class Item(NamedTuple):
    """One line, or row of arrays, of what was given.

    line: counted from 1.
    id: what the caller calls it, if it says so.
    sample: None where `error` says why there is none.
    """

    line: int
    id: str | int | None
    sample: Sample | None
    error: str | None = None


def read_lines(
    stream: BinaryIO, preparation: Preparation, folder: Path | None
) -> Iterator[Item]:
    """Yield the sample, or what is wrong, of each line as it arrives.

    Blank lines are passed over.

    Args:
        stream: JSONL in UTF-8.
        preparation: of the run.
        folder: where files named by a line lie; None: no line may name one.
    """
    number = 0
    while line := stream.readline(LONGEST + 1):
        number += 1
        line = line.removeprefix(BOM) if number == 1 else line
        if len(line) > LONGEST and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(LONGEST)
            yield Item(number, None, None, f"longer than {LONGEST >> 20} MiB")
        elif line.strip():
            yield _item(number, line, preparation, folder)


def read_objects(values: Iterable[Any], preparation: Preparation) -> Iterator[Item]:
    """Yield the sample, or what is wrong, of each of Python's own objects.

    Args:
        values: mappings as a line holds them; arrays may stand for lists of rows, and
            paths of files begin where Python works.
        preparation: of the run.
    """
    for number, value in enumerate(values, 1):
        if isinstance(value, Mapping):
            value = {k: _plain(x) for k, x in value.items()}
        yield _item(number, value, preparation, Path())


def _plain(value: Any) -> Any:
    """Return arrays of any library as NumPy's, and its numbers as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    return np.asarray(value) if hasattr(value, "__array__") else value


def _item(
    number: int, given: Any, preparation: Preparation, folder: Path | None
) -> Item:
    """Return the sample of a line, bytes, or of an object."""
    name = None
    try:
        value = _known(_object(given) if isinstance(given, bytes) else given)
        name = checked_id(value.get("id"))
        return Item(number, name, _sample(value, preparation, folder))
    except UserError as error:
        return Item(number, name, None, str(error))


def _object(line: bytes) -> Any:
    """Return what a line holds; nothing in it is ambiguous."""
    try:
        return json.loads(
            line.decode("utf-8"), parse_constant=_constant, object_pairs_hook=_unique
        )
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 (byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        raise UserError(f"not JSON ({error.msg}, character {error.pos + 1})") from None
    except ValueError:
        raise UserError("not JSON (a number of thousands of digits)") from None
    except RecursionError:
        raise UserError("not a sample (nested too deeply)") from None


def _known(value: Any) -> dict[str, Any]:
    """Return an object that has the fields of a sample."""
    if not isinstance(value, dict):
        raise UserError(
            f'must be an object such as {{"text": "..."}}, not {_kind(value)}'
        )
    for key in value:
        if key not in FIELDS:
            key = str(key)
            near = difflib.get_close_matches(key, FIELDS, n=1)
            advice = (
                f"did you mean {near[0]!r}?" if near else f"use {', '.join(FIELDS)}"
            )
            raise UserError(f"unknown field '{checks.shown(key)}'; {advice}")
    return value


def _constant(name: str) -> NoReturn:
    raise UserError(f"not JSON ({name} is no number)")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise UserError(f"field '{checks.shown(twice)}' stands twice")
    return found


def _kind(value: Any) -> str:
    number = type(value) in (int, float)
    return "a number" if number else _KINDS.get(type(value), type(value).__name__)


def checked_id(value: Any) -> str | int | None:
    """Return an id that can be printed, None where there is none.

    Raises:
        UserError: it is something else.
    """
    if value is None or (type(value) is int and abs(value) < 2**63):
        return value
    if not isinstance(value, str):
        raise UserError(f'"id" must be a string or a whole number, not {_kind(value)}')
    if not value.isprintable() or not 0 < len(value) <= 200:
        raise UserError('"id" must be a printable name of 1 to 200 characters')
    return value


def _sample(
    value: dict[str, Any], preparation: Preparation, folder: Path | None
) -> Sample:
    given = {OF[key] for key in OF if value.get(key) is not None}
    unread = dict.fromkeys(given - {*preparation.reads}, UNREAD)
    value = {key: x for key, x in value.items() if OF.get(key) not in unread}
    text = value.get("text")
    if value.get("text_bert") is not None:
        if text is not None:
            raise UserError('"text" and "text_bert" are both given; keep one')
        text = tokens(_numbers("text_bert", value["text_bert"]), preparation)
    elif text is not None:
        text = _text(text, preparation, folder)
    rows = {
        m: _sequence(m, value[m], preparation.width[m], folder)
        for m in NONVERBAL
        if value.get(m) is not None
    }
    return require_something(Sample(text, **rows)._replace(**unread), preparation)


def require_something(sample: Sample, preparation: Preparation) -> Sample:
    """Return the sample.

    Raises:
        UserError: it has none of the modalities that the run reads.
    """
    if len(missing(preparation, sample)) == len(preparation.reads):
        raise UserError(f"nothing to answer from: no {', no '.join(preparation.reads)}")
    return sample


def _text(
    value: Any, preparation: Preparation, folder: Path | None
) -> str | np.ndarray | None:
    if preparation.text == FEATURES:
        if isinstance(value, str) and not value.endswith(".npy"):
            return sentence(value, preparation)
        return _sequence("text", value, preparation.width["text"], folder)
    if not isinstance(value, str):
        raise UserError(f'"text" must be a sentence (a string), not {_kind(value)}')
    return sentence(value, preparation)


def sentence(value: str, preparation: Preparation) -> str | None:
    """Check a sentence; None: a blank one says nothing, so the text is missing.

    Raises:
        UserError: the run does not read sentences, or not this one.
    """
    if preparation.text != SENTENCES:
        other = {"features": "text features", "tokens": '"text_bert" token ids'}
        raise UserError(f"this run reads {other[preparation.text]}, no sentences")
    if len(value) > checks.MAX_CHARACTERS:
        raise UserError(
            f'"text" has {len(value)} characters, at most {checks.MAX_CHARACTERS} '
            "are read"
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError('"text" holds half of a character (a surrogate)') from None
    return value if value.strip() else None


def tokens(array: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Check token ids, mask and segments [3, t]; return them up to the mask's end.

    Raises:
        UserError: the run reads no ids, or not these.
    """
    if preparation.text == FEATURES:
        raise UserError("this run reads text features, no token ids")
    if array.ndim != 2 or len(array) != 3 or not array.shape[1]:
        raise UserError('"text_bert" must be three lists: ids, mask, segments')
    names = np.array(["this line"])
    checks.check_tokens(array[None], names)
    found = array.astype(np.int32)[:, : int(array[1].sum())]
    if found[0].max() >= preparation.vocabulary:
        raise UserError(
            f'"text_bert" has id {found[0].max()}, but the run\'s vocabulary ends '
            f"at {preparation.vocabulary - 1}"
        )
    return found


def _sequence(name: str, value: Any, width: int, folder: Path | None) -> np.ndarray:
    """Return rows [t, width] that a line holds or names."""
    if isinstance(value, str):
        return features(name, _file(name, value, folder), width)
    if not isinstance(value, list | np.ndarray):
        raise UserError(
            f'"{name}" must be a list of rows or the path of a .npy file, not '
            f"{_kind(value)}"
        )
    return features(name, _numbers(name, value), width)


def _numbers(name: str, value: Any) -> np.ndarray:
    """Return a list of equally long lists of numbers as an array, float64."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        return value
    if not isinstance(value, list):
        raise UserError(f'"{name}" must be a list of lists, not {_kind(value)}')
    if not value:
        raise UserError(f'"{name}" is empty; leave it out if there is none')
    for number, row in enumerate(value, 1):
        if not isinstance(row, list):
            raise UserError(
                f'row {number} of "{name}" must be a list of numbers, not {_kind(row)}'
            )
        if len(row) != len(value[0]):
            raise UserError(
                f'row {number} of "{name}" has {len(row)} numbers, the first has '
                f"{len(value[0])}"
            )
        wrong = next((x for x in row if type(x) not in (int, float)), 0)
        if type(wrong) not in (int, float):
            raise UserError(f'row {number} of "{name}" holds {_kind(wrong)}')
    try:
        return np.array(value, np.float64)
    except OverflowError:
        raise UserError(f'"{name}" holds a number beyond all floats') from None


def features(name: str, array: np.ndarray, width: int) -> np.ndarray:
    """Check rows of features; return them as float32 [t, width].

    Raises:
        UserError: another shape, no rows, or numbers that float32 does not hold.
    """
    if array.dtype.kind not in "fiu" or array.ndim != 2:
        raise UserError(
            f'"{name}" must be rows of numbers, not {array.dtype} of shape '
            f"{array.shape}"
        )
    if array.shape[1] != width:
        raise UserError(
            f'"{name}" has {array.shape[1]} numbers per row, this run reads {width}'
        )
    if not len(array):
        raise UserError(f'"{name}" is empty; leave it out if there is none')
    fits = np.abs(array.astype(np.float64, copy=False)) <= _FLOAT32  # NaN does not
    if not fits.all():
        row, column = (int(i) for i in np.argwhere(~fits)[0])
        raise UserError(
            f'"{name}" is {float(array[row, column]):g} in row {row + 1}, column '
            f"{column + 1}; it must be finite and fit into float32"
        )
    return array.astype(np.float32)


def _file(name: str, path: str, folder: Path | None) -> np.ndarray:
    """Read the .npy file that a line names: beside the input, nowhere else."""
    shown = checks.shown(path)
    if folder is None:
        raise UserError(
            f'"{name}" names a file, which a line of standard input cannot: give rows'
        )
    try:
        wanted, home = Path(path), folder.resolve()
        found = (home / wanted).resolve()
        if wanted.is_absolute() or ".." in wanted.parts or home not in found.parents:
            raise UserError(
                f"\"{name}\" names '{shown}': only files beside the input are read, by "
                "a relative path"
            )
        if not found.is_file():
            raise UserError(f"\"{name}\" names '{shown}': no such file")
        if found.stat().st_size > LARGEST:
            raise UserError(
                f"\"{name}\" names '{shown}', a file above {LARGEST >> 20} MiB"
            )
        # Mapped, so that a header cannot claim more than the file holds.
        array = np.load(found, mmap_mode="r", allow_pickle=False)
    except UserError:
        raise
    except Exception:  # a path or a header that is odd raises many types
        raise UserError(
            f"\"{name}\" names '{shown}', which is no readable .npy file of numbers"
        ) from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise UserError(f"\"{name}\" names '{shown}': an .npz file, not a .npy")
    return array
