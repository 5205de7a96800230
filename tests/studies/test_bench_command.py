"""The benchmark's command: its flags, its table, its refusals."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from msa_jax import bench as command
from msa_jax.ground.errors import UserError
from msa_jax.methods import PAPERS
from msa_jax.studies.bench import against, encoders, options, shapes, whole_step
from msa_jax.studies.bench.options import SIDES

ROOT = Path(__file__).parents[2]


def test_without_pytorch_the_command_says_what_to_install(monkeypatch):
    """Every method has its other side, but for the two that have no public code."""
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"pip install 'msa_jax\[bench\]'"):
        against.require(
            [name for name in PAPERS if name not in ("lf_lstm", "linear")], 1
        )


def test_without_pytorch_s_sides_the_command_says_so(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="linear is not written in PyTorch"):
        against.require(["self_mm", "linear"], 1)
    monkeypatch.setattr(against, "CHECKOUT", tmp_path)
    with pytest.raises(UserError, match="no folder benchmarks/torch_sides"):
        against.require(["self_mm"], 1)


@pytest.mark.parametrize(
    "flags, settled",
    [(("--compile-only", "v5e-1"), "cpu"), (("--threads", "1"), "1 core")],
)
def test_what_jax_reads_is_settled_before_it_is_imported(flags, settled, tmp_path):
    """The environment of a machine without its accelerator; the cores of its threads.

    The first import of jax prints what is there, and ends the command.
    """
    watch = """
import os, runpy, sys
class Watch:
    def find_spec(self, name, path, target=None):
        if name == "jax":
            print(os.environ.get("JAX_PLATFORMS"), len(os.sched_getaffinity(0)), "core")
            os._exit(0 if sys.stdout.flush() is None else 1)
