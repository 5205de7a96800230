"""The child process that reads pickles: its limits, and what it leaves behind."""

import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from msa_jax.data.read import sandbox, sources
from msa_jax.ground import lock
from msa_jax.ground.errors import UserError

HERE = Path(__file__).parents[2]


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> Path:
    """Return the folder that scratch folders are made in."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def table(n: int, start: int) -> dict:
    return {
        "id": [f"v{start + i}_0" for i in range(n)],
        "audio": np.ones((n, 3, 2), np.float32),
        "labels": np.zeros((n, 1, 1)),
    }


def write(folder: Path, data: bytes | None = None) -> Path:
    tree = {"train": table(3, 0), "valid": table(2, 3), "test": table(2, 5)}
    file = folder / "x.pkl"
    file.write_bytes(pickle.dumps(tree) if data is None else data)
    return file


def refused(file: Path, limits: sandbox.Limits | None = None) -> str:
    with pytest.raises(UserError) as error, sandbox.read_pickles([file], limits=limits):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


def test_arrays_come_out_and_the_scratch_folder_goes(tmp_path, scratch):
    with sandbox.read_pickles([write(tmp_path)]) as (arrays, found):
        assert (
            arrays["audio"].shape == (7, 3, 2) and type(arrays["audio"]) is np.ndarray
        )
        assert arrays["split"].tolist() == ["train"] * 3 + ["valid"] * 2 + ["test"] * 2
        assert found.layout == "MulT pickle"
        assert len(list(scratch.iterdir())) == 1
    assert list(scratch.iterdir()) == []


class Shell:
    """Pickles as a shell command."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_the_command_ends_in_one_line(tmp_path, scratch):
    canary = tmp_path / "canary"
    file = write(tmp_path, pickle.dumps({"train": Shell(f"touch {canary}")}))
    command = [sys.executable, "-m", "msa_jax.prepare", "mosi", "--from", str(file)]
    done = subprocess.run(
        [*command, "--data_dir", str(tmp_path / "d")],
        cwd=HERE,
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        f"error: {file}: refused: it wants to call 'posix.system'; arrays need no such "
        "name\n"
    )
    assert not canary.exists() and not (tmp_path / "d").exists()
    assert list(scratch.iterdir()) == []


def test_too_slow_is_refused(tmp_path, scratch):
    file = write(tmp_path, b"(" + b"N0" * 4_000_000 + b"t.")
    start = time.perf_counter()
    line = refused(file, sandbox.Limits(1, 2 << 30, 1 << 20))
    assert "more than 1 s" in line and time.perf_counter() - start < 20
    assert list(scratch.iterdir()) == []


def test_too_much_memory_is_refused(tmp_path, scratch):
    file = write(tmp_path, b"]" * 4_900_000 + b"t.")
    line = refused(file, sandbox.Limits(50, 300 << 20, 1 << 20))
    assert "needs more than 300 MiB of memory" in line
    assert list(scratch.iterdir()) == []


def test_too_much_to_write_is_refused(tmp_path, scratch):
    line = refused(write(tmp_path), sandbox.Limits(50, 2 << 30, 300))
    assert "more than" in line or "cannot be written" in line
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    "code, wanted",
    [
        ("import os; os.abort()", "died (SIGABRT)"),
        ("import os; os.kill(os.getpid(), 9)", "died (SIGKILL)"),
        ("raise RuntimeError('why')", "cannot be read (RuntimeError: why)"),
        ("import ctypes; ctypes.string_at(0)", "died (SIGSEGV)"),
    ],
)
def test_a_child_that_dies_is_told_in_one_line(
    tmp_path, scratch, monkeypatch, code, wanted
):
    monkeypatch.setattr(sandbox, "_START", code)
    assert wanted in refused(write(tmp_path))
    assert list(scratch.iterdir()) == []


def test_the_time_limit_holds_on_the_clock_too(tmp_path, scratch, monkeypatch):
    monkeypatch.setattr(sandbox, "_START", "import time; time.sleep(60)")
    limits = sandbox.Limits(-9, 2 << 30, 1 << 20)  # 10 s are added for starting up
    assert "refused: reading took" in refused(write(tmp_path), limits)


