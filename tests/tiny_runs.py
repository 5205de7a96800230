"""Whole runs of one tiny method, for tests of killing, resuming, hosts and faults.

No BERT, no recurrence, no data set on disk, no report. In a process of its own:

    python tests/tiny_runs.py -m msa_jax.main --config tests/tiny_runs.py --workdir DIR

which is `python -m msa_jax.main` (or another command that trains), signals, exit codes,
flags and all, but for the network (`tiny.Heads`), the data (below) and the report (a
page of one word). All processes share compiled programs, small ones too.
"""

import contextlib
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict, FrozenConfigDict

from msa_jax.data import Dataset
from msa_jax.ground.types import Examples, Method
from msa_jax.methods import PAPERS

ROOT = Path(__file__).parents[1]
SCRIPT = "tests/tiny_runs.py"
TINY = [sys.executable, SCRIPT, "-m"]
SEEDS = (3, 4)
VALID = 12  # samples; test has as many, so that a leak can take its place


def get_config() -> ConfigDict:
    """Return the configuration: six epochs of four steps, a second or two."""
    config = PAPERS["self_mm"].config()
    config.seeds = SEEDS
    config.text.encoder = "features"
    config.data.name = "made_up"
    config.data.standardise = "train"
    config.optim.batch_size = 8
    config.optim.accumulate_batches = 1
    config.optim.groups.other.rate = 0.1
    config.selection.max_epochs = 6
    config.selection.early_stop = 2
    config.mesh.devices = 1
    return config


def settings(**changes: Any) -> FrozenConfigDict:
    """Return it with changes, fields by their dotted names."""
    config = get_config()
    config.update_from_flattened_dict(changes)
    return FrozenConfigDict(config)


def examples(n: int, seed: int) -> Examples:
    """Draw features whose means follow the label a little."""
    rng = np.random.default_rng(seed)
    label = np.clip(2 * rng.normal(size=n), -3, 3).astype(np.float32)

    def sequence(steps, width):
        x = rng.normal(size=(n, steps, width)).astype(np.float32)
        return x + 0.1 * label[:, None, None], np.full(n, steps, np.int32)

    text, audio, vision = sequence(4, 6), sequence(5, 3), sequence(3, 4)
    name = np.array([f"{seed}_{i}" for i in range(n)])
    return Examples(name, None, *text, *audio, *vision, label, None)


def data(test_seed: int = 11) -> Dataset:
    """Return a data set; those of two seeds differ in test and nothing else."""
    splits = {
        "train": examples(32, 1),
        "valid": examples(VALID, 2),
        "test": examples(VALID, test_seed),
    }
    card = {"metrics": "mosi", "label_range": (-3, 3), "content_sha256": "0"}
    return Dataset("made_up", splits, card)


def heads() -> Method:
    """Make the method, whatever the configuration says."""
    from tiny import make_heads  # the flags are parsed before jax is imported

    return make_heads()


@contextlib.contextmanager
def tiny_main(
    dataset: Dataset | None = None, method: Callable[[], Method] = heads
) -> Iterator[pytest.MonkeyPatch]:
    """Let `main` train the tiny method on the tiny data for the length of a block."""
    from msa_jax import data as datasets
    from msa_jax import report
    from msa_jax.training import epoch_program

    def write(folder: Path) -> None:
        (folder / "report.html").write_text("none")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", write)
        patch.setattr(datasets, "load_dataset", lambda *_: dataset or data())
        patch.setattr(epoch_program.methods, "make", lambda *_: method())
        yield patch


def environment(devices: int = 8) -> dict[str, str]:
    """Return the environment of a process with so many fake devices."""
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", f"{ROOT}/.jax_cache/tests")
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def command(
    folder: Path, *more: str, module: str = "main", **changes: Any
) -> list[str]:
    """Return the words that start a run, or a search, in a process of its own."""
    words = [*TINY, f"msa_jax.{module}", f"--config={SCRIPT}", f"--workdir={folder}"]
    fields = [f"--config.{name}={value}" for name, value in changes.items()]
    return [*words, *fields, *more]


def call(folder: Path, *more: str, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run one to its end; `how`: see `command`."""
    return run_words(command(folder, *more, **how))


def run_words(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command of these tests to its end."""
    return subprocess.run(
        words,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )


def results(folder: Path) -> dict[str, Any]:
    """Read what a run found, but for its times and its machine."""
    found = json.loads((folder / "results.json").read_text())
    for name in ("time", "provenance"):
        del found[name]
    return found


if __name__ == "__main__":
    module = sys.argv[2]
    sys.argv[:] = sys.argv[2:]  # without "-m", which `signals` reads elsewhere
    with tiny_main():
        runpy.run_module(module, run_name="__main__", alter_sys=True)
