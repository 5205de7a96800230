"""Layouts that keep one record per clip: MISA's, MAG-BERT's, TBJE's, MMSA-FET's."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from msa_jax.data.check.checks import (
    SPLITS,
    check_ids,
    check_sizes,
    empty_split,
    listed,
    name_splits,
    odd_ones,
    shown,
)
from msa_jax.data.read.columns import (
    Budget,
    Layout,
    is_nothing,
    numbers,
    sentence,
    sentences,
    strings,
    text,
)
from msa_jax.ground.errors import UserError

EMOTIONS = 6
_SEQUENCES = ("audio", "vision", "text", "text_bert")  # of one clip
ORDER = (
    "emotions: their order is taken to be happy, sad, anger, surprise, disgust, fear"
)
SEVEN = "labels: of 7 columns the first is taken as sentiment, the others as emotions"
_MELS = 80  # Source: TBJE (Delbrouck et al. 2020), section 2.2


def is_clip_list(tree: Any) -> bool:
    """Tell whether this lists ((words, visual, acoustic, ...), label, ...) at all."""
    return isinstance(tree, list | tuple) and any(map(_is_clip, tree))


def _is_clip(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) in (2, 3, 4)
        and isinstance(value[0], list | tuple)
        and len(value[0]) in (3, 4)
    )


def from_clip_lists(splits: Mapping[str, Sequence], budget: Budget) -> Layout:
    """Read MISA's and MAG-BERT's lists of ((words, visual, acoustic), label, segment).

    Source: github.com/declare-lab/MISA (create_dataset) and
    github.com/WasifurRahman/BERT_multimodal_transformer (README, dataset format).
    """
    check_sizes("id", sum(map(len, splits.values())))  # before any is read
    notes: set[str] = set()
    found = {s: _read_clips(s, clips, notes, budget) for s, clips in splits.items()}
    tables = list(found.values())
    misa = any(len(clip[0]) == 4 for clip in splits["train"])
    notes |= _settle_rows(found)
    notes |= {*_settle_words(tables), *_settle_ids(found)}
    name = "MISA tuple lists" if misa else "MAG-BERT tuple lists"
    return Layout(name, found, tuple(sorted(notes)), ())


def _settle_rows(found: Mapping[str, dict[str, Any]]) -> set[str]:
    """Say whether audio and vision have a row per word, and take that for lengths.

    A modality without a value in any clip is absent and tells nothing.
    """
    names = {
        m: shown
        for m, shown in (("vision", "visual"), ("audio", "acoustic"))
        if any(array.size for table in found.values() for array in table[m])
    }
    counts: list[set[int]] = []
    uneven: list[str] = []
    for split, table in found.items():
        for i, said in enumerate(table.pop("said")):
            rows = {shown: len(table[m][i]) for m, shown in names.items()}
            counts.append({said, *rows.values()})
            if len(counts[-1]) > 1:
                there = " and ".join(f"{n} {shown}" for shown, n in rows.items())
                uneven.append(f"{split}[{i}]: {said} words, {there} rows")
    if not names:
        return set()
    are = f"{' and '.join(sorted(names))} {'are' if len(names) > 1 else 'is'}"
    if uneven:
        return {
            f"{are} not aligned with the words: {len(uneven)} of {len(counts)} clips "
            f"do not have one row per word, first {uneven[0]}"
        }
    (same, *others) = set.union(*counts)
    if same and not others:  # else the arrays' own lengths tell
        for table in found.values():
            rows = np.full(len(table["id"]), same)
            table |= {f"{m}_length": rows for m in names}
    return {f"{are} aligned with the words, one row per word"}


def _settle_words(tables: list[dict[str, Any]]) -> list[str]:
    """Drop text if all words are numbers (None), else say in how many clips."""
    said = [line for table in tables for line in table["transcript"]]
    numbered = said.count(None)
    if numbered and not any(said):
        for table in tables:
            del table["transcript"]
        return [
            "text: words are numbers of a dictionary that is not in the file, so "
            "text is not read"
        ]
    for table in tables:
        table["transcript"] = [line or "" for line in table["transcript"]]
    if not numbered:
        return []
    return [
        f"text: the words of {numbered} clips are numbers of a dictionary that is not "
        "in the file, so these are empty"
    ]


def _settle_ids(found: Mapping[str, dict[str, Any]]) -> list[str]:
    """Number the clips that have no id (None)."""
    every = [i for table in found.values() for i in table["id"]]
    missing = every.count(None)
    if missing == len(every):
        notes = ["ids are not in the file: samples are numbered, videos unknown"]
    else:
        notes = rename_ids(list(found.values()))
        more = f"ids: {missing} clips have none and are numbered, their videos unknown"
        notes += [more] if missing else []
    for split, table in found.items():
        ids = enumerate(table["id"])
        table["id"] = [f"{split}{i}" if name is None else name for i, name in ids]
        check_ids(table["id"], f" of {split}")
    return notes


def _read_clips(
    split: str, clips: Sequence, notes: set[str], budget: Budget
) -> dict[str, Any]:
    words, ids, labels, audio, vision, said = [], [], [], [], [], []
    for i, clip in enumerate(clips):
        where = f"{split}[{i}]"
        if not _is_clip(clip):
            raise UserError(
                f"{where} is not ((words, visual, acoustic), label, segment)"
            )
        parts = clip[0]
        spoken = parts[3] if len(parts) == 4 else parts[0]
        numbered = _are_numbers(spoken)
        words.append(None if numbered else sentence(f"{where} words", spoken, budget))
        vision.append(_matrix(f"{where} visual", parts[1], budget))
        audio.append(_matrix(f"{where} acoustic", parts[2], budget))
        if not isinstance(spoken, list | tuple | np.ndarray):
            spoken = words[-1].split()
        said.append(len(np.atleast_1d(spoken) if numbered else spoken))
        labels.append(_row(where, clip[1], budget))
        named = len(clip) > 2 and type(clip[2]) in (str, bytes, int)
        ids.append(_name(clip[2]) if named else None)
    widths = {len(label) for label in labels}
    if widths not in ({1}, {1 + EMOTIONS}):
        line = f"labels of {split} have {sorted(widths)} columns, not 1 or 7"
        if len(widths) > 1:
            odd, _, count = odd_ones([len(label) for label in labels])
            line += f": {split}[{odd}] has {len(labels[odd])} ({count} such clips)"
        raise UserError(line)
    label = np.stack(labels)
    table = {"id": ids, "label": label[:, 0]}
    if widths != {1}:
        table["emotion"] = label[:, 1:]
        notes |= {SEVEN, ORDER}
    table |= {"transcript": words, "audio": audio, "vision": vision}
    return {**table, "said": said}


def _are_numbers(value: Any) -> bool:
    """Tell whether these are numbers; where nothing is, nothing tells."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iuf" and value.size > 0
    numeric = isinstance(value, list | tuple) and {type(v) for v in value}
    return bool(numeric) and numeric <= {int, float}


