"""Ctrl-C and SIGTERM at awkward moments, sent by the process to itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from msa_jax.config import cli

ROOT = Path(__file__).parents[2]
ENDS = [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "stopped\n")]
SENDS = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"


@pytest.fixture(autouse=True)
def heard():
    """Undo that SIGINT is ignored where a shell started pytest in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run(main) -> int:
    before = [signal.getsignal(n) for n, *_ in ENDS], sys.unraisablehook
    with pytest.raises(SystemExit) as raised:
        cli.run(main)
    assert ([signal.getsignal(n) for n, *_ in ENDS], sys.unraisablehook) == before
    assert isinstance(raised.value.code, int)
    return raised.value.code


@pytest.mark.parametrize("number, code, line", ENDS)
def test_what_was_begun_is_cleaned_up(number, code, line, capsys):
    done = []

    def main():
        try:
            signal.raise_signal(number)
        finally:
            done.append("cleaned up")

    assert run(main) == code
    assert capsys.readouterr().err == line and done == ["cleaned up"]


@pytest.mark.parametrize("number, code, line", ENDS)
@pytest.mark.parametrize("error", [None, ValueError("no such module"), OSError(5)])
def test_a_swallowed_or_garbled_signal_is_not_lost(number, code, line, error, capsys):
    def main():
        try:
            signal.raise_signal(number)
        except BaseException:
            if error:
                raise error from None

    assert run(main) == code
    assert capsys.readouterr().err == line


def test_an_import_is_finished_first(tmp_path, monkeypatch, capsys):
    (tmp_path / "sender.py").write_text(SENDS + "whole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    seen = []

    def main():
        try:
            from sender import whole  # pyright: ignore  (written above)
        except BaseException:
            pytest.fail("raised inside the import")
        seen.append(whole)
        time.sleep(20)
        seen.append("slept")

    assert run(main) == 130
    assert seen == [True] and capsys.readouterr().err == "interrupted\n"


def test_a_finaliser_does_not_swallow_it(capsys):
    class Sender:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    seen = []

    def main():
        Sender()
        time.sleep(20)
        seen.append("slept")

    assert run(main) == 130
    assert seen == [] and capsys.readouterr().err == "interrupted\n"


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert run(lambda: signal.raise_signal(signal.SIGINT)) == 0


@pytest.mark.parametrize("module", ["main", "prepare", "report", "parity"])
def test_while_a_command_is_still_importing(module, tmp_path):
    (tmp_path / "absl.py").write_text(SENDS + "raise ImportError('went on')\n")
    done = subprocess.run(
        [sys.executable, "-m", f"msa_jax.{module}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_stopped_command_skips_the_teardown_that_may_crash():
    code = (
        "import atexit, signal, sys\nfrom msa_jax.config import cli\n"
        "from msa_jax.ground import signals\n"
        "class Crashing:\n"
        "  def __del__(self, end=signals._end): print('torn down', flush=True)\n"
        "kept = Crashing()\n"
        "signals.end_at_once()\n"
        "atexit.register(print, 'tidied', end='')\n"
        "cli.run(lambda: signal.raise_signal(15))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "tidied", "stopped\n")


def test_a_second_signal_ends_at_once():
    code = (
        "import signal, time\nfrom msa_jax.config import cli\n"
        "def main():\n"
        "  try: signal.raise_signal(15)\n"
        "  finally: signal.raise_signal(15); print('went on')\n"
        "cli.run(main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "stopped\n")


def test_importing_the_package_leaves_signals_alone():
    code = "import signal, msa_jax; print(signal.getsignal(15) == signal.SIG_DFL)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert done.stdout == b"True\n"
