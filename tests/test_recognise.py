"""Layouts that are dicts of arrays: what is read of which key, and how it is turned."""

import numpy as np
import pytest
from layouts import SIZES, SPLITS, Arrays, every, mmsa, mult

from msa_jax.data.columns import Budget, Layout
from msa_jax.data.dialects import recognise
from msa_jax.errors import UserError


def read(tree: Arrays) -> Layout:
    return recognise({"x": tree}, Budget(1 << 30))


def tree(kind=mult) -> dict[str, Arrays]:
    return {name: kind(arrays) for name, arrays in every().items()}


def each(change) -> Layout:
    """Read MulT's layout after changing every split."""
    made = tree()
    for name, arrays in made.items():
        change(name, arrays)
    return read(made)


@pytest.mark.parametrize("name", ["val", "dev", "valid", "validation"])
def test_names_of_the_second_split(name):
    made = tree()
    made[name] = made.pop("valid")
    assert set(read(made).splits) == set(SPLITS)


@pytest.mark.parametrize(
    "key, plain",
    [("text_lengths", "text_length"), ("emotion_labels", "emotion")],
)
def test_other_names_of_keys(key, plain):
    shapes = {"text_lengths": (), "emotion_labels": (6,)}

    def change(name: str, arrays: Arrays) -> None:
        arrays[key] = np.ones((SIZES[name], *shapes[key]))

    found = each(change)
    assert all(plain in table for table in found.splits.values())


def test_two_keys_of_labels():
    def change(name: str, arrays: Arrays) -> None:
        arrays["regression_labels"] = np.full(SIZES[name], 2.0)

    found = each(change)
    assert set(np.asarray(found.splits["train"]["label"]).tolist()) == {2.0}
    assert "'labels' is not read, 'regression_labels' is" in found.assumptions
    assert found.name == "MMSA pickle"


def test_seven_columns_are_sentiment_and_six_emotions():
    def change(name: str, arrays: Arrays) -> None:
        arrays["labels"] = np.tile(np.arange(7.0), (SIZES[name], 1))

    table = each(change).splits["test"]
    assert np.asarray(table["label"]).tolist() == [0] * 4
    assert np.asarray(table["emotion"]).tolist() == [[1, 2, 3, 4, 5, 6]] * 4


@pytest.mark.parametrize("shape", [(4,), (4, 2)])
def test_classes_are_refused(shape):
    def change(name: str, arrays: Arrays) -> None:
        arrays["labels"] = np.zeros((SIZES[name], *shape))

    with pytest.raises(UserError, match="one sentiment score per sample"):
        each(change)


def test_flat_sequences_are_named_with_their_split():
    def change(name: str, arrays: Arrays) -> None:
        arrays["vision"] = np.zeros((SIZES[name], 4))

    with pytest.raises(UserError, match=r"'train/vision' has shape \(6, 4\)"):
        each(change)


def with_tokens(tokens: dict[str, np.ndarray]) -> Layout:
    return each(lambda name, arrays: arrays.update(text_bert=tokens[name]))


def token_rows(ids: list[int], mask: list[int]) -> dict[str, np.ndarray]:
    row = np.array([ids, mask, [0] * len(ids)])
    return {name: np.repeat(row[None], n, axis=0) for name, n in SIZES.items()}


def told(layout: Layout, word: str) -> bool:
    return any(word in line for line in layout.assumptions)


def test_three_tokens_are_not_transposed():
    tokens = token_rows([101, 7, 0], [1, 1, 0])
    found = with_tokens(tokens)
    np.testing.assert_array_equal(found.splits["test"]["text_bert"], tokens["test"])
    assert not told(found, "transposed")


def test_missing_splits_and_keys_are_named():
    made = tree()
    del made["valid"]
    with pytest.raises(UserError, match="split 'valid' is missing; found: train, test"):
        read(made)
    made = tree()
    del made["test"]["vision"]
    with pytest.raises(UserError, match="'vision' is missing in test; it is in train"):
        read(made)


def test_what_is_not_read_is_named():
    made = tree(mmsa)
    assert "annotations" in read({**made, "readme": 1}).unused
    assert "readme" in read({**made, "readme": 1}).unused
    named = recognise({**made, "notes": 1}, Budget(1 << 30))
    assert "notes" in named.unused


