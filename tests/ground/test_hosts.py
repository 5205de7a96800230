"""Several processes as one run: two on this machine, over loopback."""

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from stopped_runs import stop, train
from tiny_runs import ROOT, call, command, environment, results, settings

from msa_jax.ground import hosts
from msa_jax.ground.errors import UserError
from msa_jax.runs import run
from msa_jax.training.loop import Epoch, Saved

SECONDS = 240  # for anything that should take a tenth of it


def start(folder, words, number, port):
    """Start one of two processes, which has one device; its output goes to a file."""
    where = ["--distributed", f"--coordinator=127.0.0.1:{port}"]
    where += ["--processes=2", f"--process_id={number}"]
    with open(f"{folder}.log{number}", "a") as log:
        return subprocess.Popen(
            [*words, *where],
            cwd=ROOT,
            env=environment(devices=1),
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def pair(folder, words):
    """Start both processes of a run."""
    port = free_port()
    return [start(folder, words, number, port) for number in (0, 1)]


@pytest.mark.slow
def test_two_processes_go_on_and_end_as_one_with_two_devices(tmp_path):
    """From a state that one process left; process 0 alone talks and writes."""
    fields = {"mesh.devices": 2, "mesh.data": 2, "mesh.over_seeds": "vmap"}
    asked, known, folder = settings(**fields), {}, tmp_path / "pair"
    train(tmp_path / "alone", asked, known=known)
    stop(folder, 4, asked=asked, known=known)
    both = pair(folder, command(folder, **fields))
    log = Path(f"{folder}.log0")
    assert [process.wait(SECONDS) for process in both] == [0, 0], log.read_text()
    assert "resuming after epoch 3" in log.read_text()
    assert results(folder) == results(tmp_path / "alone")
    assert "self_mm" not in Path(f"{folder}.log1").read_text()


# What two processes hand each other and lay out over both, until one is killed.
MEET = """
import sys
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from msa_jax.config import cli; from msa_jax.ground import hosts
port, number = sys.argv[1], int(sys.argv[2])
def main():
    with hosts.joined(hosts.Cluster(f"127.0.0.1:{port}", 2, number)):
        mesh = jax.make_mesh((2,), ("seed",))
        tree = {"x": np.arange(4.0), "key": jax.random.split(jax.random.key(7), 2)}
        tree = hosts.put(tree, NamedSharding(mesh, P("seed")))
        assert tree["x"].addressable_data(0).tolist() == [[0, 1], [2, 3]][number]
        got = hosts.to_host(jax.jit(lambda t: t | {"x": 2 * t["x"]})(tree))
        assert got["x"].tolist() == [0, 2, 4, 6]
        assert jax.dtypes.issubdtype(got["key"].dtype, jax.dtypes.prng_key)
        assert (jax.random.key_data(got["key"]) == np.array(EXPECTED)).all()
        while True:
            own = {"a": np.arange(number, number + 3), "b": np.ones((2, 1), bool)}
            shared = hosts.share(lambda: own)
            assert shared["a"].tolist() == [0, 1, 2] and shared["b"].shape == (2, 1)
            print("met", flush=True)
cli.run(main)
"""


def test_processes_share_values_and_one_that_is_left_alone_says_so(tmp_path):
    """With the exit code that means: start all of them again."""
    port = str(free_port())
    keys = jax.random.key_data(jax.random.split(jax.random.key(7), 2)).tolist()
    both = [
        subprocess.Popen(
            [sys.executable, "-c", MEET.replace("EXPECTED", str(keys)), port, number],
            cwd=ROOT,
            env=environment(devices=1),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in ("0", "1")
    ]
    outputs = [process.stdout for process in both]
    assert outputs[1] is not None
    met = "met\n" in outputs[1]  # behind what gloo says
    both[1].send_signal(signal.SIGKILL)
    _, said = both[0].communicate(timeout=SECONDS)
    _, other = both[1].communicate()
    assert met and both[0].returncode == hosts.LOST, said + other
    assert "error: process 0: another process of this run is gone" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_one_of_two_processes_is_killed_and_the_pair_goes_on(tmp_path):
    """With BERT and recurrent networks, from the beginning; as one with two devices."""
    alone, folder = tmp_path / "alone", tmp_path / "pair"
    words = [sys.executable, "-m", "msa_jax.main", "--config", "configs/smoke.py"]
    words += [f"--config.selection.{n}=12" for n in ("max_epochs", "early_stop")]
    one = subprocess.run(
        [*words, f"--workdir={alone}"], cwd=ROOT, env=environment(devices=2)
    )
    assert one.returncode == 0

    words.append(f"--workdir={folder}")
    both = pair(folder, words)
    log = Path(f"{folder}.log0")
    limit = time.monotonic() + SECONDS
    while not re.search(r"epoch +3 ", log.read_text()):
        assert time.monotonic() < limit and both[0].poll() is None, log.read_text()
        time.sleep(0.05)
    both[1].send_signal(signal.SIGKILL)
    assert both[0].wait(60) == hosts.LOST
    both[1].wait(60)
    said = log.read_text()
    assert "error: process 0: another process of this run is gone" in said
    assert "Traceback" not in said and not (folder / "results.json").exists()

    both = pair(folder, words)
    assert [process.wait(SECONDS) for process in both] == [0, 0], log.read_text()
    assert "resuming after epoch" in log.read_text()
    assert results(folder) == results(alone)
    assert "self_mm" not in Path(f"{folder}.log1").read_text()


def test_a_wrong_cluster_is_refused(tmp_path):
    for more, said in (
        (["--processes=2"], "need --distributed"),
        (["--distributed", "--processes=2"], "go together"),
    ):
        done = call(tmp_path / "run", *more)
        assert done.returncode == 2 and said in done.stderr
        assert done.stderr.count("\n") == 1


READY: run.Ready = SimpleNamespace(  # type: ignore[assignment]
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
    got = run._unpacked(READY, run._packed(READY, Saved(arrays, [epoch])))
    assert got is not None and got.arrays.keys() == arrays.keys()
    np.testing.assert_equal(got.arrays, arrays)
    np.testing.assert_equal(got.epochs[0]._asdict(), epoch._asdict())
    assert run._unpacked(READY, run._packed(READY, None)) is None


def test_processes_with_other_data_are_refused():
    packed = run._packed(READY, None)
    here = SimpleNamespace(
        dataset=SimpleNamespace(name="tiny", card={"content_sha256": "b" * 64})
    )
    with pytest.raises(UserError, match="is not that of process 0"):
        run._unpacked(here, packed)  # type: ignore[arg-type]
