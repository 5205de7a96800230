"""`--text`: which text of a file is read, in every kind of source."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from layouts import SIZES, clips, every, fet, mmsa
from test_data_plain import N, present, small, tokens
from test_folder import LENGTHS, write

from msa_jax import prepare
from msa_jax.data import load_dataset
from msa_jax.data.read import plain
from msa_jax.ground.errors import UserError

pytestmark = pytest.mark.usefixtures("undrawn")

WIDTH = 4
COUNTS = {"train": [2, 3, 1, 6, 6, 2], "valid": [1, 2, 3], "test": [6, 5, 4, 3]}


def vectors(name: str) -> np.ndarray:
    """No step is zero, as BERT's of [PAD] are not."""
    rng = np.random.default_rng(len(name))
    return rng.normal(size=(SIZES[name], 6, WIDTH)).astype(np.float32)


def masked(name: str) -> np.ndarray:
    mask = np.arange(6) < np.array(COUNTS[name])[:, None]
    return np.stack([101 * mask, mask, 0 * mask], axis=1)


def write_mmsa(path: Path, write=mmsa, front: bool = False) -> Path:
    tree = {name: write(arrays) for name, arrays in every().items()}
    for name, arrays in tree.items():
        arrays["text"], arrays["text_bert"] = vectors(name), masked(name)
        if front:  # as MMSA-FET can pad: both at once
            for i, count in enumerate(COUNTS[name]):
                for key, axis in (("text", 0), ("text_bert", 1)):
                    rolled = np.roll(arrays[key][i], -count, axis=axis)
                    arrays[key] = arrays[key].copy()
                    arrays[key][i] = rolled
    path.write_bytes(pickle.dumps(tree))
    return path


def prepared(source: Path, *options: str):
    data_dir = source.parent / "data"
    assert (
        prepare.main(["x", f"--from={source}", f"--data_dir={data_dir}", *options]) == 0
    )
    return load_dataset("x", data_dir)


@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize("write", [mmsa, fet])
def test_vectors_get_their_lengths_from_the_mask_of_the_tokens(tmp_path, write, front):
    dataset = prepared(write_mmsa(tmp_path / "x", write, front), "--text=features")
    for name, found in dataset.splits.items():
        assert present(found.text_length).tolist() == COUNTS[name]
        for i, count in enumerate(COUNTS[name]):
            row = (
                np.roll(vectors(name)[i], -count, axis=0)[-count:]
                if front
                else vectors(name)[i]
            )
            np.testing.assert_array_equal(present(found.text)[i, :count], row[:count])
            assert not present(found.text)[i, count:].any()
    card = dataset.card
    assert card["source"]["text"] == "features" and card["text"]["kind"] == "features"
    assert card["text"]["lengths"] == "mask" and card["text"]["width"] == WIDTH
    assert "text: lengths are those of the mask in 'text_bert'" in card["assumptions"]
    assert "text: 'text' is read, 'text_bert' is not" in card["assumptions"]
    assert "raw_text" in card["unused_arrays"] and not card["warnings"]


def test_sentences_and_tokens_of_the_same_file(tmp_path):
    file = write_mmsa(tmp_path / "x")
    found = prepared(file, "--text=sentences")
    said = present(found.splits["valid"].transcript).tolist()
    assert said == ["you said valid 0", "you said valid 1", "you said valid 2"]
    assert found.card["text"]["kind"] == "transcript"
    assert {"text", "text_bert"} <= {*found.card["unused_arrays"]}
    found = prepared(file, "--text=tokens", "--overwrite")
    assert found.card["text"]["kind"] == "tokens"
    plainly = prepared(file, "--overwrite").card
    assert plainly["content_sha256"] == found.card["content_sha256"]
    assert "text" not in plainly["source"]


def three() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return small() | {"text_bert": tokens(), "text": rng.normal(size=(N, 5, 2))}


