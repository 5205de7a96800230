"""Layouts that keep one record per clip: MISA's, MAG-BERT's and TBJE's."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from msa_jax.data.checks import SPLITS, check_ids, check_sizes, name_splits
from msa_jax.data.columns import Budget, Layout, numbers, sentences, strings, text
from msa_jax.errors import UserError

EMOTIONS = 6
ORDER = (
    "emotions: their order is taken to be happy, sad, anger, surprise, disgust, fear"
)
SEVEN = "labels: of 7 columns the first is taken as sentiment, the others as emotions"
_MELS = 80  # Source: TBJE (Delbrouck et al. 2020), section 2.2


def is_clip_list(tree: Any) -> bool:
    """Tell whether this is a list of ((words, visual, acoustic, ...), label, ...)."""
    if not isinstance(tree, list | tuple) or not tree:
        return False
    first = tree[0]
    return (
        isinstance(first, list | tuple)
        and len(first) in (2, 3, 4)
        and isinstance(first[0], list | tuple)
        and len(first[0]) in (3, 4)
    )


def from_clip_lists(splits: Mapping[str, Sequence], budget: Budget) -> Layout:
    """Read MISA's and MAG-BERT's lists of ((words, visual, acoustic), label, segment).

    Source: github.com/declare-lab/MISA (create_dataset) and
    github.com/WasifurRahman/BERT_multimodal_transformer (README, dataset format).
    """
    check_sizes("id", sum(map(len, splits.values())))  # before any is read
    notes: set[str] = set()
    uneven: list[str] = []  # clips without one row per word
    found = {
        s: _read_clips(s, clips, notes, uneven, budget) for s, clips in splits.items()
    }
    notes.add(_alignment(uneven, sum(map(len, splits.values()))))
    tables = list(found.values())
    readable = all(all(t["transcript"]) for t in tables)
    misa = any(len(clip[0]) == 4 for clip in splits["train"][:1])
    if not readable:
        for table in tables:
            del table["transcript"]
        notes.add(
            "text: words are numbers of a dictionary that is not in the file, so "
            "text is not read"
        )
    with_ids = all(table["id"] for table in tables)
    if with_ids:
        for split, table in found.items():
            check_ids(table["id"], f" of {split}")
        notes |= set(rename_ids(tables))
    else:
        notes.add("ids are not in the file: samples are numbered, videos unknown")
        for split, table in found.items():
            table["id"] = [f"{split}{i}" for i in range(len(table["label"]))]
    name = "MISA tuple lists" if misa else "MAG-BERT tuple lists"
    return Layout(name, found, tuple(sorted(notes)), ())


def _read_clips(
    split: str, clips: Sequence, notes: set[str], uneven: list[str], budget: Budget
) -> dict[str, Any]:
    words, ids, labels, audio, vision = [], [], [], [], []
    for i, clip in enumerate(clips):
        where = f"{split}[{i}]"
        if not is_clip_list([clip]):
            raise UserError(
                f"{where} is not ((words, visual, acoustic), label, segment)"
            )
        parts = clip[0]
        spoken = parts[3] if len(parts) == 4 else parts[0]
        if not _are_numbers(spoken):
            words.append(" ".join(strings(f"{where} words", spoken, budget)))
        else:
            words.append("")
        vision.append(_matrix(f"{where} visual", parts[1], budget))
        audio.append(_matrix(f"{where} acoustic", parts[2], budget))
        counts = len(spoken), len(vision[-1]), len(audio[-1])
        rows = {len(part[-1]) for part in (vision, audio) if part[-1].shape[1]}
        if rows - {counts[0]}:
            uneven.append(
                f"{where}: {counts[0]} words, {counts[1]} visual and {counts[2]} "
                "acoustic rows"
            )
        labels.append(_row(where, clip[1], budget))
        if len(clip) > 2 and isinstance(clip[2], str | bytes):
            ids.append(text(clip[2]))
    widths = {len(label) for label in labels}
    if widths not in ({1}, {1 + EMOTIONS}):
        raise UserError(f"labels of {split} have {sorted(widths)} columns, not 1 or 7")
    label = np.stack(labels)
    table = {"id": ids if len(ids) == len(words) else [], "label": label[:, 0]}
    if widths != {1}:
        table["emotion"] = label[:, 1:]
        notes |= {SEVEN, ORDER}
    return {**table, "transcript": words, "audio": audio, "vision": vision}


def _alignment(uneven: Sequence[str], total: int) -> str:
    if not uneven:
        return "audio and vision are aligned with the words, one row per word"
    return (
        f"audio and vision are not aligned with the words: {len(uneven)} of {total} "
        f"clips do not have one row per word, first {uneven[0]}"
    )


def _are_numbers(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iuf"
    return isinstance(value, list | tuple) and all(
        type(v) in (int, float) for v in value
    )


def _row(where: str, value: Any, budget: Budget) -> np.ndarray:
    return np.ravel(one_array(where, numbers(where, value, budget)))


def _matrix(where: str, value: Any, budget: Budget) -> np.ndarray:
    array = one_array(where, numbers(where, value, budget))
    if array.ndim != 2:
        raise UserError(f"{where} has shape {array.shape}, not [steps, width]")
    return array


def one_array(where: str, value: Any) -> np.ndarray:
    """Return numbers that must be rectangular."""
    if isinstance(value, list):
        if len({row.shape for row in value}) > 1:
            raise UserError(f"'{where}' is ragged: its rows differ in length")
        return np.stack(value)
    return value


def keyed_files(
    trees: Mapping[str, Any],
) -> tuple[dict[str, dict[str, dict]] | None, list[str]]:
    """Sort TBJE's files, train_sentences, train_mels, ..., by split.

    Returns: None if they are others; notes on the names of splits.
    """
    parts = {stem: stem.partition("_") for stem in trees}
    meaning, notes = name_splits(dict.fromkeys(part[0] for part in parts.values()))
    sorted_: dict[str, dict[str, dict]] = {}
    for stem, tree in trees.items():
        split, _, role = parts[stem]
        if split in meaning and role and isinstance(tree, dict) and tree:
            sorted_.setdefault(meaning[split], {})[role] = tree
    return (sorted_ if sorted_.keys() == {*SPLITS} else None), notes


def from_keyed_files(splits: Mapping[str, dict[str, dict]], budget: Budget) -> Layout:
    """Read TBJE's (UMONS) MOSEI: per split, files that map a clip to one thing each.

    What a file holds is seen from its values: text, a matrix per clip (audio or
    vision), one number (sentiment), six numbers (emotions).

    Source: github.com/jbdel/MOSEI_UMONS, mosei_dataset.py.
    """
    notes: set[str] = set()
    found = {}
    for split in ("train", "valid", "test"):
        check_sizes("id", max(map(len, splits[split].values())))
        roles = _roles(split, splits[split], notes)
        if "label" not in roles:
            raise UserError(f"no file of sentiment scores for {split}")
        keys = [k for k in roles["label"] if all(k in tree for tree in roles.values())]
        dropped = max(len(tree) for tree in roles.values()) - len(keys)
        if dropped:
            notes.add(f"{split}: {dropped} clips are not in every file and left out")
        if not keys:
            raise UserError(f"split '{split}' is empty: no clip is in all of its files")
        table: dict[str, Any] = {"id": strings(f"{split} ids", keys, budget)}
        check_ids(table["id"], f" of {split}")
        for role, tree in roles.items():
            values = [tree[key] for key in keys]
            where = f"{split} {role}"
            if role == "transcript":
                table[role] = [_sentence(where, value, budget) for value in values]
            elif role in ("audio", "vision"):
                table[role] = [_matrix(where, value, budget) for value in values]
            else:
                rows = [
                    np.ravel(one_array(where, numbers(where, v, budget)))
                    for v in values
                ]
                wanted = EMOTIONS if role == "emotion" else 1
                if {len(row) for row in rows} != {wanted}:
                    raise UserError(f"{where}: not {wanted} number(s) for every clip")
                stacked = np.stack(rows)
                table[role] = stacked if role == "emotion" else stacked[:, 0]
        found[split] = table
    if any(set(table) != set(found["train"]) for table in found.values()):
        raise UserError("the splits do not have the same kinds of files")
    if "emotion" in found["train"]:
        notes.add(ORDER)
    notes |= set(rename_ids(list(found.values())))
    return Layout("TBJE (UMONS) MOSEI files", found, tuple(sorted(notes)), ())


def _roles(
    split: str, files: Mapping[str, dict], notes: set[str]
) -> dict[str, Mapping[Any, Any]]:
    roles: dict[str, Mapping[Any, Any]] = {}
    for name, tree in sorted(files.items()):
        value = next(iter(tree.values()))
        if isinstance(value, np.ndarray) and value.ndim == 2:
            audio = value.shape[1] == _MELS or re.search("mel|audio|acoustic", name)
            role = "audio" if audio else "vision"
            notes.add(f"{role}: taken from the files *_{name}")
        elif isinstance(value, str | bytes) or (
            isinstance(value, list | tuple) and not _are_numbers(value)
        ):
            role = "transcript"
        elif np.size(value) == EMOTIONS:
            role = "emotion"
        else:
            role = "label"
        if role in roles:
            raise UserError(
                f"two files of {split} hold {role}: remove '{split}_{name}'"
            )
        roles[role] = tree
    return roles


def _sentence(where: str, value: Any, budget: Budget) -> str:
    if isinstance(value, list | tuple | np.ndarray):
        return " ".join(strings(where, value, budget))
    return sentences(where, [value], budget)[0]


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
    pattern = re.compile(r"(.+)\[(\d+)\]")
    if not all(pattern.fullmatch(i) for table in tables for i in table["id"]):
        return []
    for table in tables:
        table["id"] = [pattern.sub(r"\1_\2", sample) for sample in table["id"]]
    return ["ids: video[3] is written video_3"]


def drop_empty_unimodal(tables: list[dict[str, Any]]) -> list[str]:
    """Drop unimodal labels that a file has keys but no values for."""
    keys = ("label_text", "label_audio", "label_vision")
    there = [table[key] for table in tables for key in keys if key in table]
    if not there or not all(np.isnan(value.astype(float)).all() for value in there):
        return []
    for table in tables:
        for key in keys:
            table.pop(key, None)
    return ["unimodal labels are all NaN and not read"]


def is_emotion_table(tree: Any) -> bool:
    """Tell whether this maps clips, or videos and then clips, to six numbers."""
    if not isinstance(tree, dict) or not tree:
        return False
    value = next(iter(tree.values()))
    if isinstance(value, dict) and value:
        value = next(iter(value.values()))
    return _are_numbers(value) and np.size(np.asarray(value)) == EMOTIONS


def emotions_of(tree: Any, budget: Budget) -> tuple[list[str], np.ndarray]:
    """Read a table of six emotion intensities per clip; see `is_emotion_table`."""
    if not is_emotion_table(tree):
        raise UserError("no emotion labels: a dict from clip to 6 numbers is expected")
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        inner = value.items() if isinstance(value, dict) else [(None, value)]
        for segment, numbers_ in inner:
            name = text(key) if isinstance(key, str | bytes) else str(key)
            flat[name if segment is None else f"{name}_{segment}"] = numbers_
    rows = [_row(key, value, budget) for key, value in flat.items()]
    if any(len(row) != EMOTIONS for row in rows):
        raise UserError("emotion labels: not 6 numbers for every clip")
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
