"""What a cell and a row of a results table say, as text and as CSV (docs/tables.md)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from msa_jax.evaluation.results_table import (
    INTERVALS,
    NUMBERS,
    Against,
    Baseline,
    Cell,
    Measure,
    Part,
    Row,
    Table,
    baselines_of,
    measures_of,
)
from msa_jax.evaluation.wording import (
    NOTHING,
    form,
    form_interval,
    minus,
    p_value,
)

# Icon and words of each verdict (kind of `verdict` in table.json).
MARKS = {
    "inside": ("✓", "published inside interval"),
    "lower": ("▼", "lower than published"),
    "higher": ("▲", "higher than published"),
    "no_interval": ("○", "no interval to judge by"),
    "other_data": ("≠", "not comparable"),
    "no_published": ("", "nothing published"),
    "not_run": ("…", "not run"),
}
# What makes a spreadsheet run a text as a formula, wide forms included.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
GUARD = "'"
_P_VALUES = {
    "p_seeds": "p over seeds",
    "p_samples": "p over test samples",
    "p_seeds_holm": "p over seeds, Holm",
    "p_samples_holm": "p over test samples, Holm",
}
Pairs = Sequence[tuple[Measure, Cell]]
Lines = tuple[tuple[str, tuple[str, ...]], ...]


class PrintedCell(NamedTuple):
    """One metric of one row.

    ours: mean ± sd, or what stands in its place.
    interval: over seeds, "" without one.
    kind, icon, words: of the verdict; words are "" where there is nothing to judge.
    tested: a few words if the difference to the reference is significant, else "".
    says: all of it in plain lines.
    """

    column: str
    ours: str
    interval: str = ""
    published: str = ""
    mmsa: str = ""
    kind: str = "baseline"
    icon: str = ""
    words: str = ""
    tested: str = ""
    says: str = ""


class PrintedRow(NamedTuple):
    """One row.

    kind: "ours", "control", "published" or "baseline".
    role: what stands under its name: its part in the tests, its state.
    lines: of its details, (name, a text per column); empty if there are none.
    """

    name: str
    kind: str
    role: tuple[str, ...]
    cells: tuple[PrintedCell, ...]
    lines: Lines


class Group(NamedTuple):
    """Rows that belong together; the first group has no title."""

    title: str
    rows: tuple[PrintedRow, ...]


def form_spread(column: Measure, cell: Cell) -> str:
    """Write mean ± sd; the mean alone for one seed; "–" if there is no mean."""
    mean = form(column, cell["mean"])
    if cell["mean"] is None or cell["sd"] is None:
        return mean
    return f"{mean} ± {form(column, cell['sd'])}"


def heads(part: Part) -> list[dict[str, str]]:
    """Return title, arrow and unit of each column."""
    return [
        {
            "title": column.title,
            "arrow": arrow(column),
            "unit": "%" if column.percent else "",
        }
        for column in measures_of(part)
    ]


def arrow(column: Measure) -> str:
    """Say which direction is better; nothing for a column that is no metric."""
    if column.reading in ("parameters", "sd"):
        return ""
    return "↓" if column.lower_is_better else "↑"


def groups(table: Table, part: Part) -> list[Group]:
    """Arrange the rows of a part: the paper's order, then controls, then baselines."""
    columns = measures_of(part)
    own = [_row(table, columns, row) for row in part["rows"]]
    controls = tuple(row for row in own if row.kind == "control")
    trivial = tuple(_baseline(columns, b) for b in baselines_of(table, part))
    made = [
        Group("", tuple(row for row in own if row.kind != "control")),
        Group("Controls: what audio and vision bring", controls),
        Group("Trivial baselines, no method at all", trivial),
    ]
    return [group for group in made if group.rows]


def ran(row: Row) -> bool:
    """Tell whether anything of a row was run."""
    return row["state"] in ("finished", "partly")


def lost(cell: Cell) -> list[str]:
    """Return the seeds of a cell that have no finite value."""
    return [seed for seed, value in cell["per_seed"].items() if value is None]


def side_of(column: Measure, against: Against) -> str:
    """Say to which side a significant difference goes: "better" or "worse"."""
    lower = (against["difference"] or 0) < 0
    return "better" if lower == column.lower_is_better else "worse"


def state_of(row: Row) -> str:
    """Say how far a row is; "" for a finished one."""
    why = f": {said}" if (said := row.get("why")) else ""
    match row["state"]:
        case "published":
            return "not run here, published values"
        case "missing":
            return f"not run yet{why}"
        case "partly":
            done, all_ = len(row["seeds"]), len(row["wanted"])
            return f"unfinished: {done} of {all_} seeds{why}"
    return ""


