"""Reading, checking, padding and standardising plain arrays."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from msa_jax.data import scaling
from msa_jax.data.check import checks
from msa_jax.data.made_up import synthetic
from msa_jax.data.read import plain
from msa_jax.data.read.padding import Padding, settle_padding
from msa_jax.ground.errors import UserError

N = 6


def small() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    audio = rng.normal(size=(N, 4, 3)).astype(np.float32)
    audio_length = np.array([1, 2, 3, 4, 2, 3], np.int32)
    audio[np.arange(4) >= audio_length[:, None]] = 0
    return {
        "id": np.array(["a_1", "a_2", "b_1", "c_1", "d_1", "d_2"]),
        "split": np.array(["train", "train", "train", "valid", "test", "test"]),
        "transcript": np.array(["one two", "so", "é ü", "x y z", "well", "fine"]),
        "audio": audio,
        "audio_length": audio_length,
        "vision": rng.normal(size=(N, 2, 5)).astype(np.float32),
        "label": np.array([-3, 3, 0.2, 1, -1, 0], np.float32),
    }


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    np.savez(path, allow_pickle=True, **dict(arrays))


def present(array: np.ndarray | None) -> np.ndarray:
    assert array is not None
    return array


def tokens() -> np.ndarray:
    text = np.zeros((N, 3, 5), np.int64)
    text[:, 0, :3], text[:, 1, :3] = [101, 7, 102], 1
    return text


def with_value(key: str, index: tuple, value: float) -> dict[str, np.ndarray]:
    arrays = small()
    arrays[key] = arrays[key].astype(np.float64)
    arrays[key][index] = value
    return arrays


def with_tokens(index: tuple, value: float) -> dict[str, np.ndarray]:
    arrays = {k: v for k, v in small().items() if k != "transcript"}
    arrays["text_bert"] = tokens().astype(np.float64)
    arrays["text_bert"][index] = value
    return arrays


def without(*keys: str) -> dict[str, np.ndarray]:
    return {k: v for k, v in small().items() if k not in keys}


BAD = {
    "nan": (with_value("audio", (2, 1, 0), np.nan), "'audio' holds 1 NaN.*'b_1'"),
    "inf": (with_value("vision", (3, 0, 4), -np.inf), "1 infinite.*'c_1'.*column 4"),
    "overflow": (with_value("vision", (3, 0, 4), 1e39), "1 infinite.*'c_1'"),
    "label range": (with_value("label", (4,), 3.5), "'d_1' is 3.5.*label_range"),
    "label low": (with_value("label", (0,), -3.01), "'a_1' is -3.01"),
    "label nan": (with_value("label", (4,), np.nan), "'label'.*'d_1'.*finite"),
    "length 0": (
        with_value("audio_length", (1,), 0),
        "'audio_length' of sample 'a_2' is 0, but must be at least 1, its steps are "
        r"not all zero; --padding as_stored takes 1 \(1 such samples\)",
    ),
    "length negative": (with_value("audio_length", (1,), -1), "must not be negative"),
    "length beyond": (
        with_value("audio_length", (1,), 5),
        "'a_2' is 5, but the array has 4 steps; --padding as_stored takes those",
    ),
    "length huge": (with_value("audio_length", (1,), 1e300), "as_stored takes those"),
    "length fraction": (with_value("audio_length", (1,), 1.5), "whole number"),
    "length nan": (with_value("audio_length", (1,), np.nan), "whole number"),
    "shared id": (
        small() | {"id": np.array(["a_1", "a_2", "b_1", "c_1", "a_1", "d_2"])},
        "share 1 ids, first 'a_1' in train and test",
    ),
    "duplicate id": (
        small() | {"id": np.array(["a_1", "a_1", "b_1", "c_1", "d_1", "d_2"])},
        "1 ids stand more than once, first 'a_1' in train",
    ),
    "split name": (small() | {"split": np.array(["train"] * 5 + ["more"])}, "'more'"),
    "two names": (
        small() | {"split": np.array(["train", "Val", "dev", "test", "test", "test"])},
        "splits 'Val' and 'dev' both mean valid: keep one",
    ),
    "empty split": (
        small() | {"split": np.array(["train"] * 5 + ["test"])},
        "split 'valid' is empty",
    ),
    "no label": (without("label"), "'label' is missing"),
    "no modality": (
        without("transcript", "audio", "vision", "audio_length"),
        "no modality",
    ),
    "length alone": (without("audio"), "'audio_length' is there, but 'audio'"),
    "some unimodal": (small() | {"label_text": np.zeros(N)}, "all of"),
    "rank": (small() | {"audio": np.zeros((N, 3))}, "audio.*must be .samples, steps"),
    "rows": (small() | {"label": np.zeros(N - 1)}, "'label' has 5 rows.*6"),
    "emotions of width 0": (small() | {"emotion": np.zeros((N, 0))}, "axis of size 0"),
    "classes": (
        without("label") | {"classification_labels": np.ones(N)},
        "'classification_labels' holds classes, which are not read",
    ),
    "scalar": (small() | {"id": np.array("a")}, "'id' has shape"),
    "no rows": ({k: v[:0] for k, v in small().items()}, "'train' is empty"),
    "no types": (dict.fromkeys(small(), np.array([])), "'train' is empty"),
    "no labels": (small() | {"label": np.array([])}, "'label' has 0 rows, but 'id'"),
    "no audio": (small() | {"audio": np.array([])}, "'audio' has 0 rows, but 'id'"),
    "no split": (small() | {"split": np.array([])}, "'split' has 0 rows, but 'id'"),
    "number ids": (small() | {"id": np.arange(N)}, "'id' must hold strings"),
    "string labels": (small() | {"label": np.array(["a"] * N)}, "must hold numbers"),
    "token negative": (with_tokens((1, 0, 0), -1), "ids of sample 'a_2'.*negative"),
    "token fraction": (with_tokens((1, 0, 0), 7.5), "ids of sample 'a_2'.*whole"),
    "mask": (with_tokens((2, 1, 0), 2), "mask of sample 'b_1' is 2.*0 or 1"),
    "mask gap": (with_tokens((2, 1, 0), 0), "'b_1'.*ones followed by zeros"),
    "mask empty": (with_tokens((2, 1, slice(None)), 0), "'b_1' has no token"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_give_one_clear_line(case):
    arrays, message = BAD[case]
    with pytest.raises(UserError, match=message) as raised:
        plain.to_splits(arrays, (-3, 3))
    assert "\n" not in str(raised.value)


def test_splits_keep_order_values_and_fields():
    arrays = small()
    splits, notes = plain.to_splits(arrays, (-3, 3))
    assert {name: s.id.tolist() for name, s in splits.items()} == {
        "train": ["a_1", "a_2", "b_1"],
        "valid": ["c_1"],
        "test": ["d_1", "d_2"],
    }
    np.testing.assert_array_equal(splits["test"].audio, arrays["audio"][4:])
    assert splits["train"].text is None and splits["train"].unimodal_label is None
    assert notes.padding["audio"].lengths == "given"
    assert notes.padding["vision"] == ("none", "derived", 0, 0, 0)


def test_tokens_get_lengths_from_the_mask_and_lose_what_lies_beyond():
    splits, _ = plain.to_splits(with_tokens((0, 0, 4), 9), (-3, 3))
    text, length = splits["train"].text, splits["train"].text_length
    assert present(text).shape == (3, 3, 3) and present(text).dtype == np.int32
    assert present(length).tolist() == [3, 3, 3]


def test_unimodal_labels_are_stacked_text_audio_vision():
    arrays = small()
    for i, key in enumerate(("label_text", "label_audio", "label_vision")):
        arrays[key] = np.full(N, i, np.float32)
    splits, _ = plain.to_splits(arrays, (-3, 3))
    assert present(splits["valid"].unimodal_label).tolist() == [[0, 1, 2]]


def alone(
    sequence: np.ndarray, length: np.ndarray | None, side: str = "auto"
) -> tuple[np.ndarray, np.ndarray, Padding]:
    """Settle the padding of a file of one modality."""
    lengths = {} if length is None else {"audio": length}
    return settle_padding({"audio": sequence}, lengths, side)[0]["audio"]


def sequence(rows: list[list[int]]) -> np.ndarray:
    """One column; 0 is an all-zero step."""
    return np.array(rows, np.float32)[:, :, None]


def test_front_padding_is_found_and_moved_to_the_back():
    given = sequence([[0, 0, 1, 2], [0, 3, 0, 4], [1, 2, 3, 4], [0, 0, 5, 0]])
    moved, length, found = alone(given, None)
    assert found == ("front", "derived", 0, 0, 0)
    assert length.tolist() == [2, 3, 4, 2]
    assert moved[:, :, 0].tolist() == [
        [1, 2, 0, 0],
        [3, 0, 4, 0],
        [1, 2, 3, 4],
        [5, 0, 0, 0],
    ]


def test_back_padding_is_derived_and_arrays_are_cut_to_the_longest():
    given = sequence([[1, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 0], [4, 0, 0, 0]])
    kept, length, found = alone(given, None)
    assert found == ("back", "derived", 1, 0, 0)
    assert length.tolist() == [2, 3, 1, 1]
    assert kept.shape == (4, 3, 1)


def test_given_lengths_move_front_padding_only_if_all_samples_agree():
    front = sequence([[0, 0, 1, 2], [0, 3, 0, 4]])
    moved, _, found = alone(front, np.array([2, 3]))
    assert found.side == "front" and moved[:, :, 0].tolist() == [[1, 2, 0], [3, 0, 4]]
    mixed = sequence([[1, 0, 1, 2], [7, 3, 0, 4]])
    kept, _, found = alone(mixed, np.array([2, 3]))
    assert found == ("back", "given", 0, 3, 0)
    assert kept[:, :, 0].tolist() == [[1, 0, 0], [7, 3, 0]]
    assert mixed[0, 2, 0] == 1  # the argument is not changed


@pytest.mark.parametrize(
    "side, length, found",
    [
        ("auto", [2, 3, 1], ("front", "recomputed", 0, 0, 1)),
        ("front", [2, 3, 1], ("front", "recomputed", 0, 0, 1)),
        ("back", [4, 4, 4], ("back", "derived", 0, 0, 0)),
        ("as_stored", [1, 3, 1], ("back", "given", 0, 4, 0)),
    ],
)
def test_stored_lengths_that_front_padding_contradicts(side, length, found):
    given = sequence([[0, 0, 1, 2], [0, 3, 4, 5], [0, 0, 0, 6]])
    stored = np.array([1, 3, 1]) if side != "back" else None
    kept, new, told = alone(given, stored, side)
    assert new.tolist() == length
    if side == "back":
        assert told.side == "none" and kept.shape[1] == 4
    else:
        assert told == found
    if told.side == "front":
        assert kept[:, :, 0].tolist() == [[1, 2, 0], [3, 4, 5], [6, 0, 0]]


def test_without_lengths_as_stored_keeps_every_step():
    kept, length, found = alone(sequence([[0, 1], [1, 0]]), None, "as_stored")
    assert length.tolist() == [2, 2] and found.lengths == "array"
    assert kept[:, :, 0].tolist() == [[0, 1], [1, 0]]


def test_every_step_counts_whatever_lengths_and_masks_say():
    arrays = small() | {"audio": sequence([[0, 0, 1, 2]] * N)}
    arrays["audio_length"] = np.ones(N, int)
    arrays["text"] = sequence([[1, 2, 3]] * N)
    arrays["text_bert"] = np.tile([[101, 102, 0], [1, 1, 0], [0, 0, 0]], (N, 1, 1))
    splits, notes = plain.to_splits(arrays, (-3, 3), "every_step", "features")
    test = splits["test"]
    assert set(test.audio_length) == {4} and set(test.text_length) == {3}
    assert present(test.audio)[0, :, 0].tolist() == [0, 0, 1, 2]
    assert present(test.text)[0, :, 0].tolist() == [1, 2, 3]
    assert not any("were set to zero" in line for line in notes.warnings)


def test_minus_infinity_in_audio_becomes_zero_and_is_counted():
    arrays = small()
    arrays["audio"][2, 1, 0] = arrays["audio"][2, 2, 1] = -np.inf
    splits, notes = plain.to_splits(arrays, (-3, 3))
    assert present(splits["train"].audio)[2, 1, 0] == 0
    assert any("2 values of -inf in 1 samples" in line for line in notes.warnings)


def test_token_ids_are_preferred_to_word_features():
    arrays = without("transcript") | {"text_bert": tokens(), "text": np.ones((N, 5, 2))}
    splits, notes = plain.to_splits(arrays, (-3, 3))
    assert present(splits["train"].text).dtype == np.int32
    assert notes.unused == ("text",)
    assert any("'text_bert' is read" in line for line in notes.assumptions)


def test_the_file_is_not_changed_in_place():
    arrays = small()
    arrays["audio"][0, 3] = 9  # beyond its length
    plain.to_splits(arrays, (-3, 3))
    assert arrays["audio"][0, 3, 0] == 9


def test_standardise_uses_valid_steps_of_train_and_keeps_padding_zero():
    arrays = small()
    arrays["audio"][:3, :, 1] = np.float32(0.1)  # constant in train
    splits, _ = plain.to_splits(arrays, (-3, 3))
    columns = scaling.train_columns(splits)["audio"]
    scaled = {
        name: scaling.scale(present(s.audio), present(s.audio_length), columns)
        for name, s in splits.items()
    }
    train = np.concatenate(
        [arrays["audio"][i, : arrays["audio_length"][i]] for i in range(3)]
    ).astype(np.float64)
    mean, std = train.mean(axis=0), np.maximum(train.std(axis=0), 1e-9)
    for name, rows in (("train", [0, 1, 2]), ("valid", [3]), ("test", [4, 5])):
        for row, got in zip(rows, scaled[name], strict=True):
            n = arrays["audio_length"][row]
            wanted = (arrays["audio"][row, :n] - mean) / std
            wanted[:, 1] = 0
            np.testing.assert_allclose(got[:n], wanted, rtol=1e-5, atol=1e-6)
            assert not got[n:].any()
    assert present(splits["train"].audio)[0, 0, 1] == np.float32(0.1)  # input unchanged


@pytest.mark.parametrize("size, parts", [(1, 60), (8 * 12 * 7, 9), (64 << 20, 1)])
def test_statistics_are_taken_in_parts_of_so_many_bytes(monkeypatch, size, parts):
    monkeypatch.setattr(scaling, "_CHUNK", size)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 4, 3))
    length = rng.integers(1, 5, 60)
    assert len(scaling._chunks(values)) == parts
    found = scaling.column_statistics(values, length)
    flat = np.concatenate([v[:n] for v, n in zip(values, length, strict=True)])
    np.testing.assert_allclose(found.mean, flat.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.std, flat.std(axis=0))
    assert found.low.tolist() == flat.min(axis=0).tolist()
    assert found.high.tolist() == flat.max(axis=0).tolist()


def test_unreadable_files_are_named(tmp_path):
    def message(path) -> str:
        with pytest.raises(UserError, match=re.escape(str(path))) as raised:
            plain.read_npz(path)
        return str(raised.value)

    assert "no such file" in message(tmp_path / "none.npz")
    text = tmp_path / "text.npz"
    text.write_text("id,label\n")
    assert "not an .npz" in message(text)
    assert "not an .npz" in message(tmp_path)
    good = tmp_path / "good.npz"
    save(good, small())
    half = tmp_path / "half.npz"
    half.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    assert "not an .npz" in message(half)
    flipped = bytearray(good.read_bytes())
    flipped[flipped.index(b"\x93NUMPY") + 200] ^= 255
    half.write_bytes(flipped)
    assert "damaged" in message(half)
    np.savez(half, id=np.array(["a", None], dtype=object))
    assert "'id' is an object array" in message(half)
    with zipfile.ZipFile(half, "w") as archive:
        archive.writestr("id.txt", "a")
    assert "a zip archive of other files ('id.txt'): unpack it" in message(half)
    save(half, small() | {"id": np.array([b"\xff_1"] * N)})
    assert "not UTF-8" in message(half)
    save(half, small() | {"id": np.char.encode(small()["id"])})
    assert plain.read_npz(half)["id"].tolist() == small()["id"].tolist()


def test_archives_that_claim_too_much_are_refused(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("audio.npy", "w", force_zip64=True) as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": (3 << 30,)}
            np.lib.format.write_array_header_1_0(member, header)
            member.write(bytes(1 << 20))
    with pytest.raises(UserError, match="cannot read|claims|damaged"):
        plain.read_npz(path)  # the header says 3 GiB, the member holds 1 MiB


def test_an_archive_that_unfolds_a_thousandfold_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, audio=np.zeros(1 << 20, np.uint8))
    assert plain.read_npz(path)["audio"].shape == (1 << 20,)
    monkeypatch.setattr(checks, "_SMALL", 1 << 10)
    with pytest.raises(UserError, match="unfolds to 1 MiB"):
        plain.read_npz(path)


@pytest.mark.parametrize("shape", ["(True,)", "(1180591620717411303424,)", "(("])
def test_a_damaged_header_is_one_error(tmp_path, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("label.npy", array + bytes(64))
    with pytest.raises(UserError, match="cannot read 'label', damaged"):
        plain.read_npz(tmp_path / "bad.npz")


@pytest.mark.parametrize("name", ["v_\x1b[2J", "v_\n1", "v_" + "x" * 200])
def test_ids_that_would_garble_a_terminal_are_refused(name):
    arrays = small()
    arrays["id"] = np.array([name, *arrays["id"][1:]])
    with pytest.raises(UserError, match="no printable short name"):
        plain.to_splits(arrays, (-3.0, 3.0))


@pytest.mark.parametrize("code", [0xD800, 0x7FFF0000])
def test_characters_that_do_not_exist_are_refused(tmp_path, code):
    arrays = small()
    codes = np.ascontiguousarray(arrays["id"]).view(np.uint32)
    codes[0] = code
    save(tmp_path / "bad.npz", arrays | {"id": codes.view(arrays["id"].dtype)})
    with pytest.raises(UserError, match="characters that do not exist"):
        plain.read_npz(tmp_path / "bad.npz")


def test_an_archive_that_unfolds_to_far_more_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("audio.npy", "w") as member:
            for _ in range(600):
                member.write(bytes(1 << 20))
    with pytest.raises(UserError, match="unfolds to 600 MiB"):
        plain.read_npz(tmp_path / "bomb.npz")


@pytest.mark.parametrize("begin", [b"XK\x03\x04", b"\x93NUMPY\x01\x00", b"\x80\x04N."])
def test_an_archive_behind_something_else_is_refused(tmp_path, begin):
    save(tmp_path / "x.npz", small())
    data = (tmp_path / "x.npz").read_bytes()
    for hidden in (begin + data, begin + data[len(begin) :]):
        (tmp_path / "x.npz").write_bytes(hidden)
        with pytest.raises(UserError, match="not an .npz file"):
            plain.read_npz(tmp_path / "x.npz")


def scaled(offset, spread, width=3):
    """Return statistics of columns of values offset +- 2.5 spread, the first normal."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4, width)).clip(-2.5, 2.5)
    x[:, :, 1:] = offset + spread * x[:, :, 1:]
    return scaling.column_statistics(x.astype(np.float32), np.full(50, 4))


