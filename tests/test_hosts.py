"""Several processes as one run: two on this machine, over loopback."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from msa_jax import beside, hosts
from msa_jax.boards import Epoch
from msa_jax.errors import UserError
from msa_jax.learning import Saved

ROOT = Path(__file__).parents[1]
CONFIG = ("--config", "configs/smoke.py", "--config.selection.early_stop=40")
SECONDS = 240  # for anything that should take a tenth of it


def start(folder, number=None, port=0, devices=1, epochs=12):
    """Start a run, or one process of a run of two; its output goes to a file."""
    command = [sys.executable, "-m", "msa_jax.main", *CONFIG, "--workdir", folder]
    command.append(f"--config.selection.max_epochs={epochs}")
    if number is not None:
        command += ["--distributed", f"--coordinator=127.0.0.1:{port}"]
        command += ["--processes=2", f"--process_id={number}"]
    fake = f"--xla_force_host_platform_device_count={devices}"
    with open(f"{folder}.log{number or 0}", "a") as log:
        return subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            env=os.environ | {"XLA_FLAGS": fake, "JAX_PLATFORMS": "cpu"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def results(folder):
    found = json.loads((folder / "results.json").read_text())
    for name in ("time", "provenance"):
        del found[name]
    return found


@pytest.mark.slow
def test_one_of_two_processes_is_killed_and_the_pair_goes_on(tmp_path):
    alone, pair = tmp_path / "alone", tmp_path / "pair"
    assert start(alone, devices=2).wait(SECONDS) == 0

    port = free_port()
    both = [start(pair, number, port) for number in (0, 1)]
    log = Path(f"{pair}.log0")
    limit = time.monotonic() + SECONDS
    while not re.search(r"epoch +3 ", log.read_text()):
        assert time.monotonic() < limit and both[0].poll() is None, log.read_text()
        time.sleep(0.05)
    both[1].send_signal(signal.SIGKILL)
    assert both[0].wait(60) == hosts.LOST
    both[1].wait(60)
    said = log.read_text()
    assert "error: process 0: another process of this run is gone" in said
    assert "Traceback" not in said and not (pair / "results.json").exists()

    port = free_port()
    both = [start(pair, number, port) for number in (0, 1)]
    assert [process.wait(SECONDS) for process in both] == [0, 0], log.read_text()
    assert "resuming after epoch" in log.read_text()
    assert results(pair) == results(alone)
    assert "self_mm" not in Path(f"{pair}.log1").read_text()  # process 0 alone talks


def test_a_wrong_cluster_is_refused(tmp_path):
    command = [sys.executable, "-m", "msa_jax.main", *CONFIG, "--workdir", tmp_path]
    for more, said in (
        (["--processes=2"], "need --distributed"),
        (["--distributed", "--processes=2"], "go together"),
    ):
        done = subprocess.run(
            [*map(str, command), *more], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 2 and said in done.stderr
        assert done.stderr.count("\n") == 1


READY: beside.Ready = SimpleNamespace(  # type: ignore[assignment]
    dataset=SimpleNamespace(name="tiny", card={"content_sha256": "a" * 64})
)


def test_the_others_get_what_process_0_read():
    value = {"loss": np.array([0.5, np.nan])}
    epoch = Epoch(
        number=1,
        seconds=0.1,
        batches={"loss": np.ones((2, 3))},
        train=value,
        valid=value,
        active=np.array([True, True]),
        selected=np.array([True, False]),
        recorded={},
        prediction=np.ones((2, 4)),
    )
    arrays = {"params/a/kernel": np.arange(6.0).reshape(2, 3), "step": np.array([3])}
    got = beside._unpacked(READY, beside._packed(READY, Saved(arrays, [epoch])))
    assert got is not None and got.arrays.keys() == arrays.keys()
    np.testing.assert_equal(got.arrays, arrays)
    np.testing.assert_equal(got.epochs[0]._asdict(), epoch._asdict())
    assert beside._unpacked(READY, beside._packed(READY, None)) is None


def test_processes_with_other_data_are_refused():
    packed = beside._packed(READY, None)
    here = SimpleNamespace(
        dataset=SimpleNamespace(name="tiny", card={"content_sha256": "b" * 64})
    )
    with pytest.raises(UserError, match="is not that of process 0"):
        beside._unpacked(here, packed)  # type: ignore[arg-type]