def as_csv(table: Table) -> str:
    """Return the table as CSV: natural units, full precision, published as printed.

    The column `line` is "seed" (has `value`), "cell" (has everything else) or
    "baseline". A text that a spreadsheet would run as a formula begins with `GUARD`.
    """
    import pandas

    whole = {
        "comparable": "yes" if table["comparable"] else "no",
        "warning": not_comparable(table),
    }
    lines = [
        {name: _guard(value) for name, value in (line | whole).items()}
        for part in table["parts"]
        for line in _csv(table, part)
    ]
    cell = [*NUMBERS, *(end for name in INTERVALS for end in _ends(name, None))]
    test = ["difference"]
    for name in ("difference_ci_seeds", "difference_ci_samples"):
        test += _ends(name, None)
    fields = (
        "line dataset row row_kind state column key seed value".split()
        + [*cell, "published", "mmsa", "verdict", "verdict_text", "against", *test]
        + ["n_seeds", *_P_VALUES, "significant", *whole]
    )
    frame = pandas.DataFrame(lines, columns=fields, dtype=object)
    return frame.to_csv(index=False, lineterminator="\n")


def not_comparable(table: Table) -> str:
    """Say why ours must not be held against the published values; "" if they may."""
    if table["comparable"]:
        return ""
    why = table["comparable_why"].strip().rstrip(".")
    return f"Not comparable with the published numbers: {why}."


def _row(table: Table, columns: Sequence[Measure], row: Row) -> PrintedRow:
    pairs = list(zip(columns, row["cells"], strict=True))
    cells = tuple(_cell(table, row, column, cell) for column, cell in pairs)
    lines = _lines(table, row, pairs) if ran(row) else ()
    return PrintedRow(row["name"], row["kind"], tuple(_role(table, row)), cells, lines)


def _role(table: Table, row: Row) -> list[str]:
    ours = row["kind"] == "ours" and table["kind"] == "table"
    said = ["the paper's method"] if ours and row["name"] == table["main"] else []
    if row["name"] == table["against"]:
        said.append("reference of the tests")
    return said + [state] if (state := state_of(row)) else said


def _cell(table: Table, row: Row, column: Measure, cell: Cell) -> PrintedCell:
    gone = lost(cell)
    kind = cell["verdict"]["kind"]
    icon, words = MARKS[kind]
    ours = form_spread(column, cell)
    if not ran(row):
        ours = "" if row["kind"] == "published" else "not run"
        icon, words = "", ""
    elif gone:
        ours = "no mean"
        icon, words = "✕", f"seed {', '.join(gone)} gave no value"
    elif kind == "no_published" and (
        table["kind"] == "comparison" or row["kind"] == "control"
    ):
        icon, words = "", ""
    against, tested = cell["against"], ""
    if against is not None and against["significant"]:
        side = side_of(column, against)
        tested = f"significantly {side} than {against['row']}"
    interval = form_interval(column, cell["ci_seeds"])
    return PrintedCell(
        f"{column.title} {arrow(column)}".strip(),
        ours,
        "" if interval == NOTHING else interval,
        "" if cell["published"] is None else minus(cell["published"]),
        "" if cell["mmsa"] is None else minus(cell["mmsa"]),
        kind,
        icon,
        words,
        tested,
        _tooltip(column, cell) if ran(row) else "",
    )


def _tooltip(column: Measure, cell: Cell) -> str:
    """Say everything of a cell in lines, for a pointer that rests on it."""
    lines = [f"seed {s}: {form(column, v, 1)}" for s, v in cell["per_seed"].items()]
    lines += [
        f"IQM {form(column, cell['iqm'], 1)}",
        f"95 % over seeds {form_interval(column, cell['ci_seeds'], 1)}",
        f"95 % over test samples {form_interval(column, cell['ci_samples'], 1)}",
        "" if cell["verdict"]["kind"] == "no_published" else cell["verdict"]["text"],
    ]
    if (against := cell["against"]) is not None:
        lines.append(f"against {against['row']}: {against['text']}")
    return "\n".join(line for line in lines if line)