def _row(where: str, value: Any, budget: Budget) -> np.ndarray:
    return np.ravel(one_array(where, numbers(where, value, budget)))


def _matrix(where: str, value: Any, budget: Budget) -> np.ndarray:
    """Return [steps, width]; None and an empty list are no steps."""
    array = one_array(where, numbers(where, [] if value is None else value, budget))
    if array.shape == (0,):
        return array.reshape(0, 0)
    if array.ndim != 2:
        raise UserError(f"{where} has shape {array.shape}, not [steps, width]")
    return array


def one_array(where: str, value: Any) -> np.ndarray:
    """Return numbers that must be rectangular."""
    if isinstance(value, list):
        shapes = [row.shape for row in value]
        if len(set(shapes)) > 1:
            odd, usual, count = odd_ones(shapes)
            raise UserError(
                f"'{where}' is ragged: row {odd} has shape {shapes[odd]}, row {usual} "
                f"{shapes[usual]} ({count} such rows)"
            )
        return np.stack(value)
    return value


def keyed_files(
    trees: Mapping[str, Any],
) -> tuple[dict[str, dict[str, dict]] | None, list[str], list[str]]:
    """Sort TBJE's files, train_sentences, train_mels, ..., by split.

    Returns: None if they are others; notes on the names of splits; files that are none
        of these.
    """
    parts = {stem: stem.partition("_") for stem in trees}
    meaning, notes = name_splits(dict.fromkeys(part[0] for part in parts.values()))
    sorted_: dict[str, dict[str, dict]] = {}
    others = []
    for stem, tree in trees.items():
        split, _, role = parts[stem]
        if split in meaning and role and isinstance(tree, dict):
            sorted_.setdefault(meaning[split], {})[role] = tree
        else:
            others.append(stem)
    return (sorted_ if sorted_.keys() == {*SPLITS} else None), notes, others


