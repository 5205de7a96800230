"""A results table as LaTeX (booktabs): escaped text, rows and caption."""

import unicodedata
from typing import Any

from msa_jax.report import table_rows, table_words

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


def describe(found: dict[str, Any]) -> dict[str, Any]:
    """Return what table.tex.j2 fills in, escaped."""
    return {"tables": [_table(found, i) for i in range(len(found["parts"]))]}


def _table(found: dict[str, Any], place: int) -> dict[str, Any]:
    part = found["parts"][place]
    made = table_rows.groups(found, part)
    rows = [row for group in made for row in group.rows]
    shown = [
        _shown([row.cells[i] for row in rows]) for i in range(len(part["columns"]))
    ]
    top, rules, second, start = [], [], [], 2
    for head, names in zip(table_rows.heads(part), shown, strict=True):
        title = " ".join(filter(None, (head["title"], head["arrow"])))
        unit = f" ({head['unit']})" if head["unit"] else ""
        stop = start + len(names) - 1
        top.append(rf"\multicolumn{{{len(names)}}}{{c}}{{{escape(title + unit)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{stop}}}")
        second += names
        start = stop + 1
    paper = f"{found['paper']}:{found['table']}".strip(":") or "comparison"
    return {
        "caption": " ".join(escape(line) for line in _caption(found, part)),
        "label": "".join(c for c in f"tab:{paper}:{place}" if c.isalnum() or c in ":-"),
        "columns": "l" + "r" * (start - 2),
        "top": " & ".join(["", *top]),
        "rules": "".join(rules) if max(map(len, shown)) > 1 else "",
        "second": " & ".join(["", *second]) if max(map(len, shown)) > 1 else "",
        "groups": [[_line(row, shown) for row in group.rows] for group in made],
    }


def _shown(cells: list[table_rows.Cell]) -> tuple[str, ...]:
    """Choose the columns under one metric: ours, the paper's, MMSA's."""
    names = ["ours"]
    names += ["paper"] if any(cell.published for cell in cells) else []
    names += ["MMSA"] if any(cell.mmsa for cell in cells) else []
    return tuple(names)


def _line(row: table_rows.Row, shown: list[tuple[str, ...]]) -> str:
    texts = [escape(row.name)]
    for cell, names in zip(row.cells, shown, strict=True):
        own = {"ours": cell.ours, "paper": cell.published, "MMSA": cell.mmsa}
        texts += [escape(own[name] or table_rows.NOTHING) for name in names]
    return " & ".join(texts)


def _caption(found: dict[str, Any], part: dict[str, Any]) -> list[str]:
    title = found["title"].rstrip(".")
    said = table_words.caption(found, part)
    warning = said[:1] if table_words.not_comparable(found) else []
    rest = said[len(warning) :]
    where = f"{title} ({part['title']})." if part["title"] else f"{title}."
    # Last, so that no reader takes a difference for more than it is.
    yes = table_words.significant_sentences(found | {"parts": [part]})
    tests = [a for row in part["rows"] for c in row["cells"] if (a := c["against"])]
    closing = []
    if tests:
        closing = yes or [
            f"No difference to “{found['against']}” is significant (both corrected "
            "p-values below .05)."
        ]
        closing += ["No other difference is significant."] if yes else []
    return [*warning, where, *rest, *closing]
