"""Bring your own data: a folder of one CSV and one .npy file per clip."""

import csv
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from test_data_plain import present
from test_data_store import command

from msa_jax.data import load_dataset
from msa_jax.data.read import folder, plain
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import EMOTIONS

DOC = Path(__file__).parents[2] / "docs" / "bring_your_own.md"
NAMES = ("id", "split", "label", "transcript")
ROWS = (
    ("a_1", "train", "-1", "no, never"),
    ("a_2", "train", "2.5", 'she said "yes"'),
    ("b_1", "valid", "0", "é\u2028ü\nnew line"),
    ("c_1", "test", "3", "one\u2028line"),
)

pytestmark = pytest.mark.usefixtures("undrawn")
LENGTHS = {"a_1": 3, "a_2": 1, "b_1": 4, "c_1": 2}


def write(root: Path, names=NAMES, rows=ROWS, encoding="utf-8") -> Path:
    """Write a small corpus; return its folder."""
    root.mkdir(exist_ok=True)
    with (root / "t.csv").open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([names, *rows])
    for modality, width in (("audio", 2), ("vision", 3)):
        (root / modality).mkdir(exist_ok=True)
        for sample, steps in LENGTHS.items():
            np.save(root / modality / f"{sample}.npy", features(sample, steps, width))
    return root


def features(sample: str, steps: int, width: int) -> np.ndarray:
    rng = np.random.default_rng([width, *sample.encode()])
    return rng.normal(size=(steps, width)).astype(np.float32)


def test_what_goes_in_comes_out(tmp_path, capsys):
    root = write(tmp_path / "my", encoding="utf-8-sig")
    assert command("my", f"--from={root}", f"--data_dir={tmp_path / 'd'}") == 0
    data = load_dataset("my", tmp_path / "d")
    train = data.splits["train"]
    assert train.id.tolist() == ["a_1", "a_2"]
    assert train.label.tolist() == [-1, 2.5]
    assert present(train.transcript).tolist() == ["no, never", 'she said "yes"']
    assert present(data.splits["valid"].transcript).tolist() == [ROWS[2][3]]
    assert present(data.splits["test"].transcript).tolist() == ["one\u2028line"]
    for split in data.splits.values():
        for i, sample in enumerate(split.id.tolist()):
            n = LENGTHS[sample]
            assert present(split.audio_length)[i] == n
            np.testing.assert_array_equal(
                present(split.vision)[i, :n], features(sample, n, 3)
            )
            assert not present(split.audio)[i, n:].any()
    assert data.card["source"]["folder"] == "my" and not data.card["warnings"]


def test_zeros_at_the_ends_of_a_clip_are_kept(tmp_path):
    root = write(tmp_path / "my")
    quiet = np.zeros((3, 2), np.float32)
    np.save(root / "audio" / "a_1.npy", quiet)
    arrays = folder.read_folder(root).arrays
    assert arrays["audio_length"].tolist() == [3, 1, 4, 2]


def test_optional_columns(tmp_path, capsys):
    names = (*NAMES, "label_text", "label_audio", "label_vision", *EMOTIONS, "rater")
    rows = [(*r, 1, 2, -3, 0, 1, 2, 3, 0.5, 0, f"r{i}") for i, r in enumerate(ROWS)]
    root = write(tmp_path / "my", names, rows)
    assert command("my", f"--from={root}", f"--data_dir={tmp_path}/d") == 0
    data = load_dataset("my", tmp_path / "d")
    assert present(data.splits["test"].unimodal_label).tolist() == [[1, 2, -3]]
    assert present(data.splits["test"].emotion).tolist() == [[0, 1, 2, 3, 0.5, 0]]
    assert data.card["unused_arrays"] == ["rater"]
    assert data.card["emotion"]["present"]["train"] == [0, 2, 2, 2, 2, 0]


def test_text_features_instead_of_transcripts(tmp_path):
    rows = [row[:3] for row in ROWS]
    root = write(tmp_path / "my", NAMES[:3], rows)
    (root / "text").mkdir()
    for sample in LENGTHS:
        np.save(root / "text" / f"{sample}.npy", np.ones((2, 5), np.float16))
    arrays = folder.read_folder(root).arrays
    assert arrays["text"].shape == (4, 2, 5) and arrays["text"].dtype == np.float32


def test_files_without_a_line_are_a_warning(tmp_path):
    root = write(tmp_path / "my")
    np.save(root / "audio" / "z_9.npy", np.ones((2, 2)))
    assert folder.read_folder(root).warnings == (
        "audio: 1 files have no line in t.csv, first 'z_9.npy'",
    )


def test_the_hash_sees_every_file(tmp_path):
    root = write(tmp_path / "my")
    before = folder.read_folder(root).sha256
    assert folder.read_folder(root).sha256 == before
    np.save(root / "vision" / "c_1.npy", np.ones((2, 3), np.float32))
    assert folder.read_folder(root).sha256 != before


