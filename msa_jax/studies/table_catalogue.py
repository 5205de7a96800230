"""The tables of all papers: found in configs/tables, by name, and checked."""

import difflib
import re
import runpy
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import msa_jax.methods as methods
from msa_jax.ground.errors import UserError
from msa_jax.studies.table_spec import Column, Ours, Part, Table

_MARKS = re.compile(r"\(B\)|[*†]")  # text from BERT; run again by the authors
_BY_TITLE = {paper.title: name for name, paper in methods.PAPERS.items()}
_READINGS = ("mean", "sd", "parameters", "drop", "improvement")


def load_tables(configs: Path) -> dict[str, dict[str, Table]]:
    """Read every table file.

    Args:
        configs: the folder of config files; tables are in `tables/PAPER.py`.

    Returns: paper -> name of a table -> table, papers by name, tables as in the paper.
    Raises:
        UserError: there is no such file, or one cannot be read or is unsound.
    """
    files = sorted((configs / "tables").glob("*.py"))
    if not files:
        raise UserError(
            f"no tables in {configs / 'tables'}: give the folder of config files with "
            "--configs"
        )
    return {path.stem: _read(path) for path in files}


def find_table(configs: Path, name: str) -> Table:
    """Return one table.

    Args:
        configs: see `load_tables`.
        name: "sugrm/table4"; case, spaces and - for _ do not matter.

    Raises:
        UserError: no table is called so; those that there are, and the nearest.
    """
    papers = load_tables(configs)
    paper, _, table = name.strip().lower().replace("-", "_").partition("/")
    table = table.replace(" ", "")
    if paper not in papers:
        near = difflib.get_close_matches(paper, papers, n=1)
        advice = f"did you mean {near[0]}/...?" if near else "see --list"
        listed = ", ".join(papers)
        raise UserError(f"no table {name!r}: papers are {listed}; {advice}")
    tables = papers[paper]
    if table not in tables:
        near = _nearest(table, tables)
        advice = f"; did you mean {paper}/{near}?" if near else ""
        raise UserError(f"no table {name!r}: {paper} has {', '.join(tables)}{advice}")
    return tables[table]


def _nearest(word: str, known: Iterable[str]) -> str:
    """Return the known name that is nearer than all others, or nothing."""
    like = sorted(
        ((difflib.SequenceMatcher(None, word, k).ratio(), k) for k in known),
        reverse=True,
    )
    second = like[1][0] if len(like) > 1 else 0.6
    return like[0][1] if like[0][0] > max(second, 0.6) else ""


def problems(table: Table) -> list[str]:
    """List what is wrong with a table, a sentence each."""
    found = list(_of_rows(table))
    for number, part in enumerate(table.parts, 1):
        found += [f"part {number}: {said}" for said in _of_part(table, part)]
    return found


def with_papers(table: Table) -> Table:
    """Return a table whose rows that are called as a paper of ours are run, too.

    "TFN", "TFN (B)" and "TFN*" are TFN's, the first of them; where its method has no
    values for the data set, or does not answer what a column asks, they stay as
    published.
    """
    ours = dict(table.ours)
    plain = {made.method for made in ours.values() if not made.changes}
    for part in table.parts:
        for row in part.published:
            name = _BY_TITLE.get(_MARKS.sub("", row).strip())
            if name is None or name in plain or row in ours:
                continue
            here = [p for p in table.parts if row in p.published]
            if all(_can(methods.PAPERS[name], p) for p in here):
                ours[row] = Ours(name)
                plain.add(name)
    return table._replace(ours=ours)


def _can(paper: methods.Paper, part: Part) -> bool:
    asked = {column.task for column in part.columns}
    return part.dataset in paper.datasets() and asked <= set(paper.tasks)


def _read(path: Path) -> dict[str, Table]:
    try:
        get_tables = runpy.run_path(str(path)).get("get_tables")
        if get_tables is None:
            raise UserError(f"table file {path}: it has no function get_tables()")
        tables = get_tables()
    except UserError:
        raise
    except Exception as error:
        where = f"table file {path}, line {_line(path, error)}"
        raise UserError(f"{where}: {type(error).__name__}: {error}") from error
    found: dict[str, Table] = {}
    for table in map(with_papers, tables):
        if table.name in found:
            raise UserError(f"table file {path}: {table.name} stands twice")
        if wrong := problems(table):
            raise UserError(f"table file {path}: {table.name}: {'; '.join(wrong)}")
        found[table.name] = table
    return found


def _line(path: Path, error: Exception) -> int | None:
    """Return the innermost line of a file that led to an error."""
    if isinstance(error, SyntaxError):
        return error.lineno
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return next((f.lineno for f in frames if f.filename == str(path)), None)


def _of_rows(table: Table) -> Iterator[str]:
    for role in ("main", "against"):
        row = getattr(table, role)
        if row not in table.ours:
            yield f"{role} is {row!r}, which is no row of ours"
    there = {row for part in table.parts for row in part.published}
    for row in table.ours.keys() - there:
        yield f"row {row!r} of ours is in no part"
    parts = {part.dataset: part for part in table.parts}
    for dataset, rows in table.mmsa.items():
        part = parts.get(dataset)
        for row, values in rows.items():
            if part is None or row not in part.published:
                yield f"MMSA's row {row!r} is in no part of {dataset}"
            elif len(values) != len(part.columns):
                yield f"MMSA's row {row!r} has {len(values)} values of {dataset}"


def _of_part(table: Table, part: Part) -> Iterator[str]:
    if len(set(part.columns)) < len(part.columns):
        yield "a column stands twice"
    for row, values in part.published.items():
        if len(values) != len(part.columns):
            yield f"row {row!r} has {len(values)} values, not {len(part.columns)}"
    ours = [row for row in part.published if row in table.ours]
    for column in part.columns:
        if said := _of_column(column, bool(ours)):
            yield f"column {column.title!r}: {said}"


def _of_column(column: Column, run: bool) -> str:
    """Say what is wrong with a column, or nothing; `run`: the part has rows of ours."""
    if column.reading not in _READINGS:
        return f"reading {column.reading!r} must be one of {', '.join(_READINGS)}"
    if not run:
        return ""
    kind, _, which = column.of.partition(":")
    match column.reading:
        case "drop" if kind not in ("without", "bernoulli", "gaussian") or not which:
            return f"of = {column.of!r}: write without:MODALITY or bernoulli:RATE"
        case "improvement" if not column.of.replace(".", "", 1).isdecimal():
            return f"of = {column.of!r} must be the other system's value"
        case "mean" | "sd" | "parameters" if column.of:
            return f"of = {column.of!r} has no meaning for {column.reading}"
    return ""
