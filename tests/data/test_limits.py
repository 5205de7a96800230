"""Feature files that claim absurd sizes or values end early, in one line."""

import csv
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from layouts import SPLITS, Arrays, every, mult
from test_data_plain import N, alone, save, small, tokens, without

from msa_jax.data.check import checks, findings
from msa_jax.data.read import folder, plain, sandbox, sources
from msa_jax.ground.errors import UserError


def one_line(arrays: Arrays) -> str:
    with pytest.raises(UserError) as error:
        plain.to_splits(arrays, (-3, 3))
    assert "\n" not in str(error.value)
    return str(error.value)


def pickled(path: Path, tree: Arrays) -> str:
    path.write_bytes(pickle.dumps(tree))
    with pytest.raises(UserError) as error, sources.open_source(path):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


def test_absurd_widths_are_refused_early(tmp_path):
    wide = np.zeros((N, 1, checks.MAX_WIDTH + 1), np.float32)
    for key in ("audio", "vision"):
        line = one_line({**small(), key: wide, f"{key}_length": np.ones(N)})
        assert f"'{key}' has 20001 columns, at most 20000" in line
    assert "'text' has 20001" in one_line(without("transcript") | {"text": wide})
    tree = {n: mult(a) for n, a in every().items()}
    for split in tree.values():
        split["vision"] = np.zeros((len(split["id"]), 1, checks.MAX_WIDTH + 1))
    assert "'vision' has 20001 columns" in pickled(tmp_path / "x.pkl", tree)
    checks.check_sizes("audio", 1, checks.MAX_WIDTH)


def test_absurd_numbers_of_samples_are_refused_early(tmp_path, monkeypatch):
    n = checks.MAX_SAMPLES + 1
    arrays = {
        "id": np.full(n, "a"),
        "split": np.full(n, "train"),
        "label": np.zeros(n),
        "audio": np.zeros((n, 1, 1), np.float32),
    }
    assert f"{n} samples, at most {checks.MAX_SAMPLES}" in one_line(arrays)
    tree = {name: {"id": ["a"], "labels": [0.0]} for name in SPLITS}
    tree["valid"] = {"id": ["a"] * n, "labels": arrays["label"]}
    assert f"{n + 2} samples" in pickled(tmp_path / "x.pkl", tree)
    monkeypatch.setattr(folder, "check_sizes", refuse)
    (tmp_path / "t.csv").write_text("id,split,label\na,train,0\n")
    with pytest.raises(UserError, match="t.csv: refused 1"):
        folder.read_folder(tmp_path)


def refuse(key: str, samples: int, width: int = 1) -> None:
    raise UserError(f"refused {samples}")


def test_absurd_transcripts_are_refused_early(tmp_path):
    said = "好" * (checks.MAX_CHARACTERS + 1)
    arrays = small()
    arrays["transcript"] = np.array(["so", said, *arrays["transcript"][2:]])
    assert "sample 'a_2' has 20001 characters, at most 20000" in one_line(arrays)
    tree = {
        n: {"id": a["id"], "labels": a["label"], "raw_text": a["raw_text"]}
        for n, a in every().items()
    }
    tree["valid"]["raw_text"] = [said] * 3
    line = pickled(tmp_path / "x.pkl", tree)
    assert "sample 'valid0_0' has 20001 characters" in line
    rows = [("id", "split", "label", "transcript"), ("a", "train", "0", said)]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(UserError, match="t.csv: 'transcript' of sample 'a' has 20001"):
        folder.read_folder(tmp_path)


def test_one_long_transcript_among_many_short_ones_is_refused(tmp_path):
    rows = [(f"v_{i}", "train", "0", "x") for i in range(9_000)]
    rows[7] = ("v_7", "train", "0", "x" * 19_000)
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "split", "label", "transcript"), *rows])
    with pytest.raises(UserError, match="'v_7' has 19000 characters; at that"):
        folder.read_folder(tmp_path)


def test_a_long_cell_that_nothing_reads_takes_no_memory(tmp_path):
    rows = [(f"v_{i}", "train", "0", "") for i in range(100)]
    rows[0] = ("v_0", "train", "0", "x" * 100_000)
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "split", "label", "notes"), *rows])
    assert folder.read_folder(tmp_path).arrays["notes"].nbytes < 1000
    rows[0] = ("v_0", "x" * 100_000, "0", "")
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "split", "label", "notes"), *rows])
    with pytest.raises(UserError, match="unknown split name 'x{40}' "):
        folder.read_folder(tmp_path)