def table(text: str | bytes):
    """Return a change that replaces the table."""
    data = text.encode() if isinstance(text, str) else text
    return lambda root: (root / "t.csv").write_bytes(data)


def array(path: str, value):
    """Return a change that replaces one feature file."""
    return lambda root: np.save(root / path, value, allow_pickle=True)


REST = "b_1,valid,1,x\nc_1,test,1,x\n"
HEAD = "id,split,label,transcript\n"
BROKEN = [
    (lambda root: (root / "audio/c_1.npy").unlink(), "c_1.npy is missing (line 6 of"),
    (lambda root: (root / "audio/b_1.npy").unlink(), "b_1.npy is missing (line 4 of"),
    (array("audio/a_1.npy", np.ones(3)), "a_1.npy: shape (3,), it must be [steps, w"),
    (array("audio/a_1.npy", np.ones((3, 0))), "a_1.npy: width 0, but a_2.npy has 2"),
    (array("audio/a_2.npy", np.ones((3, 7))), "a_2.npy: width 7, but a_1.npy has 2"),
    (
        array("audio/a_1.npy", np.ones((3, 7))),  # most decide, not the first
        "audio/a_1.npy: width 7, but a_2.npy has 2 (1 such clips)",
    ),
    (array("vision/a_1.npy", np.array([[{}]])), "an object array or a pickle"),
    (array("vision/a_1.npy", np.array([["x"]])), "must hold numbers, not <U1"),
    (array("vision/c_1.npy", np.full((2, 3), np.nan)), "NaN"),
    (lambda root: (root / "audio/a_1.npy").write_bytes(b"\x93NUMPY"), "a_1.npy: "),
    (lambda root: (root / "audio/a_1.npy").write_bytes(b""), "a_1.npy: "),
    (lambda root: (root / "audio/a_1.npy").write_text("hello"), "a_1.npy: "),
    (table(""), "holds no samples"),
    (table(HEAD), "holds no samples"),
    (table("id,split,label\n"), "holds no samples"),
    (table("id,label,transcript\na_1,1,x\n"), "no column 'split'; found: id, label"),
    (table("id;split;label\na_1;train;1\n"), "separate columns with commas"),
    (table("id,split,label,label\na,train,1,1\n"), "two columns are called 'label'"),
    (table("id,split,label,audio\na,train,1,1\n"), "cannot be called 'audio'"),
    (table(HEAD + "a_1,train,1,x\na_2,train,1,x,y\n"), "line 3 has 5 fields, but the"),
    (table(HEAD + "a_1,train,good,x\n"), "line 2: label is 'good', not a number"),
    (table(HEAD + "a_1,train,nan,x\n" + REST), "must be finite"),
    (table(HEAD + 'a_1,train,1,"x\n'), "line 2: unexpected end of data"),
    (table(HEAD.encode() + b"a_1,train,1,\xe9\n"), "line 2 is not UTF-8"),
    (table((HEAD + "a_1,train,1,x\n").encode("utf-16")), "line 1 is not UTF-8"),
    (table(HEAD + "../t,train,1,x\n"), "line 2: id '../t' must be a file name"),
    (table(HEAD + "a_1,train,1,x\n/etc/p,train,1,x\n"), "line 3: id '/etc/p' must"),
    (table(HEAD + "..\\t,train,1,x\n"), "must be a file name"),
    (table(HEAD + ",train,1,x\n"), "line 2: id '' must be a file name"),
    (table(HEAD + " a_1,train,1,x\n"), "nor begin or end with blanks"),
    (table(HEAD + "a_1,train,1,x\na_1,train,1,x\n" + REST), "make ids unique"),
    (table(HEAD + "a_1,held,1,x\n"), "unknown split name 'held'"),
    (table(HEAD[:-1] + ",happy\na_1,train,1,x,1\n"), "missing: sad, anger"),
    (lambda root: (root / "u.csv").write_text("x"), "2 .csv files (t.csv, u.csv)"),
]


@pytest.mark.parametrize("change, message", BROKEN)
def test_mistakes_are_one_line(change, message, tmp_path, capsys):
    root = write(tmp_path / "my")
    change(root)
    assert command("my", f"--from={root}", f"--data_dir={tmp_path / 'd'}") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1, error
    assert not (tmp_path / "d").exists()


