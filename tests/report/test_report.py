import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from msa_jax import report
from msa_jax.evaluation.baselines import MEAN, NAMES
from msa_jax.evaluation.metric_names import METRICS
from msa_jax.evaluation.metrics import score
from msa_jax.evaluation.statistics import summarise
from msa_jax.ground.errors import UserError
from msa_jax.ground.files import json_safe
from msa_jax.methods import PAPERS
from msa_jax.report import __main__ as command
from msa_jax.report import figures, run_tables
from msa_jax.report.console_table import results_table
from msa_jax.runs.finished import History, open_folder

FIVE = (1111, 1112, 1113, 1114, 1115)
BASELINES = {
    "mean predictor": 0.0,
    "ridge, bag of words": 0.3,
    "ridge, frozen text features": 0.5,
}


def fake_run(folder, seeds=FIVE, kind="mosi", u=True, lost=None, n=40):
    """Write a finished run, but for its samples; seed number `lost` has diverged."""
    rng = np.random.default_rng(0)
    lanes, limit = len(seeds), 3 if kind == "mosi" else 1
    label = rng.uniform(-limit, limit, n).astype(np.float32)
    prediction = (0.8 * label + 0.3 * rng.normal(size=(lanes, n))).astype(np.float32)
    if lost is not None:
        prediction[lost] = np.nan
    each = [score(kind, p, label) for p in prediction]
    test = {name: summarise([one[name] for one in each]) for name in each[0]}
    selected = {str(seed): 2 + lane % 2 for lane, seed in enumerate(seeds)}
    results = {
        "schema": 1,
        "method": "Self-MM",
        "dataset": "demo <b>&",
        "seeds": list(seeds),
        "state_sha256": {str(seed): f"{seed:064x}" for seed in seeds},
        "selection": "The epoch with the least validation loss; test read once.",
        "metrics_kind": kind,
        "selected_epoch": selected,
        "epochs_run": {str(seed): 4 for seed in seeds},
        "valid": test,
        "test": test,
        "baselines": {
            name: score(kind, (share * label).astype(np.float32), label)
            for name, share in BASELINES.items()
        },
        "u_labels": {"correlation with the truth": {"text": test["corr"]}} if u else {},
        "notes": ["A note with | and <i>."],
        "provenance": {"command": "python -m x", "devices": 1, "versions": {"a": "1"}},
        "time": {"started": "2026-11-20T10:00:00Z", "seconds": 12.5},
    }
    (folder / "results.json").write_text(json.dumps(json_safe(results)))
    with open(folder / "history.jsonl", "w") as file:
        for epoch in range(1, 5):
            train = rng.random((5, lanes))
            valid = {"loss": rng.random(lanes), **dict.fromkeys(each[0], [0.5] * lanes)}
            if lost is not None:
                train[:, lost] = np.nan
            parts = ("loss", "loss_fusion", "loss_text", "loss_audio", "loss_vision")
            row = {
                "epoch": epoch,
                "seconds": 1.0,
                "train": dict(zip(parts, train, strict=True)),
                "valid": valid,
                "active": [True] * lanes,
                "selected": [epoch == selected[str(seed)] for seed in seeds],
                "empty_classes": [1] * lanes,
            }
            file.write(json.dumps(json_safe(row)) + "\n")
    names = np.array([f"clip_{i}" for i in range(n)])
    np.savez(
        folder / "predictions_test.npz", id=names, label=label, prediction=prediction
    )
    (folder / "config.json").write_text(json.dumps({"seeds": list(seeds)}))
    if u:
        value = np.clip(label + rng.normal(size=(4, lanes, 4, n)), -limit, limit)
        value[0] = label
        if lost is not None:
            value[2:, lost] = np.nan
        true = rng.uniform(-limit, limit, (n, 3)).astype(np.float32)
        np.savez(
            folder / "u_labels.npz",
            epoch=np.arange(1, 5),
            value=value.astype(np.float32),
            label=label,
            unimodal_label=true,
        )
    return results


class _Page(HTMLParser):
    """Collects text, ids and what a browser would fetch; checks that tags close."""

    def __init__(self, html):
        super().__init__()
        self.words, self.ids, self.fetched, self.stack = [], [], [], []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        if tag not in {"meta", "br", "link", "img"}:
            self.stack.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in {"src", "href", "xlink:href"} and value and value[0] != "#":
                self.fetched.append(value[:30])

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" not in self.stack:
            self.words.append(data)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    fake_run(folder)
    assert report.write_report(folder) == folder / "report.html"
    return folder