def test_a_table_that_is_no_table_is_not_read(tmp_path):
    with (tmp_path / "t.csv").open("wb") as file:
        file.truncate((128 << 20) + 1)  # sparse
    with pytest.raises(UserError, match="larger than 128 MiB"):
        folder.read_folder(tmp_path)


def test_the_language_is_told_from_a_bounded_sample(monkeypatch):
    splits, _ = plain.to_splits(small(), (-3, 3))
    monkeypatch.setattr(findings, "_CHARACTERS", 3)
    monkeypatch.setattr(findings, "_TRANSCRIPTS", 2)
    seen: list[str] = []
    monkeypatch.setattr(findings, "is_chinese", lambda c: bool(seen.append(c)))
    lines = np.array(["好好好好", "x", "好好好好"])  # every second of the three is read
    splits["train"] = splits["train"]._replace(transcript=lines)
    findings._language("mine", splits, None)
    assert len(seen) == 6


@pytest.mark.parametrize("value", [2.0**31, 2.0**32 + 5, 1e30])
def test_token_ids_that_would_wrap_are_refused(value):
    arrays = without("transcript") | {"text_bert": tokens().astype(np.float64)}
    arrays["text_bert"][2, 0, 1] = value
    assert "ids of sample 'b_1' is" in one_line(arrays)
    arrays["text_bert"][2, 0, 1] = 2.0**31 - 1
    splits, _ = plain.to_splits(arrays, (-3, 3))
    text = splits["train"].text
    assert text is not None and text[2, 0, 1] == 2**31 - 1


@pytest.mark.parametrize("kind", [np.uint8, np.uint64, np.int8, np.float16])
def test_tokens_of_any_number_type_keep_their_values(kind, tmp_path):
    arrays = without("transcript") | {"text_bert": tokens().astype(kind)}
    splits, _ = plain.to_splits(arrays, (-3, 3))
    text = splits["train"].text
    assert text is not None
    np.testing.assert_array_equal(text, tokens()[:3, :, :3])
    tree = {n: mult(a) for n, a in every().items()}
    for split in tree.values():  # unsigned differences wrap: no front padding is seen
        split["text_bert"] = np.repeat(tokens()[:1].astype(kind), len(split["id"]), 0)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(tree))
    with sources.open_source(tmp_path / "x.pkl") as (found, _):
        np.testing.assert_array_equal(found["text_bert"][0], tokens()[0])


def test_numbers_beyond_float32_are_refused():
    emotion = np.ones((N, 6))
    emotion[1, 2] = 1e39
    line = one_line({**small(), "emotion": emotion})
    assert "'emotion' of sample 'a_2' is 1e+39, but must fit into float32" in line
    arrays = {**small(), "label": np.array([1e39, *[0.0] * (N - 1)])}
    with pytest.raises(UserError, match="'a_1' is 1e.39, but must fit into float32"):
        plain.to_splits(arrays, (-1e40, 1e40))


def test_bytes_count_as_what_they_are_cast_to(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, audio=np.zeros(1 << 20, np.uint8))
    monkeypatch.setattr(checks, "_SMALL", 2 << 20)
    with pytest.raises(UserError, match="unfolds to 4 MiB"):
        plain.read_npz(path)