def test_a_gigantic_clip_is_refused_before_memory_is_taken(tmp_path):
    root = write(tmp_path / "my")
    file = root / "audio" / "a_1.npy"
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (17179869184, 2), }"
    with file.open("wb") as stream:
        stream.write(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little"))
        stream.write(header.ljust(117).encode() + b"\n")
        stream.truncate(128 + (8 << 34))  # a sparse file: takes no space
    with pytest.raises(UserError, match="cut or average the steps"):
        folder.read_folder(root)


def test_a_file_shorter_than_it_claims_is_damaged(tmp_path):
    root = write(tmp_path / "my")
    file = root / "audio" / "a_1.npy"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(UserError, match="a_1.npy: damaged"):
        folder.read_folder(root)


def test_more_clips_than_a_process_may_open(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    names = [f"v_{i}" for i in range(300)]
    root = write(tmp_path / "my", rows=[(n, "train", "0", "x") for n in names])
    for n in names:
        np.save(root / "audio" / f"{n}.npy", np.ones((1, 2)))
        np.save(root / "vision" / f"{n}.npy", np.ones((1, 3)))
    used = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 60, hard))
    try:
        assert len(folder.read_folder(root).arrays["audio"]) == 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_example_of_the_doc_works_as_it_stands(tmp_path, capsys, monkeypatch):
    text = DOC.read_text()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MSA_DATA", raising=False)
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, str(DOC), "exec"), {})
    lines = re.findall(r"```sh\n(.*?)\n```", text, re.DOTALL)
    check, write_it, _ = (shlex.split(line)[3:] for line in lines)
    assert command(*check) == 0
    assert not (tmp_path / "data").exists()
    assert command(*write_it) == 0
    out = capsys.readouterr().out
    assert "0 is not inside the label range" in " ".join(out.split())
    assert (tmp_path / "data" / "my_corpus" / "1.0.0" / "card.html").exists()
    train = load_dataset("my_corpus", "data").splits["train"]
    assert len(train.id) == 40 and present(train.audio).shape[2] == 6
    np.testing.assert_array_equal(
        present(train.vision)[3, : present(train.vision_length)[3]],
        np.load("my_corpus/vision/video0_3.npy"),
    )


def test_the_errors_in_the_doc_are_those_of_the_program(tmp_path, capsys, monkeypatch):
    """Follow the sentences of the doc: break the example, read the same line."""
    text = DOC.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    expected = re.findall(r"^    (error: .*)$", text, re.MULTILINE)

    def swap(line: int, old: str, new: str) -> None:
        lines = Path("my_corpus/clips.csv").read_text().splitlines()
        lines[line - 1] = re.sub(old, new, lines[line - 1])
        Path("my_corpus/clips.csv").write_text("\n".join(lines) + "\n")

    breaks = (
        lambda: Path("my_corpus/audio/video3_2.npy").unlink(),
        lambda: swap(7, r",[\d.]+,", ",good,"),
        lambda: np.save("my_corpus/vision/video0_1.npy", np.ones((4, 8))),
        lambda: swap(4, '"', ""),
    )
    for change, line in zip(breaks, expected, strict=True):
        exec(compile(code, str(DOC), "exec"), {})
        change()
        assert command("x", "--from=my_corpus/", "--label_range=1,7") == 2
        assert capsys.readouterr().err.strip() == line


FIELD = ("video_id", "clip_id", "text", "label", "label_T", "label_A", "label_V")
FIELD += ("annotation", "mode")
SPLIT = {"a_1": "train", "a_2": "train", "b_1": "Val", "c_1": "test"}


def field_rows(*unimodal: str) -> list[tuple]:
    middle = unimodal or ("1", "0", "-1")
    return [
        (*sample.split("_"), f"said, {sample}", "1", *middle, "Positive", split)
        for sample, split in SPLIT.items()
    ]


def field_folder(root: Path, rows, encoding="utf-8-sig") -> Path:
    write(root, FIELD, rows, encoding)
    for modality in ("audio", "vision"):
        for sample in LENGTHS:
            file = root / modality / f"{sample}.npy"
            file.rename(file.with_stem(sample.replace("_", "$_$")))
    return root


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_label_csv_of_the_field_is_read_as_it_stands(tmp_path, capsys, encoding):
    root = field_folder(tmp_path / "my", field_rows(), encoding)
    (root / "Raw").mkdir()
    assert command("my", f"--from={root}", f"--data_dir={tmp_path}/d") == 0
    data = load_dataset("my", tmp_path / "d")
    assert data.splits["train"].id.tolist() == ["a$_$1", "a$_$2"]
    valid = data.splits["valid"]
    assert present(valid.transcript).tolist() == ["said, b_1"]
    assert present(valid.unimodal_label).tolist() == [[1, 0, -1]]
    np.testing.assert_array_equal(present(valid.audio)[0], features("b_1", 4, 2))
    assert data.card["unused_arrays"] == ["annotation"]
    told = " ".join(data.card["assumptions"])
    assert "ids are video_id$_$clip_id" in told and "mode as split" in told
    assert "'Val' means valid" in told and "not read, beside t.csv: Raw" in told


