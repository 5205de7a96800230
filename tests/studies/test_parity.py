"""The PyTorch originals' arrays, replayed by the code of `python -m msa_jax.parity`."""

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from msa_jax.layers import spt
from msa_jax.methods import ulgm
from msa_jax.parity import replay_file
from msa_jax.studies.parity.replays import sugrm
from msa_jax.studies.parity.replays.compare import Comparison

GOLDENS = Path(__file__).parents[1] / "goldens"
# Replayed elsewhere: modes of SPT below, the sizes of all four pairs in test_ucrn.py,
# files of schema 2 in test_replay.py.
FILES = sorted(
    {
        path.stem
        for path in GOLDENS.glob("*.npz")
        if "schema" not in np.load(path, mmap_mode="r")
    }
    - {"spt", "ucrn_peer_fullsize"}
)
SLOW = {
    "sugrm_train": pytest.mark.slow,
    **dict.fromkeys(
        ("sugrm_forward", "selfmm_forward", "selfmm_train"), pytest.mark.long(60)
    ),
}


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """Compile replays without optimisation; they run once."""
    plain = jax.jit

    def jit(function, **options):
        outer, inner = tiny.quick(function, **options), plain(function, **options)

        def call(*args):  # what is compiled inside of another program has no options
            traced = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(args))
            return (inner if traced else outer)(*args)

        return call

    monkeypatch.setattr(jax, "jit", jit)


# What files give to a replay; `w/` are weights. Everything else has to be compared.
FORMULA = {
    *("P_raw", "G_raw", "F", "F_aug", "x", "y", "q", "k", "W", "b", "yhat", "step"),
    *("tau", "kappa", "lam", "mu", "eta", "alpha", "beta", "gamma", "ratio"),
    *("dim_mask", "dim_zeroed", "y_singleton", "warmup"),
}
LAYER = {"x", "lengths", "pad_mask", "d_model", "heads", "layers", "ff"}
INPUTS = {name: FORMULA for name in FILES if re.match("mmcl_(formula|peer)_", name)}
INPUTS |= {name: LAYER for name in FILES if name.startswith("mmcl_torch_")}
INPUTS["mmcl_peer_mmim_metrics"] = {"preds", "truths", "stdout"}
INPUTS["mmcl_formula_schedule"] = FORMULA | {"total"}
INPUTS["mmcl_formula_cutoff"] = FORMULA - {"y"}
INPUTS |= {
    "ucrn_formula_mjs": {"x_l", "x_a", "x_v"},
    "ucrn_formula_sqil": {
        *("x", "x_seq", "W", "b", "se_W1", "se_W2", "stack_W2", "stack_b2"),
    },
    "ucrn_formula_emotion_metrics": {"truth", "logits"},
    "ucrn_formula_noise": {"x", "bern", "present", "p"},
    "ucrn_formula_acc7_binning": {"score"},
    "ucrn_peer_sqlayer": {"x_T1", "x_T5", "reduction"},
    "ucrn_peer_multijsd": {f"T{t}/h{i}" for t in (1, 3) for i in range(3)},
    "ucrn_peer_metrics": {"preds", "truths", "emo_logits", "emo_truth"},
    "ucrn_peer_tbje_binning": {"score"},
    "ucrn_peer_encoder": {"embed_dim", "num_heads", "layers", "x", "cot"},
    "ucrn_peer_model_la": {"xl", "xa", "xv", "y"},
    "ucrn_peer_model_lav": {"xl", "xa", "xv", "y"},
}


@cache
def replay(name, precision):
    return replay_file(GOLDENS / f"{name}.npz", (precision,))


def replayed(name, precision):
    done = replay(name, precision)
    assert done is not None and done.rows
    assert [row for row in done.rows if not row.passed] == []
    if name in INPUTS:
        with np.load(GOLDENS / f"{name}.npz") as z:
            keys = {k for k in z if not k.startswith("w/")}
        results = {k for k in keys if k.rpartition("/")[2] not in INPUTS[name]}
        assert results - INPUTS[name] <= {row.quantity for row in done.rows}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=SLOW.get(name, ())) for name in FILES]
)
def test_every_quantity_passes(name):
    replayed(name, "float64")


@pytest.mark.parametrize(
    "name",
    [
        name if "formula" in name else pytest.param(name, marks=pytest.mark.slow)
        for name in FILES
    ],
)
def test_every_quantity_passes_in_float32(name):
    replayed(name, "float32")


def _few_modes(monkeypatch, *names):
    """Replay so many modes of SPT only: compilation takes seconds per mode.

    Its gradients are those of sugrm_forward, which is replayed as a whole.
    """
    kept = {name: x for name, x in sugrm.MODES.items() if name in names}
    monkeypatch.setattr(sugrm, "MODES", kept)
    dense = [name for name in sugrm.DENSE if name in names]
    monkeypatch.setattr(sugrm, "DENSE", dense)
    monkeypatch.setattr(sugrm, "_spt_gradient", lambda *_: None)


@pytest.mark.long(60)
def test_spt_passes(monkeypatch):
    """Windows cut as slices and by gathers, random shifts, and the dense reading."""
    _few_modes(monkeypatch, "default", "ISPR", "default_dense")
    done = replay_file(GOLDENS / "spt.npz", ("float64",))
    assert done is not None and len(done.rows) > 50
    assert [row for row in done.rows if not row.passed] == []


@pytest.mark.long(60)
def test_wrong_projections_of_reversed_pairs_fail(monkeypatch):
    """The replay of SPT is no formality: the query's map is not swapped."""
    right = spt._attend

    def wrong(*args, **kwargs):
        return right(*args, **kwargs | {"swapped": False})

    monkeypatch.setattr(spt, "_attend", wrong)
    _few_modes(monkeypatch, "default")
    done = replay_file(GOLDENS / "spt.npz", ("float64",))
    assert done is not None
    failed = {row.quantity for row in done.rows if not row.passed}
    assert "aligned/default/h_a" in failed
    assert not any(name.startswith(("idx/", "posemb/")) for name in failed)


def test_rows_cover_every_expected_array():
    """No expected array of the training file is left out of the comparison."""
    done = replay("selfmm_train", "float64")
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


def test_help_names_the_command_as_it_is_typed():
    command = [sys.executable, "-m", "msa_jax.parity", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.startswith("usage: python -m msa_jax.parity [-h]")
