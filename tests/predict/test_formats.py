"""What is given to `predict` is told by its first bytes, and refused in one line."""

import bz2
import contextlib
import gzip
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from msa_jax.config import cli
from msa_jax.ground.errors import UserError
from msa_jax.predict import formats
from msa_jax.predict.answers import Predictor
from tests.preparations import CLS, FEATURES, SENTENCES, SEP, TOKENS
from tests.small_runs import answered

LINE = b'{"text": "good film"}\n'
PRETTY = json.dumps([{"text": "good", "audio": [[1, 2]]}] * 2, indent=1).encode()
WANTED = "; predict reads JSONL, .npz or one clip of MMSA-FET (docs/predict.md)"


def predictor(of=SENTENCES) -> Predictor:
    return Predictor(of, (1,), 2, lambda arrays: np.zeros((1, len(arrays["text"]))))


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones((3, 2)))
    return file.getvalue()


def clip(**changes) -> dict:
    """One clip of these tests' widths, as MMSA-FET's run_single writes it."""
    found = {
        "audio": np.ones((4, 2)),
        "vision": np.full((2, 3), 2.0),
        "text": np.full((4, 4), 3.0),
        "text_bert": np.array([[CLS, 4, 6, SEP], [1] * 4, [0] * 4], float),
        "config": {"audio": {"tool": "opensmile"}},
    }
    return {k: v for k, v in (found | changes).items() if v is not None}


def items(path, content, of=SENTENCES):
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    with contextlib.ExitStack() as stack:
        return list(formats.items_of(path, of, stack))


