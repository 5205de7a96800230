"""Recognise what layout a feature file has from its contents, not its name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from msa_jax.data.check.checks import (
    RANKS,
    SPLITS,
    TEXTS,
    check_ids,
    choose_text,
    empty_split,
    is_absent,
    listed,
    name_splits,
    no_scores,
    shown,
)
from msa_jax.data.read import clips, pickled
from msa_jax.data.read.columns import (
    Budget,
    Layout,
    is_nothing,
    kind,
    numbers,
    sentences,
)
from msa_jax.ground.errors import UserError

# What the field's files call the plain layout's arrays (docs/data.md), besides by their
# plain names; of two keys for one array, the first is read.
KEYS = {
    "id": "id",
    "raw_text": "transcript",
    "text": "text",
    "text_bert": "text_bert",
    "text_lengths": "text_length",
    "audio": "audio",
    "audio_lengths": "audio_length",
    "vision": "vision",
    "vision_lengths": "vision_length",
    "regression_labels": "label",
    "labels": "label",
    "regression_labels_T": "label_text",
    "regression_labels_A": "label_audio",
    "regression_labels_V": "label_vision",
    "emotion_labels": "emotion",
    # Source: the pickles of TFN (Zadeh et al. 2017), LMF (Liu et al. 2018) and the
    # first MAG-BERT, by their public loaders.
    "glove": "text",
    "covarep": "audio",
    "facet": "vision",
    **{key: key for key in RANKS if key != "split"},
}
_KINDS = {key: kind for kind, key in TEXTS.items()}
_FUSION = ("glove", "covarep", "facet")
_SEQUENCES = ("text", "text_bert", "audio", "vision")
_KNOWN = (
    "known are MMSA, MMSA-FET, MulT, TFN, MISA, MAG-BERT and TBJE files and .npz "
    "(docs/data.md)"
)


def recognise(
    trees: Mapping[str, Any], budget: Budget, text: str | None = None
) -> Layout:
    """Turn the contents of one file, or of a folder's files by name, into a layout.

    Args:
        text: which text is read, see `checks.choose_text`; `plain.to_splits` has the
            last word.
    """
    if len(trees) == 1:
        ((_, tree),) = trees.items()
        return _recognise_one(tree, budget, text)
    if {*name_splits(trees)[0].values()} == {*SPLITS}:
        return _by_split(trees, budget, text)
    keyed, renamed, others = clips.keyed_files(trees)
    if keyed is not None:
        layout = clips.from_keyed_files(keyed, budget)
        layout = layout._replace(assumptions=(*renamed, *layout.assumptions))
        return _with_unused(layout, others)
    raise UserError(
        f"no known layout in a folder of {listed(trees)}: expected train, valid (or "
        "dev) and test, or train_sentences, train_mels, train_sentiment and so on"
    )


def _recognise_one(tree: Any, budget: Budget, text: str | None) -> Layout:
    if clips.is_clip_list(tree):
        raise UserError(
            "one split only: MISA keeps train.pkl, dev.pkl and test.pkl apart; give "
            "the folder that holds them, --from FOLDER"
        )
    if not isinstance(tree, dict) or not tree:
        raise UserError(f"no known layout: {_short(tree)}; {_KNOWN}")
    found = name_splits(tree)[0].values()
    if not found:
        if clips.is_one_clip(tree):
            raise UserError(
                "features without splits (one clip of MMSA-FET?): train, valid and "
                "test are needed, each with labels; a finished run answers one clip: "
                "python -m msa_jax.predict --workdir RUN --input FILE"
            )
        if clips.is_emotion_table(tree):
            raise UserError(
                "emotion labels alone: put them into one folder with features, or "
                "join them, --from FEATURES --emotions FILE"
            )
        raise UserError(f"no known layout: {_short(tree)}; {_KNOWN}")
    missing = [s for s in SPLITS if s not in found]
    if missing:
        raise UserError(f"split '{missing[0]}' is missing; found: {listed(tree)}")
    return _by_split(tree, budget, text)


def _with_unused(layout: Layout, names: Sequence[Any]) -> Layout:
    """Name what of the file is not read; a file may hold very many keys."""
    more = [f"and {len(names) - 30} more"] if len(names) > 30 else []
    first = map(shown, names[:30])
    return layout._replace(unused=(*layout.unused, *first, *more))


def _by_split(trees: Mapping[Any, Any], budget: Budget, text: str | None) -> Layout:
    """Read the three splits of a mapping that may hold other things, too."""
    meaning, renamed = name_splits(trees)
    named = {split: trees[name] for name, split in meaning.items()}
    splits = {name: named[name] for name in SPLITS}
    for name, split in splits.items():
        if _is_empty(split):
            raise UserError(empty_split(name))
    layout = _read_splits(splits, budget, text)
    layout = layout._replace(assumptions=(*renamed, *layout.assumptions))
    return _with_unused(layout, [name for name in trees if name not in meaning])


def _read_splits(
    ordered: Mapping[str, Any], budget: Budget, text: str | None
) -> Layout:
    if all(isinstance(split, dict) for split in ordered.values()):
        return _from_arrays(ordered, budget, text)
    if all(clips.is_clip_list(split) for split in ordered.values()):
        return clips.from_clip_lists(ordered, budget)
    wrong = next((k, v) for k, v in ordered.items() if not isinstance(v, dict))
    raise UserError(f"no known layout: '{wrong[0]}' is {_short(wrong[1])}; {_KNOWN}")


def _is_empty(split: Any) -> bool:
    """Tell whether a split has no sample, whatever else it holds or lacks."""
    if not isinstance(split, dict):
        return _rows(split) == 0
    rows = {KEYS.get(key, key): _rows(value) for key, value in split.items()}
    return not rows.get("id", rows.get("label", max(rows.values(), default=0)))


def _rows(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return len(value) if value.ndim else 1
    return len(value) if isinstance(value, list | tuple) else int(value is not None)


def _choose_keys(
    splits: Mapping[str, dict], text: str | None
) -> tuple[dict[str, str], list[str]]:
    """Choose which of a file's arrays are read, and say which of them are not."""
    notes: list[str] = []
    names: dict[str, str] = {}  # of the file's keys, by what they mean
    for key, plain in KEYS.items():
        if not any(key in arrays for arrays in splits.values()):
            continue
        values = [arrays.get(key) for arrays in splits.values()]
        if all(_is_absent(value) for value in values):
            notes.append(f"'{key}' holds no value in any split and is not read")
        elif plain in names:
            notes.append(f"'{key}' is not read, '{names[plain]}' is")
        else:
            names[plain] = key
    texts = {key: names[key] for key in TEXTS.values() if key in names}
    chosen, _ = choose_text(texts, text)
    if chosen == "text":  # the mask of its tokens still tells how long each one is
        texts.pop("text_bert", None)
    for key in texts:
        if key != chosen:
            del names[key]
    _, unread = choose_text(texts, None if chosen is None else _KINDS[chosen])
    for modality in ("text", "audio", "vision"):
        if modality not in names:
            names.pop(f"{modality}_length", None)
    return {key: plain for plain, key in names.items()}, [*notes, *unread]


