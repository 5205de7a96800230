"""The package from Python: every example of its docstrings, and what a user meets."""

import ast
import contextlib
import doctest
import importlib
import inspect
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

import msa_jax as msa
from msa_jax import api
from msa_jax.config import cli
from msa_jax.data.store import Dataset
from msa_jax.runs.finished import Predictions

# What they train counts for the test that comes first.
pytestmark = pytest.mark.long(60)
MODES = ("audio", "vision")
TINY = {
    "data.name": "synthetic_tiny",
    "data.standardise": "train",
    "text.weights": "random",
    "text.random_width": 8,
    "text.random_layers": 1,
    "text.finetune": True,
    "text.max_tokens": 12,
    "optim.batch_size": 16,
    "selection.max_epochs": 2,
    "mesh.devices": 1,
}
EXAMPLES = [
    *(msa.config.config, msa.methods.methods, msa.prepare.prepare, Dataset.to_frame),
    *(msa.train, msa.open_run, msa.load_dataset, msa.compare, msa.Run),
    *(msa.Run.table, msa.Run.predictions, msa.Run.predict, msa.Run.figure),
    *(msa.Run.report.fget, msa.Report, msa.UserError),
]


def configuration(**fields):
    return msa.config("linear", seeds=(1, 2), **TINY | fields)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Work in an empty folder; leave jax as it was."""
    precision = jax.config.jax_default_matmul_precision
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("work"))
        patch.delenv("MSA_DATA", raising=False)
        patch.setenv("JAX_COMPILATION_CACHE_DIR", "as the tests have it")
        yield Path.cwd()
    jax.config.update("jax_default_matmul_precision", precision)


@pytest.fixture(scope="module")
def run(here):
    """Train in a thread, where no signal can be handled, and without a word."""
    trained = []

    def work():
        trained.append(msa.train(configuration(), "runs/tiny", progress=False))

    said, thread = io.StringIO(), threading.Thread(target=work)
    with contextlib.redirect_stdout(said):
        thread.start()
        thread.join()
    assert said.getvalue() == ""
    return trained[0]


@pytest.fixture(scope="module")
def other(run):
    """Train once more in the same process, in a folder of its own name."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        trained = msa.train(configuration(**{"optim.groups.other.rate": 0.1}))
    assert "epoch   2  train" in said.getvalue()
    return trained


def test_a_finished_run_is_read(here, run, capsys):
    assert msa.train(configuration(), "runs/tiny").table().equals(run.table())
    assert capsys.readouterr() == ("", "")


def test_a_run_without_its_report_gets_it_and_trains_nothing(run, tmp_path, capsys):
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    (folder / "report.html").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("msa_jax.runs.run.make_program", None)
        again = msa.train(configuration(), folder, progress=False)
    assert (folder / "report.html").exists() and again.table().equals(run.table())
    assert not capsys.readouterr().out


def test_a_run_without_a_folder_gets_its_own(here, run, other, capsys):
    assert other.folder.parent == Path("runs")
    assert other.folder.name.startswith("linear_synthetic_tiny_")
    again = msa.train(configuration(**{"optim.groups.other.rate": 0.1}))
    assert again.folder == other.folder and not capsys.readouterr().out
    assert not other.table().equals(run.table())
    names = {api._name(configuration(**{"mesh.devices": n})) for n in (1, 1, 2)}
    assert len(names) == 2


@pytest.mark.parametrize("function", EXAMPLES, ids=lambda f: f.__qualname__)
def test_example(function, run, other):
    text = inspect.getdoc(function)
    names = {"run": run, "other": other, "TINY": TINY}
    test = doctest.DocTestParser().get_doctest(text, names, function.__name__, "", 0)
    assert test.examples
    said = []
    doctest.DocTestRunner().run(test, out=said.append)
    assert "".join(said) == ""


def test_public_names_are_explained():
    for name in msa.__all__:
        assert inspect.getdoc(getattr(msa, name)), name
    for name in ("config", "methods", "prepare"):  # modules, which can be called
        room = getattr(msa, name)
        assert inspect.ismodule(room) and callable(room)
        assert inspect.signature(room) == inspect.signature(getattr(room, name))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = msa.trian
    assert {"train", "__version__"} <= {*dir(msa)}


def test_a_type_checker_is_told_of_every_public_name():
    """Of functions, not of the modules that can be called."""
    tree = ast.parse(Path(msa.__file__).read_text("utf-8"))
    (told,) = (n for n in tree.body if ast.unparse(n).startswith("if TYPE_CHECKING"))
    modules = {name.name: n.module for n in told.body for name in n.names}
    assert sorted(modules) == sorted(msa.__all__)
    for name, module in modules.items():
        given = getattr(msa, name)
        real = given.__call__ if inspect.ismodule(given) else given
        assert getattr(importlib.import_module(module), name) is real


@pytest.mark.slow
def test_a_type_checker_finds_a_users_mistake(tmp_path):
    pytest.importorskip("pyright", reason="needs pyright: pip install -e '.[dev]'")
    code = "import msa_jax as msa\n"
    code += 'msa.prepare("mosi", "x", padding="every_step").to_frame()\n'
    code += 'msa.prepare("mosi", sorce="x")\nmsa.config(3)\n'
    (tmp_path / "user.py").write_text(code)
    words = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    env = os.environ | {"PYTHONPATH": str(Path(msa.__file__).parents[1])}
    how = {"cwd": tmp_path, "env": env, "capture_output": True, "text": True}
    said = subprocess.run([*words, "--outputjson", "user.py"], **how).stdout
    found = json.loads(said)["generalDiagnostics"]
    assert [problem["range"]["start"]["line"] for problem in found] == [2, 3], said