@pytest.mark.parametrize(
    "content, said",
    [
        (npy(), ".npy"),
        (gzip.compress(LINE, mtime=0), "gzip: unpack it first"),
        (bz2.compress(LINE), "bzip2: unpack it first"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\1IM", "MATLAB"),
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf \n\n", "the file holds no line"),
        (LINE.decode().encode("utf-16"), "UTF-16 or UTF-32: save it as UTF-8"),
        (LINE.decode().encode("utf-16-be"), "UTF-16 or UTF-32: save it as UTF-8"),
        (LINE.decode().encode("utf-32"), "UTF-16 or UTF-32: save it as UTF-8"),
        (b"id,text\na,good\nb,bad\n", "lines are {...}: it begins with 'id,text'"),
        (b"good film\nbad film\n", "lines are {...}: it begins with 'good film'"),
        (PRETTY, "one JSON array, not a sample a line: jq -c '.[]' FILE"),
        (b'[{"text": "good"}]', "one JSON array"),
        (b'\n{\n "text": "good"\n}\n', "JSON over several lines, not a sample a line"),
        (b'{"text": "good", "audio": [[1,\n 2]]}', "JSON over several lines"),
        (bytes(range(1, 256)) * 9, "not JSONL, nor anything else that is known"),
    ],
)
def test_another_file_is_one_line_and_no_answer(tmp_path, content, said):
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        answered(predictor(), path, out)
    line = str(error.value)
    assert line.startswith(f"--input {path}: ") and line.endswith(WANTED)
    assert said in line and cli.one_line(line) == line and not out.exists()


@pytest.mark.parametrize(
    "content, errors",
    [
        (LINE + LINE, 0),
        (b"\xef\xbb\xbf\n  " + LINE, 0),
        (b'{"text": "go\n' + LINE, 1),  # a bad line, then a good one
        (b'{"text": "good",\n' + LINE, 1),
        (b"{}", 1),
        ('{"text": "café"}\n'.encode("latin-1") + LINE, 1),
        (b'{"text": "good", "audio": [' + b"[1, 2], " * 900 + b"[1, 2]]}\n", 0),
    ],
)
def test_lines_are_read_line_by_line(tmp_path, content, errors):
    found = items(tmp_path / "in.npz", content)  # whatever it is called
    assert sum(item.error is not None for item in found) == errors
    assert len(found) > errors or content == b"{}"


def test_folders_and_missing_files(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, said in (
        *((tmp_path, "a folder"), (tmp_path / "no", "no such file")),
        (pipe, "not a file; leave --input out for standard input"),
    ):
        with pytest.raises(UserError, match=f"^--input {path}: {said}"):
            answered(predictor(), path, tmp_path / "out")


def test_arrays_are_told_by_their_contents(tmp_path):
    np.savez(tmp_path / "a.npz", audio=np.ones((2, 3, 2)))
    (tmp_path / "a.npz").rename(tmp_path / "a.jsonl")
    lines, counts = answered(predictor(), tmp_path / "a.jsonl", tmp_path / "out")
    assert counts == (2, 0) and lines[0]["missing"] == ["text", "vision"]
    np.savez(tmp_path / "b.npz", audio=np.ones((2, 3, 9)))
    (tmp_path / "out").write_text("before")
    with pytest.raises(UserError, match="'audio' has 9 columns, this run reads 2"):
        answered(predictor(), tmp_path / "b.npz", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "before"


@pytest.mark.parametrize("turned", [False, True])
def test_one_clip_is_answered(tmp_path, turned):
    given = clip()
    if turned:
        given["text_bert"] = given["text_bert"].T  # as the tokeniser gives it
    (item,) = items(tmp_path / "film.pkl", given)
    assert (item.line, item.id, item.error) == (1, "film", None)
    np.testing.assert_array_equal(item.sample.text, clip()["text_bert"])
    np.testing.assert_array_equal(item.sample.audio, np.ones((4, 2)))
    np.testing.assert_array_equal(item.sample.vision, np.full((2, 3), 2))
    (item,) = items(tmp_path / "film.pkl", given, FEATURES)
    np.testing.assert_array_equal(item.sample.text, np.full((4, 4), 3))


def test_what_a_clip_lacks_is_missing(tmp_path):
    given = clip(text_bert=None, vision=np.zeros((0, 3)), raw_text="good film")
    lines, _ = answered(predictor(), save(tmp_path, given), tmp_path / "out")
    assert [line["missing"] for line in lines] == [["vision"]]
    (item,) = items(tmp_path / "c.pkl", clip(text=None, text_bert=None))
    assert item.sample.text is None
    for words in (["good", "film"], np.array(["good", "film"])):
        (item,) = items(
            tmp_path / "c.pkl", clip(text=None, text_bert=None, raw_text=words)
        )
        assert item.sample.text == "good film"
    given = clip(vision=np.zeros((3, 0)), raw_text=None, text=None, text_bert=None)
    (item,) = items(tmp_path / "c.pkl", given)
    assert item.sample.vision is None and item.sample.text is None


@pytest.mark.parametrize(
    "said", ["good film", b"good film", ["good film"], ("good", "film"), np.array("x")]
)
def test_the_sentence_of_a_clip_is_read_however_it_is_kept(tmp_path, said):
    (item,) = items(tmp_path / "c.pkl", clip(text_bert=None, text=None, raw_text=said))
    assert item.sample.text == ("x" if isinstance(said, np.ndarray) else "good film")
    given = clip(text_bert=None, text=None, raw_text=[float("nan")])
    (item,) = items(tmp_path / "c.pkl", given)
    assert item.sample.text is None  # an empty cell of a table


def test_zeros_of_a_clip_are_no_padding(tmp_path):
    audio = np.array([[0, 0], [1, 2], [0, 0]])
    (item,) = items(tmp_path / "c.pkl", clip(audio=audio, text=np.zeros((2, 4))))
    np.testing.assert_array_equal(item.sample.audio, audio)
    given = clip(text=np.eye(5)[:, :4])
    (item,) = items(tmp_path / "c.pkl", given, FEATURES)
    assert item.sample.text.shape == (5, 4)


def save(folder: Path, content) -> Path:
    (folder / "clip.pkl").write_bytes(pickle.dumps(content, protocol=0))
    return folder / "clip.pkl"


@pytest.mark.parametrize(
    "given, of, said",
    [
        (clip(audio=np.ones((4, 5))), SENTENCES, "'audio' has 5 columns, this run rea"),
        (clip(vision=np.ones(3)), SENTENCES, r"'vision' has shape \(3,\), not \[steps"),
        (clip(audio=[[1, np.nan]]), SENTENCES, '"audio" is nan in row 1, column 2'),
        (clip(text_bert=clip()["text_bert"] * 9), TOKENS, "'text_bert' mask|must be 0"),
        (clip(text=None), FEATURES, "'text_bert' holds token ids, this run reads text"),
        (clip(text_bert=None), SENTENCES, "'text' holds text features, this run reads"),
        ({"train": clip(), "valid": {}, "test": {}}, SENTENCES, "found: train, valid"),
        ([clip()], SENTENCES, "not of one clip, a dict of audio.* found: list"),
        ({}, SENTENCES, "found: nothing"),
        (clip(audio=np.array([{}], object)), SENTENCES, "audio|array"),
    ],
)
def test_a_pickle_of_something_else_is_one_line(tmp_path, given, of, said):
    with pytest.raises(UserError, match=f"^{tmp_path / 'c.pkl'}: .*({said})") as error:
        items(tmp_path / "c.pkl", given, of)
    assert "\n" not in str(error.value)


class Harmful:
    def __reduce__(self):
        return (print, ("run",))


def test_no_pickle_is_opened_in_this_process(tmp_path):
    code = """
import sys
from pathlib import Path
from msa_jax.predict.arrays import read_clip
from tests.preparations import SENTENCES
(item,) = read_clip(Path(sys.argv[1]), SENTENCES)
assert item.sample is not None
assert "msa_jax.data.read.unpickle" not in sys.modules
"""
    path = save(tmp_path, clip())
    command = [sys.executable, "-c", code, str(path)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2])
    with pytest.raises(UserError, match="refused: it wants to call 'builtins.print'"):
        items(path, clip(audio=Harmful()))


@pytest.mark.parametrize(
    "head, said",
    [
        (npy(), ".npy"),
        (pickle.dumps(clip()), "a pickle; it must be JSONL; files are given with --in"),
        (b"PK\x03\x04\x14\0\0\0", "an .npz; it must be JSONL"),
        (LINE.decode().encode("utf-16"), "UTF-16"),
    ],
)
def test_standard_input_of_another_kind_is_one_line(head, said):
    with pytest.raises(UserError, match=f"^standard input: .*{said}"):
        formats.refuse_binary(head)


@pytest.mark.parametrize(
    "head", [b"", LINE, b"bad\n", b"[", b'{"text": "caf\xe9"}\n', bytes(range(99))]
)
def test_standard_input_is_otherwise_answered_line_by_line(head):
    formats.refuse_binary(head)
