"""Runs that are killed, in the process and with kill -9, end as if nothing had been."""

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from stopped_runs import Killed, compared, killed_at, left_over, train, watching
from tiny_runs import ROOT, command, environment, settings, tiny_main

from msa_jax import main
from msa_jax.runs import run
from msa_jax.training import nonfinite
from msa_jax.training import train as training

PLACES = (4, 14)  # of about 120 changes of files; the second slow


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, known):
    """A run in one piece, and how many changes of files it makes."""
    base = tmp_path_factory.mktemp("whole")
    with watching(base) as seen:
        train(base / "run", known=known)
    assert left_over(base / "run") == []
    return compared(base / "run"), len(seen)


def test_the_comparison_sees_everything(whole):
    """The files that a run leaves and that hold numbers, and the parameters."""
    found, _ = whole
    files = {name for name in found if " " not in name}
    assert files == {
        *("results.json", "config.json", "history.jsonl"),
        *(f"{x}.npz" for x in "losses u_labels samples features".split()),
        *("predictions_test.npz", "baselines_test.npz"),
    }
    assert len(found) > len(files) + 10


@pytest.mark.long(60)
@pytest.mark.parametrize(
    "places", [PLACES[0], pytest.param(PLACES[1], marks=pytest.mark.slow)]
)
def test_killed_anywhere_between_two_changes_of_files(tmp_path, whole, known, places):
    """How many changes orbax makes varies, so the last places may not be reached."""
    expected, changes = whole
    chosen = np.linspace(3, changes - 4, places).astype(int)
    died = 0
    for place in chosen.tolist():
        folder = tmp_path / str(place)
        died += killed_at(folder, place, lambda f=folder: train(f, known=known))
        train(folder, known=known)
        assert compared(folder) == expected, f"killed at change {place}"
        assert left_over(folder) == []
    assert died >= 0.75 * places


@pytest.mark.slow
def test_killed_again_and_again(tmp_path, whole, known):
    expected, _ = whole
    folder = tmp_path / "run"
    for place in (30, 42, 25, 50, 20):
        killed_at(folder, place, lambda: train(folder, known=known))
    train(folder, known=known)
    assert compared(folder) == expected and left_over(folder) == []


@pytest.mark.parametrize("epoch", [1, 3, 6])
def test_goes_on_after_the_last_epoch(tmp_path, whole, known, capsys, epoch):
    """Stopped in an epoch, the state of the one before is on the disk."""
    expected, _ = whole
    right, folder = nonfinite.find, tmp_path / "run"

    def stopped(log, active, number, *rest):
        if number == epoch:
            raise Killed
        return right(log, active, number, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nonfinite, "find", stopped)
        with pytest.raises(Killed):
            train(folder, known=known)
    capsys.readouterr()
    train(folder, known=known)
    said = capsys.readouterr().out
    assert (f"resuming after epoch {epoch - 1}" in said) == (epoch > 1)
    assert compared(folder) == expected
    results = json.loads((folder / "results.json").read_text())
    assert results["time"]["resumed_after_epoch"] == epoch - 1


def test_after_the_last_epoch_nothing_is_trained_again(tmp_path, whole, known):
    expected, _ = whole
    folder, epochs = tmp_path / "run", []

    def killed(*_):
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(known, "evaluate", None)  # nothing: `train` looks for hashes
        patch.setattr(training, "freeze", killed)
        with pytest.raises(Killed):
            train(folder, known=known)
    program = known["program"]
    counted = program._replace(epoch=lambda state: epochs.append(state))
    train(folder, known=known | {"program": counted})
    assert epochs == [] and compared(folder) == expected


