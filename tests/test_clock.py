"""The suite's own clock: long tests fail, marked ones may; files' seconds are kept."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TESTS = """
import pytest, subprocess, sys, time

BUSY = "import time\\nwhile time.process_time() < .6: pass"


def test_quick():
    time.sleep(.6)  # waits, computes nothing


@pytest.fixture
def made():
    exec(BUSY.replace("< ", f"< {time.process_time()} + "))


def test_setup(made):
    pass


def test_child():
    subprocess.run([sys.executable, "-c", BUSY])


@pytest.mark.slow
def test_slow(made):
    pass


@pytest.mark.long(9)
def test_long(made):
    pass


def test_already_red(made):
    assert 0
"""


def test_long_tests_fail_and_seconds_are_kept(tmp_path):
    clock = (HERE / "conftest.py").read_text().replace("LONGEST = 20", "LONGEST = 0.1")
    (tmp_path / "conftest.py").write_text(clock)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  slow\n  long\n")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "1"]
    done = subprocess.run(
        [*command, "--durations-file=kept.csv"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "3 failed, 3 passed" in done.stdout, done.stdout
    for name in ("setup", "child"):
        assert f"test_{name} - Failed: " in done.stdout
    assert "test_already_red - assert 0" in done.stdout
    heading, total, file = (tmp_path / "kept.csv").read_text().splitlines()
    assert heading == "file,cpu_seconds" and file.startswith("test_it.py,")
    assert total.split(",")[1] == file.split(",")[1] and 2 <= int(total[6:]) <= 9