@pytest.mark.parametrize("cells", [("", "", ""), ("nan", "", "NaN")])
def test_unimodal_columns_without_a_value_are_none(tmp_path, cells):
    root = field_folder(tmp_path / "my", field_rows(*cells))
    found = folder.read_folder(root)
    assert not {"label_text", "label_audio", "label_vision"} & set(found.arrays)
    assert "label_text, label_audio, label_vision: empty in every line" in (
        " ".join(found.assumptions)
    )
    names = (*NAMES, *EMOTIONS)
    rows = [(*row, *[""] * 6) for row in ROWS]
    found = folder.read_folder(write(tmp_path / "own", names, rows))
    assert "emotion" not in found.arrays and len(found.assumptions) == 1


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda rows: rows[2].__setitem__(5, ""),
            "line 4: label_A is empty, as in 1 of 4",
        ),
        (
            lambda rows: [r.__setitem__(4, "") for r in rows],
            "label_T is empty, as in 4",
        ),
        (lambda rows: rows[1].__setitem__(1, ""), "line 3: clip_id '' must be a file"),
        (lambda rows: rows[1].__setitem__(1, " 2"), "line 3: clip_id ' 2' must not be"),
        (
            lambda rows: rows[1].__setitem__(0, ".."),
            "video_id '..' must be a file name",
        ),
        (
            lambda rows: [row.__setitem__(6, "None") for row in rows[1:]],
            "line 3: label_V is empty, as in 3 of 4",
        ),
        (lambda rows: rows[1].__setitem__(8, "dev"), "'dev' and 'Val' both mean valid"),
    ],
)
def test_mistakes_in_a_label_csv_are_one_line(tmp_path, change, message):
    rows = [list(row) for row in field_rows()]
    change(rows)
    with pytest.raises(UserError) as error:
        folder.read_folder(field_folder(tmp_path / "my", rows))
    assert message in str(error.value)


def test_a_label_csv_without_a_needed_column_is_one_line(tmp_path):
    for name in ("label", "mode"):
        at = FIELD.index(name)
        rows = [row[:at] + row[at + 1 :] for row in field_rows()]
        root = write(tmp_path / name, FIELD[:at] + FIELD[at + 1 :], rows)
        wanted = {"mode": "'split' or 'mode'"}.get(name, f"'{name}'")
        found = "found: video_id, clip_id, text, "
        with pytest.raises(UserError, match=f"no column {wanted}; {found}"):
            folder.read_folder(root)
    at = FIELD.index("label_T")
    rows = [row[:at] + row[at + 1 :] for row in field_rows()]
    root = write(tmp_path / "T", FIELD[:at] + FIELD[at + 1 :], rows)
    with pytest.raises(UserError, match="of label_T, label_A, label_V all.*: label_T$"):
        folder.read_folder(root)


def test_classes_alone_are_named(tmp_path):
    names = [{"label": "classification_labels"}.get(name, name) for name in NAMES]
    with pytest.raises(UserError, match=r"no column 'label' \('classification_labels'"):
        folder.read_folder(write(tmp_path / "my", names, ROWS))


@pytest.mark.parametrize("shape", [(0, 2), (0, 0), (0,)])
def test_a_clip_without_steps_has_length_0(tmp_path, shape):
    root = write(tmp_path / "my")
    np.save(root / "audio" / "a_2.npy", np.ones(shape))
    arrays = folder.read_folder(root).arrays
    lengths = arrays["audio_length"].tolist()
    assert lengths[1] == 0 and arrays["audio"].shape[2] == 2
    splits, notes = plain.to_splits(arrays, (-3, 3))
    assert present(splits["train"].audio_length).tolist()[1] == 1
    assert "audio: 1 lengths of 0 became 1, a step of zeros" in notes.warnings


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["synthetic_tiny", "--check_only"], "is built in: --check_only goes with"),
        (["synthetic_tiny", "--padding=front"], "is built in: --padding goes with"),
        (["synthetic_tiny", "--label_range=-1,1"], "--label_range goes with"),
        (["mosi", "--synthetic", "--padding=auto"], "--padding goes with --from"),
        (["my", "--emotions=x", "--from"], "--emotions goes with pickles"),
    ],
)
def test_flags_that_would_be_ignored_are_refused(tmp_path, capsys, arguments, message):
    if arguments[-1] == "--from":
        arguments = [*arguments, str(write(tmp_path / "my"))]
    assert command(*arguments, f"--data_dir={tmp_path}/d") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_files_without_values_are_an_absent_modality(tmp_path, capsys, shape):
    root = write(tmp_path / "my")
    for sample in LENGTHS:
        np.save(root / "audio" / f"{sample}.npy", np.zeros(shape))
    assert command("my", f"--from={root}", f"--data_dir={tmp_path}/d") == 0
    card = load_dataset("my", tmp_path / "d").card
    assert card["audio"] is None and "audio: of shape" in card["warnings"][0]
