"""Columns on disk: what they cost of the budget, and what is in them."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msa_jax.data.read.columns import Budget, Layout, numbers, strings, write_columns
from msa_jax.ground.errors import UserError

GiB = 1 << 30


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail, where without its size limits the code would run for hours."""

    def stop(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def layout(rows: int = 2, **columns: Any) -> Layout:
    """One row of the first split, `rows` of the second."""
    splits = {
        "train": {"id": ["a"], **{k: v[:1] for k, v in columns.items()}},
        "test": {
            "id": [f"b{i}" for i in range(rows)],
            **{k: v[1:] for k, v in columns.items()},
        },
    }
    return Layout("", splits, (), ())


def written(folder: Path, what: Layout) -> tuple[dict[str, np.ndarray], tuple]:
    notes = write_columns(what, folder, Budget(GiB))
    return {f.stem: np.load(f) for f in folder.glob("*.npy")}, notes


def test_a_budget_is_spent_to_the_last_byte():
    budget = Budget(10)
    budget.spend("x", 10)
    with pytest.raises(UserError, match="'x' unfolds to more than 0 MiB"):
        budget.spend("x", 1)


@pytest.mark.parametrize(
    "read, value, cost",
    [
        (numbers, [1.0, 2.0, 3.0], 48),
        (numbers, [[1, 2], [3, 4]], 32 + 2 * 32 + 8 * 4),
        (numbers, [[1, 2], [3]], 32 + 32 + 16),
        (numbers, np.zeros(9), 0),
        (strings, ["ab", "c"], 4 * 2 * 2),
        (strings, np.array(["ab", "c"]), 16 + 16),
    ],
)
def test_what_reading_costs(read, value, cost):
    budget = Budget(1000)
    read("x", value, budget)
    assert 1000 - budget.left == cost


@pytest.mark.parametrize(
    "column, cost",
    [
        ({"transcript": ["a", "bcd", "e"]}, 3 * 3 * 4),
        ({"audio": np.zeros((3, 5, 2), np.uint8)}, 3 * 5 * 2 * 4),
        ({"audio": np.zeros((3, 5, 2), np.float64)}, 3 * 5 * 2 * 8),
        ({"audio": [np.zeros((n, 2), np.float32) for n in (1, 5, 3)]}, 3 * 5 * 2 * 4),
    ],
)
def test_what_writing_costs(tmp_path, column, cost):
    budget, ids = Budget(1000), 3 * 2 * 4
    write_columns(layout(**column), tmp_path, budget)
    assert 1000 - budget.left == cost + ids


def test_lists_that_unfold_end_at_once():
    laughs: list = [1.0] * 10
    for _ in range(3):
        laughs = [laughs] * 10_000
    with within(10), pytest.raises(UserError, match="unfolds"):
        numbers("x", laughs, Budget(1 << 20))


def test_integers_stay_exact():
    assert numbers("x", [2**53 + 1, 1], Budget(GiB)).tolist() == [2**53 + 1, 1]


@pytest.mark.parametrize(
    "value, message",
    [
        (np.array(["a"]), "must hold numbers, it holds strings"),
        ([[[[[1]]]]], "holds nested lists"),
        ([[1, 2], 3], "mixes rows of shapes"),
        ([[[1], [1, 2]], [[1]]], "ragged on more than one axis"),
        ([10**30], "beyond 64 bits"),
        ({}, "it holds dict"),
    ],
)
def test_what_is_not_numbers(value, message):
    with pytest.raises(UserError, match=message):
        numbers("x", value, Budget(GiB))


@pytest.mark.parametrize(
    "value, message",
    [
        (["a", None], "it holds None too"),
        (["\ud800"], "not Unicode"),
        (np.array([["a"]]), r"str|U\(1, 1\) is there"),
        (np.zeros(2), "must hold strings"),
        (7, "it holds int"),
    ],
)
def test_what_is_not_strings(value, message):
    with pytest.raises(UserError, match=message):
        strings("x", value, Budget(GiB))


def test_clips_of_their_own_lengths_are_padded_with_zeros(tmp_path):
    clips = [np.full((n, 2), n, np.float32) for n in (3, 1, 0)]
    arrays, notes = written(tmp_path, layout(audio=clips))
    assert arrays["audio"].tolist() == [
        [[3, 3], [3, 3], [3, 3]],
        [[1, 1], [0, 0], [0, 0]],
        [[0, 0], [0, 0], [0, 0]],
    ]
    assert arrays["audio_length"].tolist() == [3, 1, 1]
    assert "1 empty ones become one step" in notes[0]
    assert arrays["split"].tolist() == ["train", "test", "test"]


def test_a_modality_without_any_step_has_none(tmp_path):
    """So `plain.to_splits` takes it as absent; one clip with a step is another."""
    arrays, _ = written(tmp_path, layout(vision=[np.zeros((0, 2))] * 3))
    assert arrays["vision"].shape == (3, 0, 2)
    some = [np.ones((1, 2)), np.zeros((0, 2)), np.zeros((0, 2))]
    arrays, _ = written(tmp_path, layout(vision=some))
    assert arrays["vision"].shape == (3, 1, 2)
    assert arrays["vision_length"].tolist() == [1, 1, 1]


def test_arrays_of_different_lengths_give_no_lengths(tmp_path):
    what = layout(audio=np.ones((3, 2, 1)))
    longer = {**what.splits["test"], "audio": np.ones((2, 5, 1))}
    what = what._replace(splits={"train": what.splits["train"], "test": longer})
    arrays, notes = written(tmp_path, what)
    assert "audio_length" not in arrays and notes == ()
    assert arrays["audio"][0, :, 0].tolist() == [1, 1, 0, 0, 0]


def test_given_lengths_are_kept(tmp_path):
    clips = [np.ones((n, 1)) for n in (3, 1, 2)]
    what = layout(audio_length=np.array([2, 1, 1]), audio=clips)
    arrays, notes = written(tmp_path, what)
    assert arrays["audio_length"].tolist() == [2, 1, 1] and notes == ()


def test_tokens_are_padded_along_their_last_axis(tmp_path):
    what = layout(text_bert=np.ones((3, 3, 2), np.int64))
    longer = {**what.splits["test"], "text_bert": np.ones((2, 3, 4), np.int64)}
    what = what._replace(splits={"train": what.splits["train"], "test": longer})
    arrays, _ = written(tmp_path, what)
    assert arrays["text_bert"].shape == (3, 3, 4)
    assert arrays["text_bert"][0].tolist() == [[1, 1, 0, 0]] * 3


def test_foreign_byte_orders_are_written_as_the_machines_own(tmp_path):
    arrays, _ = written(tmp_path, layout(label=np.array([1.5, 2, 3], ">f8")))
    assert arrays["label"].dtype.isnative and arrays["label"].tolist() == [1.5, 2, 3]


@pytest.mark.parametrize(
    "column, message",
    [
        (
            {"audio": [np.ones((2, 5)), np.ones((2, 4)), np.ones((2, 5))]},
            r"'audio' has 4 columns in 'b0' \(test\), but 5 in 'a' \(1 such clips\)",
        ),
        (
            {"audio": [np.ones((2, 4)), np.ones((2, 5)), np.ones((2, 5))]},
            "'audio' has 4 columns in train, but 5 in test",  # most decide
        ),
        (
            {"audio": [np.ones((2, 5)), np.ones((2, 9)), np.ones((2, 4))]},
            r"9 columns in 'b0' \(test\), but 5 in 'a' \(2 such clips\)",  # train
        ),
        (
            {"audio": [np.ones((2, 5)), np.ones(2), np.ones(2)]},
            r"'audio' has shape \(2, 5\) in train, but shape \(2,\) in test",
        ),
        ({"label": np.ones(2)}, "'label' has 1 rows in test, 'id' has 2"),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path, column, message):
    with pytest.raises(UserError, match=message):
        write_columns(layout(**column), tmp_path, Budget(GiB))


@pytest.mark.parametrize("key", ["audio", "text_bert", "emotion"])
def test_widths_of_whole_splits_name_the_split_that_differs(tmp_path, key):
    shape = {"audio": (4, 5), "text_bert": (5, 4), "emotion": (5,)}[key]
    rows = [np.ones((n, *shape)) for n in (3, 2, 2)]
    rows[2] = rows[2][:, :, :4] if key == "audio" else rows[2][:, :4]
    ids = ("train", 3), ("valid", 2), ("test", 2)
    splits = {
        split: {"id": [f"{split}{i}" for i in range(n)], key: part}
        for (split, n), part in zip(ids, rows, strict=True)
    }
    line = f"'{key}' has 4 columns in test, but 5 in train"
    with pytest.raises(UserError, match=line):
        write_columns(Layout("", splits, (), ()), tmp_path, Budget(GiB))
    splits["valid"] = splits["valid"] | {key: splits["test"][key]}
    # 4 of 7 now
    with pytest.raises(UserError, match="5 columns in train, but 4 in valid"):
        write_columns(Layout("", splits, (), ()), tmp_path, Budget(GiB))


def test_keys_of_one_split_are_named(tmp_path):
    what = layout(audio=np.ones((3, 2, 1)))
    what.splits["test"]["emotion"] = np.ones((2, 6))  # pyright: ignore
    with pytest.raises(UserError, match="'emotion' is in test, but not in train"):
        write_columns(what, tmp_path, Budget(GiB))


def test_an_empty_clip_has_no_width_and_no_type_of_its_own(tmp_path):
    empty = [np.zeros((0, 9)), np.zeros((0, 0))]
    clips = [empty[0], np.ones((2, 4), np.float32), empty[1]]
    arrays, notes = written(tmp_path, layout(audio=clips))
    assert arrays["audio"].shape == (3, 2, 4)
    assert arrays["audio"].dtype == np.float32
    assert arrays["audio_length"].tolist() == [1, 2, 1] and "2 empty ones" in notes[0]


def test_a_clip_or_split_without_columns_has_another_width(tmp_path):
    clips = [np.ones((2, 4)), np.ones((2, 0)), np.ones((1, 4))]
    with pytest.raises(UserError, match=r"'audio' has 0 columns in .*\(1 such clips\)"):
        written(tmp_path, layout(audio=clips))
    what = layout(audio=np.ones((3, 2, 4)))
    what.splits["test"]["audio"] = np.ones((2, 2, 0))  # pyright: ignore
    with pytest.raises(UserError, match="4 columns in train, but 0 in test"):
        write_columns(what, tmp_path, Budget(GiB))


@pytest.mark.parametrize("nothing", [None, [], np.array([]), np.zeros((0, 2))])
@pytest.mark.parametrize("place", [0, 1])
def test_an_empty_list_among_matrices_is_one_without_rows(nothing, place):
    rows: list = [np.ones((3, 2)), np.ones((1, 2))]
    rows.insert(place, nothing)
    found = numbers("x", rows, Budget(GiB))
    wanted = [3, 1]
    wanted.insert(place, 0)
    assert [len(row) for row in found] == wanted
    assert {row.ndim for row in found} == {2}


def test_rows_of_another_rank_are_named_and_counted():
    rows = [np.ones(2), np.ones((3, 2)), np.ones((1, 2)), np.ones(2), np.ones((1, 2))]
    with pytest.raises(UserError, match="row 0 is the first of 2 that differ"):
        numbers("x", rows, Budget(GiB))