def _lines(table: Table, row: Row, pairs: Pairs) -> Lines:
    """Return the details of a row: every seed, its numbers, intervals, tests."""

    def each(write: Callable[[Measure, Any], str]) -> tuple[str, ...]:
        return tuple(write(column, cell) for column, cell in pairs)

    seeds = dict.fromkeys(seed for _, cell in pairs for seed in cell["per_seed"])
    lines = {
        f"seed {s}": each(lambda c, x, s=s: form(c, x["per_seed"].get(s), 1))
        for s in seeds
    }
    for name, title in NUMBERS.items():
        lines[title] = each(lambda c, x, name=name: form(c, x[name], 1))
    for name, title in INTERVALS.items():
        known = any(cell.get(name) is not None for _, cell in pairs)
        if known or name in Cell.__required_keys__:
            lines[title] = each(
                lambda c, x, name=name: form_interval(c, x.get(name), 1)
            )
    if table["kind"] == "table" and row["kind"] != "control":
        lines["published"] = each(lambda _, x: minus(x["published"]))
        if any(cell["mmsa"] is not None for _, cell in pairs):
            lines["MMSA"] = each(lambda _, x: minus(x["mmsa"]))
        lines["verdict"] = each(lambda _, x: x["verdict"]["text"])
    tests = [cell["against"] for _, cell in pairs if cell["against"] is not None]
    found = tuple(lines.items())
    return found + _test_lines(tests[0]["row"], pairs) if tests else found


def _test_lines(name: str, pairs: Pairs) -> Lines:
    """Return the lines of the tests against a row."""

    def each(write: Callable[[Measure, Any], str]) -> tuple[str, ...]:
        against = [(column, cell["against"]) for column, cell in pairs]
        return tuple(NOTHING if a is None else write(c, a) for c, a in against)

    def interval(key: str) -> tuple[str, ...]:
        return each(lambda c, a: form_interval(c, a[key], 1, signed=True))

    return (
        (f"minus {name}", each(lambda c, a: form(c, a["difference"], 1, signed=True))),
        ("… 95 % over seeds", interval("ci_seeds")),
        ("… 95 % over test samples", interval("ci_samples")),
        *(
            (title, each(lambda _, a, key=key: p_value(a[key])))
            for key, title in _P_VALUES.items()
        ),
        ("both below .05", each(lambda _, a: "yes" if a["significant"] else "no")),
    )


def _baseline(columns: Sequence[Measure], baseline: Baseline) -> PrintedRow:
    values = baseline["values"]
    cells = tuple(
        PrintedCell(
            f"{column.title} {arrow(column)}".strip(),
            form(column, values.get(column.key))
            if column.reading == "mean"
            else NOTHING,
        )
        for column in columns
    )
    return PrintedRow(baseline["name"], "baseline", (), cells, ())


def _csv(table: Table, part: Part) -> list[dict[str, Any]]:
    lines, columns = [], measures_of(part)
    for row in part["rows"]:
        for column, cell in zip(columns, row["cells"], strict=True):
            place = {
                "dataset": part["dataset"],
                "row": row["name"],
                "row_kind": row["kind"],
                "state": row["state"],
                "column": column.title,
                "key": column.key,
            }
            lines += [
                place | {"line": "seed", "seed": int(seed), "value": value}
                for seed, value in cell["per_seed"].items()
            ]
            lines.append(place | {"line": "cell"} | _csv_cell(cell))
    for baseline in baselines_of(table, part):
        lines += [
            {
                "line": "baseline",
                "dataset": part["dataset"],
                "row": baseline["name"],
                "row_kind": "baseline",
                "column": column.title,
                "key": column.key,
                "value": baseline["values"].get(column.key),
            }
            for column in columns
        ]
    return lines


def _csv_cell(cell: Cell) -> dict[str, Any]:
    line: dict[str, Any] = {
        name: cell[name] for name in (*NUMBERS, "published", "mmsa")
    }
    for name in INTERVALS:
        line |= _ends(name, cell.get(name))
    line["verdict"] = cell["verdict"]["kind"]
    line["verdict_text"] = cell["verdict"]["text"]
    if (against := cell["against"]) is not None:
        line |= {name: against[name] for name in ("difference", "n_seeds", *_P_VALUES)}
        line["against"] = against["row"]
        line["significant"] = "yes" if against["significant"] else "no"
        line |= _ends("difference_ci_seeds", against["ci_seeds"])
        line |= _ends("difference_ci_samples", against["ci_samples"])
    return line


def _ends(name: str, ends: Any) -> dict[str, Any]:
    low, high = ends or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def _guard(value: Any) -> Any:
    """Keep a text from being run as a formula; numbers stay numbers."""
    if not isinstance(value, str) or not value.lstrip(" ").startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return GUARD + value
    return value
