"""The plain layout: one .npz of arrays, one row per sample (docs/data.md)."""

import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from msa_jax.data import checks, containers
from msa_jax.data.padding import Padding, settle_padding
from msa_jax.errors import UserError
from msa_jax.types import Examples

_NAMED = 30  # of the arrays that nothing reads
# Source: pandas, str() of the values that stand for a missing one.
MISSING = ("nan", "NaN", "None", "<NA>")


class Notes(NamedTuple):
    """What was found and assumed on the way from a file to splits."""

    padding: dict[str, Padding]  # by modality
    unused: tuple[str, ...]  # arrays of the file that nothing reads
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read an .npz file, never unpickling anything.

    Returns: the arrays that have a meaning here, and of others the names, each with an
        empty array.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not path.is_file() or not _is_archive(path):
        raise UserError(f"{path}: not an .npz file (write one with np.savez)")
    arrays, size = {}, 0
    try:
        containers.refuse_other_zip(path)
        _check_unfolding(path)
        with np.load(path, allow_pickle=False) as archive:
            for key in archive.files:
                if key not in checks.RANKS:  # named in the card, whatever it holds
                    arrays[key] = np.empty(0)
                    continue
                arrays[key] = _read_array(path, archive, key)
                # whoever reads it casts to float32 or int32
                size += arrays[key].size * max(arrays[key].itemsize, 4)
                _check_size(path, size)
    except (OSError, zipfile.BadZipFile, EOFError, zlib.error, struct.error) as error:
        raise UserError(f"{path}: damaged or unreadable ({error})") from None
    except (NotImplementedError, RuntimeError) as error:  # odd or encrypted archives
        raise UserError(f"{path}: not written by np.savez ({error})") from None
    return arrays


def _is_archive(path: Path) -> bool:
    """Tell whether NumPy takes a file for an archive, too: by its first bytes."""
    with path.open("rb") as stream:
        begins = stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    return begins and zipfile.is_zipfile(path)


def _check_unfolding(path: Path) -> None:
    """Refuse an archive that unfolds to far more than it holds."""
    with zipfile.ZipFile(path) as archive:
        _check_size(path, sum(member.file_size for member in archive.infolist()))


def _check_size(path: Path, unfolded: int) -> None:
    if unfolded > checks.most_unfolded(path.stat().st_size):
        raise UserError(
            f"{path}: refused: it unfolds to {unfolded >> 20} MiB, far more than the "
            "file holds"
        )


