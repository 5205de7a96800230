"""What must hold in a feature file; each failure is one clear `UserError` line.

The arrays are those of the plain layout (docs/data.md), one row per sample.
"""

from collections import Counter
from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from msa_jax.ground.errors import UserError, listed, shown
from msa_jax.ground.names import EMOTIONS

SPLITS = ("train", "valid", "test")
# Far more than any set of the field has; a small file could claim to hold them, and
# every check, the card and its page would take minutes.
MAX_SAMPLES = 200_000
MAX_WIDTH = 20_000
MAX_CHARACTERS = 20_000  # of one transcript
_SMALL, _MANY = 512 << 20, 24  # bytes any file may unfold to, and times its size
_LARGE, _FEW = 1536 << 20, 8  # twice as much is held at once: under 4 GB
# What --text calls the arrays of text, in the order in which they are preferred.
TEXTS = {"tokens": "text_bert", "features": "text", "sentences": "transcript"}
SPLIT_NAMES = {
    "train": "train",
    **dict.fromkeys(("valid", "val", "dev", "validation"), "valid"),
    "test": "test",
}
UNIMODAL_KEYS = ("label_text", "label_audio", "label_vision")
_CLASS_KEY = "classification_labels"
# Source: pandas, str() of the values that stand for a missing one.
MISSING = ("nan", "NaN", "None", "<NA>")
LENGTH_KEYS = ("text_length", "audio_length", "vision_length")
RANKS = {
    **dict.fromkeys(("id", "split", "transcript", "label"), 1),
    **dict.fromkeys(("text", "text_bert", "audio", "vision"), 3),
    "emotion": 2,
    **dict.fromkeys((*UNIMODAL_KEYS, *LENGTH_KEYS), 1),
}
_FLOAT32, _INT32 = float(np.finfo(np.float32).max), 2**31 - 1
_SHAPES = {
    "text": "[samples, steps, width]",
    "text_bert": "[samples, 3, tokens] (ids, mask, segments)",
    "audio": "[samples, steps, width]",
    "vision": "[samples, steps, width]",
    "emotion": "[samples, 6] (happy, sad, anger, surprise, disgust, fear)",
}


def check_layout(arrays: Mapping[str, np.ndarray]) -> None:
    """Check that the keys go together, and every array's type, rank and rows."""
    for key in ("id", "split", "label"):
        if key not in arrays:
            found = listed(sorted(arrays))
            hint = no_scores(arrays) if key == "label" else ""
            raise UserError(f"array '{key}' is missing{hint}; found: {found}")
    if not {*TEXTS.values(), "audio", "vision"} & set(arrays):
        raise UserError(
            "no modality: give at least one of transcript, text, text_bert, audio, "
            "vision"
        )
    unimodal = [key for key in UNIMODAL_KEYS if key in arrays]
    if unimodal and len(unimodal) < len(UNIMODAL_KEYS):
        raise UserError(
            f"found {', '.join(unimodal)}, but unimodal labels need all of "
            f"{', '.join(UNIMODAL_KEYS)}"
        )
    for key in LENGTH_KEYS:
        modality = key.removesuffix("_length")
        if key in arrays and modality not in arrays and modality != "text":
            raise UserError(f"'{key}' is there, but '{modality}' is not")
    n = len(arrays["id"]) if arrays["id"].ndim else 0
    if not any(arrays[key].size for key in RANKS if key in arrays):
        raise UserError(empty_split(SPLITS[0]))
    for key in RANKS:
        if key in arrays:
            check_array(key, arrays[key], n)


def no_scores(names: Container[str]) -> str:
    """Return what to add where labels are missing, but classes are among the names."""
    if _CLASS_KEY not in names:
        return ""
    return (
        f" ('{_CLASS_KEY}' holds classes, which are not read: one sentiment score per "
        "sample is needed)"
    )


def empty_split(name: str) -> str:
    """Return the line that says so."""
    return f"split '{name}' is empty: give it at least one sample"


