"""Layouts that are dicts of arrays: what is read of which key, and how it is turned."""

import numpy as np
import pytest
from layouts import SIZES, SPLITS, Arrays, every, mmsa, mult

from msa_jax.data.read import pickled
from msa_jax.data.read.columns import Budget, Layout
from msa_jax.data.read.dialects import recognise
from msa_jax.ground.errors import UserError


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

    with pytest.raises(UserError, match=r"'train/vision' has rows of shape \(4,\)"):
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


def test_a_clip_that_is_none_has_no_steps_and_one_label_names_its_row():
    made = tree(mmsa)
    audio = made["valid"]["audio"]
    del made["valid"]["audio_lengths"], made["test"]["audio_lengths"]
    del made["train"]["audio_lengths"]
    made["valid"]["audio"] = [audio[0], None, audio[2]]
    found = read(made).splits["valid"]["audio"]
    assert [len(rows) for rows in found] == [7, 0, 7]
    made["valid"]["regression_labels"] = [1.0, None, 2.0]
    with pytest.raises(
        UserError, match=r"labels\[1\]' must hold numbers, it holds None"
    ):
        read(made)
    for nothing in (None, []):
        for name, arrays in made.items():
            arrays["audio"] = [nothing] * len(arrays["id"])
            arrays["regression_labels"] = every()[name]["label"]
        assert "audio" in read(made).unused


def test_one_empty_clip_does_not_turn_the_tokens():
    made = tree(mmsa)
    for arrays in made.values():
        arrays["text_bert"] = [tokens.T for tokens in arrays["text_bert"]]
    made["train"]["text_bert"][1] = []
    found = read(made).splits["train"]["text_bert"]
    assert [np.shape(rows) for rows in found[:3]] == [(3, 6), (0, 0), (3, 6)]


def test_what_only_train_lacks_is_missing_there():
    made = tree(mmsa)
    del made["train"]["vision"]
    with pytest.raises(UserError, match="'vision' is missing in train; it is in valid"):
        read(made)


def test_ragged_vectors_are_no_sequences():
    made = tree(mmsa)
    made["train"]["text_bert"] = [np.ones(2), np.ones(3)] * 3
    with pytest.raises(UserError, match=r"'train/text_bert' has rows of shape \(2,\)"):
        read(made)


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


@pytest.mark.parametrize("name", ["Valid", "VAL", " Dev "])
def test_names_of_splits_in_capitals(name):
    made = tree()
    made["Train"], made[name] = made.pop("train"), made.pop("valid")
    found = read(made)
    assert set(found.splits) == set(SPLITS)
    assert f"splits: 'Train' means train, '{name}' means valid" in found.assumptions
    assert not told(read(tree()), "splits")


def test_two_names_of_one_split_are_one_line():
    made = tree()
    made["dev"] = made["valid"]
    with pytest.raises(UserError, match="'valid' and 'dev' both mean valid: keep one"):
        read(made)
    with pytest.raises(UserError, match="'valid' and 'dev' both mean valid"):
        recognise({**{n: {"a": 1} for n in SPLITS}, "dev": {}}, Budget(1 << 30))


def test_the_naming_of_tfn_and_lmf():
    names = {"glove": "text", "covarep": "audio", "facet": "vision", "label": "labels"}
    made = tree()
    for arrays in made.values():
        for new, old in names.items():
            arrays[new] = arrays.pop(old)
        del arrays["id"]
    found, data = read(made), tree()
    assert found.name == "TFN pickle (glove, covarep, facet)"
    for split in SPLITS:
        for new, old in (("text", "text"), ("audio", "audio"), ("vision", "vision")):
            np.testing.assert_array_equal(found.splits[split][new], data[split][old])
        wanted = data[split]["labels"][:, 0, 0]
        assert np.asarray(found.splits[split]["label"]).tolist() == wanted.tolist()


def test_of_two_keys_for_one_array_one_is_read_and_both_are_named():
    found = each(lambda name, arrays: arrays.update(covarep=np.ones((1, 1, 1))))
    assert "'covarep' is not read, 'audio' is" in found.assumptions
    assert "covarep" in found.unused
    np.testing.assert_array_equal(
        found.splits["test"]["audio"], tree()["test"]["audio"]
    )


def test_classes_alone_are_no_labels():
    def change(name: str, arrays: Arrays) -> None:
        arrays["classification_labels"] = arrays.pop("labels")

    with pytest.raises(UserError, match="'classification_labels' holds classes, which"):
        each(change)


@pytest.mark.parametrize("steps, width", [(6, 0), (0, 8)])
def test_a_modality_without_values_is_absent(steps, width):
    def change(name: str, arrays: Arrays) -> None:
        arrays["audio"] = np.zeros((SIZES[name], steps, width))
        arrays["audio_lengths"] = [0] * SIZES[name]
        arrays["vision"] = None if width else [None] * SIZES[name]

    found = each(change)
    assert not {"audio", "audio_length", "vision"} & set(found.splits["train"])
    assert told(found, "'audio' holds no value in any split and is not read")
    assert {"audio", "audio_lengths", "vision"} <= set(found.unused)


def test_sentences_are_read_where_vectors_hold_no_value():
    made = tree(mmsa)
    for arrays in made.values():
        arrays["text"] = arrays["text"][:, :, :0]
        del arrays["text_bert"]
    assert read(made).splits["train"]["transcript"] == every()["train"]["raw_text"]


def test_missing_sentences_are_counted_whatever_stands_for_them():
    made = tree(mmsa)
    for arrays in made.values():
        del arrays["text"], arrays["text_bert"]
    made["valid"]["raw_text"] = [float("nan"), None, "nan"]
    assert read(made).splits["valid"]["transcript"] == ["", "", "nan"]
    made["valid"]["raw_text"] = ["a", 2.5, "b"]
    with pytest.raises(
        UserError, match=r"'valid/raw_text\[1\]' must hold strings, it holds fl"
    ):
        read(made)


def test_arrays_that_nothing_reads_may_hold_anything():
    strange = [[{"a": [1]}], pickled.Other("M8"), np.array(["x"]), None, {}, 3]
    for value in strange:
        made = tree()
        for arrays in made.values():
            arrays["align"] = value
        assert "align" in read(made).unused
    made["train"]["audio"] = pickled.Other("M8")
    with pytest.raises(
        UserError, match="'train/audio' must hold numbers, it holds an a"
    ):
        read(made)
    with pytest.raises(UserError, match="'train' is an array of dtype M8"):
        read({name: pickled.Other("M8") for name in SPLITS})