def _read_array(path: Path, archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    try:
        array = archive[key]
    except MemoryError:
        raise UserError(
            f"{path}: '{key}' claims more memory than there is (damaged?)"
        ) from None
    except Exception as error:  # a damaged header raises many types
        if "Object arrays" in str(error):
            raise UserError(
                f"{path}: '{key}' is an object array; store strings with "
                "np.array(list, dtype=str) and numbers in one padded array"
            ) from None
        raise UserError(f"{path}: cannot read '{key}', damaged? ({error})") from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: '{key}' is not a NumPy array")
    if array.dtype.kind == "U":
        checks.check_characters(f"{path}: '{key}'", array)
    if array.dtype.kind != "S":
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: '{key}' is not UTF-8 ({error.reason})") from None


def to_splits(
    arrays: Mapping[str, np.ndarray],
    label_range: tuple[float, float],
    side: str = "auto",
    text: str | None = None,
) -> tuple[dict[str, Examples], Notes]:
    """Check plain arrays and cut them into train, valid and test, in file order.

    Args:
        side: where sequences are padded, see `padding.settle_padding`.
        text: which text is read, see `checks.choose_text`.
    """
    given, padding = arrays, {}
    arrays, warnings = checks.drop_absent(arrays)
    names = {key: key for key in checks.TEXTS.values() if key in arrays}
    chosen, assumptions = checks.choose_text(names, text)
    tokens = arrays.get("text_bert")
    arrays = {k: v for k, v in arrays.items() if k == chosen or k not in names}
    checks.check_layout(arrays)
    ids = arrays["id"]
    checks.check_ids(ids.tolist())
    meaning, renamed = checks.check_split_names(arrays["split"].tolist(), ids.tolist())
    assumptions += renamed
    split = np.array([meaning[name] for name in arrays["split"].tolist()])
    checks.check_splits(split, arrays)
    for key in ("label", *checks.UNIMODAL_KEYS):
        if key in arrays:
            checks.check_labels(key, arrays[key], ids, label_range)
    sequences: dict[str, np.ndarray | None] = {}
    for modality in ("text", "audio", "vision"):
        sequences[modality] = sequences[f"{modality}_length"] = None
        if modality in arrays:
            mask = tokens if modality == "text" else None
            sequence, length, found, more = _read_sequence(arrays, modality, side, mask)
            sequences[modality] = sequence
            sequences[f"{modality}_length"] = length
            padding[modality] = found
            stated, warned = _describe(modality, arrays[modality], found)
            assumptions += stated
            warnings += warned + more
    used = set(checks.RANKS) & set(arrays)
    if "text" in padding and padding["text"].lengths == "mask":
        used.add("text_bert")
    if "text" not in arrays and "text_length" in arrays:
        used.discard("text_length")
        assumptions.append("text_length is not used: only 'text' features need it")
    if chosen == "text_bert":
        sequences["text"], sequences["text_length"] = _read_tokens(arrays)
    transcript = arrays.get("transcript")
    if transcript is not None:
        checks.check_transcripts(transcript, ids.tolist())
        missing = np.isin(np.char.strip(transcript), MISSING)
        if missing.any():
            transcript = np.where(missing, "", transcript)
            warnings.append(
                f"text: {int(missing.sum())} transcripts are 'nan', 'None' or the "
                "like, what an empty cell turns into: they are taken as empty (a "
                "sentence that is this very word looks the same)"
            )
        empty = int(np.sum(np.char.strip(transcript) == ""))
        if empty:
            warnings.append(f"text: {empty} transcripts are empty")
    unimodal = None
    if checks.UNIMODAL_KEYS[0] in arrays:
        unimodal = np.stack([arrays[key] for key in checks.UNIMODAL_KEYS], axis=1)
        unimodal = unimodal.astype(np.float32)
    emotion = arrays.get("emotion")
    if emotion is not None:
        checks.check_emotions(emotion, ids)
        emotion = emotion.astype(np.float32)
    whole = Examples(
        id=ids,
        transcript=transcript,
        label=arrays["label"].astype(np.float32),
        unimodal_label=unimodal,
        emotion=emotion,
        **sequences,
    )
    unused = sorted(set(given) - used)
    if len(unused) > _NAMED:
        unused = [*unused[:_NAMED], f"and {len(unused) - _NAMED} more"]
    notes = Notes(padding, tuple(unused), tuple(assumptions), tuple(warnings))
    return {name: _rows(whole, split == name) for name in checks.SPLITS}, notes


def _read_sequence(
    arrays: Mapping[str, np.ndarray],
    modality: str,
    side: str,
    tokens: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, Padding, list[str]]:
    """Settle lengths and padding of a modality, and count what had to be replaced.

    Args:
        tokens: `text_bert` of the same file, if it has any. Its mask tells the lengths
            of vectors without any: those of padding tokens are not zero.
    """
    ids, sequence = arrays["id"], arrays[modality]
    steps = sequence.shape[1]
    length = arrays.get(f"{modality}_length")
    if length is not None:
        length = checks.check_lengths(f"{modality}_length", length, steps, ids)
    masked = None if length is not None else _mask_lengths(tokens, sequence.shape)
    if masked is not None:
        length, side = masked, "back"
    with np.errstate(over="ignore"):  # an overflow becomes inf and is reported below
        sequence, length, found = settle_padding(sequence, length, side)
    if masked is not None:  # what lies beyond is [PAD], nothing to warn about
        found = found._replace(lengths="mask", dropped=0)
    warnings = []
    # the minimum needs no memory, and is NaN where one is
    maybe = modality == "audio" and not np.isfinite(sequence.min())
    minus = np.isneginf(sequence) if maybe else None
    if minus is not None and minus.any():
        sequence[minus] = 0  # Source: MulT (Tsai et al. 2019), public code; MMSA too
        samples = int(minus.any(axis=(1, 2)).sum())
        warnings.append(
            f"audio: {int(minus.sum())} values of -inf in {samples} samples were set "
            "to 0, as the originals do"
        )
    checks.check_finite(modality, sequence, length, ids)
    return sequence, length, found, warnings


def _mask_lengths(
    tokens: np.ndarray | None, shape: tuple[int, ...]
) -> np.ndarray | None:
    """Return the lengths that the mask of tokens [n, 3, t] gives vectors [n, t, d].

    None if they do not belong together, or the mask is not ones and then zeros.
    """
    if tokens is None or tokens.shape != (shape[0], 3, shape[1]):
        return None
    mask = tokens[:, 1]
    if not np.isin(mask, (0, 1)).all() or np.any(mask[:, 1:] > mask[:, :-1]):
        return None
    return np.maximum(mask.sum(axis=1), 1).astype(np.int32)


def _read_tokens(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    checks.check_tokens(arrays["text_bert"], arrays["id"])
    tokens = arrays["text_bert"].astype(np.int32)
    length = tokens[:, 1].sum(axis=1, dtype=np.int32)
    tokens = tokens[:, :, : int(length.max())]
    keep = np.arange(tokens.shape[2]) < length[:, None]
    return tokens * keep[:, None], length


def _describe(
    modality: str, array: np.ndarray, found: Padding
) -> tuple[list[str], list[str]]:
    """Say in words what was assumed about a modality and what looks wrong."""
    assumptions, warnings = [], []
    if array.dtype != np.float32:
        assumptions.append(f"{modality}: {array.dtype} values were cast to float32")
    if found.lengths == "derived":
        assumptions.append(
            f"{modality}: no lengths given, taken from all-zero steps at the "
            f"{found.side if found.side != 'none' else 'back'}"
        )
    if found.lengths == "mask":
        assumptions.append("text: lengths are those of the mask in 'text_bert'")
    if found.lengths == "array":
        assumptions.append(f"{modality}: every step counts, padding too (as stored)")
    if found.recomputed:
        warnings.append(
            f"{modality}: {found.recomputed} of {len(array)} lengths contradict the "
            "zeros in front of the contents and were recomputed; --padding as_stored "
            "keeps them"
        )
    if found.side == "front":
        assumptions.append(f"{modality}: front padding was moved to the back")
    if found.blank:
        lengths = " and keep length 1" if found.lengths == "derived" else ""
        warnings.append(f"{modality}: {found.blank} samples are all zero{lengths}")
    if found.dropped:
        warnings.append(
            f"{modality}: {found.dropped} non-zero steps lie beyond {modality}_length "
            f"and were set to zero; if the array is padded at the front, leave "
            f"{modality}_length out to have it derived"
        )
    return assumptions, warnings


def _rows(examples: Examples, chosen: np.ndarray) -> Examples:
    """Cut a split out; rows that stand together are not copied."""
    rows = np.flatnonzero(chosen)
    together = rows[-1] - rows[0] + 1 == len(rows)
    cut = slice(int(rows[0]), int(rows[-1]) + 1) if together else rows
    return Examples._make(None if x is None else x[cut] for x in examples)