def check_array(key: str, array: np.ndarray, n: int, first: str = "id") -> None:
    """Check an array's type, rank, sizes, and its rows: n, as the first array has."""
    if array.ndim and len(array) != n:  # an empty array has any dtype and shape
        raise UserError(f"'{key}' has {len(array)} rows, but '{first}' has {n}")
    if key in ("id", "split", "transcript"):
        if array.dtype.kind != "U":
            raise UserError(f"'{key}' must hold strings, its dtype is {array.dtype}")
    elif array.dtype.kind not in "fiu":
        raise UserError(f"'{key}' must hold numbers, its dtype is {array.dtype}")
    if array.ndim != RANKS[key]:
        wanted = _SHAPES.get(key, "[samples]")
        raise UserError(f"'{key}' has shape {array.shape}, it must be {wanted}")
    check_sizes(key, n, array.shape[2] if key in ("text", "audio", "vision") else 1)
    if n and 0 in array.shape:
        raise UserError(f"'{key}' has an axis of size 0: shape {array.shape}")
    columns = {"text_bert": 3, "emotion": len(EMOTIONS)}.get(key)
    if columns and array.shape[1] != columns:
        wanted = _SHAPES[key]
        raise UserError(f"'{key}' has shape {array.shape}, it must be {wanted}")


def check_sizes(key: str, samples: int, width: int = 1) -> None:
    """Refuse more samples or columns than can be checked in reasonable time."""
    if samples > MAX_SAMPLES:
        raise UserError(
            f"'{key}' has {samples} samples, at most {MAX_SAMPLES} can be prepared: "
            "cut the set into several"
        )
    if width > MAX_WIDTH:
        raise UserError(
            f"'{key}' has {width} columns, at most {MAX_WIDTH} can be prepared: "
            "reduce the features"
        )


def most_unfolded(held: int) -> int:
    """Return how many bytes arrays may take that a file of `held` bytes unfolds to.

    Clips of very different lengths unfold much when they are padded to the longest,
    compressed zeros too. Real features of gigabytes do so a few times (MOSEI padded:
    2.3 times), so that a large file may claim less in proportion than a small one.
    """
    return min(_SMALL + _MANY * held, max(_LARGE, _FEW * held))


def check_transcripts(transcripts: Iterable[str], ids: Iterable[str]) -> None:
    """Refuse transcripts that are longer than `MAX_CHARACTERS`."""
    for sample, said in zip(ids, transcripts, strict=True):
        if len(said) > MAX_CHARACTERS:
            raise UserError(
                f"'transcript' of sample {str(sample)[:200]!a} has {len(said)} "
                f"characters, at most {MAX_CHARACTERS} can be prepared: cut it"
            )


def odd_ones(values: Sequence[Hashable]) -> tuple[int, int, int]:
    """Return the first that is not as most are, the first that is, how many are not.

    Of two that are equally frequent, the first (train's) is how most are. The values
    must not all be equal.
    """
    usual = Counter(values).most_common(1)[0][0]
    odd = [i for i, value in enumerate(values) if value != usual]
    return odd[0], values.index(usual), len(odd)


def check_characters(where: str, strings: np.ndarray) -> None:
    """Refuse strings whose characters do not exist: no text file can hold them."""
    codes = np.ascontiguousarray(strings).reshape(-1).view(np.uint32)
    if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any():
        raise UserError(f"{where} holds characters that do not exist (damaged?)")


def check_ids(ids: Sequence[str], where: str = "") -> None:
    """Refuse ids that would garble a terminal or a page, or are over 200 characters."""
    for sample in ids:
        if not sample.isprintable() or len(sample) > 200:
            raise UserError(f"id {sample[:30]!a}{where} is no printable short name")


def name_splits(names: Iterable[Any]) -> tuple[dict[Any, str], list[str]]:
    """Tell which names mean a split: `SPLIT_NAMES`, in capitals or not.

    Returns: the split that each name means (others are left out), and notes on those
        that are not called as here.
    Raises: UserError if two names mean one split.
    """
    meaning: dict[Any, str] = {}
    for name in names:
        plain = name.strip().lower() if isinstance(name, str) else None
        if plain in SPLIT_NAMES:
            split = SPLIT_NAMES[plain]
            if split in meaning.values():
                other = next(key for key in meaning if meaning[key] == split)
                raise UserError(
                    f"splits '{shown(other)}' and '{shown(name)}' both mean {split}: "
                    "keep one, or give both one name"
                )
            meaning[name] = split
    renamed = [f"'{shown(n)}' means {s}" for n, s in meaning.items() if n != s]
    return meaning, [f"splits: {', '.join(renamed)}"] if renamed else []


