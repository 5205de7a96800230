"""The line per epoch and the time left."""

import io
import sys

import numpy as np
import pytest

from msa_jax.runs.progress import TrainingProgress, _line, _span
from msa_jax.training.loop import Epoch


def epoch(number, selected, active=(True, True), seconds=10.0):
    loss = np.where(active, [0.5, 0.75], np.nan)
    return Epoch(
        number=number,
        seconds=seconds,
        batches={},
        train={"loss": np.where(active, [1.0, 3.0], np.nan)},
        valid={"loss": loss},
        active=np.array(active),
        selected=np.array(selected),
        recorded={},
    )


def test_line():
    assert _line(epoch(7, (True, False))) == (
        "epoch   7  train 2.0000  valid 0.5000* 0.7500   10.0 s"
    )
    ended = _line(epoch(8, (False, False), active=(True, False)))
    assert ended == "epoch   8  train 1.0000  valid 0.5000  -        10.0 s"


def test_line_fits_a_terminal_with_five_seeds():
    five = epoch(1, (True,) * 2)._replace(
        valid={"loss": np.full(5, 0.5)},
        train={"loss": np.ones(5)},
        active=np.ones(5, bool),
        selected=np.ones(5, bool),
        seconds=123.4,
    )
    assert len(_line(five)) <= 80


def test_the_end_moves_with_the_best_epoch():
    progress = TrainingProgress((1, 2), early_stop=3, max_epochs=6, quiet=True)
    task = progress._bar.tasks[0]
    progress(epoch(1, (True, True)))
    assert (task.completed, task.total) == (1, 4)
    progress(epoch(2, (False, False)))
    assert (task.completed, task.total) == (2, 4)
    progress(epoch(3, (False, True)))
    assert (task.completed, task.total) == (3, 6)
    progress(epoch(4, (True, False)))
    assert task.total == 6  # never beyond max_epochs


class Terminal(io.StringIO):
    """What a notebook's kernel prints to says that it is a terminal, too."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("notebook", [False, True])
def test_a_notebook_gets_plain_lines(monkeypatch, notebook):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: notebook)
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with TrainingProgress((1, 2), early_stop=3, max_epochs=6) as progress:
        progress(epoch(1, (True, True)))
        progress.say("[bold] is no markup here")
    said = sys.stdout.getvalue()
    assert ("\x1b" in said) != notebook
    assert "epoch   1  train 2.0000" in said and "[bold] is no markup" in said


@pytest.mark.parametrize(("seconds", "text"), [(59.9, "59 s"), (61, "1 min 01 s")])
def test_span(seconds, text):
    assert _span(seconds) == text