sys.meta_path.insert(0, Watch())
runpy.run_module("msa_jax.bench", run_name="__main__", alter_sys=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", watch, *flags],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    assert settled in done.stdout, done.stdout + done.stderr


def bench(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "msa_jax.bench", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=300,
    )


def test_the_command_prints_a_table_and_writes_all_numbers(tmp_path):
    sizes = ("--batch", "2", "--repeats", "1", "--aligned", "--threads", "1")
    done = bench("--method", "tfn", *sizes, "--json", "speed.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "steps after the text encoder, mosi aligned, batch 2" in done.stdout
    results = json.loads((tmp_path / "speed.json").read_text())
    names = [(r["method"], r["lengths"], r["side"]) for r in results["rows"]]
    assert names == [("tfn", "full", "ours"), ("tfn", "true", "ours")]
    full, true = results["rows"]
    assert full["compile_seconds"] > 0 and full["step_ms"] > 0
    assert true["gflop"] == full["gflop"] > 0
    assert full["gflop_per_second"] > 0 and full["share_of_peak"] > 0


@pytest.mark.slow
def test_an_encoder_and_seeds_are_flags(tmp_path):
    sizes = ("--batch", "2", "--repeats", "1", "--aligned", "--threads", "1")
    encoder = ("--encoder", "minilm", "--layers", "1", "--sides", "packed")
    seeds = ("--seeds", "1,2", "--samples", "4")
    done = bench(*sizes, *encoder, *seeds, "--json", "speed.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "whole steps with minilm, mosi aligned, batch 2" in done.stdout
    results = json.loads((tmp_path / "speed.json").read_text())
    whole, one, two = results["rows"]
    assert whole["side"] == "ours, packed" and whole["step_ms"] > 0
    assert whole["evaluate_ms"] > 0 and whole["share_of_peak"] > 0
    assert whole["gflop"] > 0
    assert (one["side"], two["side"]) == ("1 seed", "2 seeds")
    assert one["samples"] == 4 and one["epoch_seconds"] > 0
    assert two["epoch_seconds_per_seed"] == two["epoch_seconds"] / 2


def test_methods_that_read_padding_are_not_timed_packed():
    asked = SimpleNamespace(sides=None)
    assert whole_step.sides_of(asked, PAPERS["self_mm"].config()) == SIDES
    assert "packed" not in whole_step.sides_of(asked, PAPERS["ucrn"].config("code"))
    with pytest.raises(UserError, match="leaves out padding"):
        whole_step.sides_of(
            SimpleNamespace(sides=("packed",)), PAPERS["sugrm"].config()
        )


def test_drawn_sentences_have_the_twin_s_lengths():
    shape = shapes.of_dataset("sims")
    tokens = encoders.tokens(SimpleNamespace(transcripts=None), shape, 50)
    ids, mask, segments = tokens.swapaxes(0, 1)
    length = mask.sum(axis=1)
    assert tokens.shape == (50, 3, 39) and not segments.any()
    assert set(length.tolist()) <= set(shapes.true_lengths(shape)["text"].tolist())
    assert (ids[:, 0] == encoders.CLS).all()
    assert (ids[np.arange(50), length - 1] == encoders.SEP).all()
    assert ((ids > 0) == (np.arange(39) < length[:, None])).all()
    split = shapes.draw_split(shape, 50, tokens)
    np.testing.assert_array_equal(split.text_length, length)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch", "0"), "--batch 0: must be 1 or more"),
        (("--json", "nowhere/x.json"), "no folder nowhere"),
        (("--config", "nowhere.py"), "'nowhere.py' not found"),
        (("--dataset_shape", "sims", "--aligned"), "no aligned files of sims"),
        (("--method", "self_mm,mcml"), "'mcml' is none of"),
        (("--seeds", "1,x"), "--seeds 1,x: numbers of 1 or more, as in 1,5,10"),
        (("--encoder", "bert"), "invalid choice: 'bert'"),
        (("--layers", "2"), "--layers says nothing without --encoder"),
        (("--samples", "9"), "--samples says nothing without --seeds"),
        (("--method", "mmcl,ucrn", "--variant", "paper"), "is for one method"),
        (("--config", "CONFIG", "--method", "mmcl"), "add --method self_mm"),
        (("--variant", "nonsense", "--method", "ucrn"), "'nonsense' is no data set"),
        (("--metod", "spt"), "unknown flag --metod; did you mean --method?"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, monkeypatch, refused):
    monkeypatch.setattr(options, "limit_threads", lambda threads: threads)
    config_file = str(ROOT / "configs" / "self_mm.py")
    arguments = [config_file if a == "CONFIG" else a for a in arguments]
    said = refused(command.main, *arguments, folder=tmp_path)
    assert message in said and len(said.splitlines()) == 1


def test_other_values_than_the_written_ones_are_refused(monkeypatch):
    side = SimpleNamespace(written=lambda c: {"loss.error": "l1", "loss.no_such": 1})
    monkeypatch.setattr(against, "_module", lambda name: side)
    c = PAPERS["spt"].config()
    against.require_written("spt", c)
    c.loss.error = "l2"
    with pytest.raises(UserError, match="config.loss.error = 'l2' is not written"):
        against.require_written("spt", c)


@pytest.mark.parametrize(
    "name, words, field, value",
    [
        ("sugrm", "", "spt.input_letters", "SPR"),
        ("sugrm", "", "model.sequence", "lstm"),
        ("sugrm", "", "loss.error", "l2"),
        ("self_mm", "", "ulgm.rule", "sugrm"),
        ("mmcl", "", "contrast.uni", "keys"),
        ("ucrn", "code", "model.causal", False),
        ("ucrn", "paper", "model.causal", True),
        ("spt", "", "spt.dense", True),
    ],
)
def test_what_pytorch_s_side_would_not_compute_is_refused(name, words, field, value):
    pytest.importorskip("torch", reason="PyTorch is not installed ([bench])")
    c = PAPERS[name].config(words)
    if name == "spt":
        c.spt.respect_lengths = False
    against.require_written(name, c)
    section, leaf = field.split(".")
    c[section][leaf] = value
    with pytest.raises(UserError, match=f"^--against torch: config.{field} = "):
        against.require_written(name, c)