def test_unimodal_labels_without_one_number_are_dropped():
    made = tree(mmsa)
    for arrays in made.values():
        for key in "TAV":
            arrays[f"regression_labels_{key}"] = np.full(len(arrays["id"]), np.nan)
    assert "label_text" not in read(made).splits["train"]
    made["test"]["regression_labels_A"][1] = 0
    assert "label_text" in read(made).splits["train"]


def test_bad_ids_are_named_with_their_split():
    made = tree()
    made["valid"]["id"] = ["a", "b\n", "c"]
    with pytest.raises(UserError, match="of valid is no printable"):
        read(made)


def test_tokens_are_read_before_features_and_features_before_transcripts():
    made = tree(mmsa)
    assert "text_bert" in read(made).splits["train"]
    for arrays in made.values():
        del arrays["text_bert"]
    found = read(made)
    assert "text" in found.splits["train"]
    assert told(found, "'text' is read, 'raw_text' is not")


def test_one_clip_of_three_tokens_does_not_keep_all_from_being_transposed():
    tokens = token_rows([101, 7, 8, 102], [1, 1, 1, 1])
    turned = {name: rows.transpose(0, 2, 1) for name, rows in tokens.items()}
    lists = {name: list(rows) for name, rows in turned.items()}
    lists["train"][0] = np.array([[101, 1, 0], [7, 1, 0], [102, 1, 0]])
    for given in (turned, turned | {"test": turned["test"][:, :3]}, lists):
        found = with_tokens(given)
        assert told(found, "transposed")
        assert {np.shape(row)[0] for row in found.splits["test"]["text_bert"]} == {3}
    assert not told(with_tokens({n: list(t) for n, t in tokens.items()}), "transposed")


EMPTY = {
    "no rows": lambda arrays: {key: value[:0] for key, value in arrays.items()},
    "lists": lambda arrays: dict.fromkeys(arrays, []),
    "floats": lambda arrays: dict.fromkeys(arrays, np.array([])),
    "no ids": lambda arrays: arrays | {"id": np.array([])},
    "some axes": lambda arrays: {"audio": np.zeros((0, 5, 3)), "labels": []},
    "fewer keys": lambda arrays: {"labels": np.array([]), "text": np.ones((2, 2, 2))},
    "no keys": lambda arrays: {},
    "unknown keys": lambda arrays: {"x": []},
    "list": lambda arrays: [],
    "array": lambda arrays: np.array([]),
    "nothing": lambda arrays: None,
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("change", EMPTY.values(), ids=EMPTY)
def test_empty_splits_are_named_before_anything_in_them(split, change):
    made = tree()
    made[split] = change(made[split])
    with pytest.raises(UserError, match=f"split '{split}' is empty"):
        read(made)
    with pytest.raises(UserError, match=f"split '{split}' is empty"):
        recognise(made, Budget(1 << 20))  # a folder of three files


@pytest.mark.parametrize("key", ["audio", "labels"])
@pytest.mark.parametrize("value", [[], np.array([]), np.zeros((0, 5, 3))])
def test_an_empty_array_among_others_is_named_with_its_rows(key, value):
    made = tree()
    made["valid"][key] = value
    with pytest.raises(UserError, match=f"'{key}' has 0 rows in valid, 'id' has 3"):
        read(made)


def test_texts_that_are_missing_are_empty():
    made = tree()
    for arrays in made.values():
        del arrays["text"]
        arrays["raw_text"] = ["good"] * len(arrays["id"])
    made["train"]["raw_text"][:5] = [None, float("nan"), [], ["a", b"b"], ""]
    made["valid"]["raw_text"] = np.full(3, np.nan)
    found = read(made)
    assert found.splits["train"]["transcript"] == ["", "", "", "a b", "", "good"]
    assert found.splits["valid"]["transcript"] == ["", "", ""]
    made["test"]["raw_text"][1] = 7
    with pytest.raises(UserError, match=r"'test/raw_text\[1\]' must hold strings"):
        read(made)


def test_bracketed_ids_are_renamed():
    def change(name: str, arrays: Arrays) -> None:
        arrays["id"] = [f"{name}[{i}]" for i in range(SIZES[name])]

    found = each(change)
    assert found.splits["valid"]["id"] == ["valid_0", "valid_1", "valid_2"]
    assert told(found, "video[3] is written video_3")