def check_split_names(
    split: Sequence[str], ids: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Check that every sample stands in one of the splits; return `name_splits`."""
    meaning, notes = name_splits(dict.fromkeys(split))
    for sample, name in zip(ids, split, strict=True):
        if name not in meaning:
            raise UserError(
                f"unknown split name '{shown(name)}' (first at sample '{sample}'); use "
                f"{', '.join(SPLITS)}"
            )
    return meaning, notes


def check_splits(split: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
    """Check that the three splits are there, not empty, and share no id."""
    names, ids = split.tolist(), arrays["id"].tolist()
    for name in SPLITS:
        if name not in names:
            raise UserError(empty_split(name))
    first: dict[str, int] = {}
    shared, twice = [], []
    for i, sample in enumerate(ids):
        before = first.setdefault(sample, i)
        if before != i:
            (twice if names[before] == names[i] else shared).append((before, i))
    if shared:
        sample = ids[shared[0][0]]
        pairs = zip(ids, names, strict=True)
        there = {name for other, name in pairs if other == sample}
        raise UserError(
            f"splits share {len({ids[i] for _, i in shared})} ids, first '{sample}' in "
            f"{' and '.join(name for name in SPLITS if name in there)}: "
            + _shared_rule(shared, arrays)
        )
    if twice:
        sample, name = ids[twice[0][0]], names[twice[0][0]]
        raise UserError(
            f"{len({ids[i] for _, i in twice})} ids stand more than once, first "
            f"'{sample}' in {name}: make ids unique"
        )


def _shared_rule(
    shared: Sequence[tuple[int, int]], arrays: Mapping[str, np.ndarray]
) -> str:
    """Say what to do about ids in two splits: are they the same samples?"""
    same = sum(_equal_rows(arrays, *pair) for pair in shared)
    if same == len(shared):
        return "they are the same samples: keep each in one split"
    rule = (
        "they are other samples under the same ids: ids must be unique over all "
        "splits, for example with the split's name in front "
        f"('test_{arrays['id'][shared[0][0]]}')"
    )
    if not same:
        return rule
    rule = rule.replace("they", "the others", 1)
    return (
        f"{same} of {len(shared)} times the same sample: keep it in one split; {rule}"
    )


def _equal_rows(arrays: Mapping[str, np.ndarray], i: int, j: int) -> bool:
    """Tell whether two samples are one: equal in all but id and split."""
    keys = [key for key in RANKS if key in arrays and key not in ("id", "split")]
    return all(np.array_equal(arrays[key][i], arrays[key][j]) for key in keys)


def choose_text(
    names: Mapping[str, str], wanted: str | None
) -> tuple[str | None, list[str]]:
    """Choose which text is read: tokens, else features, else sentences, or as asked.

    Args:
        names: what the file calls its arrays of `TEXTS`, by their plain names.
        wanted: a key of `TEXTS`.

    Returns: the plain name of the array to read, and notes that name the others.
    """
    there = [key for key in TEXTS.values() if key in names]
    if wanted is not None and TEXTS[wanted] not in names:
        kinds = {key: kind for kind, key in TEXTS.items()}
        found = " and ".join(f"{kinds[key]} ('{names[key]}')" for key in there)
        raise UserError(
            f"--text {wanted}: there are no {wanted} in it; its text is "
            f"{found or 'absent'}"
        )
    if not there:
        return None, []
    chosen = there[0] if wanted is None else TEXTS[wanted]
    read = f"text: '{names[chosen]}' is read"
    return chosen, [f"{read}, '{names[key]}' is not" for key in there if key != chosen]


def drop_absent(
    arrays: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Leave out modalities without one step or column; return warnings about them."""
    kept, warnings = dict(arrays), []
    for key in ("text", "text_bert", "audio", "vision"):
        if key in kept and is_absent(kept[key]):
            shape = kept.pop(key).shape
            kept.pop(f"{key}_length", None)
            warnings.append(
                f"{key}: of shape {shape}, so without any value: it is absent, and "
                "the set is read without it"
            )
    return kept, warnings


def drop_empty_unimodal(
    arrays: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Leave out unimodal labels of which there is not one; return a note on it."""
    there = [arrays[key] for key in UNIMODAL_KEYS if key in arrays]
    if not there or not all(v.dtype.kind == "f" and np.isnan(v).all() for v in there):
        return dict(arrays), []
    kept = {key: x for key, x in arrays.items() if key not in UNIMODAL_KEYS}
    return kept, ["unimodal labels are all NaN and not read"]


def is_absent(array: np.ndarray) -> bool:
    """Tell whether sequences [n, t, d] have samples, but no value in any."""
    return array.ndim == 3 and len(array) > 0 and 0 in array.shape[1:]


def check_lengths(key: str, length: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Check that lengths are whole numbers from 0; return them as int64."""
    whole = np.isfinite(length) & (length == np.floor(length))
    _raise_where(~whole, ids, f"'{key}'", length, "must be a whole number")
    _raise_where(length < 0, ids, f"'{key}'", length, "must not be negative")
    return np.minimum(length, _INT32).astype(np.int64)


def check_reach(
    key: str, length: np.ndarray, steps: int, used: np.ndarray, ids: np.ndarray
) -> None:
    """Check that lengths end in the array, and are 0 for samples of zeros only.

    Args:
        used: samples of length 0 that have contents, by number.
    """
    beside = np.zeros(len(length), bool)
    beside[used] = True
    rule = "must be at least 1, its steps are not all zero; --padding as_stored takes 1"
    _raise_where(beside, ids, f"'{key}'", length, rule)
    rule = f"the array has {steps} steps; --padding as_stored takes those"
    _raise_where(length > steps, ids, f"'{key}'", length, rule)


def check_finite(
    key: str, sequence: np.ndarray, length: np.ndarray, ids: np.ndarray
) -> None:
    """Check that the valid steps of sequences [n, t, d] hold no NaN and no infinity.

    Padding must be zero already (`settle_padding`).
    """
    # min and max need no memory, and pass NaN on
    if np.isfinite(sequence.min()) and np.isfinite(sequence.max()):
        return
    bad = ~np.isfinite(sequence)
    nan = int(np.isnan(sequence).sum())
    sample, step, column = (int(i) for i in np.argwhere(bad)[0])
    raise UserError(
        f"'{key}' holds {nan} NaN and {int(bad.sum()) - nan} infinite values in "
        f"{int(bad.any(axis=(1, 2)).sum())} samples, first in '{ids[sample]}' (step "
        f"{step} of {length[sample]}, column {column}): replace them before preparing"
    )


def check_labels(
    key: str, label: np.ndarray, ids: np.ndarray, label_range: tuple[float, float]
) -> None:
    """Check that labels [n] are finite and inside the range, ends included."""
    low, high = label_range
    _raise_where(~np.isfinite(label), ids, f"'{key}'", label, "must be finite")
    slack = 1e-5 * (high - low)  # a float32 1/3 * 3 must not fall out of [1, 3]
    outside = (label < low - slack) | (label > high + slack)
    rule = f"must be in [{low:g}, {high:g}]; another range is --label_range=LO,HI"
    _raise_where(outside, ids, f"'{key}'", label, rule)
    large = _above(np.abs(label), _FLOAT32)
    _raise_where(large, ids, f"'{key}'", label, "must fit into float32")


def check_emotions(emotion: np.ndarray, ids: np.ndarray) -> None:
    """Check that intensities [n, 6] are finite and not negative."""
    _raise_where(~np.isfinite(emotion), ids, "'emotion'", emotion, "must be finite")
    _raise_where(emotion < 0, ids, "'emotion'", emotion, "must not be negative")
    _raise_where(
        _above(emotion, _FLOAT32), ids, "'emotion'", emotion, "must fit into float32"
    )


def check_tokens(text_bert: np.ndarray, ids: np.ndarray) -> None:
    """Check [n, 3, t] token ids, mask and segments as a BERT tokeniser writes them."""
    whole = np.isfinite(text_bert) & (text_bert == np.floor(text_bert))
    for row, name in enumerate(("ids", "mask", "segments")):
        where = f"'text_bert' {name}"
        values = text_bert[:, row]
        _raise_where(~whole[:, row], ids, where, values, "must be whole numbers")
        _raise_where(values < 0, ids, where, values, "must not be negative")
        if name == "ids":
            large = _above(values, _INT32)
            _raise_where(large, ids, where, values, "must be below 2**31")
        else:
            _raise_where(values > 1, ids, where, values, "must be 0 or 1")
    mask = text_bert[:, 1]
    gap = np.any(mask[:, 1:] > mask[:, :-1], axis=1)  # a difference could wrap
    for bad, meaning in (
        (mask.sum(axis=1) == 0, "has no token in its 'text_bert' mask"),
        (gap, "has a 'text_bert' mask that is not ones followed by zeros"),
    ):
        if bad.any():
            raise UserError(
                f"sample '{ids[bad][0]}' {meaning} ({int(bad.sum())} such samples)"
            )


def _above(values: np.ndarray, most: float) -> np.ndarray:
    """Compare with a limit, which in a narrower type becomes infinity."""
    with np.errstate(over="ignore"):
        return values > most


def _raise_where(
    bad: np.ndarray, ids: np.ndarray, where: str, values: np.ndarray, rule: str
) -> None:
    if bad.any():
        index = tuple(np.argwhere(bad)[0])
        samples = int(bad.reshape(len(bad), -1).any(axis=1).sum())
        raise UserError(
            f"{where} of sample '{ids[index[0]]}' is {values[index]:g}, but {rule} "
            f"({samples} such samples)"
        )
