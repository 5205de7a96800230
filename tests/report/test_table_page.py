"""The page of a results table: what it says, and what it must not say."""

import copy
import csv
import io
import re

import pytest
from made_up_tables import EVIL, SEEDS, TEN, WHY, made_up
from table_reading import TablePage, cells_of, rows_of, shown
from test_report import _Page, fake_run

from msa_jax import report
from msa_jax.evaluation import wording
from msa_jax.evaluation.results_table import Measure
from msa_jax.ground.errors import UserError
from msa_jax.report import latex, rendering, table_page, table_rows, table_sentences


@pytest.fixture(scope="module")
def six():
    return made_up()


@pytest.fixture(scope="module")
def written(six, tmp_path_factory):
    folder = tmp_path_factory.mktemp("six")
    assert report.write_table(folder, six) == folder / "table.html"
    return folder


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    """Two parts, other data than the paper's, enough seeds for significance.

    Without figures: those of such a table are drawn for test_table_files.py.
    """
    found = made_up(seeds=TEN, datasets=("mosi", "mosei"), comparable=False)
    folder = tmp_path_factory.mktemp("ten")
    with pytest.MonkeyPatch.context() as patch:
        nothing = rendering.Printed([], {}, {})
        patch.setattr(rendering, "printed", lambda figures: nothing)
        report.write_table(folder, found)
    return found, folder


def test_one_page_without_other_files(written):
    html = (written / "table.html").read_text()
    page = _Page(html)
    assert page.stack == [] and page.fetched == []
    assert "@import" not in html and not re.search(r"url\((?!#)", html)
    assert len(page.ids) == len(set(page.ids))
    words = page.text.lower().split()
    assert "nan" not in words and "none" not in {w.strip(",") for w in words[200:]}
    assert not list(written.rglob("*.tmp"))
    assert html.count("<svg ") == html.count('role="img"') == html.count("<figcaption>")
    assert {p.name for p in (written / "figures").iterdir()} == {
        *("values.png", "differences.png", "uses_audio_vision.png", "learning.png")
    }


def test_the_page_is_in_order(six, written):
    page = _Page((written / "table.html").read_text())
    order = [
        six["title"],
        "SUGRM, Table 4 · mosi · full budget",
        "Seeds 1111, 1112, 1113, 1114, 1115, 1116",
        "of 36 published values of all rows of ours, lie inside our 95 % intervals",
        "gave no value, so it has no mean",
        "Not finished: “without MRM”: unfinished: 5 of 6 seeds",
        "CMU-MOSI, unaligned",
        "the paper's method",
        "Controls: what audio and vision bring",
        "Trivial baselines, no method at all",
        "The paper does not say how many runs",
        "Every seed",
        "Differences to “Self-MM”",
        "Does it use audio and vision?",
        "Learning curves",
        "Statistics in words",
        "No difference is significant.",
        "Methods paragraph",
        six["methods_paragraph"],
        "What was run",
        "changes: model.sequence = 'spt'",
        "What the metrics mean",
    ]
    places, start = [], 0
    for words in order:
        start = page.text.find(words, start)
        places.append(start)
        assert start >= 0, words
    assert places == sorted(places)