@pytest.mark.parametrize(
    "offset, spread, said",
    [
        (1000, 100, "audio: columns of train reach 1,2.. .2 of 3 are large.; most net"),
        (300, 30, "columns of train reach 3.. .2 of 3 are large.; most networks need "),
        (0, 5e7, "columns of train reach 1.2e.08 .2 of 3 are large."),
        (-400, 0, "columns of train reach 400 .2 of 3 are large."),  # constant
        (0, 1e-3, "2 of 3 columns of train stay below 0.0025; most networks need"),
        (1e-5, 0, ""),  # constant and small: the other check says so
        (
            50,
            0.1,
            "2 of 3 columns of train hardly leave their mean .one is 50, give or",
        ),
        (0.98, 0.01, ""),  # a confidence
        (120, 40, ""),  # pitch
        (0, 150, ""),
        (7, 0, ""),
        (0, 0.03, ""),
    ],
)
def test_columns_far_from_1_are_named(offset, spread, said):
    line = scaling.far_from_one("audio", scaled(offset, spread))
    assert re.search(said, line) and bool(line) == bool(said)
    assert not line or line.endswith("need --config.data.standardise=train")
    if line:
        line = scaling.far_from_one("text", scaled(offset, spread))
        assert line.endswith(
            "scale them in the file, data.standardise leaves text alone"
        )


