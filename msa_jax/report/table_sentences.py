"""The sentences around a results table: its answer, warnings, tests, what was run."""

from collections.abc import Iterator

from msa_jax.evaluation import wording
from msa_jax.evaluation.metric_names import METRICS
from msa_jax.evaluation.results_table import (
    Against,
    Cell,
    Measure,
    Part,
    Row,
    Table,
    measures_of,
)
from msa_jax.evaluation.wording import count
from msa_jax.report import table_rows
from msa_jax.report.table_rows import not_comparable

_FEW = 10  # seeds, below which the bootstrap interval is too narrow
_LISTED = 3  # significant differences that the answer names
_JUDGED = ("inside", "lower", "higher")

TERMS = (
    (
        "mean ± sd",
        "Over seeds; sd is the sample standard deviation (n − 1). No mean is given "
        "over the seeds that are left when one diverged: it would flatter the method.",
    ),
    (
        "IQM",
        "Interquartile mean: the mean of the middle half of the seeds, which one odd "
        "seed does not move.",
    ),
    (
        "95 % interval over seeds",
        "BCa bootstrap of the mean: how far it would move with other seeds, the test "
        "samples staying the same. Of fewer than ten seeds it is too narrow; Student's "
        "t interval, in the details and thin in the figure, is the one to read.",
    ),
    (
        "95 % interval over test samples",
        "Bootstrap: how far the mean would move with other test samples, the seeds "
        "staying the same. On small test sets it is often the wider one.",
    ),
    (
        "Published value inside the interval",
        "Our mean is as near to the published value as the chance of seeds allows. It "
        "does not say that the two are equal, nor that either is right.",
    ),
    (
        "p over seeds",
        "Exact sign-flip test of the differences, paired by seed, two-sided. With n "
        "seeds it cannot be below 2 / 2ⁿ.",
    ),
    (
        "p over test samples",
        "Permutation test that swaps the two systems' answers sample by sample, "
        "two-sided.",
    ),
    (
        "Holm",
        "p-values of a column are corrected for the number of rows tested in it. A "
        "difference is called significant if both corrected values are below .05. "
        "That a difference is not significant does not show that there is none.",
    ),
)


def answer(table: Table) -> str:
    """Say in one sentence what the table shows."""
    ours = [(row, cell) for _, row, cell in _cells(table) if row["kind"] == "ours"]
    known = [(row, cell) for row, cell in ours if cell["mean"] is not None]
    if not known:
        return "None of our rows is finished: there are published values only."
    tests = _tests_sentence(table)
    if table["kind"] == "comparison":
        return _row_by_row(table) or _upper(tests)
    if not table["comparable"]:
        return f"These numbers say nothing about the published ones; {tests}"
    judged = [(row, c) for row, c in known if c["verdict"]["kind"] in _JUDGED]
    main = [(row, c) for row, c in judged if row["name"] == table["main"]]
    if not judged:
        return _upper(tests)
    said = f"{_inside(judged)} of all rows of ours"
    if main and len(main) < len(judged):
        said = f"{_inside(main)} of “{table['main']}”, and {said},"
    return f"{said} lie inside our 95 % intervals over seeds; {tests}"


def _row_by_row(table: Table) -> str:
    """Say of every row in how many metrics it differs; "" for none or many rows."""
    rows: dict[str, list[str]] = {}
    for column, row, test in _tested(table):
        if test["difference"] is not None:
            side = table_rows.side_of(column, test) if test["significant"] else ""
            rows.setdefault(row["name"], []).append(side)
    if not 0 < len(rows) <= _LISTED:
        return ""
    said = []
    for name, sides in rows.items():
        words = [
            f"significantly {side} in {sides.count(side)}"
            for side in ("better", "worse")
            if side in sides
        ]
        of = count(len(sides), "metric")
        differs = f"{' and '.join(words)} of {of}" if words else "not significantly "
        said.append(
            f"“{name}” is {differs}{'' if words else f'different in any of {of}'}"
        )
    return f"Against “{table['against']}”: {', '.join(said)}."


def _inside(judged: list[tuple[Row, Cell]]) -> str:
    met = sum(cell["verdict"]["kind"] == "inside" for _, cell in judged)
    return f"{met} of {count(len(judged), 'published value')}"


def _tests_sentence(table: Table) -> str:
    tests = list(_tested(table))
    if not tests:
        return "no two rows could be tested against each other."
    yes = [place for place in tests if place[2]["significant"]]
    verb = "is" if len(yes) in (0, 1) else "are"
    listed = ""
    if 0 < len(yes) <= _LISTED:
        words = [
            f"{column.title} of “{row['name']}” is "
            f"{'higher' if (test['difference'] or 0) > 0 else 'lower'}"
            for column, row, test in yes
        ]
        listed = f": {', '.join(words)}"
    return (
        f"{len(yes) or 'none'} of {count(len(tests), 'difference')} to "
        f"“{table['against']}” {verb} significant{listed}."
    )


def warnings(table: Table) -> list[str]:
    """Return what a reader must know before believing the numbers, the worst first.

    The first is that of `not_comparable`, if there is one.
    """
    said = [not_comparable(table), *table["warnings"], unfinished(table)]
    return [line for line in said if line]


