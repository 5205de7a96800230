"""Padding: which side it is on, what given lengths mean, what is set to zero."""

import numpy as np
import pytest
from test_data_plain import sequence, small, tokens, without

from msa_jax.data import checks, plain
from msa_jax.data.padding import settle_padding
from msa_jax.errors import UserError


def test_blank_samples_are_no_sign_of_back_padding():
    moved, length, found = settle_padding(sequence([[0, 0, 1, 2], [0] * 4]), None)
    assert found == ("front", "derived", 1, 0, 0)
    assert length.tolist() == [2, 1]  # a blank sample keeps one step
    assert moved[:, :, 0].tolist() == [[1, 2], [0, 0]]


def test_lengths_that_cover_all_contents_say_nothing_of_the_back():
    given = sequence([[1, 2, 0, 0], [3, 0, 0, 0]])
    kept, _, found = settle_padding(given, np.array([4, 4]))
    assert found == ("none", "given", 0, 0, 0)
    assert kept[:, :, 0].tolist() == given[:, :, 0].tolist()
    # zeros in front, but the lengths count them: nothing is moved
    front = sequence([[0, 0, 1, 2], [0, 3, 4, 5]])
    kept, _, found = settle_padding(front, np.array([4, 4]))
    assert found == ("none", "given", 0, 0, 0)
    assert kept[:, :, 0].tolist() == front[:, :, 0].tolist()


def test_contents_that_fit_lengths_from_both_sides_stay_where_they_are():
    kept, _, found = settle_padding(sequence([[0, 1, 2, 0]]), np.array([3]))
    assert found == ("back", "given", 0, 0, 0)
    assert kept[:, :, 0].tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    "side, dropped, kept",
    [
        ("auto", 0, [[1, 2, 0], [3, 4, 5]]),
        ("front", 0, [[1, 2, 0], [3, 4, 5]]),
        ("back", 3, [[0, 0, 0], [0, 3, 4]]),
        ("as_stored", 3, [[0, 0, 0], [0, 3, 4]]),
    ],
)
def test_lengths_that_count_from_the_back(side, dropped, kept):
    front = sequence([[0, 0, 1, 2], [0, 3, 4, 5]])
    settled, length, found = settle_padding(front, np.array([2, 3]), side)
    assert found == ("back" if dropped else "front", "given", 0, dropped, 0)
    assert settled[:, :, 0].tolist() == kept and length.tolist() == [2, 3]


def test_said_back_padding_believes_lengths_in_spite_of_zeros_in_front():
    given = sequence([[0, 0, 1, 2], [0, 3, 4, 5], [0, 0, 0, 6]])
    settled, length, found = settle_padding(given, np.array([1, 3, 1]), "back")
    assert found == ("back", "given", 0, 4, 0) and length.tolist() == [1, 3, 1]
    assert settled[1, :, 0].tolist() == [0, 3, 4]


def test_values_that_the_cast_turns_into_zeros_are_padding():
    given = np.array([[[1.0], [1e-60]], [[1.0], [0.0]]])
    kept, length, found = settle_padding(given, None)
    assert length.tolist() == [1, 1] and kept.shape == (2, 1, 1)


def test_chunks_of_rows_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    given = rng.normal(size=(9, 5, 2)).astype(np.float32)
    own = rng.integers(1, 6, 9)
    given[np.arange(5) < 5 - own[:, None]] = 0
    whole = settle_padding(given, None)
    monkeypatch.setattr("msa_jax.data.padding._CHUNK", 20)
    parts = settle_padding(given, None)
    for a, b in zip(whole[:2], parts[:2], strict=True):
        np.testing.assert_array_equal(a, b)
    assert whole[2] == parts[2] and whole[1].tolist() == own.tolist()


def told(**changes: np.ndarray) -> str:
    """Return every warning and assumption of the small file with these changes."""
    _, notes = plain.to_splits({**small(), **changes}, (-3, 3))
    return " | ".join((*notes.warnings, *notes.assumptions))


def test_what_looks_odd_is_said():
    assert "transcripts are empty" not in told()
    blank = small()["transcript"].copy()
    blank[1] = " "
    assert "text: 1 transcripts are empty" in told(transcript=blank)
    beyond = small()["audio"].copy()
    beyond[0, 3] = 1
    assert "audio: 1 non-zero steps lie beyond audio_length" in told(audio=beyond)
    zero = small()["vision"].copy()
    zero[4] = 0
    assert "vision: 1 samples are all zero and keep length 1" in told(vision=zero)
    wide = small()["vision"].astype(np.float64)
    assert "vision: float64 values were cast to float32" in told(vision=wide)
    assert "vision: float32" not in told()


def test_lengths_of_text_without_features_are_named():
    arrays = small() | {"text_length": np.ones(6)}
    _, notes = plain.to_splits(arrays, (-3, 3))
    assert notes.unused == ("text_length",)
    assert any("text_length is not used" in line for line in notes.assumptions)


def test_unimodal_labels_out_of_range_are_refused():
    arrays = small() | {f"label_{m}": np.ones(6) for m in ("text", "audio", "vision")}
    arrays["label_audio"] = np.array([0, 4.0, 0, 0, 0, 0])
    with pytest.raises(UserError, match="'label_audio' of sample 'a_2' is 4"):
        plain.to_splits(arrays, (-3, 3))


def test_tokens_are_cut_to_the_longest_and_cleared_behind_the_mask():
    arrays = without("transcript") | {"text_bert": tokens()}
    arrays["text_bert"][1, 0, 3:] = 9  # ids behind the mask
    arrays["text_bert"][2, :2, 3] = [5, 1]
    splits, _ = plain.to_splits(arrays, (-3, 3))
    text, length = splits["train"].text, splits["train"].text_length
    assert text is not None and length is not None
    assert text.shape == (3, 3, 4) and length.tolist() == [3, 3, 4]
    assert text[:, 0, 3].tolist() == [0, 0, 5]


def test_the_sizes_of_all_arrays_are_added_up(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    array = np.zeros(1 << 18, np.uint8)
    np.savez_compressed(path, id=array, label=array, audio=array, vision=array)
    monkeypatch.setattr(checks, "_SMALL", 3 << 20)
    with pytest.raises(UserError, match="unfolds to 4 MiB"):
        plain.read_npz(path)
