"""A results table as LaTeX (booktabs): escaped text, rows and caption."""

import itertools
import unicodedata
from typing import Any

from msa_jax.evaluation.results_table import Part, Table, measures_of
from msa_jax.evaluation.wording import NOTHING
from msa_jax.report import table_rows, table_sentences

_BESIDE = 6  # columns of numbers beside each other; more make a second tabular
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
    "|": r"\ensuremath{|}",
    "[": "{[}",  # after \\ it would begin an option
    "*": "{*}",  # the same
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "−": r"\ensuremath{-}",
    "≤": r"\ensuremath{\leq}",
    "≥": r"\ensuremath{\geq}",
    "≠": r"\ensuremath{\neq}",
    "≈": r"\ensuremath{\approx}",
    "→": r"\ensuremath{\rightarrow}",
    "↓": r"\ensuremath{\downarrow}",
    "↑": r"\ensuremath{\uparrow}",
    "ⁿ": r"\ensuremath{^n}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    '"': "''",
    "\N{NO-BREAK SPACE}": "~",
}


def escape(text: Any) -> str:
    """Make any text one line that LaTeX prints as it stands.

    What is neither here nor a letter of Latin-1 loses its accents, or becomes "?":
    pdflatex would stop at it.
    """
    line = " ".join(str(text).split())
    return "".join(_SPECIAL.get(c) or _plain(c) for c in line)


def _plain(character: str) -> str:
    if character.isascii():
        return character
    if character.isalpha() and ord(character) < 256:
        return character
    bare = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(_SPECIAL.get(c, c) for c in bare if c.isprintable()) or "?"


def tabulars(table: Table) -> dict[str, Any]:
    """Return what table.tex.j2 fills in, escaped."""
    return {"tables": [_table(table, i) for i in range(len(table["parts"]))]}


def _table(table: Table, place: int) -> dict[str, Any]:
    part = table["parts"][place]
    made = table_rows.groups(table, part)
    cells = [cell for group in made for row in group.rows for cell in row.cells]
    names = ("ours",)
    if any(cell.published or cell.mmsa for cell in cells):
        names = ("ours", "paper")
    count = len(part["columns"])
    blocks = -(-count // (_BESIDE // len(names)))
    ends = [round(i * count / blocks) for i in range(blocks + 1)]
    paper = f"{table['paper']}:{table['table']}".strip(":") or "comparison"
    return {
        "caption": " ".join(escape(line) for line in _caption(table, part)),
        "note": escape(_note(table, part)),
        "label": "".join(c for c in f"tab:{paper}:{place}" if c.isalnum() or c in ":-"),
        "blocks": [
            _block(part, made, names, range(start, stop))
            for start, stop in itertools.pairwise(ends)
        ],
    }


def _block(
    part: Part,
    made: list[table_rows.Group],
    names: tuple[str, ...],
    columns: range,
) -> dict[str, Any]:
    """Return one tabular: some columns of all rows."""
    several = len(names) > 1
    top, rules = [], []
    for k, i in enumerate(columns):
        head = table_rows.heads(part)[i]
        title = " ".join(filter(None, (head["title"], head["arrow"])))
        unit = f" ({head['unit']})" if head["unit"] else ""
        top.append(rf"\multicolumn{{{len(names)}}}{{c}}{{{escape(title + unit)}}}")
        start = 2 + k * len(names)
        rules.append(rf"\cmidrule(lr){{{start}-{start + len(names) - 1}}}")
    return {
        "columns": "l" + "r" * (len(names) * len(columns)),
        "top": " & ".join(["", *top]),
        "rules": "".join(rules) if several else "",
        "second": " & ".join(["", *names * len(columns)]) if several else "",
        "groups": [
            [line for row in group.rows for line in _lines(row, columns, len(names))]
            for group in made
        ],
    }


def _lines(row: table_rows.PrintedRow, columns: range, width: int) -> list[str]:
    """Write a row; below it MMSA's values, where there are any."""
    cells = [row.cells[i] for i in columns]
    lines = [_line(row.name, [(cell.ours, cell.published) for cell in cells], width)]
    if any(cell.mmsa for cell in cells):
        values = [("", cell.mmsa) for cell in cells]
        lines.append(_line(f"{row.name}, as MMSA has it", values, width))
    return lines


def _line(name: str, values: list[tuple[str, str]], width: int) -> str:
    texts = [escape(name)]
    for pair in values:
        texts += [escape(text or NOTHING) for text in pair[:width]]
    return " & ".join(texts)


def _caption(table: Table, part: Part) -> list[str]:
    title = table["title"].rstrip(".")
    said = table_sentences.caption(table, part)
    warning = said[:1] if table_rows.not_comparable(table) else []
    rest = said[len(warning) :]
    where = f"{title} ({part['title']})." if part["title"] else f"{title}."
    state = table_sentences.unfinished({**table, "parts": [part]})
    return [*warning, where, *rest, *([state] if state else [])]


def _note(table: Table, part: Part) -> str:
    """Say which differences are significant; below the table, as it may be long."""
    tests = [
        (measures_of(part)[cell["column"]].title, row["name"], cell["against"])
        for row in part["rows"]
        for cell in row["cells"]
        if cell["against"] is not None
    ]
    if not tests:
        return ""
    rule = "both Holm-corrected p-values below .05"
    rows: dict[str, list[str]] = {}
    for title, name, test in tests:
        if test["significant"]:
            rows.setdefault(title, []).append(name)
    if not rows:
        return f"No difference to “{table['against']}” is significant ({rule})."
    listed = "; ".join(
        f"in {title}: {', '.join(names)}" for title, names in rows.items()
    )
    return (
        f"Significantly different from “{table['against']}” ({rule}) {listed}. No "
        "other difference is significant."
    )