def test_one_value_far_away_is_enough():
    x = np.zeros((50, 4, 1), np.float32)
    x[7, 2], x[0, 0] = -3250, 1
    columns = scaling.column_statistics(x, np.full(50, 4))
    assert scaling.far_from_one("vision", columns).startswith(
        "vision: columns of train reach 3,250; most networks"
    )


@pytest.mark.parametrize("name", ["mosi_real", "pom_real"])
def test_real_features_are_not_far_from_1(name, shared):
    splits, _ = plain.to_splits(
        plain.read_npz(shared / "data" / f"{name}.npz"), (-3, 7)
    )
    for modality, columns in scaling.train_columns(splits).items():
        assert scaling.far_from_one(modality, columns) == ""


@pytest.mark.parametrize("name", synthetic.SIZES)
def test_built_in_features_are_not_far_from_1(name):
    for modality, columns in scaling.train_columns(synthetic.make_splits(name)).items():
        assert scaling.far_from_one(modality, columns) == ""


@pytest.mark.parametrize("names", [("Train", "Val", "TEST"), ("train", "dev", "test")])
def test_splits_may_be_called_as_in_the_field(names):
    arrays = small()
    new = dict(zip(("train", "valid", "test"), names, strict=True))
    arrays["split"] = np.array([new[name] for name in arrays["split"].tolist()])
    splits, notes = plain.to_splits(arrays, (-3, 3))
    assert splits["valid"].id.tolist() == ["c_1"]
    renamed = [f"'{b}' means {a}" for a, b in new.items() if a != b]
    assert f"splits: {', '.join(renamed)}" in notes.assumptions