def _place(table: Table, part: Part, row: Row) -> str:
    where = f" ({part['title']})" if len(table["parts"]) > 1 else ""
    return f"“{row['name']}”{where}"


def unfinished(table: Table) -> str:
    """Name rows of ours that are not finished; "" if all are."""
    rows = [
        f"{_place(table, part, row)}: {state}"
        for part in table["parts"]
        for row in part["rows"]
        if row["kind"] != "published" and (state := table_rows.state_of(row))
    ]
    return f"Not finished: {'; '.join(rows)}." if rows else ""


def caption(table: Table, part: Part) -> list[str]:
    """Return the sentences of a table's caption; a warning comes first."""
    said = [not_comparable(table), part["label_note"], *table["caption"]]
    return [line for line in dict.fromkeys(said) if line]


def how_to_read(table: Table, part: Part) -> str:
    """Explain what stands in a cell."""
    units = "Columns with % are in percent, the others in natural units. "
    arrows = "↓ lower is better, ↑ higher is better."
    if len(table["seeds"]) < _FEW:
        arrows += (
            f" With fewer than {_FEW} seeds the interval is too narrow: Student's t "
            "interval, among the details of a row, is the one to read."
        )
    if table["kind"] == "comparison":
        return f"Mean ± sd over seeds, below it the 95 % interval. {units}{arrows}"
    mmsa = any(c["mmsa"] is not None for row in part["rows"] for c in row["cells"])
    also = " and, where there is one, MMSA's" if mmsa else ""
    return (
        "Ours as mean ± sd over seeds, below it the 95 % interval over seeds, the "
        f"published value{also}, and a verdict. {units}{arrows}"
    )


def significant_sentences(table: Table) -> list[str]:
    """Return what may be said of each significant difference."""
    return [_test(*place) for place in _tested(table) if place[2]["significant"]]


def other_sentences(table: Table) -> list[str]:
    """Return the same of the others: not significant, or not to be tested."""
    return [_test(*place) for place in _tested(table) if not place[2]["significant"]]


def _tested(
    table: Table,
) -> Iterator[tuple[Measure, Row, Against]]:
    for part, row, cell in _cells(table):
        if (against := cell["against"]) is not None:
            yield measures_of(part)[cell["column"]], row, against


def _test(column: Measure, row: Row, test: Against) -> str:
    text = test["text"].rstrip(".")
    return f"{column.title}, “{row['name']}” against “{test['row']}”: {text}."


def verdict_counts(table: Table) -> list[str]:
    """Say per column in which rows the published value was met."""
    said = []
    for part in table["parts"]:
        for i, column in enumerate(measures_of(part)):
            rows: dict[str, list[str]] = {}
            for row in part["rows"]:
                kind = row["cells"][i]["verdict"]["kind"]
                if row["kind"] == "ours" and row["cells"][i]["mean"] is not None:
                    rows.setdefault(kind, []).append(f"“{row['name']}”")
            shown = [k for k in _JUDGED if k in rows]
            if shown:
                where = f"{part['title']}, " if len(table["parts"]) > 1 else ""
                lines = [f"{_WHERE[k]} in {', '.join(rows[k])}" for k in shown]
                said.append(f"{where}{column.title}: {'; '.join(lines)}.")
    return said


_WHERE = {
    "inside": "the published value lies inside our interval",
    "lower": "ours is lower",
    "higher": "ours is higher",
}


def glossary(table: Table) -> list[tuple[str, str]]:
    """Explain the metrics of all columns, where the table says which they are."""
    known = {(kind, m.key): m.meaning for kind, all_ in METRICS.items() for m in all_}
    said = {}
    for part in table["parts"]:
        for column in measures_of(part):
            key = (column.metrics_kind, column.key)
            if key in known:
                said.setdefault(column.title, known[key])
    return list(said.items())


def facts(table: Table) -> list[tuple[str, list[str]]]:
    """Return what all rows depend on, as (name, lines)."""
    budget = {"full": "full: as published", "small": "small: shortened, see warnings"}
    rows = [
        ("table", table["source"]),
        ("data set", table["dataset"] or "each part on its own"),
        ("budget", budget.get(table["budget"], "")),
        ("seeds", ", ".join(map(str, table["seeds"]))),
        *table["provenance"].items(),
    ]
    return wording.facts((name, value) for name, value in rows if value)


def row_facts(part: Part) -> list[tuple[str, list[str]]]:
    """Return what each row was made of: method, changes, state, folders."""
    said = []
    for row in part["rows"]:
        if row["kind"] == "published":
            continue
        changes = "; ".join(f"{k} = {v!r}" for k, v in row["changes"].items())
        lines = [
            f"method {row['method']}",
            f"changes: {changes}" if changes else "",
            table_rows.state_of(row),
            f"seeds {', '.join(map(str, row['seeds']))}" if row["seeds"] else "",
            *row.get("differs", []),
            *row["folders"],
        ]
        said.append((row["name"], [line for line in lines if line]))
    return said


def _cells(
    table: Table,
) -> Iterator[tuple[Part, Row, Cell]]:
    """Yield part, row and cell of everything in a table."""
    for part in table["parts"]:
        for row in part["rows"]:
            for cell in row["cells"]:
                yield part, row, cell


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