def test_settling_takes_the_memory_of_one_float32_copy():
    given = np.ones((40, 1000, 500))
    given[:, 900:] = 0
    front = given[:, ::-1]
    size = given.size * 4
    for sequence in (given, front):
        tracemalloc.start()
        settled, length, _ = alone(sequence, None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert settled.dtype == np.float32 and settled.shape == (40, 900, 500)
        assert settled.all() and set(length.tolist()) == {900}
        assert peak < 1.9 * size


def test_splits_that_stand_together_share_memory():
    splits, _ = plain.to_splits(small(), (-3, 3))
    bases = {id(part.audio.base) for part in splits.values() if part.audio is not None}
    assert len(bases) == 1
    mixed = {k: v[[0, 3, 4, 1, 2, 5]] for k, v in small().items()}
    apart, _ = plain.to_splits(mixed, (-3, 3))
    for name in SPLITS:
        assert apart[name].id.tolist() == splits[name].id.tolist()
        np.testing.assert_array_equal(apart[name].audio, splits[name].audio)


def test_long_lists_of_names_are_cut(tmp_path):
    assert checks.listed(["a", "b"]) == "a, b"
    assert checks.listed("abcdefg") == "a, b, c, d, e and 2 more"
    assert checks.listed(["\x1b" + "x" * 99]) == "\\x1b" + "x" * 39
    keys = {f"key{i:03d}": np.zeros(1) for i in range(100)}
    assert "found: key000, key001, key002, key003, key004 and 95 more" in one_line(keys)
    _, notes = plain.to_splits({**small(), **keys}, (-3, 3))
    assert len(notes.unused) == 31 and notes.unused[-1] == "and 70 more"
    (tmp_path / "t.csv").write_text(",".join(keys) + "\n" + ",".join("0" * 100) + "\n")
    with pytest.raises(UserError, match="key004 and 95 more$"):
        folder.read_folder(tmp_path)


def test_a_folder_of_very_many_pickles_is_one_line(tmp_path):
    for i in range(1500):
        (tmp_path / f"{i:04d}{'x' * 200}.pkl").write_bytes(pickle.dumps(i))
    with pytest.raises(UserError, match="0004x+ and 1495 more: expected train"):
        with sources.open_source(tmp_path):
            pass


def test_two_pickles_of_one_name_are_refused(tmp_path):
    for name in ("train.pkl", "train.p"):
        (tmp_path / name).write_bytes(pickle.dumps(1))
    with pytest.raises(UserError, match="train.pkl: another pickle.*'train', too"):
        with sources.open_source(tmp_path):
            pass


def test_names_too_long_for_a_file_are_refused(tmp_path):
    row = f"id,split,label\n{'ü' * 126},train,0\n"
    (tmp_path / "t.csv").write_text(row, encoding="utf-8")
    with pytest.raises(UserError, match="line 2.*file name of 256 bytes.*allow 255"):
        folder.read_folder(tmp_path)
    row = f"id,split,label\n{'ü' * 125}a,train,0\n"
    (tmp_path / "t.csv").write_text(row, encoding="utf-8")
    assert len(folder.read_folder(tmp_path).arrays["id"]) == 1


def test_the_card_tells_how_a_pickle_was_read(tmp_path):
    tree = {n: mult(a) for n, a in every().items()}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(tree))
    with sources.open_source(tmp_path / "x.pkl") as (_, found):
        assert found.assumptions[-1] == (
            "pickles: read in a sandbox: memory, time and file-size limits"
        )
    save(tmp_path / "x.npz", small())
    with sources.open_source(tmp_path / "x.npz") as (_, found):
        assert found.assumptions == ()


def test_large_files_may_unfold_less_in_proportion():
    most, mib = checks.most_unfolded, 1 << 20
    assert most(0) == 512 * mib and most(10 * mib) == 752 * mib
    assert most(100 * mib) == most(192 * mib) == 1536 * mib
    assert most(3000 * mib) == 24_000 * mib
    assert 2 * most(200 * mib) < 4e9  # held twice, as read and as float32
    assert sandbox.limits_for(100 * mib).budget == 1536 * mib


def test_modalities_of_a_folder_share_one_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "_SMALL", 5_000)
    monkeypatch.setattr(checks, "_MANY", 0)
    (tmp_path / "t.csv").write_text("id,split,label\na,train,0\nb,train,0\n")
    for modality in ("audio", "vision"):
        (tmp_path / modality).mkdir()
        for name, steps in (("a", 100), ("b", 1)):
            clip = np.ones((steps, 4), np.float32)
            np.save(tmp_path / modality / f"{name}.npy", clip)
        if modality == "audio":
            assert folder.read_folder(tmp_path).arrays["audio"].nbytes == 3_200
    with pytest.raises(UserError, match="vision/a.npy: 100 steps; padded to that"):
        folder.read_folder(tmp_path)


def test_split_names_garble_no_line():
    split = small()["split"].astype("<U9")
    split[1] = "te\x1d\x1b[2J"
    assert r"unknown split name 'te\x1d\x1b[2J' " in one_line(
        small() | {"split": split}
    )