def from_keyed_files(splits: Mapping[str, dict[str, dict]], budget: Budget) -> Layout:
    """Read TBJE's (UMONS) MOSEI: per split, files that map a clip to one thing each.

    What a file holds is seen from its values: text, a matrix per clip (audio or
    vision), one number (sentiment), six numbers (emotions).

    Source: github.com/jbdel/MOSEI_UMONS, mosei_dataset.py.
    """
    found = {}
    for split, files in splits.items():
        check_sizes("id", max(map(len, files.values())))
        nothing = [role for role, tree in files.items() if not tree]
        if nothing:
            raise UserError(f"{empty_split(split)} in *_{nothing[0]}")
    kinds = _kinds(splits)
    notes = {
        f"{kind}: taken from the files *_{name}"
        for name, kind in kinds.items()
        if kind in ("audio", "vision")
    }
    for split in ("train", "valid", "test"):
        roles = _roles(split, splits[split], kinds)
        if "label" not in roles:
            raise UserError(f"no file of sentiment scores for {split}")
        keys = [k for k in roles["label"] if all(k in tree for tree in roles.values())]
        dropped = max(len(tree) for tree in roles.values()) - len(keys)
        if dropped:
            notes.add(f"{split}: {dropped} clips are not in every file and left out")
        if not keys:
            raise UserError(f"split '{split}' is empty: no clip is in all of its files")
        names = [shown(key) for key in keys]
        table: dict[str, Any] = {"id": strings(f"{split} ids", keys, budget)}
        check_ids(table["id"], f" of {split}")
        for role, tree in roles.items():
            pairs = zip(names, keys, strict=True)
            values = {f"{split} {role} of {name}": tree[key] for name, key in pairs}
            if role == "transcript":
                table[role] = [sentence(w, v, budget) for w, v in values.items()]
            elif role in ("audio", "vision"):
                table[role] = [_matrix(w, v, budget) for w, v in values.items()]
            else:
                rows = [_row(w, v, budget) for w, v in values.items()]
                wanted = EMOTIONS if role == "emotion" else 1
                _check_columns(f"{split} {role}", rows, wanted, names)
                stacked = np.stack(rows)
                table[role] = stacked if role == "emotion" else stacked[:, 0]
        found[split] = table
    if any(set(table) != set(found["train"]) for table in found.values()):
        raise UserError("the splits do not have the same kinds of files")
    if "emotion" in found["train"]:
        notes.add(ORDER)
    notes |= set(rename_ids(list(found.values())))
    return Layout("TBJE (UMONS) MOSEI files", found, tuple(sorted(notes)), ())


def _check_columns(
    where: str, rows: list[np.ndarray], wanted: int, names: Sequence[str]
) -> None:
    bad = [i for i, row in enumerate(rows) if len(row) != wanted]
    if bad:
        raise UserError(
            f"{where}: not {wanted} number(s) for every clip, '{names[bad[0]]}' has "
            f"{len(rows[bad[0]])} ({len(bad)} such clips)"
        )