def test_every_number_is_on_the_page(six, written):
    html = (written / "table.html").read_text()
    page = TablePage(html)
    by_name = rows_of(page)
    lines = {row["name"]: row for row in six["parts"][0]["rows"]}
    assert set(by_name) >= {
        " ".join([name, *_role(six, row)]) for name, row in lines.items()
    }
    for name, row in lines.items():
        texts = by_name[" ".join([name, *_role(six, row)])][2:]
        for text, column, cell in zip(
            texts, six["parts"][0]["columns"], row["cells"], strict=True
        ):
            if cell["mean"] is not None:
                mean, sd = shown(column, cell["mean"]), shown(column, cell["sd"])
                assert text.startswith(f"{mean} ± {sd} [")
                low, high = (shown(column, end) for end in cell["ci_seeds"])
                assert f"[{low}, {high}]" in text
            if cell["published"] is not None:
                assert cell["published"] in text
            if cell["mmsa"] is not None:
                assert f"MMSA {cell['mmsa']}" in text
    everything = page.text
    for _, _, column, cell in cells_of(six):
        for value in cell["per_seed"].values():
            if value is not None:
                assert shown(column, value, 1) in everything
        for ends in (cell["ci_seeds"], cell["ci_student"], cell["ci_samples"]):
            if ends is not None:
                low, high = (shown(column, end, 1) for end in ends)
                assert f"[{low}, {high}]" in everything
        if cell["iqm"] is not None:
            assert shown(column, cell["iqm"], 1) in everything
        if (against := cell["against"]) is not None:
            assert against["text"] in everything
            assert wording.p_value(against["p_seeds_holm"]) in everything
    for baseline in six["parts"][0]["baselines"]:
        texts = by_name[baseline["name"]][2:]
        for text, column in zip(texts, six["parts"][0]["columns"], strict=True):
            value = baseline["values"][column["key"]]
            assert text == ("–" if value is None else shown(column, value))


def _role(found, row):
    return (
        table_rows.groups(
            found, {"title": "", "columns": [], "rows": [row | {"cells": []}]}
        )[0]
        .rows[0]
        .role
    )


def test_what_a_pointer_that_rests_on_a_cell_says(six):
    (group, *_) = table_rows.groups(six, six["parts"][0])
    says = group.rows[1].cells[0].says.splitlines()
    cell = six["parts"][0]["rows"][1]["cells"][0]
    assert says[0] == f"seed 1111: {cell['per_seed']['1111']:.4f}"
    assert any(line.startswith("IQM 0.7") for line in says)
    assert says[-2] == cell["verdict"]["text"]
    assert says[-1] == f"against Self-MM: {cell['against']['text']}"


def test_nothing_is_bold_in_the_table(written, ten):
    for folder in (written, ten[1]):
        html = (folder / "table.html").read_text()
        for table in re.findall(r"<table class=\"results\".*?</section>", html, re.S):
            assert not re.search(r"<(b|strong|em|i)\b", table)
        markdown = (folder / "table.md").read_text()
        rows = [line for line in markdown.splitlines() if line.startswith("| ")]
        assert rows and not any("**" in line for line in rows)
        tex = (folder / "table.tex").read_text()
        assert r"\textbf" not in tex and r"\bf" not in tex


def test_only_significant_differences_are_called_so(ten):
    found, folder = ten
    expected = [
        cell["against"]["significant"]
        for *_, cell in cells_of(found)
        if cell["against"] is not None
    ]
    marked = [
        bool(cell.tested)
        for part in found["parts"]
        for group in table_rows.groups(found, part)
        for row in group.rows
        for cell in row.cells
        if row.kind != "baseline" and "against Self-MM" in cell.says
    ]
    assert any(expected) and not all(expected)
    assert sorted(marked) == sorted(expected)
    yes, no = sum(expected), len(expected) - sum(expected)
    assert len(table_sentences.significant_sentences(found)) == yes
    assert len(table_sentences.other_sentences(found)) == no
    html = (folder / "table.html").read_text()
    assert html.count('class="mark tested"') == yes
    assert f"The {no} differences that are not significant" in html


@pytest.mark.parametrize(
    "lower_is_better, difference, side",
    [(True, -0.1, "better"), (True, 0.1, "worse"), (False, 0.1, "better")],
)
def test_better_follows_the_metric(six, lower_is_better, difference, side):
    found = copy.deepcopy(six)
    part = found["parts"][0]
    part["columns"][0]["lower_is_better"] = lower_is_better
    test = part["rows"][1]["cells"][0]["against"]
    test |= {"significant": True, "difference": difference}
    cell = table_rows.groups(found, part)[0].rows[1].cells[0]
    assert cell.tested == f"significantly {side} than Self-MM"
    only = table_sentences.answer(found).split("; ")[1]
    word = "higher" if difference > 0 else "lower"
    assert only == (
        f"1 of 42 differences to “Self-MM” is significant: MAE of “+ MRM” is {word}."
    )


