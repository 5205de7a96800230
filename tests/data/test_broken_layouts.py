"""Feature files that are broken end in one line and leave nothing behind."""

import random
from typing import Any

import numpy as np
import pytest
from layouts import SPLITS, Arrays, clips, every, mmsa, mult, split, tbje
from test_columns import within
from test_dialects import dump

from msa_jax import prepare
from msa_jax.data.read import columns, plain, sandbox
from msa_jax.data.read.columns import Budget
from msa_jax.data.read.dialects import recognise
from msa_jax.ground.errors import UserError


def tree_with(name: str, **changes: Any) -> Arrays:
    tree = {n: mmsa(a) for n, a in every().items()}
    for key, value in changes.items():
        if value is None:
            del tree[name][key]
        else:
            tree[name][key] = value
    return tree


NAN = np.array([0, np.nan, 0, 0, 0, 0])
BROKEN = {
    "no label": (tree_with("train", regression_labels=None), "missing in train; it is"),
    "no audio": (tree_with("valid", audio=None), "'audio' is missing in valid"),
    "no test": ({k: v for k, v in tree_with("test").items() if k != "test"}, "'test'"),
    "nan labels": (tree_with("train", regression_labels=NAN), "must be finite"),
    "nan audio": (tree_with("train", audio=np.full((6, 7, 5), np.nan)), "NaN"),
    "inf audio": (tree_with("train", audio=np.full((6, 7, 5), np.inf)), "infinite"),
    "-inf vision": (tree_with("train", vision=np.full((6, 8, 4), -np.inf)), "infinite"),
    "rows": (tree_with("test", audio=np.zeros((3, 7, 5))), "3 rows in test"),
    "width": (tree_with("test", audio=np.zeros((4, 7, 6))), "'audio' has 6 columns"),
    "rank": (tree_with("train", audio=np.zeros((6, 5))), "shape"),
    "ragged": (
        tree_with("train", audio=[np.ones((2, 5)), *[np.ones((2, 4))] * 5]),
        "columns",
    ),
    "ragged twice": (tree_with("train", audio=[[[1], [1, 2]], [[1]]] * 3), "ragged"),
    "mixed": (tree_with("train", regression_labels=[1, "a", 2, 3, 1, 2]), "str"),
    "strings": (tree_with("train", audio=np.array(["a"] * 6)), "strings"),
    "classes": (tree_with("train", regression_labels=np.ones((6, 4, 2))), "score"),
    "no ids": (tree_with("train", id=[]), "empty"),
    "ids": (tree_with("train", id=[None] * 6), "None"),
    "escapes": (tree_with("train", id=[f"\x1b[{i}m" for i in range(6)]), "printable"),
    "surrogates": (tree_with("train", id=["\ud800"] * 6), "not Unicode"),
    "odd keys": ({"\ud800\x1b[31m": 1, b"\xff": 2}, "keys \\ud800"),
    "texts": (tree_with("train", id={"a": 1}), "dict"),
    "lengths": (tree_with("train", audio_lengths=[9] * 6), "7 steps"),
    "zero length": (tree_with("train", audio_lengths=[0] * 6), "at least 1"),
    "tokens": (tree_with("train", text_bert=np.full((6, 3, 6), 0.5)), "whole numbers"),
    "huge": (tree_with("train", regression_labels=[10**30] * 6), "64 bits"),
    "one clip": ({"audio": np.ones((3, 2)), "text": np.ones(2)}, "without splits"),
    "emotions": ({"v[0]": [0, 0, 1, 0, 2, 0]}, "emotion labels alone"),
    "one split": (clips(split("train")), "one split only"),
    "number": (7, "a int"),
    "other dict": ({"a": 1, "b": 2}, "keys a, b"),
    "empty dict": ({}, "empty dict"),
    "list splits": ({"train": [1], "valid": [2], "test": [3]}, "'train' is a list"),
    "odd clip": (
        {n: [*clips(split(n)), 5] for n in SPLITS},
        "train[6] is not",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_end_in_one_line_and_leave_nothing(tmp_path, name):
    tree, wanted = BROKEN[name]
    file = dump(tmp_path / "x.pkl", tree)
    with pytest.raises(UserError) as error:
        prepare.main(["x", "--from", str(file), "--data_dir", str(tmp_path / "d")])
    assert wanted in str(error.value) and "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pkl"]


def test_lists_that_unfold_to_more_than_the_budget_are_refused():
    row = [np.zeros((1000, 1000))] * 1000
    tree = {n: mmsa(a) for n, a in every().items()}
    tree["train"]["audio"] = row
    laughs: list = [1.0] * 10
    for _ in range(3):
        laughs = [laughs] * 10_000
    for value in (laughs, [laughs] * 6):
        tree["train"]["regression_labels"] = value
        with within(10), pytest.raises(UserError, match="unfolds|nested|ragged"):
            recognise({"x": tree}, Budget(1 << 20))


def test_shared_arrays_that_unfold_are_refused(tmp_path):
    tree = {n: mmsa(a) for n, a in every().items()}
    array = np.ones((1000, 500), np.float32)
    tree["train"] |= {"id": [f"v{i}_0" for i in range(3000)], "audio": [array] * 3000}
    file = dump(tmp_path / "x.pkl", tree)
    with pytest.raises(UserError, match="unfolds|rows"), sandbox.read_pickles([file]):
        pass


def test_keys_that_are_not_read_are_listed_in_plain_letters():
    tree = tree_with("train", **{f"\x1b{i}\ud800": 1 for i in range(99)})
    unused = recognise({"x": tree}, Budget(1 << 20)).unused
    assert "".join(unused).isascii() and len(unused) == 31


ODD = (
    *(None, [], (), {}, "", "x", b"x", 1, -1.5, True, 10**30, float("nan"), {"a": 1}),
    *([[]], [None], [1, "a"], [[1, 2], [3]], ["nan"], [np.zeros(2), None]),
    *(np.array("s"), np.array(3.0), np.zeros(0), np.zeros((0, 5)), np.zeros((5, 0))),
    *(np.zeros((1, 1)), np.zeros((2, 3)), np.zeros((2, 3, 4)), np.array(["a", "b"])),
    [np.array(3.0)],
)


def lists(arrays: Arrays) -> Arrays:
    """A list of clips under every key."""
    return {key: list(value) for key, value in mmsa(arrays, lengths=False).items()}


def one_file(kind) -> dict[str, Any]:
    return {"x": {name: kind(arrays) for name, arrays in every().items()}}


LAYOUTS = {
    **{kind.__name__: one_file(kind) for kind in (mmsa, lists, mult, clips)},
    "misa": {name: clips(arrays, misa=True) for name, arrays in every().items()},
    "tbje": {f"{s}_{r}": t for s, a in every().items() for r, t in tbje(a).items()},
}


def places(tree: Any) -> list[tuple]:
    """Return the ways to everything in a tree, arrays as a whole."""
    if not isinstance(tree, dict | list | tuple):
        return [()]
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return [(), *((key, *way) for key, value in pairs for way in places(value))]


def with_odd(tree: Any, way: tuple, odd: Any) -> Any:
    if not way:
        return odd
    if isinstance(tree, dict):
        return tree | {way[0]: with_odd(tree[way[0]], way[1:], odd)}
    inner = list(tree)
    inner[way[0]] = with_odd(inner[way[0]], way[1:], odd)
    return type(tree)(inner)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_odd_value_anywhere_is_read_or_one_line(tmp_path, name):
    draw = random.Random(name)
    ways = [way for way in places(LAYOUTS[name]) if way]
    for depth in range(1, 1 + max(map(len, ways))):  # few ways lead to whole splits
        alike = [way for way in ways if len(way) == depth]
        for odd in ODD:
            made = with_odd(LAYOUTS[name], draw.choice(alike), odd)
            try:
                columns.write_columns(
                    recognise(made, Budget(1 << 28)), tmp_path, Budget(1 << 28)
                )
                arrays = {f.stem: np.load(f) for f in tmp_path.glob("*.npy")}
                plain.to_splits(arrays, (-3, 3))
            except UserError as error:
                assert "\n" not in str(error)
            for file in tmp_path.glob("*.npy"):
                file.unlink()
