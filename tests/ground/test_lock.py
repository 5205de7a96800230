"""One process per work directory; what dead ones leave is no obstacle."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from msa_jax.ground import lock
from msa_jax.ground.errors import UserError

ROOT = Path(__file__).parents[2]
HOLDS = """
import sys, time
from pathlib import Path
from msa_jax.ground import lock
with lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_one_is_told_who_is_there(tmp_path):
    with lock.held(tmp_path):
        with pytest.raises(UserError) as refused, lock.held(tmp_path):
            pytest.fail("two at a time")
        owner = f"process {os.getpid()} on {socket.gethostname()}, since 20"
        assert f"workdir {tmp_path} is in use by {owner}" in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    with lock.held(tmp_path):  # and again
        assert [p.name for p in tmp_path.iterdir()] == [lock.LOCK]


def test_nothing_is_left_of_a_longer_name(tmp_path):
    (tmp_path / lock.LOCK).write_text("process 1 on a.host.that.is.gone " * 9)
    with lock.held(tmp_path):
        assert "gone" not in (tmp_path / lock.LOCK).read_text()


def test_an_error_inside_lets_go(tmp_path):
    with pytest.raises(ZeroDivisionError), lock.held(tmp_path):
        raise ZeroDivisionError
    with lock.held(tmp_path):
        pass


def test_another_process_holds_it_until_it_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        said = f"process {process.pid} on "
        with pytest.raises(UserError, match=said), lock.held(tmp_path):
            pytest.fail("two at a time")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / lock.LOCK).read_text().startswith(said)  # nobody tidied up
    with lock.held(tmp_path):
        now = (tmp_path / lock.LOCK).read_text()
        assert now.startswith(f"process {os.getpid()} on ")


def test_a_file_that_is_replaced_while_it_is_locked_does_not_count(
    tmp_path, monkeypatch
):
    """The owner removed its file between our opening and our locking it."""
    right, moments = fcntl.flock, []

    def flock(number, how):
        if not moments:
            (tmp_path / lock.LOCK).unlink()
        moments.append(number)
        right(number, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock.held(tmp_path):
        monkeypatch.undo()
        with pytest.raises(UserError), lock.held(tmp_path):
            pytest.fail("two at a time")
    assert len(moments) == 2


def test_a_disk_that_knows_no_locks_is_used_all_the_same(tmp_path, monkeypatch):
    def flock(number, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock.held(tmp_path):
        assert (tmp_path / lock.LOCK).exists()
