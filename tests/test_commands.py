"""The console script `msa`, and a wheel that works alone, outside the checkout."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from test_architecture import ORDER

from msa_jax import commands
from msa_jax.config import cli

ROOT = Path(__file__).parents[1]
SHIPPED = ("msa_jax", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE")
ONE_RUN = {
    "seeds": "1",
    "data.name": "synthetic_tiny",
    "text.weights": "random",
    "text.random_width": "8",
    "text.random_layers": "1",
    "text.max_tokens": "12",
    "selection.max_epochs": "1",
}


def test_every_command_is_a_subcommand(monkeypatch, capsys):
    names = commands.commands()
    assert {"main", "prepare", "predict", "report", "tune", "reproduce"} <= {*names}
    assert {*names} - {"train"} <= {*ORDER} and all(names.values())
    assert names["train"] == names["main"]
    monkeypatch.setattr(sys, "argv", ["msa", "--help"])
    with pytest.raises(SystemExit) as end:
        commands.main()
    shown = capsys.readouterr().out
    assert not end.value.code and shown.startswith("The console script `msa`")
    for name, said in names.items():
        assert re.search(f"^  {name} +{re.escape(said)}$", shown, re.M)


def test_a_subcommand_is_the_command_itself(monkeypatch, capsys):
    became = []
    monkeypatch.setattr(os, "execv", lambda *given: became.append(given) or 1 / 0)
    for name, module in (("train", "main"), ("tune", "tune"), ("predict", "predict")):
        monkeypatch.setattr(sys, "argv", ["msa", name, "--x", "-h"])
        with pytest.raises(ZeroDivisionError):
            commands.main()
        words = [sys.executable, "-m", f"msa_jax.{module}", "--x", "-h"]
        assert became.pop() == (sys.executable, words)
    monkeypatch.setattr(sys, "argv", ["msa", "trian"])
    with pytest.raises(SystemExit) as end:
        commands.main()
    said = capsys.readouterr().err
    assert end.value.code == cli.MISTAKE and "'trian'; did you mean train?" in said


def test_configs_lie_beside_the_package_or_in_it(tmp_path, monkeypatch):
    assert cli.own_configs() == ROOT / "configs"
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "msa_jax" / "config" / "x.py"))
    assert cli.own_configs() == tmp_path / "configs"
    (tmp_path / "msa_jax" / "configs").mkdir(parents=True)
    assert cli.own_configs() == tmp_path / "msa_jax" / "configs"


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Build a wheel and install it into an environment of its own.

    The other packages are those of this environment: the wheel alone is new.
    """
    base = tmp_path_factory.mktemp("wheel")
    (base / "source").mkdir()
    for name in SHIPPED:
        folder = (ROOT / name).is_dir()
        copy = shutil.copytree if folder else shutil.copyfile
        copy(ROOT / name, base / "source" / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "-q", "--no-deps", f"-w{base}", str(base / "source")]
    subprocess.run(wheel, check=True)
    shutil.rmtree(base / "source")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", base / "env"])
    python = base / "env" / "bin" / "python"
    (built,) = base.glob("*.whl")
    install = [*pip, f"--python={python}", "install", "-q", "--no-deps", str(built)]
    subprocess.run(install, check=True)
    (site,) = (base / "env").glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    (base / "work").mkdir()

    def call(*words):
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        program = [str(python.parent / words[0]), *words[1:]]
        how = {"cwd": base / "work", "env": env, "capture_output": True, "text": True}
        return subprocess.run(program, **how)

    return call


@pytest.mark.slow
def test_a_wheel_works_outside_the_checkout(alone):
    where = alone("python", "-c", "import msa_jax; print(msa_jax.__file__)")
    assert "/env/lib/" in where.stdout
    fields = [f"--config.{name}={value}" for name, value in ONE_RUN.items()]
    run = alone("python", "-m", "msa_jax.main", "--config=configs/demo.py", *fields)
    assert run.returncode == 0, run.stderr
    assert "done; report: runs/demo/report.html" in run.stdout
    tables = alone("msa", "reproduce", "--list")
    assert "self_mm/table4" in tables.stdout and tables.returncode == 0
    assert "--sweep" in alone("msa", "tune", "--help").stdout
    wrong = alone("msa", "tune", "--config=self_mm", "--sweep=configs/sweeps/mmc.py")
    assert "did you mean configs/sweeps/mmcl.py?" in wrong.stderr
    named = alone("msa", "train", "--config=linear_mosi", "--help")
    assert "optim.batch_size = " in named.stdout, named.stderr
    assert "train" in alone("msa", "--help").stdout
