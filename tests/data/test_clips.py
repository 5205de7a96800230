"""Layouts of one record per clip: what is seen from the records, what is refused."""

from typing import Any

import numpy as np
import pytest
from layouts import SPLITS, clips, every, split, tbje

from msa_jax.data.check.checks import MAX_SAMPLES
from msa_jax.data.read import clips as reader
from msa_jax.data.read import dialects
from msa_jax.data.read.columns import Budget, Layout
from msa_jax.ground.errors import UserError

BUDGET = Budget(1 << 30)


def lists(**options: Any) -> dict[str, list]:
    return {name: clips(arrays, **options) for name, arrays in every().items()}


def read_lists(splits: dict[str, list]) -> Layout:
    return reader.from_clip_lists(splits, BUDGET)


def keyed() -> dict[str, dict[str, dict]]:
    files = {name: tbje(arrays) for name, arrays in every().items()}
    for roles in files.values():  # pickles are read into Python's numbers
        roles["sentiment"] = {k: float(v) for k, v in roles["sentiment"].items()}
    return files


def read_keyed(files: dict[str, dict[str, dict]]) -> Layout:
    return reader.from_keyed_files(files, BUDGET)


@pytest.mark.parametrize("misa", [False, True])
def test_the_words_are_found_in_either_place(misa):
    made = lists(misa=misa)
    assert reader.is_clip_list(made["train"])
    found, data = read_lists(made).splits["valid"], split("valid")
    assert found["transcript"] == data["raw_text"]
    np.testing.assert_array_equal(found["vision"][1], data["vision"][1, :4])
    np.testing.assert_array_equal(found["audio"][1], data["audio"][1, :4])
    assert ("emotion" in found) is misa


NO_WORDS = [[], (), None, np.array([]), "", float("nan"), np.array([], str)]


def with_words(made: dict[str, list], name: str, i: int, words: Any) -> None:
    parts, *rest = made[name][i]
    four = len(parts) == 4
    parts = (*parts[:3], words) if four else (words, *parts[1:3])
    made[name][i] = (parts, *rest)


@pytest.mark.parametrize("misa", [False, True])
@pytest.mark.parametrize("nothing", NO_WORDS, ids=str)
@pytest.mark.parametrize("name, i", [("train", 0), ("test", 2)])
def test_a_clip_without_words_says_nothing_of_the_others(misa, nothing, name, i):
    made = lists(misa=misa)
    with_words(made, name, i, nothing)
    found = read_lists(made)
    for other in SPLITS:
        wanted = split(other)["raw_text"]
        if other == name:
            wanted[i] = ""
        assert found.splits[other]["transcript"] == wanted
    assert not any("dictionary" in line for line in found.assumptions)


@pytest.mark.parametrize("splits", [SPLITS, ("valid",)])
def test_whole_splits_without_words_are_empty_transcripts(splits):
    made = lists()
    for name in splits:
        for i in range(len(made[name])):
            with_words(made, name, i, [])
    found = read_lists(made)
    for name in SPLITS:
        wanted = split(name)["raw_text"]
        wanted = [""] * len(wanted) if name in splits else wanted
        assert found.splits[name]["transcript"] == wanted


def test_silence_marks_are_words():
    made = lists()
    with_words(made, "train", 0, ["sp", "sp"])
    assert read_lists(made).splits["train"]["transcript"][0] == "sp sp"


