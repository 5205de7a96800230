"""`python -m msa_jax.report` with several runs."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from table_reading import TablePage, rows_of
from test_report import _Page, fake_run

from msa_jax import report
from msa_jax.evaluation.metric_names import METRICS
from msa_jax.ground.errors import UserError
from msa_jax.report import __main__ as report_main
from msa_jax.report import comparison, table_sentences

SEEDS = (1, 2, 3, 4, 5, 6)


def make_run(folder, seeds=SEEDS, kind="sims", noise=0.2, **results):
    """Write a run whose answers are the label and noise of its own."""
    folder.mkdir(parents=True)
    fake_run(folder, seeds, kind, u=False, n=30)
    path = folder / "predictions_test.npz"
    arrays = dict(np.load(path))
    rng = np.random.default_rng(len(seeds) + int(100 * noise))
    shape = arrays["prediction"].shape
    answers = arrays["label"] + noise * rng.normal(size=shape)
    np.savez(path, **arrays | {"prediction": answers.astype(np.float32)})
    found = json.loads((folder / "results.json").read_text())
    found["provenance"]["data_sha256"] = "ab" * 32
    (folder / "results.json").write_text(json.dumps(found | results))
    config = {"seeds": list(seeds), "model": {"width": int(100 * noise), "depth": 1}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [make_run(folder / "bad", noise=0.9), make_run(folder / "good", noise=0.1)]


@pytest.fixture(scope="module")
def compared(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    assert report.compare(runs, out=out) == out / "table.html"
    return out


def test_the_page_of_a_comparison(compared):
    html = (compared / "table.html").read_text()
    page = TablePage(html)
    assert page.stack == [] and page.fetched == []
    assert len(page.ids) == len(set(page.ids))
    for words in (
        "good against bad",
        "Against “bad”: “good” is significantly better in 6 of 6 metrics.",
        "Test split of demo <b>&, 30 samples, content abababababab.",
        "Seeds 1, 2, 3, 4, 5, 6",
        "reference of the tests",
        "Trivial baselines, no method at all",
        "changes: model.width = 10",
        "Learning curves",
        "We compared bad (Self-MM, 6 seeds) and good (Self-MM, 6 seeds)",
    ):
        assert words in page.text, words
    table = re.search(r'<section class="">.*?</section>', html, re.S)
    assert table is not None
    said = " ".join([TablePage(table.group()).text, *page.titles])
    for word in ("published", "verdict", "MMSA"):
        assert word not in said
    mae = rows_of(page)["good"][2]
    assert mae.endswith("Δ significantly better than bad")
    names = {path.name for path in compared.iterdir()}
    assert names == {
        *("table.html", "table.md", "table.tex", "table.csv", "table.json"),
        *("methods.txt", "figures"),
    }


def test_the_numbers_are_those_of_the_runs(runs, compared):
    found = json.loads((compared / "table.json").read_text())
    assert found == comparison.build(runs)
    (part,) = found["parts"]
    assert [row["name"] for row in part["rows"]] == ["bad", "good"]
    known = {metric.key: metric for metric in METRICS["sims"]}
    assert [c["key"] for c in part["columns"]] == ["mae", "corr", "acc2", "f1"] + [
        *("acc3", "acc5")
    ]
    for row, folder in zip(part["rows"], runs, strict=True):
        arrays = np.load(folder / "predictions_test.npz")
        clipped = [np.clip(arrays[name], -1, 1) for name in ("prediction", "label")]
        mae = np.abs(clipped[0] - clipped[1]).mean(axis=1)
        cell = row["cells"][0]
        assert cell["per_seed"] == pytest.approx(
            dict(zip(map(str, SEEDS), mae, strict=True)), abs=1e-6
        )
        assert cell["mean"] == pytest.approx(mae.mean(), abs=1e-6)
        assert cell["sd"] == pytest.approx(mae.std(ddof=1), abs=1e-6)
        for column in part["columns"]:
            metric = known[column["key"]]
            assert column["title"] == metric.title
            assert column["percent"] == metric.percent
            assert column["lower_is_better"] == metric.lower_is_better
    against = part["rows"][1]["cells"][0]["against"]
    assert against["row"] == "bad" and against["p_seeds"] == pytest.approx(2 / 2**6)
    assert against["significant"] and against["difference"] < 0
    assert part["rows"][0]["cells"][0]["against"] is None
    # history.jsonl holds four epochs
    assert part["learning"]["good"]["1"]["epoch"] == [1, 2, 3, 4]
    assert part["learning"]["good"]["1"]["selected"] == 2


def test_the_reference_can_be_chosen(runs):
    for against in (runs[1], "good"):
        found = comparison.build(runs, against)
        assert found["against"] == "good"
        assert [row["name"] for row in found["parts"][0]["rows"]] == ["bad", "good"]
        assert found["title"] == "bad against good"
        answer = table_sentences.answer(found)
        assert "“bad” is significantly worse in 6 of 6 metrics" in answer
    with pytest.raises(UserError, match="give one of the runs compared"):
        comparison.build(runs, runs[0] / "other")


def test_other_seeds_and_lost_seeds(runs, tmp_path):
    other = make_run(tmp_path / "x" / "bad", seeds=(4, 5, 6, 7), noise=0.3)
    path = other / "predictions_test.npz"
    arrays = dict(np.load(path))
    arrays["prediction"][3] = np.nan
    np.savez(path, **arrays)
    found = comparison.build([*runs, other])
    names = [row["name"] for row in found["parts"][0]["rows"]]
    assert names[1] == "good" and names[2] == "x/bad" and names[0].endswith("/bad")
    assert found["seeds"] == [1, 2, 3, 4, 5, 6, 7]
    warned = " ".join(table_sentences.warnings(found))
    assert "The runs have different seeds" in warned
    assert "“x/bad”: seed 7 gave no value" in warned
    cell = found["parts"][0]["rows"][2]["cells"][0]
    assert cell["mean"] is None and cell["per_seed"]["7"] is None
    assert "x/bad: 4, 5, 6, 7" in " ".join(found["caption"])
    page = _Page(report.compare([*runs, other], out=tmp_path / "out").read_text())
    assert "✕ seed 7 gave no value" in page.text
    assert page.stack == [] and "nan" not in page.text.lower().split()


def spoil(folder, **changes):
    path = folder / "predictions_test.npz"
    np.savez(path, **dict(np.load(path)) | changes)


def drop(folder, name):
    path = folder / "predictions_test.npz"
    np.savez(path, **{k: v for k, v in np.load(path).items() if k != name})


N = 30


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda f: spoil(f, id=np.array([f"c{i}" for i in range(N)])), "test samples"),
        (lambda f: drop(f, "id"), "their test samples differ"),
        (lambda f: spoil(f, label=np.zeros(N, np.float32)), "have other labels"),
        (lambda f: (f / "predictions_test.npz").unlink(), "no predictions_test.npz"),
        (lambda f: (f / "results.json").unlink(), "no results.json in"),
        (lambda f: spoil(f, id=np.arange(3)), "id is (3,)"),
    ],
)
def test_what_cannot_be_compared(runs, tmp_path, change, words):
    other = make_run(tmp_path / "other")
    change(other)
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        report.compare([runs[0], other], out=tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_other_data_or_metrics(runs, tmp_path):
    data = make_run(tmp_path / "data", provenance={"data_sha256": "cd" * 32})
    with pytest.raises(UserError, match="other data, .*abababababab.*cdcdcdcdcdcd"):
        comparison.build([runs[0], data])
    kind = make_run(tmp_path / "kind", kind="mosi")
    with pytest.raises(UserError, match="metrics are those of 'sims' and 'mosi'"):
        comparison.build([runs[0], kind])


def test_the_folder(runs, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="is given twice"):
        comparison.build([runs[0], runs[0].parent / "." / "bad"])
    with pytest.raises(UserError, match="a comparison needs two runs"):
        comparison.build(runs[:1])
    with pytest.raises(UserError, match="is a run of its own"):
        report.compare(runs, out=runs[1])
    assert comparison.default_name(["a", "x/b c"]) == "compare_a_x-b-c"
    assert len(comparison.default_name(["a" * 50, "b" * 50])) < 80
    monkeypatch.chdir(tmp_path)
    assert str(report.compare(runs)) == "runs/compare_bad_good/table.html"
    assert (tmp_path / "runs/compare_bad_good/table.tex").is_file()
    assert comparison.names_of(["r/a/x", "r/b/x", "r/y"]) == ["a/x", "b/x", "y"]


def test_changes_of_a_configuration():
    ours = {"a": 1, "b": {"c": 2, "d": 3}, "seeds": [1], "data": {"dir": "x", "n": 1}}
    other = {"a": 1, "b": {"c": 5}, "seeds": [2], "data": {"dir": "y", "n": 2}}
    found = comparison.changes(ours, other)
    assert found == {"b.c": 5, "b.d": None, "data.n": 2}
    assert comparison.changes(ours, ours) == {} == comparison.changes(None, ours)


def test_classes_and_emotions_have_their_columns():
    for kind, first in (("emotion", "wa_avg"), ("seven_class", "acc7")):
        columns = comparison.compared(kind)
        assert columns[0].key == first
        assert [column.index for column in columns] == list(range(len(columns)))
    keys = [column.key for column in comparison.compared("mosi")]
    assert len(keys) == 9 and not any(key.endswith("legacy") for key in keys)


def test_made_up_data_are_a_caution(runs, tmp_path):
    note = "SYNTHETIC data: demo was made by this program."
    other = make_run(tmp_path / "other", notes=[note, "Only here."])
    found = comparison.build([runs[0], other])
    assert found["warnings"][0] == note
    assert "other: Only here." in found["notes"]


def test_command(runs, tmp_path, refused):
    words = map(str, (*runs, "--against", runs[1], "--out", tmp_path / "out"))
    command = [sys.executable, "-m", "msa_jax.report", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    page = _Page((tmp_path / "out" / "table.html").read_text())
    assert done.stdout.strip() == str(tmp_path / "out" / "table.html")
    assert "bad against good" in page.text
    for arguments, words in (
        ((runs[0], "--out", "x"), "give two runs or more"),
        ((*runs, "--beside", runs[0]), "--beside is for the report of one run"),
        ((runs[0], tmp_path), "no results.json in"),
    ):
        said = refused(report_main.main, *arguments)
        assert words in said and len(said.splitlines()) == 1
