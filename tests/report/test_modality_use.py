"""What the report says of shuffled modalities: no more than the interval does."""

import json

import pytest
from test_report import _Page, fake_run

from msa_jax import report
from msa_jax.evaluation.statistics import summarise
from msa_jax.report import modality_use
from msa_jax.runs.finished import open_folder

CONTROL = "audio and vision shuffled across test samples"
TITLE = "Does it use audio and vision?"


def cells(changes, key="mae", own=0.9):
    """Return one control's cell of a metric from every seed's change."""
    values = [None if c is None else own + c for c in changes]
    return {key: summarise(values) | {"change": summarise(changes)}}


def said(changes, kind="mosi", key="mae"):
    results = {"method": "M", "metrics_kind": kind}
    return modality_use.sentence(results, CONTROL, cells(changes, key))


@pytest.mark.parametrize(
    "changes, expected",
    [
        # Student, n = 4: 0.03 -+ 3.182 * 0.0082 / 2.
        (
            [0.02, 0.03, 0.03, 0.04],
            "MAE rises by 0.0300 (95 % interval of the change +0.0170 to +0.0430): "
            "M uses audio and vision.",
        ),
        (
            [-0.02, 0.03, -0.03, 0.04],
            "rises by 0.0050 (95 % interval of the change −0.0509 to +0.0609): it "
            "includes 0, so nothing here shows that M uses audio and vision.",
        ),
        (
            [-0.02, -0.03, -0.03, -0.04],
            "falls by 0.0300 (95 % interval of the change −0.0430 to −0.0170), for the "
            "better: what M takes from audio and vision misleads it on test.",
        ),
        (
            [0.02],
            "rises by 0.0200; with one seed there is no interval, so read it with",
        ),
        (
            [0.0, 0.0],
            "no metric changes at all: M's answers do not depend on audio and",
        ),
        ([1e-8, 1e-8], "no metric changes at all"),
        ([0.02, None], "no comparison, a test MAE is not known."),
    ],
)
def test_mean_absolute_error(changes, expected):
    found = said(changes)
    assert (
        found.startswith("With audio and vision of other samples") and expected in found
    )


def test_percent_and_higher_is_better():
    found = said([-0.03, -0.03, -0.02, -0.04], "two_class", "acc2_has0")
    assert "test Acc-2 Has0 falls by 3.00 points" in found
    assert "−4.30 points to −1.70 points): M uses audio" in found
    found = said([0.03, 0.03, 0.02, 0.04], "two_class", "acc2_has0")
    assert "rises by 3.00 points" in found and "misleads" in found


def test_one_metric_that_moves_is_a_change():
    both = cells([0.0, 0.0]) | cells([0.0, 0.01], "acc7")
    results = {"method": "M", "metrics_kind": "mosi"}
    assert "no metric" not in modality_use.sentence(results, CONTROL, both)


def test_the_page_has_a_section_where_the_run_has_controls(tmp_path):
    fake_run(tmp_path)
    report.write_report(tmp_path)
    assert TITLE not in (tmp_path / "report.html").read_text()
    path = tmp_path / "results.json"
    results = json.loads(path.read_text())
    rises = [0.1, 0.11, 0.12, 0.1, 0.1]
    of_mae, of_corr = cells(rises), cells([-x for x in rises], "corr")
    audio, vision = (f"{m} shuffled across test samples" for m in ("audio", "vision"))
    alone = {audio: cells([0.0] * 5), vision: cells([0.0] * 5)}
    controls = {CONTROL: of_mae | of_corr, **alone}
    path.write_text(json.dumps(results | {"controls": controls}))
    page = _Page(report.write_report(tmp_path).read_text())
    markdown = (tmp_path / "report.md").read_text()
    assert page.stack == [] and "None" not in page.text and "nan" not in page.text
    order = [
        "Result on the test split",
        TITLE,
        "Self-MM uses audio and vision.",
        "do not depend on audio.",
        "audio and vision shuffled",
        "Predicted against true",
    ]
    places = [page.text.find(words) for words in order]
    assert -1 not in places and places == sorted(places)
    section = modality_use.section(open_folder(tmp_path).results)
    assert section is not None
    assert section["heads"] == ["MAE", "Corr", "Acc-2 Non0", "Acc-7"]
    rows = {row["name"]: row["cells"] for row in section["rows"]}
    assert rows["audio and vision shuffled"][0] == "1.006 (+0.106 [0.095, 0.117])"
    assert rows["audio and vision shuffled"][1] == "0.794 (−0.106 [−0.117, −0.095])"
    assert rows["audio and vision shuffled"][2] == "–"
    assert rows["as it is"][0] == f"{results['test']['mae']['mean']:.3f}"
    assert f"## {TITLE}" in markdown and "1.006 (+0.106" in markdown


@pytest.mark.parametrize(
    "read, asked",
    [("vision", "vision"), ("text audio", "audio"), ("text", "text")],
)
def test_the_title_asks_for_nothing_that_is_not_read(read, asked):
    names = [f"{m} shuffled across test samples" for m in read.split()]
    assert modality_use.title(names) == f"Does it use {asked}?"