def test_rows_that_were_not_run(six, written):
    rows = rows_of(TablePage((written / "table.html").read_text()))
    published = rows["TE for SPT not run here, published values"]
    assert published[0] == "published" and published[2:4] == ["0.720", "0.802"]
    missing = rows["ULGM of Self-MM not run yet: no features of this kind here"]
    assert missing[0] == "ours" and missing[2] == "not run published 0.726"
    css = (written / "table.html").read_text()
    assert re.search(r"tr\.published > \* \{[^}]*color: var\(--muted\)", css)
    diverged = rows["LSTM for SPT"]
    assert diverged[2] == "no mean published 0.801 ✕ seed 1116 gave no value"


def test_a_verdict_is_an_icon_and_words(six, written):
    rows = rows_of(TablePage((written / "table.html").read_text()))
    by_kind = {
        "inside": "✓ published inside interval",
        "lower": "▼ lower than published",
        "higher": "▲ higher than published",
    }
    seen = set()
    for name, row in {r["name"]: r for r in six["parts"][0]["rows"]}.items():
        for text, cell in zip(
            rows[" ".join([name, *_role(six, row)])][2:], row["cells"], strict=True
        ):
            kind = cell["verdict"]["kind"]
            if kind in by_kind:
                assert text.endswith(by_kind[kind])
                seen.add(kind)
    assert seen == set(by_kind)


def test_the_warning_is_everywhere(ten):
    found, folder = ten
    warning = f"Not comparable with the published numbers: {WHY}."
    html = (folder / "table.html").read_text()
    assert table_sentences.answer(found).startswith("These numbers say nothing about")
    captions = re.findall(r"<caption>.*?</caption>", html, re.S)
    assert len(captions) == 2
    for caption in captions:
        assert _Page(caption).text.startswith(warning)
    assert re.search(r'class="warning big"[^>]*>Not comparable', html)
    first = html.index('class="warning big"')
    assert first < html.index("Caution.") < html.index("<table")
    tables = (folder / "table.md").read_text().split("\n## ")
    assert sum(WHY in part and "|---|" in part for part in tables) == 2
    tex = (folder / "table.tex").read_text()
    assert tex.count(rf"\caption{{{latex.escape(warning)}") == 2
    lines = list(csv.DictReader(io.StringIO((folder / "table.csv").read_text())))
    assert {line["warning"] for line in lines} == {warning}
    assert {line["comparable"] for line in lines} == {"no"}
    page = _Page(html)
    assert "published inside interval" not in page.text
    assert "≠ not comparable" in page.text


def test_no_warning_where_all_is_comparable(six, written):
    for name in ("table.html", "table.md", "table.tex", "table.csv"):
        assert "ot comparable" not in (written / name).read_text()
    assert table_sentences.warnings(six)[0] == six["warnings"][0]


def test_the_answer_counts_cells(six):
    kinds = [
        (row["name"], cell["verdict"]["kind"])
        for _, row, _, cell in cells_of(six)
        if cell["verdict"]["kind"] in ("inside", "lower", "higher")
    ]
    main = [kind for name, kind in kinds if name == "SUGRM"]
    inside = sum(kind == "inside" for _, kind in kinds)
    assert table_sentences.answer(six) == (
        f"{main.count('inside')} of {len(main)} published values of “SUGRM”, and "
        f"{inside} of {len(kinds)} published values of all rows of ours, lie inside "
        "our 95 % intervals over seeds; none of 42 differences to “Self-MM” is "
        "significant."
    )
    everything = tuple(row["name"] for row in six["parts"][0]["rows"])
    empty = made_up(missing=everything, controls=False, partly=(), lost="")
    assert table_sentences.answer(empty).startswith("None of our rows is finished")