def test_truncated_files(tmp_path, scratch):
    data = write(tmp_path).read_bytes()
    for end in (0, 1, 2, 10, len(data) // 2, len(data) - 1):
        line = refused(write(tmp_path, data[:end]))
        assert str(tmp_path / "x.pkl") in line
    assert list(scratch.iterdir()) == []


def test_the_child_imports_no_jax():
    code = (
        "import sys; from msa_jax.data.read import sandboxed; "
        "sys.exit(any(m in sys.modules for m in ('jax', 'flax', 'etils')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=HERE).returncode == 0


def test_sources_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    for name, wanted in (
        ("pipe", "not a file"),
        ("empty", "no .pkl"),
        ("missing", "no such file"),
    ):
        with (
            pytest.raises(UserError, match=wanted),
            sources.open_source(tmp_path / name),
        ):
            pass


def test_the_hash_of_a_folder_follows_names_and_contents(tmp_path):
    write(tmp_path)
    first = sources.sha256(tmp_path)
    (tmp_path / "notes.txt").write_text("not read")
    assert sources.sha256(tmp_path) == first
    (tmp_path / "x.pkl").rename(tmp_path / "y.pkl")
    assert sources.sha256(tmp_path) != first


def test_flipped_bytes_end_in_arrays_or_one_line(tmp_path, scratch):
    rng, data = np.random.default_rng(0), write(tmp_path).read_bytes()
    for _ in range(15):
        broken = bytearray(data)
        broken[rng.integers(len(data))] = rng.integers(256)
        try:
            with sandbox.read_pickles([write(tmp_path, bytes(broken))]):
                pass
        except UserError as error:
            assert "\n" not in str(error)
    assert list(scratch.iterdir()) == []


LOST = """
import tempfile, sys
from pathlib import Path
from msa_jax.data.read import sandbox
tempfile.tempdir = sys.argv[1]
sandbox._START = sandbox._START.replace("sys.exit", sys.argv[2] + "; sys.exit")
with sandbox.read_pickles([Path(sys.argv[3])]):
    pass
"""
WAITS = (
    "import os, pathlib, time; from msa_jax.data.read import unpickle; "
    "unpickle.read_pickle = lambda file: "
    "(pathlib.Path('pid').write_text(str(os.getpid())), time.sleep(60))"
)


def test_the_child_dies_with_its_parent_and_the_next_one_tidies_up(tmp_path, scratch):
    file = write(tmp_path)
    command = [sys.executable, "-c", LOST, str(scratch), WAITS, str(file)]
    parent = subprocess.Popen(command, cwd=HERE)
    number = ""
    for _ in range(500):
        number = "".join(p.read_text() for p in scratch.glob("*/pid"))
        if number:
            break
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    assert number and ends(int(number))
    assert len(list(scratch.iterdir())) == 1
    with sandbox.read_pickles([file]):
        assert len(list(scratch.iterdir())) == 1
    assert list(scratch.iterdir()) == []


def ends(process: int) -> bool:
    for _ in range(250):
        try:
            os.kill(process, 0)
            if " Z " in Path(f"/proc/{process}/stat").read_text():
                return True  # nobody waits for it
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_only_folders_of_dead_processes_are_swept(tmp_path):
    (tmp_path / "a_dead" / "in").mkdir(parents=True)
    (tmp_path / "b_dead").mkdir()
    (tmp_path / "a_link").symlink_to(tmp_path / "b_dead")
    (tmp_path / "a_file").write_text("")
    with lock.scratch("a_", tmp_path) as folder:
        lock.sweep("a_", tmp_path)
        left = {folder.name, "a_file", "a_link", "b_dead"}
        assert {path.name for path in tmp_path.iterdir()} == left
    assert not folder.exists()


def test_folders_of_other_users_are_let_be(tmp_path, monkeypatch):
    (tmp_path / "a_dead").mkdir()
    monkeypatch.setattr(lock.os, "geteuid", lambda: -1)
    lock.sweep("a_", tmp_path)
    assert (tmp_path / "a_dead").exists()