def _is_absent(value: Any) -> bool:
    """Tell whether a split has a key, but nothing under it."""
    if isinstance(value, np.ndarray):
        return is_absent(value)
    rows = value if isinstance(value, list) and value else [value]
    return all(is_nothing(row) and not isinstance(row, str | float) for row in rows)


def _from_arrays(
    splits: Mapping[str, dict], budget: Budget, text: str | None
) -> Layout:
    """Read splits that are dicts of arrays: MMSA, MMSA-FET, MulT and TFN."""
    train = splits["train"]
    keys, notes = _choose_keys(splits, text)
    for split, arrays in splits.items():
        for key in keys:
            if key not in arrays:
                other = next(name for name in splits if key in splits[name])
                raise UserError(f"'{key}' is missing in {split}; it is in {other}")
    if "label" not in keys.values():
        raise UserError(
            f"labels are missing{no_scores(train)}: neither 'regression_labels' nor "
            f"'labels' is in train; found: {listed(train)}"
        )
    mult = "labels" in keys
    found = {
        split: _read_arrays(split, splits[split], keys, budget) for split in splits
    }
    unused = sorted({str(k) for arrays in splits.values() for k in arrays} - set(keys))
    tables = list(found.values())
    if "id" not in keys:
        notes.append("ids are not in the file: samples are numbered, videos unknown")
    else:
        notes += clips.rename_ids(tables)
    notes += _settle_labels(tables)
    notes += _settle_text(tables)
    name = "MulT pickle" if mult else "MMSA pickle"
    if {*_FUSION} & {*keys}:
        name = f"TFN pickle ({', '.join(_FUSION)})"
    if not mult and train.get("annotations") is not None and "text" in train:
        labels = "classification_labels" in train
        name += "" if labels else " (MMSA-FET writes the same layout)"
    return _with_unused(Layout(name, found, tuple(notes), ()), unused)


