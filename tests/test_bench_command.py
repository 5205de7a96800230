"""The benchmark's command: its flags, its table, its refusals."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from msa_jax.bench import comparable, encoders, shapes, whole_step
from msa_jax.bench.options import SIDES, require_torch
from msa_jax.errors import UserError
from msa_jax.methods import PAPERS

ROOT = Path(__file__).parents[1]


def test_without_pytorch_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"pip install 'msa_jax\[bench\]'"):
        require_torch(1)


def bench(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "msa_jax.bench", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        timeout=300,
    )


def test_the_command_prints_a_table_and_writes_all_numbers(tmp_path):
    sizes = ("--batch", "2", "--repeats", "1", "--aligned", "--threads", "1")
    done = bench(*sizes, "--json", "speed.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "steps after the text encoder, mosi aligned, batch 2" in done.stdout
    results = json.loads((tmp_path / "speed.json").read_text())
    names = [(r["method"], r["lengths"], r["side"]) for r in results["rows"]]
    assert names == [("self_mm", "full", "ours"), ("self_mm", "true", "ours")]
    full, true = results["rows"]
    assert full["compile_seconds"] > 0 and full["step_ms"] > 0
    assert true["need_gflop"] < full["need_gflop"]
    parts = results["need_by_part_gflop"]["self_mm"]["full"]
    assert set(parts) >= {"audio_lstm", "heads", "ulgm"}


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
    assert results["need_by_part_gflop"]["self_mm"]["true"]["encoder"] > 0
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
        (("--method", "spt", "--seeds", "1"), "that layer alone"),
        (("--method", "mmcl,ucrn", "--variant", "paper"), "is for one method"),
        (("--config", "CONFIG", "--method", "mmcl"), "add --method self_mm"),
        (("--variant", "nonsense", "--method", "ucrn"), "variant 'nonsense'"),
        (("--metod", "spt"), "unknown flag --metod; did you mean --method?"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path):
    config_file = str(ROOT / "configs" / "self_mm.py")
    arguments = [config_file if a == "CONFIG" else a for a in arguments]
    done = bench(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "field, value",
    [("spt.input_letters", "SPR"), ("model.sequence", "lstm"), ("loss.error", "l2")],
)
def test_what_pytorch_s_side_would_not_compute_is_refused(field, value):
    c = PAPERS["sugrm"].config()
    comparable.require_written("sugrm", c)
    comparable.require_written("self_mm", PAPERS["self_mm"].config())
    section, name = field.split(".")
    c[section][name] = value
    with pytest.raises(UserError, match=f"^--against torch: config.{field} = "):
        comparable.require_written("sugrm", c)


def test_what_pytorch_computes_of_ucrn_and_mmcl():
    for preset in ("code", "paper"):
        comparable.require_written("ucrn", PAPERS["ucrn"].config(preset))
    c = PAPERS["mmcl"].config()
    comparable.require_written("mmcl", c)
    c.contrast.uni = "keys"
    with pytest.raises(UserError, match="config.contrast.uni = 'keys'"):
        comparable.require_written("mmcl", c)
    c = PAPERS["ucrn"].config("paper")
    c.model.causal = True
    with pytest.raises(UserError, match="config.model.causal = True"):
        comparable.require_written("ucrn", c)
