"""The compiler is right after `import msa_jax`, or msa_jax says that it is not."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msa_jax import methods
from msa_jax import parity as parity
from msa_jax.ground import backend, compiler
from msa_jax.ground.errors import UserError
from msa_jax.methods import PAPERS
from msa_jax.studies.bench import measure, shapes
from msa_jax.text.encoders import FeatureEncoder

ROOT = Path(__file__).parents[2]
OFF = f"{compiler.FLAG}="
DEVICES = "--xla_force_host_platform_device_count=3"
# jax #39103, as it was reported: both sizes, both dtypes; the last row was wrong.
REPORTED = """
import msa_jax, jax
import jax.numpy as jnp
def last(n, dtype):
    i = jnp.arange(n, dtype=dtype)
    rows = jnp.stack((i, 0 * i, 0 * i), axis=1)
    square = lambda row: jnp.sum((jnp.eye(3, dtype=dtype) @ row) ** 2)
    return float(jax.jit(jax.vmap(square))(rows)[-1])
print(jax.device_count(), last(32769, "float32"))
jax.config.update("jax_enable_x64", True)
print(last(16385, "float64"))
"""


def python(*words, flags=""):
    """Run Python anew, as a user who has set `flags` in XLA_FLAGS or nothing."""
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return subprocess.run(
        [sys.executable, *words],
        env=env | ({"XLA_FLAGS": flags} if flags else {}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_the_reported_program_is_right_in_a_new_process():
    done = python("-c", "import jax" + REPORTED, flags=DEVICES)
    assert done.stdout.split() == ["3", "1073741824.0", "268435456.0"], done.stderr


def test_jax_that_already_computes_wrong_is_refused():
    """Seen only where this jaxlib is wrong by itself, as the lock's is."""
    code = "import jax; jax.devices(); import msa_jax"
    done = python("-c", code)
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("ImportError: jax") and "restart Python" in said
    assert python("-c", code, flags=OFF).returncode == 0


def test_a_command_refuses_a_flag_that_makes_it_wrong_in_one_line():
    flags = f"{DEVICES} {OFF}dot,reduce"
    done = python("-m", "msa_jax.parity", "tests/goldens", flags=flags)
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"error: XLA_FLAGS asks for {OFF}dot,reduce")


@pytest.fixture
def fresh(monkeypatch):
    """Let this process look like one in which jax has not started."""
    monkeypatch.delitem(sys.modules, "jax._src.xla_bridge")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    "before, after",
    [
        ("", OFF),
        (DEVICES, f"{DEVICES} {OFF}"),
        (f"{OFF} {DEVICES}", f"{OFF} {DEVICES}"),
        (f"{OFF}reduce {OFF}", f"{OFF}reduce {OFF}"),
    ],
)
def test_what_the_user_asks_for_is_kept(fresh, before, after):
    fresh.setenv("XLA_FLAGS", before)
    compiler.keep_right()
    assert os.environ["XLA_FLAGS"] == after


def test_flags_in_a_file_are_kept(fresh, tmp_path):
    (tmp_path / "flags").write_text(DEVICES + "\n")
    fresh.setenv("XLA_FLAGS", str(tmp_path / "flags"))
    compiler.keep_right()
    assert os.environ["XLA_FLAGS"] == f"{DEVICES} {OFF}"
    fresh.setenv("XLA_FLAGS", str(tmp_path / "none"))
    with pytest.raises(ImportError, match="none, which cannot be read"):
        compiler.keep_right()


@pytest.mark.parametrize(
    "version, known",
    [
        *(("0.7.2", False), ("0.8.0", False), ("0.8.3", False), ("0.13.0", False)),
        *(("0.9.0", True), ("0.10.1", True), ("0.10.2", True), ("0.12.0.1", True)),
    ],
)
def test_only_versions_that_know_the_flag_get_it(fresh, version, known):
    """Others would end the process at an unknown flag."""
    fresh.setattr(compiler, "jaxlib", lambda: version)
    compiler.keep_right()
    assert os.environ.get("XLA_FLAGS") == (OFF if known else None)