def test_importing_takes_nothing_along():
    """What is slow to import waits until it is used, even for `python -m`."""
    slow = "jax numpy pandas rich absl ml_collections matplotlib flax".split()
    code = f"import sys, msa_jax; print([m for m in {slow} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("[]\n", "")


def test_predict_gives_the_runs_own_answers(run):
    test = msa.load_dataset("synthetic_tiny").splits["test"]
    samples = [
        {"id": str(test.id[i]), "text": test.transcript[i]}
        | {m: getattr(test, m)[i, : getattr(test, f"{m}_length")[i]] for m in MODES}
        for i in range(3)
    ]
    samples[0]["audio"] = samples[0]["audio"].tolist()
    samples[1]["audio"] = jax.numpy.asarray(samples[1]["audio"])
    found = run.predict(samples)
    kept = run.predictions().iloc[:3]
    assert [line["id"] for line in found] == kept.index.tolist()
    for seed in (1, 2):
        mine = [line["per_seed"][str(seed)] for line in found]
        np.testing.assert_allclose(mine, kept[seed], atol=1e-6, rtol=0)
    alone = run.predict(samples[1] | {"id": np.int64(7)})
    assert alone["prediction"] == pytest.approx(found[1]["prediction"], abs=1e-6)
    assert alone["id"] == 7


@pytest.mark.parametrize(
    "samples, said",
    [
        ({"txt": "a"}, "sample 1 of 1: unknown field 'txt'; did you mean 'text'"),
        (["a", {"text": 3}], 'sample 2 of 2: "text" must be a sentence'),
        ([{"audio": np.zeros((2, 3))}], "3 numbers per row, this run reads 5"),
        ([{"audio": np.full((1, 5), np.nan)}], "must be finite"),
        ([{"audio": (1, 2)}], "must be a list of rows .* not tuple"),
        ([{"text": ""}], "nothing to answer from"),
        ([3], "must be an object"),
    ],
)
def test_a_bad_sample_is_named(run, samples, said):
    with pytest.raises(msa.UserError, match=said):
        run.predict(samples)


def test_predictions_of_classes_have_a_column_per_logit(run):
    logits = np.arange(12.0).reshape(2, 3, 2)
    wide = msa.Run(run.folder)
    wide._files.predictions = Predictions(np.array([0.0, 1, 2]), logits)
    frame = wide.predictions()
    assert frame.columns.tolist() == [("label", 0), (1, 0), (1, 1), (2, 0), (2, 1)]
    np.testing.assert_array_equal(frame[2], logits[1])
    for split in ("valid", "tset"):
        with pytest.raises(msa.UserError, match=f"no answers to '{split}'"):
            run.predictions(split)


def test_a_notebook_shows_table_figure_and_page(run):
    assert "linear on synthetic_tiny" in run._repr_html_()
    assert "<table" in run._repr_html_()
    assert run.figure("scatter")._repr_png_().startswith(b"\x89PNG")
    shown, page = run.report._repr_html_(), run.report.read_text("utf-8")
    assert shown.startswith('<iframe srcdoc="') and "<svg" in page
    assert "<svg" not in shown and "&lt;svg" in shown
    with pytest.raises(msa.UserError, match="no figure 'losses'; this run has loss, "):
        run.figure("losses")


def test_comparing_names_what_differs(run, other):
    found = msa.compare([run.folder, other], against=other)
    row = found.loc["mae", "tiny"]
    assert row["mean"] == pytest.approx(run.table().loc["mae"].mean())
    gap = (run.table() - other.table()).loc["mae"].mean()
    assert row["difference"] == pytest.approx(gap) and row["seeds"] == 2
    assert row["low"] <= row["mean"] <= row["high"] and not row["significant"]
    assert found.loc["mae", other.folder.name].isna()["difference"]
    with pytest.raises(msa.UserError, match="needs two runs"):
        msa.compare([run])


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: msa.config("demoo"), "not found; did you mean demo?"),
        (lambda: msa.config("demo", **{"optim.batch": 1}), "mean optim.batch_size"),
        (
            lambda: msa.config("demo", **{"optim.batch_size": "a"}),
            "not a value of type int",
        ),
        (lambda: msa.config("demo", seeds=3), "give whole numbers"),
        (lambda: msa.train("demo"), "takes a configuration"),
        (
            lambda: msa.train(msa.config("demo", **{"optim.batch_size": 0})),
            "optim.batch_size = 0: must be at least 1",
        ),
        (lambda: msa.open_run("runs/none"), "no results.json in runs/none"),
        (lambda: msa.load_dataset("none"), "no data set 'none'"),
        (lambda: msa.prepare("none"), "say which file to read"),
        (lambda: msa.prepare("A b"), "may only hold a-z"),
    ],
)
def test_a_mistake_is_one_line(call, said, here):
    with pytest.raises(msa.UserError) as error:
        call()
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["self_mm_mosi:mmsa", "configs/self_mm_mosi.py:mmsa"])
def test_a_configuration_is_that_of_the_command(here, name):
    """Ours are found anywhere; a file that lies where it is named comes first."""
    assert msa.config(name) == msa.config("self_mm:mosi+mmsa")
    assert cli.resolve(name) == f"{cli.own_configs()}/self_mm.py:mosi+mmsa"
    assert msa.config(name, **{"data.dir": "x"}).data.dir == "x"
    Path("configs").mkdir()
    Path("configs/self_mm_mosi.py").write_text("def get_config(w): return 1 / 0")
    try:
        if name.startswith("configs"):
            with pytest.raises(msa.UserError, match="ZeroDivisionError"):
                msa.config(name)
        else:
            assert msa.config(name).method == "self_mm"
    finally:
        Path("configs/self_mm_mosi.py").unlink()
        Path("configs").rmdir()