def test_words_that_are_numbers_are_counted():
    made = lists()
    with_words(made, "test", 2, [1, 2])
    found = read_lists(made)
    assert found.splits["train"]["transcript"] == split("train")["raw_text"]
    assert found.splits["test"]["transcript"][2] == ""
    told = "the words of 1 clips are numbers of a dictionary"
    assert any(told in line for line in found.assumptions)
    made = lists(words=[5, 6])
    with_words(made, "train", 0, [])  # nothing does not tell
    assert "transcript" not in read_lists(made).splits["train"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_clips_without_steps_are_read_as_such(place):
    made = lists()
    for nothing in ([], np.array([]), None, np.zeros((0, 4))):
        parts = list(made["train"][0][0])
        parts[place] = nothing
        made["train"][0] = (tuple(parts), *made["train"][0][1:])
        table = read_lists(made).splits["train"]
        key = ("transcript", "vision", "audio")[place]
        others = len(table[key][1])
        assert len(table[key][0]) == 0 and others == (4 if place else 16)


def test_rows_that_stand_for_words_are_no_padding():
    made = lists()  # four words and rows each
    blank = np.zeros((4, 4))
    made["train"][0] = (([*"abcd"], blank, np.zeros((4, 5))), *made["train"][0][1:])
    table = read_lists(made).splits["train"]
    assert set(np.asarray(table["audio_length"]).tolist()) == {4}
    for words in ("ab", "abcde"):
        with_words(made, "train", 1, [*words])  # padded, perhaps
        assert "vision_length" not in read_lists(made).splits["train"]


def test_clips_without_an_id_are_numbered_and_counted():
    made = lists()
    made["test"][3] = made["test"][3][:2]
    found = read_lists(made)
    assert found.splits["test"]["id"] == [*split("test")["id"][:3], "test3"]
    assert found.splits["train"]["id"] == split("train")["id"]
    assert any("1 clips have none and are numbered" in n for n in found.assumptions)
    made = {name: [clip[:2] for clip in rows] for name, rows in made.items()}
    found = read_lists(made)
    assert found.splits["train"]["id"] == [f"train{i}" for i in range(6)]
    assert any("ids are not in the file" in line for line in found.assumptions)


@pytest.mark.parametrize("i", [0, 1])
def test_a_clip_that_is_none_is_named_wherever_it_stands(i):
    made = lists()
    made["train"][i] = None  # pyright: ignore
    assert reader.is_clip_list(made["train"])
    with pytest.raises(UserError, match=rf"train\[{i}\] is not \(\(words"):
        read_lists(made)


def test_one_other_id_keeps_no_bracketed_ones():
    made = lists()
    made["test"][3] = (*made["test"][3][:2], "other")
    found = read_lists(made)
    assert found.splits["train"]["id"][1] == "train0_1"
    assert found.splits["test"]["id"][3] == "other"
    assert any("is written video_3" in line for line in found.assumptions)


def test_whole_numbers_are_ids():
    made = lists()
    for name, part in made.items():
        made[name] = [(*clip[:2], 10 * len(name) + i) for i, clip in enumerate(part)]
    assert read_lists(made).splits["test"]["id"] == ["40", "41", "42", "43"]


def test_absurd_numbers_of_clips_are_refused_before_one_is_read():
    made = lists()
    made["valid"] = [None] * (MAX_SAMPLES + 1)
    with pytest.raises(UserError, match="at most 200000"):
        read_lists(made)
    files = keyed()
    files["train"]["mels"] = dict.fromkeys(range(MAX_SAMPLES + 1))
    with pytest.raises(UserError, match="at most 200000"):
        read_keyed(files)


def label_of(columns: int):
    return lambda clip: (clip[0], np.zeros((1, columns)), clip[2])


def matrix(array: np.ndarray):
    return lambda clip: ((clip[0][0], array, clip[0][2]), *clip[1:])


@pytest.mark.parametrize(
    "change, message",
    [
        (
            label_of(3),
            r"labels of valid have \[1, 3\] columns, not 1 or 7: valid\[1\] has 3 "
            r"\(1 such clips\)",
        ),
        (lambda clip: clip[1], r"valid\[1\] is not \(\(words, visual, acoustic\)"),
        (matrix(np.zeros(4)), r"valid\[1\] visual has shape \(4,\), not \[steps"),
        (lambda clip: (*clip[:2], "a\nb"), "of valid is no printable short name"),
        (matrix([[np.ones(2)], [np.ones(3)]]), "ragged|mixes"),  # pyright: ignore
    ],
)
def test_clips_that_are_no_clips_are_named(change, message):
    made = lists()
    made["valid"][1] = change(made["valid"][1])
    with pytest.raises(UserError, match=message):
        read_lists(made)


def test_rows_of_different_lengths_are_no_array():
    with pytest.raises(UserError, match=r"'here' is ragged: row 1 .*\(1 such rows\)"):
        reader.one_array("here", [np.ones(2), np.ones(3)])
    assert reader.one_array("here", [np.ones(2), np.zeros(2)]).shape == (2, 2)


def test_files_of_three_splits_are_needed():
    files = {f"{s}_{r}": tree for s, t in keyed().items() for r, tree in t.items()}
    found, notes, _ = reader.keyed_files(files)
    assert notes == []
    assert found is not None and found.keys() == set(SPLITS)
    less = {name: tree for name, tree in files.items() if "test_" not in name}
    assert reader.keyed_files(less)[0] is None


def test_audio_is_told_by_the_width_or_by_the_name():
    made = keyed()
    for files in made.values():
        files["x"] = {k: np.ones((2, 80)) for k in files.pop("mels")}
    found = read_keyed(made)
    assert "audio: taken from the files *_x" in found.assumptions
    assert np.shape(found.splits["train"]["audio"][0]) == (2, 80)
    for files in made.values():
        files["my_acoustic"] = {k: np.ones((2, 5)) for k in files.pop("x")}
    assert np.shape(read_keyed(made).splits["train"]["audio"][0]) == (2, 5)


@pytest.mark.parametrize(
    "role, nothing",
    [
        *(("sentences", value) for value in NO_WORDS),
        *(("mels", value) for value in (*NO_WORDS[:4], np.zeros((0, 5)))),
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_files_are_told_by_most_of_their_values(role, nothing, count):
    made = keyed()
    for key in list(made["valid"]["mels"])[:count]:  # all three of valid
        made["valid"][role][key] = nothing
    found = read_keyed(made).splits["valid"]
    key = {"sentences": "transcript", "mels": "audio"}[role]
    assert [len(value) for value in found[key]][:count] == [0] * count
    assert len(found[key]) == 3


def test_most_clips_of_all_splits_may_say_nothing():
    made = keyed()
    for files in made.values():
        for key in list(files["sentences"])[:-2]:
            files["sentences"][key] = []
        for key in list(files["mels"])[:-1]:
            files["mels"][key] = None
    found = read_keyed(made).splits["train"]
    assert found["transcript"][-1] and not found["transcript"][0]
    assert len(found["audio"][-1]) and not len(found["audio"][0])


def test_words_in_arrays_are_transcripts():
    made = keyed()
    for files in made.values():
        words = {k: np.array(v) for k, v in files["sentences"].items()}
        files["sentences"] = words
    assert read_keyed(made).splits["train"]["transcript"] == split("train")["raw_text"]


def without(role: str, *splits: str):
    return lambda made: [made[s].pop(role) for s in splits]


def other(role: str, value: Any):
    return lambda made: made["valid"].update(
        {role: dict.fromkeys(made["valid"]["mels"], value)}
    )


def renamed(made: dict) -> None:
    for role, tree in made["test"].items():
        made["test"][role] = {f"\x1b{key}": value for key, value in tree.items()}


def one_row(made: dict) -> None:
    first = next(iter(made["valid"]["emotion"]))
    made["valid"]["emotion"][first] = np.ones(6)
    second = list(made["valid"]["emotion"])[1]
    made["valid"]["emotion"][second] = np.ones(5)


@pytest.mark.parametrize(
    "change, message",
    [
        (without("sentiment", *SPLITS), "no file of sentiment scores for train"),
        (without("r21d", "test"), "do not have the same kinds of files"),
        (other("sentiment", np.ones(2)), r"valid label: not 1 number\(s\)"),
        (
            one_row,
            r"emotion: not 6 number\(s\).*'valid0\[1\]' has 5 \(1 such clips\)",
        ),
        (lambda made: made["test"].update(mels={}), "'test' is empty.*_mels"),
        (
            lambda made: made["valid"]["mels"].update({"valid0[0]": 5}),
            "audio of valid0",
        ),
        (other("more", np.ones((2, 80))), "two files of valid hold audio"),
        (other("mels", np.ones((2, 2, 2))), "two files of valid|has shape"),
        (renamed, "of test is no printable short name"),
        (lambda made: made["test"].update(mels={"z[0]": np.ones((1, 5))}), "is empty"),
    ],
)
def test_files_that_do_not_fit_are_named(change, message):
    made = keyed()
    change(made)
    with pytest.raises(UserError, match=message):
        read_keyed(made)


def test_clips_missing_in_one_file_are_left_out_and_counted():
    made = keyed()
    made["train"]["mels"].pop("train0[1]")
    found = read_keyed(made)
    assert "train0_1" not in found.splits["train"]["id"]
    told = " ".join(found.assumptions)
    assert "train: 2 clips are not in every file" in told


@pytest.mark.parametrize(
    "value, ids",
    [
        (np.array([["a"], ["b"]]), ["a", "b"]),
        (np.array([["a", "1", "2"]]), ["a_1-2"]),
        (np.array([7, 8]), ["7", "8"]),
        ([("a", 1.5, 2.5), [b"b", "1", "2"]], ["a_1.5-2.5", "b_1-2"]),
        ([7, 8], ["7", "8"]),
        ([np.array([["a", "1", "2"]])], ["a_1-2"]),
        (["a", b"b"], ["a", "b"]),
    ],
)
def test_ids_in_every_form(value, ids):
    assert reader.read_ids("id", value, BUDGET) == ids


def test_emotions_are_joined_by_id_in_any_order():
    ids = {"train": ["a_1", "b$_$2"], "valid": ["c_1"], "test": ["d_1"]}
    layout = Layout("", {s: {"id": i} for s, i in ids.items()}, (), ())
    names = ["d[1]", "c_1", "b[2]", "a[1]"]
    values = np.arange(4.0)[:, None] + np.zeros(6)
    found = reader.join_emotions(layout, names, values).splits
    assert {s: [row[0] for row in t["emotion"]] for s, t in found.items()} == {
        "train": [3, 2],
        "valid": [1],
        "test": [0],
    }


def test_emotion_tables_of_other_widths_are_refused():
    table = {"a[0]": np.ones(6), "a[1]": np.ones(5)}
    wanted = r"not 6 number\(s\) for every clip, 'a\[1\]' has 5 \(1 such clips\)"
    for one in (table, dict(reversed(table.items()))):  # wherever it stands
        with pytest.raises(UserError, match=wanted):
            reader.emotions_of(one, BUDGET)
    with pytest.raises(UserError, match="a dict from clip to 6 numbers"):
        reader.emotions_of({"a[0]": np.ones(5)}, BUDGET)


def test_clips_without_a_row_per_word_are_counted():
    made = lists()
    assert "audio and vision are aligned with the words, one row per word" in (
        read_lists(made).assumptions
    )
    clip = made["valid"][1]
    words, visual, acoustic = clip[0]
    made["valid"][1] = ((words, visual, acoustic[:1]), *clip[1:])
    clip = made["test"][0]
    made["test"][0] = ((clip[0][0], clip[0][1][:0], clip[0][2]), *clip[1:])
    told = " ".join(read_lists(made).assumptions)
    assert "are not aligned with the words: 2 of 13 clips do not have one row" in told
    assert "first valid[1]: 4 words, 4 visual and 1 acoustic rows" in told
    assert "are aligned" not in told


def test_a_modality_of_width_0_says_nothing_about_alignment():
    made = {
        name: [((c[0][0], c[0][1], np.zeros((9, 0))), *c[1:]) for c in part]
        for name, part in lists().items()
    }
    told = " ".join(read_lists(made).assumptions)
    assert "vision is aligned with the words, one row per word" in told


@pytest.mark.parametrize("change", ["no words", "no rows", "a longer sentence"])
def test_a_clip_of_nothing_is_not_aligned_either(change):
    made = lists()
    clip = made["train"][1]
    words, visual, acoustic = clip[0]
    if change == "no words":
        words = None
    elif change == "no rows":
        acoustic = None
    else:
        words = " ".join([*words, "more"])
    made["train"][1] = ((words, visual, acoustic), *clip[1:])
    told = " ".join(read_lists(made).assumptions)
    said = {"no words": 0, "no rows": 4}.get(change, 5)
    rows = 0 if change == "no rows" else 4
    assert "not aligned with the words: 1 of 13 clips" in told
    assert f"first train[1]: {said} words, 4 visual and {rows} acoustic rows" in told


def test_sentences_have_a_row_per_word_too():
    made = {
        split: [((" ".join(c[0][0]), *c[0][1:]), *c[1:]) for c in part]
        for split, part in lists().items()
    }
    told = " ".join(read_lists(made).assumptions)
    assert "audio and vision are aligned with the words, one row per word" in told


def test_a_word_that_pandas_lost_is_left_out():
    made = lists()
    clip = made["train"][1]
    words = ["a", float("nan"), None, "b"]
    made["train"][1] = ((words, *clip[0][1:]), *clip[1:])
    assert read_lists(made).splits["train"]["transcript"][1] == "a b"


def test_names_of_splits_before_roles():
    files = {f"{s}_{r}": tree for s, t in keyed().items() for r, tree in t.items()}
    files = {name.replace("valid", "Dev"): tree for name, tree in files.items()}
    found, notes, _ = reader.keyed_files(files)
    assert found is not None and notes == ["splits: 'Dev' means valid"]
    files |= {name.replace("Dev", "val"): tree for name, tree in files.items()}
    with pytest.raises(UserError, match="both mean valid"):
        reader.keyed_files(files)


def test_matrices_as_nested_lists_and_scores_as_matrices():
    made = keyed()
    for files in made.values():
        files["r21d"] = {k: v.tolist() for k, v in files["r21d"].items()}
        files["sentiment"] = {k: np.array([[v]]) for k, v in files["sentiment"].items()}
    found, plain = read_keyed(made), read_keyed(keyed())
    for name, table in found.splits.items():
        wanted = plain.splits[name]
        np.testing.assert_array_equal(table["label"], wanted["label"])
        np.testing.assert_allclose(table["vision"][1], wanted["vision"][1])


def test_files_that_are_none_of_the_layouts_are_named():
    files = {f"{s}_{r}": tree for s, t in keyed().items() for r, tree in t.items()}
    files |= {"train_r21d": [1, 2], "glove": {}}
    _, _, others = reader.keyed_files(files)
    assert others == ["train_r21d", "glove"]
    del files["valid_r21d"], files["test_r21d"]
    unused = dialects.recognise(files, BUDGET).unused
    assert unused == ("train_r21d", "glove")


def test_one_number_in_the_place_of_words_is_one_word():
    made = lists()
    clip = made["train"][1]
    made["train"][1] = ((np.array(3.0), *clip[0][1:]), *clip[1:])
    told = " ".join(read_lists(made).assumptions)
    assert "first train[1]: 1 words, 4 visual" in told
    made["train"][1] = (clip[0], 10**30, clip[2])
    with pytest.raises(
        UserError, match=r"'train\[1\]' holds an integer beyond 64 bits"
    ):
        read_lists(made)