# What a process does to itself at the n-th call of a function; then main goes on.
DRIVER = """
import os, runpy, signal, sys
import msa_jax.{module} as place
right, calls = place.{name}, []
def call(*given, **more):
    calls.append(1)
    if len(calls) == {at}:
        {do}
    return right(*given, **more)
place.{name} = call
{start}
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
REMOVED = "(given[0] / 'manifest.json').unlink()"
# Arrays of a state are there, no manifest.
THEN_KILLED = f"right(*given, **more); {REMOVED}; {KILL}"
WRITTEN = ("runs.checkpoint", "write_state", THEN_KILLED)
EVALUATING = ("training.train", "evaluate", KILL, 1)
SMOKE = [sys.executable, "-m", "msa_jax.main", "--config", "configs/smoke.py"]


def drive(words, module, name, do, at=1):
    """Run the command of `words` with a process that does something to itself."""
    python, *rest = words
    if rest[0] == "-m":
        start = f"runpy.run_module({rest[1]!r}, None, '__main__', alter_sys=True)"
        rest = rest[1:]
    else:
        start = "sys.path.insert(0, 'tests')\n"
        start += f"runpy.run_path({rest[0]!r}, None, '__main__')"
    code = DRIVER.format(module=module, name=name, at=at, do=do, start=start)
    return subprocess.run(
        [python, "-c", code, *rest[1:]],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )


def test_kill_9_in_a_write_and_in_the_evaluation(tmp_path, whole, known):
    """The real thing, twice; what goes on is this process."""
    expected, _ = whole
    folder = tmp_path / "run"
    for module, name, do, at in ((*WRITTEN, 3), EVALUATING):
        done = drive(command(folder), module, name, do, at)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not (folder / "results.json").exists()
    assert "resuming after epoch 2" in done.stdout
    train(folder, known=known)
    assert compared(folder) == expected and left_over(folder) == []


@pytest.mark.slow
def test_killed_in_a_step_a_write_the_evaluation_and_the_report(tmp_path):
    """A run with everything, four times, against a run in one piece."""
    for name in ("one", "two"):
        words = [*SMOKE, "--workdir", str(tmp_path / name)]
        if name == "two":
            for module, function, do, at in (
                ("training.nonfinite", "find", KILL, 2),  # epoch 2 has been computed
                (*WRITTEN, 1),
                EVALUATING,
                ("report.rendering", "render", KILL, 2),
            ):
                done = drive(words, module, function, do, at)
                assert done.returncode == -signal.SIGKILL, done.stderr
        done = subprocess.run(
            words, cwd=ROOT, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert "already done" in done.stdout  # only the report was missing
    assert compared(tmp_path / "two") == compared(tmp_path / "one")
    assert left_over(tmp_path / "two") == []
    assert (tmp_path / "two" / "report.html").exists()


def test_killed_in_the_report(tmp_path, whole, known):
    """The results are there; the same command writes the report and trains nothing."""
    expected, _ = whole
    folder = tmp_path / "run"
    train(folder, known=known)
    with tiny_main() as patch:
        patch.setattr(run, "make_program", None)
        assert main._show(settings(), folder) == 0
    assert (folder / "report.html").exists() and compared(folder) == expected


def test_sigterm_keeps_the_last_epoch_and_exits_with_75(tmp_path):
    folder, many = tmp_path / "run", 100000
    fields = {"selection.max_epochs": many, "selection.early_stop": many}
    with subprocess.Popen(
        command(folder, **fields),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if line.startswith("epoch   3"):
                process.terminate()
                break
        rest = process.stdout.read()
        assert process.wait(20) == 75
        said = process.stderr.read()
    assert said == "stopped; the same command goes on from here\n"
    assert "Traceback" not in rest
    states = sorted((folder / "checkpoint" / "state").iterdir())
    assert (states[-1] / "manifest.json").is_file()
    assert int(states[-1].name) >= 2  # it comes while epoch 3 is being written
    assert not (folder / ".lock").exists() and not (folder / "results.json").exists()


@pytest.mark.parametrize("number, code", [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_long_computation_does_not_keep_a_stopped_command(number, code):
    """Compiled code returns to Python after half a minute; nobody waits for that."""
    program = f"""
import os, signal, threading, jax
from msa_jax.config import cli
from msa_jax.ground import signals
signals._GRACE = 0.5
@jax.jit
def slow(x):
    return jax.lax.fori_loop(0, 2 * 10**9, lambda i, x: jax.numpy.sin(x + i), x)
def main():
    slow.lower(1.0).compile()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.{number})).start()
    slow(1.0).block_until_ready()
signal.signal(signal.SIGINT, signal.default_int_handler)
cli.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == code and "Traceback" not in done.stderr


def test_a_run_leaves_no_thread(tmp_path, known):
    train(tmp_path / "one", known=known)
    before = threading.active_count()
    train(tmp_path / "two", known=known)
    assert threading.active_count() <= before
