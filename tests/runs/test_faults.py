"""What can go wrong around a run: one clear line, nothing half there, nothing lost."""

import errno
import itertools
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from stopped_runs import compared, left_over, stop, train
from tiny_runs import ROOT, command, data, environment

from msa_jax.config import cli
from msa_jax.ground import files, lock
from msa_jax.runs import saver, workdir

NO_ROOM = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.fixture(scope="module")
def expected(tmp_path_factory, known):
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(folder, known=known)
    return compared(folder)


def as_command(main, capsys) -> tuple[int, str]:
    """Return the exit code and the one line of a command."""
    with pytest.raises(SystemExit) as ended:
        cli.run(main)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("error: ")
    assert isinstance(ended.value.code, int)
    return ended.value.code, said


@pytest.mark.parametrize(
    "name", ["000003.npz", "manifest.json", "losses.npz", "results.json"]
)
def test_a_full_disk_is_one_line_and_the_run_goes_on(
    tmp_path, monkeypatch, capsys, known, expected, name
):
    """While an epoch, a state, an array file or the results are written."""
    right = files.os.fsync

    def full(number):
        path = Path(os.readlink(f"/proc/self/fd/{number}"))
        if path.name == f".{name}":
            raise NO_ROOM
        right(number)

    folder = tmp_path / "run"
    monkeypatch.setattr(files.os, "fsync", full)
    code, said = as_command(lambda: train(folder, known=known), capsys)
    monkeypatch.undo()
    assert code == 2 and "No space left on device" in said
    assert not [p for p in folder.rglob(f".{name}")]
    if name in ("000003.npz", "manifest.json"):
        assert str(folder) in said and "the same command again" in said
    train(folder, known=known)
    assert compared(folder) == expected and left_over(folder) == []


def in_own_mounts(*commands: str) -> subprocess.CompletedProcess:
    """Run a shell script that may mount."""
    script = " && ".join(commands)
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )


@pytest.fixture
def mounts(tmp_path):
    """Skip where this user may not mount."""
    try:
        done = in_own_mounts(f"mount -t tmpfs -o size=64k tmpfs {tmp_path}")
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if done.returncode:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")


def test_a_disk_that_is_really_full(tmp_path, mounts):
    """64 kB hold the first files of a run, not its states."""
    run = " ".join(command(tmp_path / "run"))
    done = in_own_mounts(f"mount -t tmpfs -o size=64k tmpfs {tmp_path}", run)
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "cannot be saved" in last
    assert "Traceback" not in done.stderr


def test_a_workdir_that_cannot_be_written(tmp_path, mounts):
    run = " ".join(command(tmp_path))
    done = in_own_mounts(f"mount -t tmpfs -o ro tmpfs {tmp_path}", run)
    assert done.returncode == 2
    said = f"error: workdir {tmp_path}: cannot write there (Read-only file system)"
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1


def test_a_second_process_is_refused(tmp_path, capsys, known):
    folder = workdir.open_workdir(tmp_path / "run")
    with lock.held(folder):
        code, said = as_command(lambda: train(folder, known=known), capsys)
    assert code == 2 and f"is in use by process {os.getpid()} on " in said


def test_no_validation_samples(tmp_path, capsys):
    """Said before training, in place of a mean of nothing."""
    for split in ("train", "valid", "test"):
        empty = data(11)
        cut = empty.splits[split]
        empty.splits[split] = cut._replace(
            **{k: v[:0] for k, v in cut._asdict().items() if v is not None}
        )
        code, said = as_command(
            lambda d=empty: train(tmp_path / "r", dataset=d), capsys
        )
        assert code == 2 and f"its {split} split has no samples" in said
        assert not (tmp_path / "r" / "config.json").exists()


def test_a_clock_that_jumps_back(tmp_path, monkeypatch, known, expected):
    """Durations are those of a clock that nobody sets."""
    right, calls = time.time, itertools.count()

    def jumping():
        return right() - 86400 * (next(calls) // 20)

    monkeypatch.setattr(time, "time", jumping)
    stop(tmp_path / "run", 3, known=known)
    train(tmp_path / "run", known=known)
    monkeypatch.undo()
    assert next(calls) > 60
    times = json.loads((tmp_path / "run" / "results.json").read_text())["time"]
    assert 0 < times["seconds_per_epoch"] < times["seconds"] < 600
    lines = (tmp_path / "run" / "times.jsonl").read_text().splitlines()
    assert all(json.loads(line)["seconds"] > 0 for line in lines) and len(lines) == 6
    assert compared(tmp_path / "run") == expected


def test_a_write_that_takes_long_does_not_hold_training_up(
    tmp_path, monkeypatch, known, expected
):
    right, begun = saver.checkpoint.write_state, []

    def slow(*given):
        begun.append(given[0].name)
        time.sleep(0.5)
        right(*given)

    monkeypatch.setattr(saver, "_PATIENCE", 0.01)
    monkeypatch.setattr(saver.checkpoint, "write_state", slow)
    stop(tmp_path / "run", 6, known=known)
    assert begun[0] == "000001" and len(begun) < 5  # of five epochs
    states = list(saver.states_folder(tmp_path / "run").iterdir())
    assert 1 <= len(states) <= 2
    assert len(list(saver.epochs_folder(tmp_path / "run").iterdir())) == 5
    monkeypatch.undo()
    train(tmp_path / "run", known=known)
    assert compared(tmp_path / "run") == expected


@pytest.fixture
def heard():
    """Undo that SIGINT is ignored where a shell started pytest in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_compiling(tmp_path, heard):
    """No traceback, no lock, no results; said within seconds."""
    with subprocess.Popen(
        command(tmp_path / "run"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")},
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if line.startswith("compiling"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
        assert process.wait(60) == 130
        assert process.stderr.read() == "interrupted\n"
    assert "Traceback" not in rest and "epoch   1" not in rest
    left = {p.name for p in (tmp_path / "run").iterdir()}
    assert "results.json" not in left and not left & {"u_labels.npz", "losses.npz"}


def test_a_broken_folder_of_states_is_named(tmp_path, capsys, known, expected):
    """A file where the folder of states should be."""
    folder = tmp_path / "run"
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "state").write_text("in the way")
    code, said = as_command(lambda: train(folder, known=known), capsys)
    assert code == 2 and "cannot be saved" in said
    (folder / "checkpoint" / "state").unlink()
    train(folder, known=known)
    assert compared(folder) == expected


def test_reasons_in_the_systems_words():
    assert saver.reason(NO_ROOM) == "No space left on device"
    assert saver.reason(ValueError("odd\nsecond")) == "odd"
    assert saver.reason(ValueError()) == "ValueError"