def _kinds(splits: Mapping[str, dict[str, dict]]) -> dict[str, str]:
    """Tell what files of a name hold, by most of their values in all splits."""
    votes: dict[str, Counter[str]] = {}
    for files in splits.values():
        for name, tree in files.items():
            found = votes.setdefault(name, Counter())
            found.update(_kind(name, value) for value in tree.values())
    for found in votes.values():
        if len(found) > 1:
            del found[""]
    return {n: v.most_common(1)[0][0] or "transcript" for n, v in votes.items()}


def _roles(
    split: str, files: Mapping[str, dict], kinds: Mapping[str, str]
) -> dict[str, Mapping[Any, Any]]:
    roles: dict[str, Mapping[Any, Any]] = {}
    for name, tree in sorted(files.items()):
        role = kinds[name]
        if role in roles:
            other = next(n for n in files if kinds[n] == role and n != name)
            raise UserError(
                f"two files of {split} hold {role}: '{split}_{other}' and "
                f"'{split}_{name}', remove one"
            )
        roles[role] = tree
    return roles


def _kind(name: str, value: Any) -> str:
    """Tell what one value is; "" for those that say nothing."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "USO":
        value = value.tolist()
    shape = value.shape if isinstance(value, np.ndarray) else ()
    if isinstance(value, list | tuple):
        first = next(iter(value), 0)
        if _are_numbers(first) and np.size(first) and np.ndim(first):
            shape = (len(value), np.size(first))  # a matrix as nested lists
    if len(shape) == 2 and shape not in ((1, 1), (1, EMOTIONS)):
        audio = shape[1] == _MELS or re.search("mel|audio|acoustic", name)
        return "audio" if audio else "vision"
    if is_nothing(value):
        return ""
    if isinstance(value, str | bytes):
        return "transcript"
    if isinstance(value, list | tuple) and not (shape or _are_numbers(value)):
        return "transcript"
    return "emotion" if np.size(value) == EMOTIONS else "label"


def read_ids(where: str, value: Any, budget: Budget) -> list[str]:
    """Read ids: strings, numbers, or rows of (video, start, end) as MulT has them."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuUSO" and value.ndim < 3:
        value = value.tolist()
    if isinstance(value, list | tuple) and value:
        if all(type(item) is int for item in value):
            return [str(item) for item in value]
        rows = [v.ravel().tolist() if isinstance(v, np.ndarray) else v for v in value]
        if all(isinstance(row, list | tuple) and len(row) in (1, 3) for row in rows):
            names = [[_name(part) for part in row] for row in rows]
            return [r[0] if len(r) == 1 else f"{r[0]}_{r[1]}-{r[2]}" for r in names]
    return strings(where, value, budget)


def _name(item: Any) -> str:
    return text(item) if isinstance(item, str | bytes) else f"{item}"


def rename_ids(tables: list[dict[str, Any]]) -> list[str]:
    """Write clip ids video[3] as video_3: the video stands before the last _."""
    pattern = re.compile(r"(.+)\[(\d+)\]$")
    before = [table["id"] for table in tables]
    for table in tables:
        table["id"] = [i and pattern.sub(r"\1_\2", i) for i in table["id"]]
    changed = before != [table["id"] for table in tables]
    return ["ids: video[3] is written video_3"] if changed else []


def is_emotion_table(tree: Any) -> bool:
    """Tell whether this maps clips, or videos and then clips, to six numbers."""
    if not isinstance(tree, dict):
        return False
    values = (value for _, value in _flat(tree))
    return any(_are_numbers(v) and np.size(v) == EMOTIONS for v in values)


def _flat(tree: dict) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = text(key) if isinstance(key, str | bytes) else str(key)
        for segment, inner in (
            value.items() if isinstance(value, dict) else [(None, value)]
        ):
            yield name if segment is None else f"{name}_{segment}", inner