@pytest.mark.parametrize(
    "wanted, kind, unread",
    [
        (None, np.int32, ("text", "transcript")),
        ("tokens", np.int32, ("text", "transcript")),
        ("features", np.float32, ("transcript",)),
        ("sentences", None, ("text", "text_bert")),
    ],
)
def test_an_npz_is_no_different(wanted, kind, unread):
    splits, notes = plain.to_splits(three(), (-3, 3), text=wanted)
    train = splits["train"]
    assert (train.text is None) is (kind is None) is (train.transcript is not None)
    assert kind is None or present(train.text).dtype == kind
    assert notes.unused == unread
    if wanted == "features":
        one = three()
        one["text"][0] = 0  # a clip without vectors does not decide for all
        ends = plain.to_splits(one, (-3, 3), text=wanted)[0]["train"].text_length
        assert present(ends).tolist() == [1, 3, 3]
        assert present(train.text_length).tolist() == [3, 3, 3]
        assert present(train.text).shape == (3, 3, 2)


@pytest.mark.parametrize("change", ["other steps", "gap", "no token", "given"])
def test_masks_that_do_not_fit_tell_no_lengths(change):
    arrays = three()
    if change == "other steps":
        arrays["text_bert"] = arrays["text_bert"][:, :, :4]
    elif change == "gap":
        arrays["text_bert"][0, 1, 1] = 0
    elif change == "no token":  # an empty sentence: one step, as elsewhere
        arrays["text_bert"][0, 1] = 0
    else:
        arrays["text_length"] = np.full(N, 4)
    splits, notes = plain.to_splits(arrays, (-3, 3), text="features")
    wanted = {"no token": [1, 3, 3], "given": [4, 4, 4]}.get(change, [5, 5, 5])
    assert present(splits["train"].text_length).tolist() == wanted
    assert ("mask" in " ".join(notes.assumptions)) is (change == "no token")


@pytest.mark.parametrize("front", [False, True])
def test_a_mask_on_the_other_side_than_the_vectors_hides_none(front):
    rows = np.array([[0, 0, 1, 2, 3]] * N if front else [[1, 2, 3, 0, 0]] * N)
    arrays = three() | {"text": np.repeat(rows[:, :, None], 2, axis=2).astype("f4")}
    if not front:
        arrays["text_bert"] = arrays["text_bert"][:, :, ::-1]
    arrays["text"][0], arrays["text"][-1] = 0, 1  # one clip does not decide
    splits, notes = plain.to_splits(arrays, (-3, 3), text="features")
    assert present(splits["train"].text)[1, :, 0].tolist() == [1, 2, 3, 0, 0]
    assert present(splits["train"].text_length).tolist() == [1, 3, 3]
    assert "mask" not in " ".join(notes.assumptions)


@pytest.mark.parametrize(
    "arrays, wanted, line",
    [
        (small(), "features", "there are no features in it; its text is sentences"),
        (small(), "tokens", "its text is sentences ('transcript')"),
        (
            {k: v for k, v in small().items() if k != "transcript"},
            "sentences",
            "its text is absent",
        ),
    ],
)
def test_what_a_file_lacks_is_one_line(arrays, wanted, line):
    with pytest.raises(UserError) as error:
        plain.to_splits(arrays, (-3, 3), text=wanted)
    assert f"--text {wanted}: " in str(error.value) and line in str(error.value)


def test_pickles_name_their_own_keys(tmp_path):
    tree = {name: mmsa(arrays) for name, arrays in every().items()}
    for arrays in tree.values():
        del arrays["text_bert"]
    (tmp_path / "x").write_bytes(pickle.dumps(tree))
    line = (
        r"no tokens in it; its text is features \('text'\) and sentences \('raw_text'\)"
    )
    with pytest.raises(UserError, match=line):
        prepared(tmp_path / "x", "--text=tokens")
    tree = {name: clips(arrays) for name, arrays in every().items()}
    (tmp_path / "x").write_bytes(pickle.dumps(tree))
    with pytest.raises(UserError, match="no features in it; its text is sentences"):
        prepared(tmp_path / "x", "--text=features")


def test_a_folder_with_words_and_vectors(tmp_path):
    root = write(tmp_path / "my")
    (root / "text").mkdir()
    for sample in LENGTHS:
        np.save(root / "text" / f"{sample}.npy", np.ones((2, 5), np.float32))
    assert prepared(root).card["text"]["kind"] == "features"
    found = prepared(root, "--text=sentences", "--overwrite").card
    assert (
        found["text"]["kind"] == "transcript" and found["source"]["text"] == "sentences"
    )


def test_built_in_sets_have_nothing_to_choose():
    with pytest.raises(UserError, match="built in and has sentences: no --text"):
        prepare.main(["synthetic_tiny", "--text=sentences"])
