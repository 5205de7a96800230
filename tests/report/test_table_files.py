"""A results table as LaTeX, CSV and markdown."""

import copy
import csv
import io
import json
import re
import shutil
import subprocess

import pytest
from made_up_tables import EVIL, TEN, made_up
from table_reading import cells_of, shown

from msa_jax import report
from msa_jax.evaluation import results_table
from msa_jax.report import latex, table_rows

SOME = ("Self-MM", "+ MRM", "SUGRM", "without MRM")


@pytest.fixture(scope="module")
def six():
    return made_up()


@pytest.fixture(scope="module")
def written(six, tmp_path_factory):
    folder = tmp_path_factory.mktemp("six")
    report.write_table(folder, six)
    return folder


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    """A table with two parts, in which something is significant."""
    folder = tmp_path_factory.mktemp("ten")
    report.write_table(
        folder, made_up(seeds=TEN, datasets=("mosi", "mosei"), rows=SOME)
    )
    return folder


@pytest.mark.parametrize(
    "value, guarded",
    [
        ("=1+1", "'=1+1"),
        (" =1", "' =1"),
        ("+ MRM", "'+ MRM"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("＝1", "'＝1"),
        ("-0.12", "-0.12"),
        (-0.12, -0.12),
        ("M, V", "M, V"),
        (None, None),
    ],
)
def test_formula_guard(value, guarded):
    assert table_rows._guard(value) == guarded


def test_csv_round_trip(six):
    lines = list(csv.DictReader(io.StringIO(table_rows.as_csv(six))))
    seeds, cells, trivial = (
        [line for line in lines if line["line"] == kind]
        for kind in ("seed", "cell", "baseline")
    )
    assert len(cells) == 11 * 6 and len(trivial) == 3 * 6
    it, per_seed = iter(cells), iter(seeds)
    for _, row, column, cell in cells_of(six):
        line = next(it)
        assert line["row"].lstrip("'") == row["name"] and line["key"] == column["key"]
        for name in ("mean", "sd", "iqm"):
            assert _number(line[name]) == cell[name]
        for name in ("ci_seeds", "ci_student", "ci_samples"):
            ends = [_number(line[f"{name}_{end}"]) for end in ("low", "high")]
            assert ends == (cell[name] or [None, None])
        assert line["published"] == (cell["published"] or "")
        assert line["mmsa"] == (cell["mmsa"] or "")
        assert line["verdict"] == cell["verdict"]["kind"]
        assert line["verdict_text"] == cell["verdict"]["text"]
        against = cell["against"] or {}
        for name in ("difference", "p_seeds", "p_samples", "p_seeds_holm"):
            assert _number(line[name]) == against.get(name)
        expected = {True: "yes", False: "no", None: ""}[against.get("significant")]
        assert line["significant"] == expected
        for seed, value in cell["per_seed"].items():
            line = next(per_seed)
            assert line["seed"] == seed and _number(line["value"]) == value
    assert next(per_seed, None) is None


def _number(text):
    return float(text) if text else None


@pytest.mark.parametrize(
    "text, tex",
    [
        ("a_b & 50% #1 {x}", r"a\_b \& 50\% \#1 \{x\}"),
        ("\\~^", r"\textbackslash{}\textasciitilde{}\textasciicircum{}"),
        ("“0.7 ± 0.1” − 1", r"``0.7 \ensuremath{\pm} 0.1'' \ensuremath{-} 1"),
        ("[x] *", "{[}x] {*}"),
        ("é ﬁ 中", "é fi ?"),
        ("two\nlines", "two lines"),
    ],
)
def test_latex_escape(text, tex):
    assert latex.escape(text) == tex


def test_latex_is_well_formed(written, ten):
    for folder in (written, ten):
        tex = (folder / "table.tex").read_text()
        assert tex.isascii()
        bare = re.sub(r"\\[\\{}]", "", tex.replace(r"\\", ""))
        depth = 0
        for character in bare:
            depth += {"{": 1, "}": -1}.get(character, 0)
            assert depth >= 0
        assert depth == 0
        ends = re.findall(r"\\(begin|end)\{(\w+\*?)\}", tex)
        stack = []
        for kind, name in ends:
            assert kind == "begin" or stack.pop() == name
            if kind == "begin":
                stack.append(name)
        assert stack == []
        for block in re.findall(
            r"\\begin\{tabular\}\{(l r*|lr*)\}(.*?)\\end", tex, re.S
        ):
            width = len(block[0])
            for line in block[1].splitlines():
                if line.endswith(r"\\"):
                    spans = sum(map(int, re.findall(r"multicolumn\{(\d+)\}", line)))
                    multi = line.count("multicolumn")
                    cells = len(re.findall(r"(?<!\\)&", line)) + 1
                    assert cells - multi + spans == width, line


def test_latex_says_what_the_page_says(six, written):
    tex = (written / "table.tex").read_text()
    for said in six["caption"]:
        assert latex.escape(said) in tex
    assert r"No difference to ``Self-MM'' is significant" in tex
    assert "Not finished: ``without MRM'': unfinished: 5 of 6 seeds" in tex
    for _, _, column, cell in cells_of(six):
        if cell["mean"] is not None:
            mean, sd = shown(column, cell["mean"]), shown(column, cell["sd"])
            assert rf"{mean} \ensuremath{{\pm}} {sd}" in tex
        if cell["published"]:
            assert f" {cell['published']} " in tex
    assert "Self-MM, as MMSA has it & -- & 0.708" in tex
    assert "TE for SPT & -- & 0.720" in tex


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles(written, ten, tmp_path):
    evil = made_up(rows=("Self-MM", "SUGRM"), controls=False)
    evil["parts"][0]["rows"][1]["name"] = f"[{EVIL} é 中"
    (tmp_path / "evil.tex").write_text(
        report.write_table(tmp_path, evil).with_name("table.tex").read_text()
    )
    for i, source in enumerate(
        (written / "table.tex", ten / "table.tex", tmp_path / "evil.tex")
    ):
        (tmp_path / f"t{i}.tex").write_text(
            "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n"
            f"\\begin{{document}}\n\\input{{{source}}}\n\\end{{document}}\n"
        )
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"t{i}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:]


def test_markdown_and_methods(six, written):
    markdown = (written / "table.md").read_text()
    for picture in re.findall(r"\]\((figures/.*?\.png)\)", markdown):
        assert (written / picture).read_bytes().startswith(b"\x89PNG")
    assert markdown.count("](figures/") == 4
    for _, _, column, cell in cells_of(six):
        if cell["mean"] is not None:
            mean, sd = shown(column, cell["mean"]), shown(column, cell["sd"])
            assert f"{mean} ± {sd}" in markdown
    escaped = six["methods_paragraph"].replace("_", r"\_")
    assert escaped in markdown
    paragraph = (written / "methods.txt").read_text()
    assert paragraph == six["methods_paragraph"] + "\n"


def test_the_same_table_gives_the_same_files(six, written, tmp_path):
    report.write_table(tmp_path, json.loads(json.dumps(six)))
    for file in (p for p in written.rglob("*") if p.is_file()):
        again = tmp_path / file.relative_to(written)
        assert again.read_bytes() == file.read_bytes(), file.name


def test_a_number_more_in_a_cell_is_in_csv_and_details(six, monkeypatch):
    """`NUMBERS` and `INTERVALS` say what a cell holds; nothing else lists them."""
    monkeypatch.setitem(table_rows.NUMBERS, "median", "median of seeds")
    monkeypatch.setitem(table_rows.INTERVALS, "ci_range", "least to largest")
    found = copy.deepcopy(six)
    for *_, cell in cells_of(found):
        cell |= {"median": 0.25, "ci_range": [0.125, 0.5]}
    (first, *_) = csv.DictReader(io.StringIO(table_rows.as_csv(found)))
    lines = csv.DictReader(io.StringIO(table_rows.as_csv(found)))
    cells = [line for line in lines if line["line"] == "cell"]
    assert {line["median"] for line in cells} == {"0.25"} and first["median"] == ""
    assert {line["ci_range_high"] for line in cells} == {"0.5"}
    details = dict(table_rows.groups(found, found["parts"][0])[0].rows[0].lines)
    assert details["median of seeds"][0] == "0.2500"
    assert details["least to largest"][0] == "[0.1250, 0.5000]"
    known = {*results_table.NUMBERS, *results_table.INTERVALS} - {"median", "ci_range"}
    made = results_table.make_cell(0, {"kind": "not_run", "text": "not run"})
    assert (
        known
        <= made.keys()
        == results_table.Cell.__annotations__.keys()
        | {
            "median",
            "ci_range",
        }
    )
