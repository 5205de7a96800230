"""The plain layout: one .npz of arrays, one row per sample (docs/data.md)."""

import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from msa_jax.data.check import checks
from msa_jax.data.read import containers
from msa_jax.data.read.padding import (
    Axis,
    Padding,
    Settled,
    contents,
    settle_padding,
    tokens_first,
)
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Examples

_NAMED = 30  # of the arrays that nothing reads


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


def is_missing(sentences: np.ndarray) -> np.ndarray:
    """Tell which sentences [n] are what pandas makes of an empty cell, [n]."""
    return np.isin(np.char.strip(sentences), checks.MISSING)


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
        side: where sequences are padded, see `padding.settle_padding`; "every_step":
            as stored, and lengths are not read.
        text: which text is read, see `checks.choose_text`.
    """
    given = arrays
    arrays, warnings = checks.drop_absent(arrays)
    names = {key: key for key in checks.TEXTS.values() if key in arrays}
    chosen, assumptions = checks.choose_text(names, text)
    tokens = arrays.get("text_bert")
    arrays = {k: v for k, v in arrays.items() if k == chosen or k not in names}
    arrays, dropped = checks.drop_empty_unimodal(arrays)
    assumptions += dropped
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
    used = set(checks.RANKS) & set(arrays)
    if "text" not in arrays and "text_length" in arrays:
        used.discard("text_length")
        assumptions.append("text_length is not used: only 'text' features need it")
    sequences, padding, stated, warned = _read_sequences(arrays, side, tokens)
    assumptions += stated
    warnings += warned
    if "text" in padding and padding["text"].lengths == "mask":
        used.add("text_bert")
    transcript = arrays.get("transcript")
    if transcript is not None:
        checks.check_transcripts(transcript, ids.tolist())
        missing = is_missing(transcript)
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


def _read_sequences(
    arrays: Mapping[str, np.ndarray], side: str, tokens: np.ndarray | None
) -> tuple[dict[str, np.ndarray | None], dict[str, Padding], list[str], list[str]]:
    """Return each modality's steps and lengths, padding, assumptions and warnings.

    Args:
        tokens: `text_bert` of the file, also where vectors are read in its place: those
            of padding tokens are not zero, its mask tells where they are.
    """
    ids, assumptions, warnings = arrays["id"], [], []
    keys = (key for m in MODALITIES for key in (m, f"{m}_length"))
    found: dict[str, np.ndarray | None] = dict.fromkeys(keys)
    features = {m: arrays[m] for m in MODALITIES if m in arrays}
    given = {
        m: checks.check_lengths(f"{m}_length", arrays[f"{m}_length"], ids)
        for m in features
        if f"{m}_length" in arrays and side != "every_step"
    }
    side = "as_stored" if side == "every_step" else side
    moved, read = False, "text_bert" in arrays
    settled, axis = settle(
        features, given, tokens if read or "text" in features else None, side
    )
    if read:
        assert tokens is not None
        tokens, moved = tokens_first(tokens)
        found["text"], found["text_length"] = _read_tokens(tokens, ids)
    if moved:
        assumptions.append(
            "text: tokens were padded at the front and moved to the back"
        )
    stated, warned = _describe_axis(axis, len(ids))
    assumptions += stated
    warnings += warned
    for m, (sequence, length, padding) in settled.items():
        if padding.lengths == "given" and side != "as_stored":
            _check_reach(m, features[m], arrays[f"{m}_length"], ids)
        stated, warned = _describe(m, features[m], given.get(m), padding, axis)
        assumptions += stated
        warnings += warned + _finite(m, sequence, length, ids)
        found |= {m: sequence, f"{m}_length": length}
    if moved and tokens is not None:
        beside = axis.names[1:] if axis.names[:1] == ("text",) else ()
        beside = beside or [
            m
            for m, (_, _, padding) in settled.items()
            if padding.lengths == "array" and features[m].shape[1] == tokens.shape[2]
        ]
        early = [settled[m][1] > found["text_length"] for m in beside]
        if np.any(early):
            warnings.append(
                f"text: in {int(np.any(early, axis=0).sum())} samples "
                f"{' or '.join(beside)} begins before the first token, which became "
                "the first step: moved apart"
            )
    return found, {m: p for m, (_, _, p) in settled.items()}, assumptions, warnings


def settle(
    features: Mapping[str, np.ndarray],
    lengths: Mapping[str, np.ndarray],
    tokens: np.ndarray | None,
    side: str = "auto",
) -> tuple[dict[str, Settled], Axis]:
    """Settle the padding of features [n, t, d], see `padding.settle_padding`.

    Args:
        tokens: [n, 3, t], read as the text if there are no features of text; else its
            mask tells where these end, if it fits.
    """
    mask = counts = None
    if tokens is not None and "text" not in features:
        mask = tokens[:, 1]
    elif tokens is not None and "text" not in lengths and side != "as_stored":
        vectors, counts = _masked(features["text"], tokens)
        features = {**features, "text": vectors}
    with np.errstate(over="ignore"):  # an overflow becomes inf and is reported later
        settled, axis = settle_padding(features, lengths, side, mask)
    if counts is not None and np.array_equal(settled["text"][1], counts):
        sequence, length, padding = settled["text"]
        settled["text"] = sequence, length, padding._replace(lengths="mask")
    return settled, axis


def _check_reach(
    m: str, sequence: np.ndarray, length: np.ndarray, ids: np.ndarray
) -> None:
    """Check that lengths end in the array, and that those of 0 have only zeros."""
    none = np.flatnonzero(length < 1)
    wrong = none[contents(sequence[none]).any(axis=1)]
    checks.check_reach(f"{m}_length", length, sequence.shape[1], wrong, ids)


def _finite(
    modality: str, sequence: np.ndarray, length: np.ndarray, ids: np.ndarray
) -> list[str]:
    """Set -inf of audio to 0, in place, and refuse what is not finite otherwise."""
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
    return warnings


def _masked(
    vectors: np.ndarray, tokens: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Set vectors [n, t, d] of padding tokens to zero, by the mask of tokens [n, 3, t].

    Returns: the vectors, and how many each sample has, at least 1; None if the two do
        not belong together (in most samples some token has no vector: they are padded
        by themselves) or the mask has gaps.
    """
    if tokens.shape != (len(vectors), 3, vectors.shape[1]):
        return vectors, None
    mask = tokens[:, 1]
    later, before = mask[:, 1:], mask[:, :-1]
    if not np.isin(mask, (0, 1)).all() or not (
        np.all(later <= before) or np.all(later >= before)
    ):
        return vectors, None
    without = ((mask > 0) & ~contents(vectors)).any(axis=1)
    if np.mean(without) > 0.5:
        return vectors, None
    counts = np.maximum(np.count_nonzero(mask, axis=1), 1)
    return np.where(mask[:, :, None] > 0, vectors, 0), counts