def _read_arrays(
    split: str, arrays: Mapping[str, Any], keys: Mapping[str, str], budget: Budget
) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, plain in keys.items():
        where = f"{split}/{key}"
        if plain == "id":
            table["id"] = clips.read_ids(where, arrays[key], budget)
        elif plain == "transcript":
            table["transcript"] = sentences(where, arrays[key], budget)
        else:
            value = numbers(where, arrays[key], budget)
            if isinstance(value, np.ndarray) and not value.ndim:
                raise UserError(f"'{where}' is one number, not one per sample")
            if "id" in table and _rows(value) == 0:  # of any shape
                raise UserError(
                    f"'{key}' has 0 rows in {split}, 'id' has {len(table['id'])}"
                )
            row = value[0].shape if isinstance(value, list) else value.shape[1:]
            if plain in _SEQUENCES and len(row) != 2:
                raise UserError(
                    f"'{where}' has rows of shape {row}, not [steps, width]"
                )
            table[plain] = value
    if "id" not in table:
        count = len(table["label"]) if np.ndim(table["label"]) else 0
        table["id"] = [f"{split}{i}" for i in range(count)]
    if not table["id"]:
        raise UserError(empty_split(split))
    check_ids(table["id"], f" of {split}")
    return table


def _settle_labels(tables: list[dict[str, Any]]) -> list[str]:
    """Bring (N, 1, 1) to (N,); seven columns are sentiment and six emotions."""
    notes = set()
    for table in tables:
        for key in ("label", "label_text", "label_audio", "label_vision"):
            if key in table:
                value = clips.one_array(key, table[key])
                value = value.reshape(len(value), -1)
                if key == "label" and value.shape[1] == 7:
                    table["emotion"] = value[:, 1:]
                    notes.add(clips.SEVEN)
                elif value.shape[1] != 1:
                    raise UserError(
                        f"'{key}' has shape {np.shape(table[key])}: one sentiment "
                        "score per sample is needed (classes are not supported)"
                    )
                table[key] = value[:, 0]
        if "emotion" in table:
            value = clips.one_array("emotion", table["emotion"])
            table["emotion"] = value.reshape(len(value), -1)
            notes.add(clips.ORDER)
    return sorted(notes)


def _settle_text(tables: list[dict[str, Any]]) -> list[str]:
    """Bring tokens [n, t, 3] to [n, 3, t]; a clip of three tokens does not tell."""
    tokens = [table["text_bert"] for table in tables if "text_bert" in table]
    shapes = {np.shape(row) for part in tokens for row in part if np.size(row)}
    turned = all(shape[1] == 3 for shape in shapes)
    if not shapes or not turned or all(shape[0] == 3 for shape in shapes):
        return []
    for table, part in zip(tables, tokens, strict=True):
        one = isinstance(part, np.ndarray)
        table["text_bert"] = part.transpose(0, 2, 1) if one else [t.T for t in part]
    return ["text: 'text_bert' was [samples, tokens, 3]; it was transposed"]


def _short(tree: Any) -> str:
    if isinstance(tree, dict):
        return f"a dict with keys {listed(tree)}" if tree else "an empty dict"
    if isinstance(tree, list | tuple | str | set):
        return f"a {kind(tree)} of {len(tree)}"
    return kind(tree) if isinstance(tree, pickled.Other) else f"a {kind(tree)}"
