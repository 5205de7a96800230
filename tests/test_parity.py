"""The PyTorch originals' arrays, replayed by the code of `python -m msa_jax.parity`."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from msa_jax import ulgm
from msa_jax.parity.__main__ import replay_file
from msa_jax.parity.compare import Comparison

GOLDENS = Path(__file__).parent / "goldens"
FILES = ("selfmm_ulgm", "selfmm_forward", "selfmm_train", "sugrm_ulgm", "metrics")
BOTH = ("float64", "float32")


@pytest.mark.parametrize("name", FILES)
def test_every_quantity_passes(name):
    done = replay_file(GOLDENS / f"{name}.npz", BOTH)
    assert done is not None and done.rows
    assert [row for row in done.rows if not row.passed] == []


def test_rows_cover_every_expected_array():
    """No expected array of the training file is left out of the comparison."""
    done = replay_file(GOLDENS / "selfmm_train.npz", ("float64",))
    assert done is not None
    compared = {r.quantity.replace("w_after/", "w_after/Model.") for r in done.rows}
    with np.load(GOLDENS / "selfmm_train.npz") as z:
        keys = {key.partition("/")[2] for key in z}
    inputs = ("train/", "valid/", "hp/", "w_init/", "orders", "scripted_val")
    assert {k for k in keys if not k.startswith(inputs)} <= compared


def test_a_wrong_formula_fails(monkeypatch):
    """The replay is no formality: epsilon left out of one ratio is noticed."""
    right = ulgm.generate

    def wrong(label, alpha_fusion, alpha, rules):
        return right(label, alpha_fusion, alpha, rules._replace(epsilon_in_ratio=False))

    monkeypatch.setattr(ulgm, "generate", wrong)
    done = replay_file(GOLDENS / "selfmm_ulgm.npz", ("float64",))
    assert done is not None and any(not row.passed for row in done.rows)


@pytest.mark.parametrize(
    ("ours", "reference", "passed"),
    [
        ([1.0, np.nan], [1.0, np.nan], True),
        ([1.0, np.nan], [1.0, 2.0], False),
        ([1.0, 2.0], [1.0, np.nan], False),
        ([1.0 + 0.9e-6], [1.0], True),  # tolerance * (1 + |reference|) = 2e-6
        ([1.0 + 2.1e-6], [1.0], False),
        ([1.0], [1.0, 1.0], False),
        ([np.inf], [np.inf], True),
        ([np.inf], [1.0], False),
    ],
)
def test_comparison(ours, reference, passed):
    table = Comparison("file", "scenario", "float64")
    table.add("x", np.array(ours), np.array(reference), 1e-6)
    assert table.rows[0].passed is passed


def test_command_counts_and_exit_codes(tmp_path):
    shutil.copy(GOLDENS / "metrics.npz", tmp_path)
    np.savez(tmp_path / "other.npz", x=np.zeros(1))
    command = [sys.executable, "-m", "msa_jax.parity"]
    good = subprocess.run([*command, tmp_path], capture_output=True, text=True)
    assert good.returncode == 0, good.stderr
    last = good.stdout.strip().splitlines()[-1]
    assert last.endswith(" passed, 0 failed, 1 not covered")

    with np.load(tmp_path / "metrics.npz") as z:
        arrays = dict(z)
    arrays["mosi_random/mmsa/values"] = arrays["mosi_random/mmsa/values"] + 1e-3
    np.savez(tmp_path / "metrics.npz", **arrays)
    bad = subprocess.run([*command, tmp_path], capture_output=True, text=True)
    assert bad.returncode == 1 and "FAILED" in bad.stdout

    missing = subprocess.run(
        [*command, tmp_path / "no"], capture_output=True, text=True
    )
    assert missing.returncode == 2
    assert "no such folder" in missing.stderr and "Traceback" not in missing.stderr
