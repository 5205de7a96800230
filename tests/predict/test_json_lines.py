"""Lines and rows become samples, or one clear sentence each."""

import io
import json
import os

import numpy as np
import pytest

from msa_jax.config import cli
from msa_jax.data.check import checks
from msa_jax.data.read import plain
from msa_jax.data.read.padding import settle_padding
from msa_jax.ground.errors import UserError
from msa_jax.predict import arrays, json_lines
from msa_jax.predict.samples import UNREAD, Sample
from tests.hostile_lines import GOOD, HOSTILE
from tests.preparations import FEATURES, SENTENCES, TOKENS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files that lines name, good and bad."""
    base = tmp_path_factory.mktemp("files")
    home = base / "home"
    (home / "sub").mkdir(parents=True)
    good = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.save(base / "outside.npy", good)
    np.save(home / "a.npy", good)
    np.save(home / "sub" / "a.npy", good.astype(np.float64))
    (home / "link.npy").symlink_to(base / "outside.npy")
    os.mkfifo(home / "pipe.npy")
    np.save(home / "objects.npy", np.array([[{}, 1]]), allow_pickle=True)
    (home / "pickled.npy").write_bytes(b"\x80\x04K\x01.")
    whole = (home / "a.npy").read_bytes()
    (home / "claims.npy").write_bytes(
        whole.replace(b"(3, 2)", b"(9" + b"9" * 9 + b", 2)")
    )
    (home / "cut.npy").write_bytes(whole[:-4])
    (home / "empty.npy").write_bytes(b"")
    np.savez(home / "archive.npz", good)
    for name, array in {
        "strings": np.array([["a", "b"]]),
        "complex": good.astype(complex),
        "cube": np.zeros((1, 2, 2)),
        "wide": np.zeros((1, 3)),
        "nothing": np.zeros((0, 2)),
        "nan": np.array([[1, 2], [np.nan, 1]]),
        "bool": np.zeros((1, 2), bool),
    }.items():
        np.save(home / f"{name}.npy", array)
    return home


def read(*lines, of=SENTENCES, folder=None):
    """Return the items of a file of these lines."""
    encoded = [line if isinstance(line, bytes) else line.encode() for line in lines]
    return list(json_lines.read_lines(io.BytesIO(b"\n".join(encoded)), of, folder))


def test_there_are_a_hundred_hostile_lines():
    assert len(HOSTILE) >= 100


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_line_is_one_sentence_and_the_next_is_read(name, folder):
    line, expected = HOSTILE[name]
    before, bad, after = read(GOOD, line, GOOD, folder=folder)
    assert before.error is None and after.error is None and after.line == 3
    assert bad.sample is None and bad.line == 2
    assert expected in bad.error, bad.error
    said = cli.one_line(bad.error)
    assert said == bad.error and said.isprintable() and len(said) < 300


def test_a_line_too_long_is_not_held(monkeypatch):
    monkeypatch.setattr(json_lines, "LONGEST", 1 << 20)
    long = b'{"text": "' + b"x" * (3 << 20) + b'"}'
    items = read(long, GOOD, long)
    assert [item.error for item in items] == ["longer than 1 MiB", None] + [
        "longer than 1 MiB"
    ]
    just = b'{"text": "good"}'.ljust(1 << 20)
    assert [item.error for item in read(just, GOOD)] == [None, None]


def test_good_lines(folder):
    items = read(
        b'\xef\xbb\xbf{"id": "a", "text": "good \\u00e9"}\r',  # BOM, Windows
        "",
        '{"id": 7, "text": null, "audio": [[1, 2.5], [3, 4]], "vision": [[1, 2, 3]]}',
        '{"audio": "a.npy", "text": "  "}',
        '{"vision": [[0, 0, 0]], "audio": "sub/a.npy"}',
        '{"text_bert": [[2, 4, 3, 0], [1, 1, 1, 0], [0, 0, 0, 0]]}',
        folder=folder,
    )
    assert [item.error for item in items] == [None] * 5
    assert [(item.line, item.id) for item in items] == [
        *((1, "a"), (3, 7), (4, None), (5, None), (6, None))
    ]
    samples = [item.sample for item in items]
    assert samples[0] == Sample("good é")
    np.testing.assert_array_equal(samples[1].audio, [[1, 2.5], [3, 4]])
    assert samples[1].audio.dtype == np.float32 and samples[1].text is None
    assert samples[2].text is None and samples[2].audio.shape == (3, 2)
    np.testing.assert_array_equal(samples[2].audio, samples[3].audio)
    np.testing.assert_array_equal(samples[4].text, [[2, 4, 3], [1, 1, 1], [0, 0, 0]])


def test_every_float32_survives_its_decimals():
    value = np.float32([[0.1, 1 / 3], [3.4028235e38, 1e-42]])
    (item,) = read(json.dumps({"audio": value.tolist()}))
    assert item.sample.audio.tobytes() == value.tobytes()


@pytest.mark.parametrize(
    "of, line, expected",
    [
        (FEATURES, GOOD, "this run reads text features, no sentences"),
        (FEATURES, '{"text": "a.npy"}', "which a line of standard input cannot"),
        (FEATURES, '{"text_bert": [[2], [1], [0]]}', "reads text features, no token"),
        (FEATURES, '{"text": [[1, 2, 3]]}', "has 3 numbers per row, this run reads 4"),
        (TOKENS, GOOD, 'reads "text_bert" token ids, no sentences'),
        (SENTENCES._replace(reads=("text",)), '{"audio": [[1, 2]]}', "no text"),
    ],
)
def test_a_run_says_what_it_reads(of, line, expected):
    (item,) = read(line, of=of)
    assert item.sample is None and any(e in item.error for e in expected.split("|"))


def test_standard_input_names_no_files(folder):
    (item,) = read('{"audio": "a.npy"}')
    assert "standard input cannot" in item.error


def test_what_a_run_does_not_read_may_have_any_shape(tmp_path):
    of = SENTENCES._replace(reads=("text", "audio"))
    whole = {"text": "good", "vision": [[1.0] * 9], "audio": [[1.0, 2.0]]}
    first, second, third = read(
        *map(json.dumps, (whole, {"vision": [[1]]})), "{}", of=of
    )
    assert first.error is None and first.sample.vision is UNREAD
    assert first.sample.text == "good" and first.sample.audio.shape == (1, 2)
    for item in (second, third):
        assert item.error == "nothing to answer from: no text, no audio"
    silent = SENTENCES._replace(reads=("audio",))
    for line in ({"text": 7}, {"text_bert": "x"}):
        (item,) = read(json.dumps(line | {"audio": [[1, 2]]}), of=silent)
        assert item.error is None and item.sample.text is UNREAD
    path = tmp_path / "new.npz"
    vision = {"vision": np.ones((2, 3, 9)), "vision_length": np.array([0.5, 99])}
    np.savez(
        path, audio=np.ones((2, 4, 2)), transcript=np.array(["good", ""]), **vision
    )
    items = list(arrays.read_arrays(path, of))
    assert [item.error for item in items] == [None, None]
    assert all(item.sample.vision is UNREAD for item in items)
    assert items[1].sample.audio.shape == (4, 2) and items[0].sample.text == "good"


def save(path, **content):
    np.savez(path, **content)
    return list(arrays.read_arrays(path, SENTENCES))


def test_rows_of_arrays(tmp_path):
    audio = np.zeros((3, 4, 2), np.float32)
    audio[0, :2], audio[1, :3], audio[2, :1] = 1, 2, 3
    audio[1, 0, 0] = -np.inf  # becomes 0, as `prepare` does
    found = save(
        tmp_path / "a.npz",
        id=["x", "y", "z"],
        transcript=["good", "", "bad film"],
        audio=audio,
        label=[1.0, 2.0, 3.0],
    )
    assert [(i.line, i.id, i.error) for i in found] == [
        *((1, "x", None), (2, "y", None), (3, "z", None))
    ]
    assert [i.sample.text for i in found] == ["good", None, "bad film"]
    assert [i.sample.audio.shape for i in found] == [(2, 2), (3, 2), (1, 2)]
    assert found[1].sample.audio[0].tolist() == [0, 2]


def test_a_bad_row_is_one_sentence_and_the_others_are_read(tmp_path):
    audio = np.ones((5, 4, 2))
    audio[1, 1, 1], audio[2, 0, 0] = np.nan, 1e39
    found = save(
        tmp_path / "a.npz",
        transcript=["good", "good", "good", "x" * 20_001, "good"],
        audio=audio,
        audio_length=[4, 4, 4, 4, 9],
    )
    errors = [item.error or "" for item in found]
    for error, expected in zip(
        errors,
        (
            "",
            "is nan in row 2, column 2",
            "is inf",
            "20001",
            "whole number from 1 to 4",
        ),
        strict=True,
    ):
        assert expected in error and bool(expected) == bool(error)


def test_rows_of_one_axis_stay_side_by_side(tmp_path):
    audio, vision = np.zeros((3, 4, 2)), np.zeros((3, 4, 3))
    audio[:, 1:] = vision[:, 1:] = [[1], [2], [3]]
    vision[0, 1:3] = 0  # no face
    found = save(tmp_path / "a.npz", audio=audio, vision=vision)
    assert found[0].sample.audio[:, 0].tolist() == [1, 2, 3]
    assert found[0].sample.vision[:, 0].tolist() == [0, 0, 3]
    # as `prepare` reads the same file
    sequences = {"audio": audio, "vision": vision}
    settled, _ = settle_padding(sequences, {})
    for i, item in enumerate(found):
        for m, (rows, length, _) in settled.items():
            same = getattr(item.sample, m)
            np.testing.assert_array_equal(same, rows[i, : length[i]])


def beside(steps: int = 5) -> dict:
    """Tokens, their vectors (that of [PAD], too), and frames of one axis."""
    mask = np.zeros((3, steps), int)
    for i, length in enumerate((3, 4, 5)):
        mask[i, :length] = 1
    frames = mask[:, :, None] * np.arange(1, 1 + steps)[:, None]
    frames[:, 0] = frames[0, 2] = 0  # nothing for [CLS], and a face that is not found
    return {
        "text_bert": np.stack([6 * mask, mask, 0 * mask], axis=1),
        "text": np.arange(1.0, 61).reshape(3, steps, 4),
        "audio": np.repeat(frames, 2, axis=2).astype(float),
        "vision": np.repeat(frames, 3, axis=2).astype(float),
    }


@pytest.mark.parametrize("text", ["features", "tokens"])
@pytest.mark.parametrize("reads", [("text", "audio", "vision"), ("audio",), ("text",)])
def test_rows_are_those_that_prepare_reads_from_the_same_file(tmp_path, text, reads):
    content = beside()
    np.savez(tmp_path / "a.npz", **content)
    intake = {"features": FEATURES, "tokens": TOKENS}[text]._replace(reads=reads)
    found = list(arrays.read_arrays(tmp_path / "a.npz", intake))
    assert [item.error for item in found] == [None] * 3
    names = {"id": np.array(["a", "b", "c"]), "split": np.array(checks.SPLITS)}
    splits, _ = plain.to_splits(
        content | names | {"label": np.ones(3)}, (-3, 3), text=text
    )
    for item, split in zip(found, splits.values(), strict=True):
        for m in reads:
            rows = getattr(split, m)[0]
            rows = rows.T if rows.dtype == np.int32 else rows
            same = getattr(item.sample, m)
            same = same.T if m == "text" and text == "tokens" else same
            length = getattr(split, f"{m}_length")[0]
            np.testing.assert_array_equal(same, rows[:length])


def test_what_is_not_read_tells_of_padding_too(tmp_path):
    audio, vision = np.ones((2, 4, 2)), np.ones((2, 4, 3))
    audio[0, 2:] = audio[1, 3:] = vision[0, 3:] = vision[1, 3:] = 0
    np.savez(tmp_path / "a.npz", audio=audio, vision=vision)
    of = SENTENCES._replace(reads=("audio",))
    (item, _) = arrays.read_arrays(tmp_path / "a.npz", of)
    assert item.sample.audio[:, 0].tolist() == [1, 1, 0]  # vision has three rows


def test_a_modality_without_a_value_is_missing(tmp_path):
    content = {"audio": np.ones((2, 4, 2)), "vision": np.ones((2, 4, 0))}
    (item, _) = save(tmp_path / "a.npz", **content, vision_length=[4, 4])
    assert item.sample.vision is None and item.sample.audio.shape == (4, 2)


def test_what_pandas_makes_of_an_empty_cell_is_no_sentence(tmp_path):
    audio = np.ones((3, 4, 2))
    found = save(tmp_path / "a.npz", audio=audio, transcript=["nan", " None", "good"])
    assert [item.sample.text for item in found] == [None, None, "good"]


def test_a_wrong_length_says_nothing_of_the_other_rows(tmp_path):
    audio = np.zeros((3, 4, 2))
    audio[0, 2:], audio[1, 1:], audio[2, 1:] = 1, 2, 3
    found = save(tmp_path / "a.npz", audio=audio, audio_length=[3, 3, 9])
    assert "whole number from 1 to 4, or 0" in found[2].error
    assert found[0].sample.audio[:, 0].tolist() == [0, 1, 1]  # from the back
    assert found[1].sample.audio[:, 0].tolist() == [2, 2, 2]


def test_a_length_of_0_is_a_step_of_zeros(tmp_path):
    audio = np.ones((3, 4, 2))
    audio[0] = 0
    found = save(tmp_path / "a.npz", audio=audio, audio_length=[0, 4, 0])
    assert found[0].sample.audio.tolist() == [[0, 0]]
    assert "or 0 where all steps are zero" in found[2].error


def test_tokens_in_front_are_moved(tmp_path):
    row = [[0, 2, 3], [0, 1, 1], [0, 0, 0]]
    np.savez(tmp_path / "a.npz", text_bert=[row, row])
    (item, _) = arrays.read_arrays(tmp_path / "a.npz", TOKENS)
    assert item.sample.text.tolist() == [[2, 3], [1, 1], [0, 0]]


@pytest.mark.parametrize(
    "content, expected",
    [
        ({}, "no modality"),
        ({"id": ["a"], "label": [1.0]}, "no modality"),
        ({"audio": np.ones((2, 3, 7))}, "'audio' has 7 columns, this run reads 2"),
        ({"audio": np.ones((2, 3))}, "'audio' has shape"),
        ({"audio": np.ones((2, 0, 2))}, "no modality"),
        (
            {"audio": np.ones((2, 3, 2)), "id": ["a"]},
            "'id' has 1 rows, but 'audio' has 2|'audio' has 2 rows, but 'id' has 1",
        ),
        ({"transcript": np.array([], "U3")}, "'transcript' has no rows"),
        ({"transcript": "good"}, "'transcript' has shape (), it must be [samples]"),
        ({"transcript": [1, 2]}, "'transcript' must hold strings"),
        ({"vision": np.array([[["a"] * 3]])}, "'vision' must hold numbers"),
        (
            {"text_bert": np.ones((2, 3, 3)), "text_length": 3},
            "'text_length' has shape",
        ),
    ],
)
def test_a_file_of_other_arrays_is_refused_whole(tmp_path, content, expected):
    with pytest.raises(UserError) as error:
        save(tmp_path / "a.npz", **content)
    assert any(e in str(error.value) for e in expected.split("|")), error.value
    assert str(tmp_path / "a.npz") in str(error.value)


def test_a_file_without_what_the_run_reads_says_what_that_is(tmp_path):
    np.savez(tmp_path / "a.npz", audio=np.ones((2, 3, 9)), id=["a", "b"])
    said = "no modality that this run reads: give at least one of transcript, text, "
    said += "text_bert, vision; found: audio, id"
    with pytest.raises(UserError, match=f"{said}$"):
        arrays.read_arrays(
            tmp_path / "a.npz", SENTENCES._replace(reads=("text", "vision"))
        )


def test_objects_are_refused(tmp_path):
    with pytest.raises(UserError, match="object array"):
        save(tmp_path / "a.npz", transcript=np.array([{}], object))