def emotions_of(tree: Any, budget: Budget) -> tuple[list[str], np.ndarray]:
    """Read a table of six emotion intensities per clip; see `is_emotion_table`."""
    if not is_emotion_table(tree):
        raise UserError("no emotion labels: a dict from clip to 6 numbers is expected")
    flat = dict(_flat(tree))
    rows = [_row(key, value, budget) for key, value in flat.items()]
    _check_columns("emotion labels", rows, EMOTIONS, [*map(shown, flat)])
    return list(flat), np.stack(rows).astype(np.float64)


def join_emotions(layout: Layout, names: list[str], values: np.ndarray) -> Layout:
    """Give every clip of a layout its six emotions, found by id."""
    row = {_plain_id(name): i for i, name in enumerate(names)}
    splits = {}
    for split, table in layout.splits.items():
        missing = [i for i in table["id"] if _plain_id(i) not in row]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(table['id'])} clips of {split} have no "
                f"emotions, first '{missing[0]}'"
            )
        chosen = [row[_plain_id(i)] for i in table["id"]]
        splits[split] = {**table, "emotion": values[chosen]}
    notes = (*layout.assumptions, ORDER, "emotions: joined by id from a second file")
    return layout._replace(splits=splits, assumptions=notes)


def _plain_id(name: Any) -> str:
    """Write video[3] and video$_$3 alike."""
    return re.sub(r"\[(\d+)\]$", r"_\1", str(name)).replace("$_$", "_")


def is_one_clip(tree: Any) -> bool:
    """Tell whether this is a dict of sequences without splits."""
    return isinstance(tree, dict) and bool({*_SEQUENCES} & tree.keys())


def from_one_clip(trees: Mapping[str, Any], budget: Budget) -> Layout:
    """Turn the contents of one file, by its name, into a layout of one row.

    What `predict` answers: a dict of audio, vision and text [steps, width], text_bert
    [tokens, 3] or [3, tokens], and the tool's settings, without label and split. A clip
    is as long as its arrays: nothing of one that stands alone is padding.

    Raises:
        UserError: it holds no clip, or sequences of another shape.

    Source: github.com/thuiar/MMSA-FET, FeatureExtractionTool.run_single.
    """
    ((stem, tree),) = trees.items()
    if not is_one_clip(tree):
        keys = listed(tree) if isinstance(tree, dict) else type(tree).__name__
        raise UserError(
            "a pickle, but not of one clip, a dict of audio, vision, text or text_bert "
            f"as MMSA-FET writes it; found: {keys or 'nothing'}"
        )
    table: dict[str, Any] = {"id": [stem]}
    for key in _SEQUENCES:
        if tree.get(key) is not None:
            array = _sequence(key, tree[key], budget)
            if len(array):  # a face that is never seen: the modality is missing
                table[key] = array[None]
                if key != "text_bert":  # its mask says how long it is
                    table[f"{key}_length"] = np.array([len(array)])
    said = tree.get("raw_text")
    if isinstance(said, np.ndarray):
        said = said.reshape(-1)
    elif not isinstance(said, list | tuple):
        said = [said]
    said = " ".join(sentences("raw_text", said, budget)).strip()
    if said:
        table["transcript"] = [said]
    unused = [str(key) for key in tree if key not in table and key != "raw_text"]
    return Layout("one clip of MMSA-FET", {"clip": table}, (), tuple(unused))


def _sequence(key: str, value: Any, budget: Budget) -> np.ndarray:
    """Return [steps, width], of tokens [3, tokens]."""
    array = one_array(key, numbers(key, value, budget))
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.ndim != 2:
        raise UserError(f"'{key}' has shape {array.shape}, not [steps, width]")
    if key == "text_bert" and len(array) != 3 and array.shape[1] == 3:
        return array.T
    return array