def test_full_report(full):
    html, markdown = [(full / f"report.{kind}").read_text() for kind in ("html", "md")]
    page = _Page(html)
    assert page.stack == [] and "nan" not in page.text.lower().split()
    # one page, no other file, no network
    assert all(address.startswith("data:image/png;base64") for address in page.fetched)
    assert "@import" not in html and not re.search(r"url\((?!#)", html)
    assert len(page.ids) == len(set(page.ids))
    # references inside the figures point to ids of the same figure
    references = set(re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', html))
    assert references and references <= set(page.ids)
    order = [
        "demo <b>&",
        "The epoch with the least validation loss",
        "Seeds 1111, 1112, 1113, 1114, 1115",
        "Result on the test split",
        "Trivial baselines, no method at all",
        "beats “mean predictor” by",
        "Loss",
        "Metrics on the validation split",
        "Predicted against true",
        "Generated unimodal labels (u-labels) over epochs",
        "Generated unimodal labels (u-labels) at a few epochs",
        "Do the u-labels find the true unimodal sentiment?",
        "What was run",
        "What the metrics mean",
        "arguments swapped",
    ]
    places = [page.text.find(words) for words in order]
    assert -1 not in places and places == sorted(places)
    pictures = re.findall(r"\]\((figures/.*?\.png)\)", markdown)
    assert len(pictures) == 7 == html.count("<svg ") == html.count("<figcaption>")
    for picture in pictures:
        assert (full / picture).read_bytes().startswith(b"\x89PNG")
    assert "A note with \\| and \\<i>." in markdown
    assert not list(full.rglob("*.tmp"))


def test_the_same_files_give_the_same_report(full):
    files = [full / "report.html", full / "report.md", *full.glob("figures/*")]
    before = [file.read_bytes() for file in files]
    report.write_report(full)
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize(
    "seeds, kind, u, lost",
    [((7,), "sims", False, None), (tuple(range(8)), "mosi", True, 3)],
)
def test_other_shapes_of_runs(tmp_path, seeds, kind, u, lost):
    fake_run(tmp_path, seeds, kind, u, lost)
    page = _Page(report.write_report(tmp_path).read_text())
    assert "nan" not in page.text.lower().split() and "None" not in page.text
    if len(seeds) == 1:
        assert (
            "Only 1 seed" in page.text and "interval over seeds, how far" in page.text
        )
        assert "u-label" not in page.text
    else:
        assert "Only" not in page.text  # enough seeds
        assert "No finite test MAE for seed 3" in page.text
        assert "the first 6 of 8" in page.text
        assert "no comparison, an MAE is not known" in page.text


@pytest.mark.parametrize(
    ("name", "words", "said", "unsaid"),
    [
        (
            "lmf",
            "mosi+v1",
            ("variants whose values these are: v1", "padded_end (which state of the"),
            "of the LSTM is the text's): sane",
        ),
        ("ef_lstm", "mosi_real", ("these are: sane", "features"), "public reading"),
        ("self_mm", "mosi", (), "reading"),
    ],
)
def test_a_report_says_which_reading_of_the_method_was_run(
    tmp_path, name, words, said, unsaid
):
    """By the title that people know the method by."""
    results = fake_run(tmp_path, (7,), u=False)
    results |= {"method": name}
    (tmp_path / "results.json").write_text(json.dumps(json_safe(results)))
    config = PAPERS[name].config(words).to_json()
    (tmp_path / "config.json").write_text(config)
    page, text = _Page(report.write_report(tmp_path).read_text()), PAPERS[name].title
    markdown = (tmp_path / "report.md").read_text()
    assert f"# {text} on" in markdown and f"{text} beats" in page.text
    assert f"{name} on" not in page.text and f"{name} beats" not in page.text
    assert f"| **{text}, " in markdown.replace("\\", "")
    facts = page.text.split("What was run")[1].split("The resolved configuration")[0]
    assert all(words in facts for words in said) and unsaid not in facts
    assert all(words in markdown.replace("\\", "") for words in said)
    console = io.StringIO()
    Console(file=console, width=200).print(results_table(results))
    assert f"{text} on" in console.getvalue()


def test_a_value_of_neither_reading_is_called_so():
    settings = PAPERS["lmf"].config("mosi")
    settings.model.text_dropout, settings.model.fusion_scalars = 0.1, "trained"
    lines = PAPERS["lmf"].reading(settings)
    assert [line.split("): ")[1] for line in lines] == [
        "the public reading; sane: last_valid",
        "the public reading; sane: valid",
        "neither public nor sane; sane: 0.3",
        "sane",
    ]


@pytest.mark.parametrize(("parts", "drawn"), [(1, 2), (2, 4)])
def test_a_loss_of_one_part_is_drawn_once(parts, drawn):
    """Beside that on validation."""
    value = np.ones((2, 1))
    names = ("loss", "loss_fusion", "loss_text")[: 1 + parts]
    history = History(
        epoch=np.array([1, 2]),
        train=dict.fromkeys(names, value),
        valid={"loss": value},
        active=np.ones((2, 1), bool),
        empty_classes=np.zeros((2, 1)),
    )
    figure = figures.loss_curves(history, [7], {"7": 1})
    titles = [a.get_title() for a in figure.axes if a.get_title()]
    assert len(titles) == drawn and titles[0] == "train loss"


def test_results_alone_are_enough(tmp_path):
    fake_run(tmp_path)
    for name in (
        "history.jsonl",
        "predictions_test.npz",
        "u_labels.npz",
        "config.json",
    ):
        (tmp_path / name).unlink()
    html = report.write_report(tmp_path).read_text()
    assert "<svg" not in html
    assert "not shown: history.jsonl, predictions_test.npz, config.json" in html


def test_table_has_every_seed_and_one_unit(tmp_path):
    results = fake_run(tmp_path)
    rows = run_tables.result_rows(open_folder(tmp_path).results)
    kinds = [row["kind"] for row in rows]
    assert kinds == ["mean"] + 2 * ["spread"] + 5 * ["seed"] + 3 * ["baseline"]
    mae, acc2 = results["test"]["mae"], results["test"]["acc2_has0"]
    assert rows[0]["cells"][0] == f"{mae['mean']:.3f}"
    assert rows[0]["cells"][2] == f"{100 * acc2['mean']:.2f}"
    assert rows[2]["cells"][0] == f"[{mae['ci95'][0]:.3f}, {mae['ci95'][1]:.3f}]"
    assert rows[3]["cells"][2] == f"{100 * acc2['per_seed'][0]:.2f}"
    assert rows[8]["cells"][1] == "–"  # the mean predictor has no correlation


@pytest.mark.parametrize(
    "mae, verdict, where",
    [
        (0.9, "beats “b” by 0.1000", "lies below"),
        (1.05, "does not beat “b”: it is worse by 0.0500", "includes"),
        (1.2, "does not beat “b”: it is worse by 0.2000", "lies above"),
        (0.97, "beats “b” by 0.0300", "includes"),
    ],
)
def test_verdict_says_no_more_than_the_interval(mae, verdict, where):
    cell = {"mean": mae, "ci95": [mae - 0.06, mae + 0.06]}
    results = {
        "method": "M",
        "metrics_kind": "mosi",
        "test": {"mae": cell},
        "baselines": {"b": {"mae": 1.0}},
    }
    (sentence,) = run_tables.baseline_sentences(results)
    assert verdict in sentence and where in sentence


def test_warning_below_six_seeds():
    def warned(n):
        cell = {"mae": {"per_seed": [1.0] * n}}
        kind = {"metrics_kind": "mosi"}
        return run_tables.warnings({"seeds": list(range(n)), "test": cell} | kind)

    assert "0.0625" in warned(5)[0] and warned(6) == []


def test_made_up_data_are_a_caution(tmp_path):
    note = "SYNTHETIC data: demo was made by this program."
    fake_run(tmp_path, seeds=(1,), n=10)
    path = tmp_path / "results.json"
    results = json.loads(path.read_text())
    path.write_text(json.dumps(results | {"notes": [*results["notes"], note]}))
    report.write_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert f"<strong>Caution.</strong> {note}" in page and page.count(note) == 1
    assert page.index(note) < page.index("Result on the test split")
    text = (tmp_path / "report.md").read_text()
    assert f"> **Caution.** {note}" in text and text.count(note) == 1


def printed(results):
    screen = io.StringIO()
    Console(file=screen, width=100, color_system=None).print(results_table(results))
    return screen.getvalue()


def test_console_table_fits_100_columns(tmp_path):
    fake_run(tmp_path)
    text = printed(open_folder(tmp_path).results)
    assert "…" not in text and max(map(len, text.splitlines())) <= 100
    assert "1115" in text and "ridge" in text and "legacy" not in text


@pytest.mark.parametrize("seeds", [(1,), tuple(range(8))])
def test_console_table_of_few_and_many_seeds(tmp_path, seeds):
    fake_run(tmp_path, seeds, "sims", lost=0)
    text = printed(open_folder(tmp_path).results)
    assert "…" not in text and "nan" not in text
    assert ("interval" in text) == (len(seeds) > 1)


@pytest.mark.parametrize(
    "kind, given, shown",
    [
        (
            "mosi",
            [n for n in NAMES if "logistic" not in n],
            ["mean of train", "ridge on frozen text", "gradient boosting"],
        ),
        (
            "seven_class",
            [n for n in NAMES if "ridge" not in n and n not in (MEAN, "all absent")],
            ["majority class", "logistic regression on frozen", "gradient boosting"],
        ),
        (
            "mosi",
            ["ridge, audio and vision", "ridge, bag of words", MEAN, "majority class"],
            ["mean of train", "ridge on a bag of words"],
        ),
        ("mosi", [], []),
    ],
)
def test_console_table_shows_the_baselines_worth_beating(kind, given, shown):
    cell = summarise([0.5] * 5)
    results = {
        "method": "self_mm",
        "dataset": "demo",
        "metrics_kind": kind,
        "seeds": list(FIVE),
        "test": {metric.key: cell for metric in METRICS[kind]},
        # As in the file, in the order of the alphabet.
        "baselines": {name: {"mae": 0.1, "acc7": 0.1} for name in sorted(given)},
    }
    text = printed(results)
    assert "…" not in text and max(map(len, text.splitlines())) <= 100
    words = " ".join(text.split())
    places = [words.find(name) for name in shown]
    assert -1 not in places and places == sorted(places)
    for phrase in (
        "ridge on a",
        "logistic regression on a",
        "mean of train",
        "majority",
    ):
        assert (phrase in words) == any(phrase in one for one in shown)
    rows = run_tables.result_rows(results)
    listed = [row["name"] for row in rows if row["kind"] == "baseline"]
    assert listed == [name for name in NAMES if name in given]
    sentences = run_tables.baseline_sentences(results)
    assert len(sentences) == len(given)
    assert all(f"“{n}”" in s for n, s in zip(listed, sentences, strict=True))


def spoil(name, content):
    def change(folder):
        (folder / name).write_bytes(content)

    return change


def drop_a_seed(folder):
    results = json.loads((folder / "results.json").read_text())
    results["test"]["mae"]["per_seed"].pop()
    (folder / "results.json").write_text(json.dumps(results))


def reshape(folder):
    np.savez(folder / "predictions_test.npz", label=np.ones(3), prediction=np.ones(3))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda folder: (folder / "results.json").unlink(), "no results.json in"),
        (spoil("results.json", b"{"), "cannot be read"),
        (spoil("results.json", b"[]"), "schema 1"),
        (spoil("results.json", b'{"schema": 1}'), "lacks dataset, method"),
        (drop_a_seed, "mae has 4 values for 5 seeds"),
        (spoil("history.jsonl", b'{"epoch": 1}\n'), "not a history of 5 seeds"),
        (spoil("u_labels.npz", b"PK"), "cannot be read"),
        (reshape, "expected (5, 3)"),
    ],
)
def test_broken_files_are_named(tmp_path, change, words):
    fake_run(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        report.write_report(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()
    assert not (tmp_path / "figures").exists()


def test_command(tmp_path, refused):
    message = refused(command.main, tmp_path)
    assert len(message.splitlines()) == 1 and "no results.json" in message
    words = [sys.executable, "-m", "msa_jax.report", "--help"]
    help_text = subprocess.run(words, capture_output=True, text=True)
    assert help_text.returncode == 0 and "example:" in help_text.stdout