def _read_tokens(
    text_bert: np.ndarray, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    checks.check_tokens(text_bert, ids)
    tokens = text_bert.astype(np.int32)
    length = tokens[:, 1].sum(axis=1, dtype=np.int32)
    tokens = tokens[:, :, : int(length.max())]
    keep = np.arange(tokens.shape[2]) < length[:, None]
    return tokens * keep[:, None], length


def _describe_axis(axis: Axis, samples: int) -> tuple[list[str], list[str]]:
    """Say that modalities were taken to be aligned, and what speaks against it."""
    assumptions, warnings = [], []
    names = ", ".join(axis.names)
    if axis.names:
        assumptions.append(
            f"{names}: as many steps each, so taken to be aligned step by step: "
            "padding is what is zero in all of them at once; if they are not, give "
            "lengths"
        )
    apart = (
        f"{names}: in {axis.apart} of {samples} samples one of them begins or ends "
        "with zeros of its own, which are kept"
    )
    if axis.names and 2 * axis.apart > samples:
        warnings.append(f"{apart}; are they aligned at all? If not, give lengths")
    elif axis.names and axis.apart:
        assumptions.append(apart)
    if axis.elsewhere:
        assumptions.append(
            "text: as many tokens as there are steps of features, but in most samples "
            "features stand where no token is: not taken to be aligned with them"
        )
    if axis.unlike:
        assumptions.append(
            f"{', '.join(axis.unlike)}: as many steps each, but in most samples their "
            "contents or lengths end elsewhere: not taken to be aligned"
        )
    return assumptions, warnings


def _describe(
    modality: str,
    array: np.ndarray,
    length: np.ndarray | None,
    found: Padding,
    axis: Axis,
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
    if length is not None and found.lengths == "given":
        none, beyond = int(np.sum(length < 1)), int(np.sum(length > array.shape[1]))
        if none:
            warnings.append(
                f"{modality}: {none} lengths of 0 became 1, a step of zeros"
            )
        if beyond:
            warnings.append(
                f"{modality}: {beyond} lengths lie beyond the array and became its "
                f"{array.shape[1]} steps"
            )
    if found.side == "front":
        assumptions.append(f"{modality}: front padding was moved to the back")
    if found.blank:
        lengths = " and keep length 1" if found.lengths == "derived" else ""
        if modality in axis.names:
            lengths = " and stay as long as the others"
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