def shared(*same: str) -> dict[str, np.ndarray]:
    """A set whose test samples have ids of train; `same` are the same samples, too."""
    arrays = small() | {"id": np.array(["a_1", "a_2", "b_1", "c_1", "a_1", "a_2"])}
    for sample, i, j in (("a_1", 0, 4), ("a_2", 1, 5)):
        if sample in same:
            for key, array in arrays.items():
                if key != "split":
                    array[j] = array[i]
    return arrays


@pytest.mark.parametrize(
    "same, rule",
    [
        (
            (),
            "other samples under the same ids: ids must be unique over all splits, for",
        ),
        (("a_1", "a_2"), "they are the same samples: keep each in one split"),
        (
            ("a_2",),
            "1 of 2 times the same sample: keep it in one split; the others are other",
        ),
    ],
)
def test_ids_that_splits_share_may_be_of_other_samples(same, rule):
    wanted = "splits share 2 ids, first 'a_1' in train and test: "
    with pytest.raises(UserError, match=wanted) as error:
        plain.to_splits(shared(*same), (-3, 3))
    assert rule in str(error.value)
    assert ("('test_a_1')" in str(error.value)) is (len(same) < 2)


@pytest.mark.parametrize("word", ["nan", "NaN", "None", "<NA>", " nan "])
def test_words_of_missing_cells_are_empty_sentences(word):
    arrays = small()
    arrays["transcript"] = np.array(["one", word, "nan is a word", "", "nano", "none"])
    splits, notes = plain.to_splits(arrays, (-3, 3))
    assert present(splits["train"].transcript).tolist() == ["one", "", "nan is a word"]
    assert present(splits["test"].transcript).tolist() == ["nano", "none"]
    assert any(
        "text: 1 transcripts are 'nan', 'None'" in line for line in notes.warnings
    )
    assert "text: 2 transcripts are empty" in notes.warnings