def test_names_are_escaped(tmp_path):
    found = made_up(rows=("Self-MM", "SUGRM", "+ MRM"), controls=False, partly=())
    row = found["parts"][0]["rows"][1]
    found["parts"][0]["learning"] = {}
    row["name"] = EVIL
    found["title"] = f"<script>alert(1)</script> {EVIL}"
    report.write_table(tmp_path, found)
    html = (tmp_path / "table.html").read_text()
    assert "<script" not in html and "<b>" not in html
    assert EVIL in _Page(html).text and "<script>alert(1)</script>" in _Page(html).text
    assert r"\<b>&\_%$#{}~^\\ \[1] \| \*" in (tmp_path / "table.md").read_text()
    lines = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    assert {line["row"] for line in lines} >= {"'" + EVIL, "'+ MRM", "Self-MM"} - {
        "'+ MRM"
    }
    assert not any(
        text.startswith(tuple("=+@\t")) for line in lines for text in line.values()
    )


@pytest.mark.parametrize("seeds", [(7,), (7, 8), SEEDS])
def test_one_row_and_few_seeds(tmp_path, seeds):
    found = made_up(seeds=seeds, rows=("SUGRM",), controls=False)
    page = _Page(report.write_table(tmp_path, found).read_text())
    assert "No two rows could be tested" in page.text or len(seeds) > 1
    assert "Differences to" not in page.text
    assert ("○ no interval" in page.text) == (len(seeds) == 1)
    assert ("± " in page.text) and "nan" not in page.text.lower().split()


def test_many_rows_and_columns_are_divided_among_figures():
    found = made_up(seeds=(1, 2, 3))
    part = found["parts"][0]
    part["rows"] = [
        copy.deepcopy(row) | {"name": f"row {i} {row['name']}"}
        for i in range(2)
        for row in part["rows"]
    ]
    names = [drawn.name for drawn in table_page.draw(found)]
    assert names[:2] == ["values", "values_2"] and "differences_2" in names
    assert len(names) == len(set(names))


def test_parameters_are_no_metric(six):
    found = copy.deepcopy(six)
    part = found["parts"][0]
    part["columns"][0] |= {
        "reading": "parameters",
        "title": "Parameters",
        "decimals": 0,
        "percent": False,
    }
    cell = part["rows"][0]["cells"][0]
    cell |= {"mean": 1234567.0, "sd": None, "published": "1.2M", "ci_seeds": None}
    made = table_rows.groups(found, part)
    assert made[0].rows[0].cells[0].ours == "1,234,567"
    assert made[0].rows[0].cells[0].column == "Parameters"
    assert made[-1].rows[0].cells[0].ours == "–"  # no baseline has parameters
    list(table_page.draw(found))  # a published value that is no number is not drawn


@pytest.mark.parametrize(
    "value, text", [(-0.00001, "0.000"), (-0.0316, "−0.032"), (None, "–")]
)
def test_form(value, text):
    column = Measure(0, "mae", "MAE", False, True, 3)
    assert wording.form(column, value) == text


def test_figures_of_the_paper(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    fake_run(run, seeds=(1, 2))
    found = made_up(rows=("SUGRM",), controls=False)
    found["figures"] = [
        {"run": str(run), "name": "u_label_distributions"},
        {"run": str(run), "name": "no_such_figure"},
        {"run": str(tmp_path / "gone"), "name": "embedding"},
    ]
    html = report.write_table(tmp_path / "out", found).read_text()
    page = _Page(html)
    assert page.stack == [] and len(page.ids) == len(set(page.ids))
    assert "Figures of the paper, from our run" in page.text
    assert (tmp_path / "out/figures/paper_1_u_label_distributions.png").is_file()
    assert f"no_such_figure: {run} has no such figure" in page.text
    assert "embedding: no results.json in" in page.text


def test_another_schema_is_refused(tmp_path, six):
    with pytest.raises(UserError, match="a table of schema 2"):
        report.write_table(tmp_path / "x", six | {"schema": 2})
    assert not (tmp_path / "x").exists()