@pytest.mark.parametrize(
    "version, count", [("0.10.2", 2), ("0.11.0", 2), ("0.11.2", 1)]
)
def test_options_are_those_that_the_version_has(monkeypatch, version, count):
    """An unknown one ends every training; this version takes those it gets."""
    jax.jit(lambda x: x + 1, compiler_options=compiler.quickest())(1)
    monkeypatch.setattr(compiler, "jaxlib", lambda: version)
    assert len(compiler.quickest()) == count


def test_programs_that_compilers_got_wrong_are_right():
    assert compiler.wrong() == []


def test_a_wrong_program_is_named(monkeypatch):
    right = compiler.programs()
    bad = right[1]._replace(right=right[1].right * np.float32(1.001))
    monkeypatch.setattr(compiler, "programs", lambda: (right[3], bad))
    assert compiler.wrong() == ["sums of products with a constant"]


def test_a_version_that_nobody_tried_is_checked_before_it_is_used(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    monkeypatch.setattr(compiler, "wrong", lambda: ["scattered columns"])
    precision = jax.config.jax_default_matmul_precision
    try:
        backend.set_up_jax("highest")
        monkeypatch.setattr(compiler, "jaxlib", lambda: "0.12.1")
        with pytest.raises(UserError, match="0.12.1 computes wrong.*scattered"):
            backend.set_up_jax("highest")
    finally:
        jax.config.update("jax_default_matmul_precision", precision)


@pytest.mark.parametrize("wrong", [[], ["scattered columns"]])
def test_parity_says_whether_the_compiler_is_right(
    monkeypatch, capsys, tmp_path, wrong
):
    np.savez(tmp_path / "other.npz", x=np.zeros(1))
    monkeypatch.setattr(sys, "argv", ["parity", str(tmp_path)])
    monkeypatch.setattr(compiler, "wrong", lambda: wrong)
    assert parity.main() == len(wrong)
    said = "WRONG in scattered columns" if wrong else "right"
    line = f"compiler: {said} (jaxlib {compiler.jaxlib()} on cpu, XLA_FLAGS="
    assert line in capsys.readouterr().out


# One layer where there are several alike: the shapes are the same, compiling is not.
ONE_LAYER = {
    "mmcl": {"layers": 1},
    "ucrn": {"unimodal_layers": 1, "crossmodal_layers": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["self_mm", "sugrm", "spt", "mmcl", "ucrn"])
def test_a_method_learns_the_same_compiled_and_op_by_op(name):
    """Loss and gradients at MOSI's shapes: 32 clips, text 50, audio 375, vision 500.

    Two orders of summing thousands of float32 differ by some 1e-7 of the gradient
    (measured: 1e-7 for Self-MM); what YNNPACK got wrong was wrong by 1e-3 and more.
    """
    config = PAPERS[name].config("mosi")
    config.text.encoder = "features"
    config.model.update(ONE_LAYER.get(name, {}))
    shape = shapes.of_dataset("mosi")
    method = methods.make(config, FeatureEncoder(), shape.label_range)
    (batch,) = shapes.make_batches(shape, shapes.true_lengths(shape), 32, 1)
    batch = jax.tree.map(jnp.asarray, batch)
    assert batch.vision.shape == (32, 500, 20) and batch.audio.shape == (32, 375, 5)
    split = shapes.make_split(shape, [batch])
    labels = method.init_labels(split, jax.random.key(0))
    noise = {"dropout": jax.random.key(1)}

    def loss(params, batch, labels):
        model = partial(method.model.apply, train=True, rngs=noise)
        return method.loss(model({"params": params}, batch), batch, labels)[0]

    params = measure.draw_variables(method, batch)["params"]
    learn = jax.value_and_grad(loss)
    compiled, slowly = (f(params, batch, labels) for f in (jax.jit(learn), learn))
    for a, b in zip(jax.tree.leaves(compiled), jax.tree.leaves(slowly), strict=True):
        scale = 1e-5 * jnp.abs(b).max() + 1e-7
        np.testing.assert_allclose(a, b, rtol=0, atol=float(scale))
    assert any(jnp.abs(x).max() > 1e-3 for x in jax.tree.leaves(slowly[1]))