@pytest.mark.parametrize("shape", [(N, 4, 0), (N, 0, 3)])
@pytest.mark.parametrize("key", ["audio", "vision", "text"])
def test_a_modality_without_values_is_read_as_absent(key, shape):
    arrays = small() | {key: np.zeros(shape), f"{key}_length": np.zeros(N)}
    splits, notes = plain.to_splits(arrays, (-3, 3))
    assert getattr(splits["train"], key) is None
    assert present(splits["train"].transcript).tolist() == ["one two", "so", "é ü"]
    assert any(f"{key}: of shape {shape}" in line for line in notes.warnings)
    assert {key, f"{key}_length"} <= set(notes.unused)


def test_arrays_of_an_npz_that_nothing_reads_may_hold_anything(tmp_path):
    more = {
        "align": np.array([{"a": 1}], object),
        "when": np.zeros(2, "M8[D]"),
        "rows": np.zeros(2, "i4,f4"),
        "complex": np.zeros(2, complex),
    }
    save(tmp_path / "x.npz", {**small(), **more})
    splits, notes = plain.to_splits(plain.read_npz(tmp_path / "x.npz"), (-3, 3))
    assert notes.unused == ("align", "complex", "rows", "when")
    assert len(splits["train"].id) == 3
    save(tmp_path / "x.npz", {**small(), "audio": more["align"]})
    with pytest.raises(
        UserError, match="'audio' is an object array; store strings with"
    ):
        plain.read_npz(tmp_path / "x.npz")


def test_unimodal_labels_without_one_number_are_none():
    nothing = {key: np.full(N, np.nan) for key in checks.UNIMODAL_KEYS}
    splits, notes = plain.to_splits(small() | nothing, (-3, 3))
    assert splits["train"].unimodal_label is None
    assert "unimodal labels are all NaN and not read" in notes.assumptions
    assert notes.unused == tuple(sorted(nothing))
    nothing["label_audio"][1] = 0
    with pytest.raises(UserError, match="'label_text' .* is nan, but must be finite"):
        plain.to_splits(small() | nothing, (-3, 3))
