"""Losses over training steps: interval means, what is said of them, the figure."""

import re

import numpy as np
import pytest
from test_report import FIVE, _Page, fake_run

from msa_jax import report
from msa_jax.ground.errors import UserError
from msa_jax.report import steps
from msa_jax.runs.finished import Steps, open_folder

NAN = np.nan


def make(**losses):
    """Put losses of a seed [steps] or of seeds [steps, s] together."""
    columns = {k: np.asarray(v, float) for k, v in losses.items()}
    columns = {k: v[:, None] if v.ndim == 1 else v for k, v in columns.items()}
    count = len(next(iter(columns.values())))
    return Steps(np.arange(count) // 4 + 1, columns)


@pytest.mark.parametrize("count, length", [(1, 5), (2000, 5), (2001, 6), (40_000, 100)])
def test_a_line_has_at_most_400_points(count, length):
    assert steps.interval(count) == length and -(-count // length) <= 400


def test_interval_means_by_hand():
    ended = [1.0, 3, NAN, NAN, NAN, NAN, NAN]  # after two steps
    values = np.array([np.arange(1.0, 8), ended]).T
    middle, means = steps.interval_means(values, 5)
    assert middle.tolist() == [3, 6.5]
    np.testing.assert_array_equal(means, [[3, 2], [6.5, NAN]])
    middle, means = steps.interval_means(values[:5], 5)
    assert middle.tolist() == [3] and means.tolist() == [[3, 2]]


def test_first_and_last_tenth_are_the_seeds_own():
    long = np.arange(20.0)  # tenths: 0, 1 and 18, 19
    short = np.r_[np.arange(9.0) * 2, [np.inf] + [NAN] * 10]  # tenths: 0 and 16
    ends = steps.from_to(np.stack([long, short, np.full(20, NAN)], axis=1))
    np.testing.assert_array_equal(ends, [[0.5, 0, NAN], [18.5, 16, NAN]])


def test_sentences():
    falling, rising = np.array([[4.0, 2], [1, 1]]), np.array([[1.0, 2], [2, 1.5]])
    found = steps.sentences(
        make(
            loss=falling,
            loss_cross=rising,
            loss_uni=np.ones((2, 2)),
            loss_uniform=np.array([[-1.0, -1], [-2, -2]]),
            loss_align=np.full((2, 2), NAN),
        )
    )
    assert found == [
        "total: fell from 3.000 to 1.000 (in 2 of 2 seeds).",
        "cross: rose from 1.500 to 1.750 (in 1 of 2 seeds).",
        "uni: stayed at 1.000.",
        "uniform: fell from −1.000 to −2.000, as drawn from 0.368 to 0.135 "
        "(in 2 of 2 seeds).",
        "align: no finite value.",
    ]
    assert steps.sentences(make(loss=[2, 1])) == ["total: fell from 2.000 to 1.000."]


def test_uniform_is_drawn_as_the_exponential_of_the_mean():
    values = np.array([-1.0, -3, -2, -2, -2, -4])
    figure = steps.curves(make(loss=values, loss_uniform=values), [7])
    total, uniform = figure.axes
    np.testing.assert_allclose(total.lines[0].get_ydata(), [-2, -4])
    np.testing.assert_allclose(uniform.lines[0].get_ydata(), np.exp([-2, -4]))
    assert uniform.get_title(loc="left") + uniform.get_title() == "exp(uniform)"


def test_caption_says_what_a_step_is():
    many = make(loss=np.ones((4000, 2)), loss_uniform=np.ones((4000, 2)))
    said = steps.caption(many, {"optim": {"accumulate_batches": 4}})
    for words in ("one batch (4 of them", "mean of 10 steps", "exponential", "seeds."):
        assert words in said
    one = steps.caption(make(loss=[1, 2]), None)
    assert "of them" not in one and "5 steps" in one and "Uniform" not in one
    assert "over seeds" not in one


def add_losses(folder, names, seeds=5):
    for name in ("history.jsonl", "predictions_test.npz"):  # figures cost time
        (folder / name).unlink()
    values = np.random.default_rng(0).random((24, seeds)).astype(np.float32)
    values[12:, 0] = NAN
    epoch = np.repeat([1, 2, 3, 4], 6)
    arrays: dict = {"epoch": epoch} | dict.fromkeys(names, values)
    np.savez(folder / "losses.npz", **arrays)


def test_in_the_report(tmp_path):
    fake_run(tmp_path, u=False)
    add_losses(tmp_path, ("loss", "loss_regression", "loss_uniform"))
    page = _Page(report.write_report(tmp_path).read_text())
    assert "Losses over training steps" in page.text and "exp(uniform)" in page.text
    assert "regression: " in page.text and "nan" not in page.text.lower().split()
    assert (tmp_path / "figures" / "loss_steps.png").exists()
    kept = open_folder(tmp_path).steps
    assert kept is not None and len(kept.epoch) == 24
    assert list(kept.losses) == ["loss", "loss_regression", "loss_uniform"]


def test_one_part_says_nothing_new(tmp_path):
    fake_run(tmp_path, u=False)
    add_losses(tmp_path, ("loss", "loss_fusion"))
    assert "training steps" not in report.write_report(tmp_path).read_text()


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"loss": np.ones((2, 5))}, "lacks the array 'epoch'"),
        ({"epoch": np.ones(2)}, "lacks the array 'epoch', or every loss"),
        ({"epoch": np.ones(2), "loss": np.ones((3, 5))}, "loss is (3, 5), expected"),
        ({"epoch": np.ones(2), "loss": np.ones((2, 4))}, "expected (2, 5)"),
    ],
)
def test_broken_losses_are_named(tmp_path, arrays, words):
    fake_run(tmp_path, FIVE, u=False)
    np.savez(tmp_path / "losses.npz", **arrays)
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        report.write_report(tmp_path)
    assert "losses.npz" in str(caught.value)
