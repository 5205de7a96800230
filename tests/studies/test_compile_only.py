"""`bench --compile-only`: what is refused, what is printed; and the real compilers.

Those that compile are slow and need the extras [aot] or [aot-cuda], which jax finds at
every start: in an environment of their own,

    python -m pytest tests/studies/test_compile_only.py
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from msa_jax.ground.errors import UserError
from msa_jax.studies.bench import compile_only, options, targets

ROOT = Path(__file__).parents[2]
METHODS = ("self_mm", "sugrm", "mmcl", "ucrn", "spt")
SMALL = ("--encoder", "minilm", "--layers", "2")


def parse(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["bench", *flags])
    return options.parse("what it does")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--mesh-data", "2"), "--mesh-data says nothing without --compile-only"),
        (("--precision", "high"), "--precision says nothing without --compile-only"),
        (
            ("--compile-only", "v5e-8", "--against", "torch"),
            "--compile-only runs nothing: leave --against out",
        ),
        (("--compile-only", "v5e-8", "--mesh-data", "0"), "--mesh-data 0: must be"),
    ],
)
def test_what_cannot_be_asked_for(monkeypatch, flags, said):
    with pytest.raises(UserError, match=said):
        parse(monkeypatch, *flags)


def test_a_program_is_that_of_the_configuration(monkeypatch):
    """The batch is its own; bert-base where token ids are read."""
    asked = parse(monkeypatch, "--compile-only", "v5e-1", "--method", "spt")
    config, _, shape = compile_only._encoded(asked, "spt", 3)
    assert (config.optim.batch_size, config.seeds, shape) == (250, (0, 1, 2), None)
    config, _, shape = compile_only._encoded(asked, "ucrn", 1)
    assert (config.optim.batch_size, shape) == (16, None)
    config, _, shape = compile_only._encoded(asked, "self_mm", 1)
    assert config.optim.batch_size == 32 and shape is not None
    assert (shape.num_hidden_layers, shape.hidden_size) == (12, 768)
    assert config.precision == "highest" and shape.compute is None
    flags = ("--compile-only", "v5e-1", "--precision", "bfloat16", *SMALL)
    _, _, shape = compile_only._encoded(parse(monkeypatch, *flags), "self_mm", 1)
    assert shape is not None and shape.compute is not None
    assert (shape.num_hidden_layers, shape.hidden_size) == (2, 384)
    with pytest.raises(UserError, match="config.precision = 'half'"):
        flags = ("--compile-only", "v5e-1", "--precision", "half")
        compile_only._encoded(parse(monkeypatch, *flags), "self_mm", 1)


@pytest.mark.parametrize(
    ("target", "package", "extra"),
    [("v5e-8", "libtpu", "aot"), ("h100-1", "jax_cuda12_plugin", "aot-cuda")],
)
def test_without_the_compiler_it_says_what_to_install(
    monkeypatch, target, package, extra
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        targets.devices(target)
    assert str(caught.value) == (
        f"--compile-only {target} needs {package}: pip install 'msa_jax[{extra}]' in "
        "an environment of its own"
    )


ROW = {
    "method": "self_mm",
    "text": "bert-base",
    "data": "mosi unaligned",
    "batch": 32,
    "seeds": 5,
    "target": "v5e-8",
    "seed_devices": 5,
    "data_devices": 1,
    "idle_devices": 3,
    "precision": "highest",
    "level": "O0",
    "room": 16_900_000_000,
    "planned": 4_000_000_000,
}


def test_what_is_known_is_said_in_a_few_lines():
    made = {
        "fits": True,
        "refused_groups": ["the compiler needs 21.03G of 15.75G"],
        "compile_seconds": 81.4,
        "at_once": 1,
        "seeds_of_a_device": 2,
        "arguments": 1_820_000_000,
        "to_compute": 3_180_000_000,
        "needed": 5_000_000_000,
        "kernels_a_batch": 1200.25,
        "kernels_an_epoch": 50000,
        "bytes_a_batch": 8_190_000_000,
        "flop_a_batch": 8.2e11,
        "seconds_at_peak": 0.025,
        "seconds_at_bandwidth": 0.01,
        "collectives_a_step": {"all-reduce": (7, 873_000_000.0)},
        "collectives_an_epoch": {},
        "loops": "10 x (4 x (<=16 x (32)))",
        "padding": {"type": "f32[513,32,32]", "size": 84_000_000, "factor": 4.0},
    }
    assert list(compile_only._lines(ROW | made)) == [
        "self_mm, bert-base, mosi unaligned, batch 32, 5 seed(s) on v5e-8 as 5 x 1 "
        "(seed, data), highest, level O0",
        "idle: 3 of the devices",
        "refused: the compiler needs 21.03G of 15.75G",
        "a chip: arguments 1.82 GB, to compute 3.18 GB, together 5 GB of 16.9 GB: "
        "fits; planned 4 GB (0.80); 1 of a chip's 2 seed(s) at a time",
        "compiled in 81 s",
        "a batch: 1200 kernels; 0.82 TFLOP needed, 25 ms at the chip's peak; 8.19 GB "
        "moved, 10 ms at its bandwidth",
        "an epoch: 50000 kernels; loops 10 x (4 x (<=16 x (32)))",
        "sent in step: 7 all-reduce (873 MB)",
        "worst padding: x4 of f32[513,32,32], 84 MB",
    ]
    refused = {"fits": False, "refused": "an epoch does not fit", "idle_devices": 0}
    assert list(compile_only._lines(ROW | refused))[1:] == [
        "REFUSED: an epoch does not fit; planned 4 GB"
    ]


def compiled(tmp_path, *flags):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "msa_jax.bench", *flags, *SMALL),
            *("--method", ",".join(METHODS), "--json", str(tmp_path / "rows.json")),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            **{"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            **{"JAX_OPTIMIZATION_LEVEL": "O0", "HOME": str(tmp_path)},
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert tuple(row["method"] for row in rows) == METHODS
    return rows


def check(row):
    assert row["fits"] and row["refused_groups"] == []
    assert row["idle_devices"] == 0
    assert row["planned"] / row["needed"] > 0.5  # a small encoder: the rest counts
    assert row["padding"] is None or row["padding"]["factor"] <= 8, row["padding"]


@pytest.mark.slow
@pytest.mark.parametrize("data", [1, 2])
def test_programs_for_eight_chips_of_a_tpu(tmp_path, data):
    pytest.importorskip("libtpu")
    seeds = 8 if data == 1 else 4
    mesh = ("--compile-only", "v5e-8", "--seeds", str(seeds), "--mesh-data", str(data))
    for row in compiled(tmp_path, *mesh):
        check(row)
        sent = row["collectives_an_epoch"]
        assert "all-to-all" not in sent, row
        if data == 1:  # every chip has a seed of its own: nothing is sent
            assert sent == {}, row


@pytest.mark.slow
def test_programs_for_a_gpu(tmp_path):
    pytest.importorskip("jax_cuda12_plugin")
    for row in compiled(tmp_path, "--compile-only", "h100-1", "--seeds", "5"):
        check(row)
