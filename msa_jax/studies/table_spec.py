"""Results tables of papers as data: rows, columns, and what was published.

`configs/tables/PAPER.py` has a function `get_tables()` that returns a tuple of `Table`.
A table is typed as the paper prints it, one line a row, and says beside that which
configuration makes each of our rows:

    Table(
        name="table4",
        title="Unimodal tasks of Self-MM",
        source="Self-MM, Table 4",
        parts=parts(
            {"mosi": (MAE, CORR, ACC2, F1)},
            '''
            M    | 0.730 | 0.781 | 82.38/83.67 | 82.48/83.70
            M, V | 0.732 | 0.775 | 82.67/83.52 | 82.76/83.55
            ''',
        ),
        ours={"M": Ours("self_mm", {"loss.tasks": ("fusion",)}), ...},
        main="M, V",
        against="M",
    )
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Column(NamedTuple):
    """One number per row.

    title: as the paper prints it.
    key: the metric in results.json (`metric_names`); of other readings a name.
    task: `config.task` of the run it is read from.
    reading: what is read of a row's runs: "mean" over seeds of a test metric, "sd" of
        it, "parameters" of the network, "drop" (percent of a test metric lost under a
        corruption, see `Table.kind`), "improvement" (|mean - published| / sd).
    of: for "drop": which corruption, "without:vision" (zeroed on test) or
        "bernoulli:0.5"; for "improvement": the other system's published value, in
        natural units (accuracies 0 to 1); else nothing.
    """

    title: str
    key: str
    task: str = "sentiment"
    reading: str = "mean"
    of: str = ""


class Head(NamedTuple):
    """One printed column, which holds one number or more ("82.4/84.5")."""

    columns: tuple[Column, ...]


class Ours(NamedTuple):
    """How one of our methods makes a row.

    method: `config.method`.
    changes: config field ("loss.tasks") -> value, on top of the method's configuration
        for the data set.
    """

    method: str
    changes: Mapping[str, Any] = {}


class Part(NamedTuple):
    """The columns of one data set.

    dataset: the paper's data set, by the name under which `prepare` stores it.
    columns: from left to right.
    published: row -> values as printed, None where the paper has none.
    aligned: whether the paper used the aligned files; None: it does not matter.
    differs: how its columns depart from the paper's, which they do on data with other
        metrics (`reproduce.fitted_columns`).
    """

    dataset: str
    columns: tuple[Column, ...]
    published: Mapping[str, tuple[str | None, ...]]
    aligned: bool | None = None
    differs: tuple[str, ...] = ()


class Table(NamedTuple):
    """One table of a paper.

    name: "table4"; together with the file's name what `reproduce` takes.
    title: what it shows, in our words.
    source: where it stands.
    parts: its columns by data set.
    ours: rows that can be run here; all others are shown as published.
    main: the row that stands for the paper's method; controls are made of it.
    against: the row that differences are tested against (a row of ours).
    mmsa: part's dataset -> row -> values as MMSA reproduced them, like `published`.
    notes: what a reader must know of the table, in our words.
    figures: figures of the paper that the main row's run can draw, by name
        (`report.page.Drawn`; "sample_paths": the page on single samples).
    beside: a further run of ours whose representation stands beside the main row's in
        the figure "embedding"; None: that figure has the main run alone.
    """

    name: str
    title: str
    source: str
    parts: tuple[Part, ...]
    ours: Mapping[str, Ours]
    main: str
    against: str
    mmsa: Mapping[str, Mapping[str, tuple[str | None, ...]]] = {}
    notes: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    beside: Ours | None = None


def parts(
    heads: Mapping[str, Sequence[Head]],
    text: str,
    *,
    aligned: bool | None = None,
) -> tuple[Part, ...]:
    """Read a table as typed.

    Args:
        heads: data set -> its printed columns, in the order of the paper.
        text: a line per row: its name, then a cell per printed column, divided by "|".
            A cell is "-" (nothing), a number, or "a/b" where either may be "-" (or
            "a/b/c": as many as the head has columns). Numbers may have commas between
            thousands.
        aligned: see `Part`.

    Raises:
        ValueError: a row that has another number of cells, or stands twice.
    """
    rows: dict[str, list[str]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, *cells = (cell.strip() for cell in line.split("|"))
        if name in rows:
            raise ValueError(f"row {name!r} stands twice")
        rows[name] = cells
    wanted = sum(len(columns) for columns in heads.values())
    for name, cells in rows.items():
        if len(cells) != wanted:
            raise ValueError(f"row {name!r} has {len(cells)} cells, not {wanted}")
    found, start = [], 0
    for dataset, columns in heads.items():
        stop = start + len(columns)
        published = {
            name: tuple(
                value
                for head, cell in zip(columns, cells[start:stop], strict=True)
                for value in _values(name, cell, len(head.columns))
            )
            for name, cells in rows.items()
        }
        flat = tuple(column for head in columns for column in head.columns)
        found.append(Part(dataset, flat, published, aligned))
        start = stop
    return tuple(found)


_NUMBER = re.compile(r"-?(\d*\.?\d+|\d{1,3}(,\d{3})+)")


def _values(row: str, cell: str, count: int) -> list[str | None]:
    """Split a printed cell into its numbers; "-" alone stands for all of them."""
    pieces = [piece.strip() for piece in cell.split("/")]
    if pieces == ["-"]:
        return [None] * count
    if len(pieces) != count:
        raise ValueError(f"row {row!r}: {cell!r} must hold {count} number(s)")
    for piece in pieces:
        if piece != "-" and not _NUMBER.fullmatch(piece):
            raise ValueError(f"row {row!r}: {piece!r} is no number")
    return [None if piece == "-" else piece for piece in pieces]


def one(title: str, key: str, **more: Any) -> Head:
    """Return a printed column of one number."""
    return Head((Column(title, key, **more),))


MAE, CORR, ACC7 = one("MAE", "mae"), one("Corr", "corr"), one("Acc-7", "acc7")
ACC2 = Head((Column("Acc-2 Has0", "acc2_has0"), Column("Acc-2 Non0", "acc2_non0")))
F1 = Head((Column("F1 Has0", "f1_has0"), Column("F1 Non0", "f1_non0")))
