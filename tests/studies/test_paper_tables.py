"""Every published value of configs/tables against the papers' own text, one by one."""

import itertools
import re
import unicodedata
from decimal import Decimal
from pathlib import Path

import pytest

from msa_jax.studies import mmsa, table_catalogue

CONFIGS = Path(__file__).parents[2] / "configs"
PAPERS = table_catalogue.load_tables(CONFIGS)
EVERY = [(paper, name) for paper, tables in PAPERS.items() for name in tables]

# How many values each table prints, counted by hand: nothing is skipped in silence.
COUNT = {
    ("self_mm", "table1"): 104,
    ("self_mm", "table3"): 16,
    ("self_mm", "table4"): 48,
    ("sugrm", "table1"): 86,
    ("sugrm", "table2"): 68,
    ("sugrm", "table3"): 96,
    ("sugrm", "table4"): 108,
    ("sugrm", "table8"): 18,
    ("ucrn", "table1"): 74,
    ("ucrn", "table2"): 22,
    ("ucrn", "table3"): 26,
    ("ucrn", "table4"): 42,
    ("ucrn", "table5"): 14,
    ("ucrn", "table6"): 20,
    ("ucrn", "table7"): 5,
    ("ucrn", "table8"): 13,
    ("ucrn", "table9"): 19,
    ("mmcl", "table1"): 140,
    ("mmcl", "table2"): 63,
    ("mmcl", "table3"): 58,
    ("mmcl", "table4"): 49,
    ("mmcl", "table5"): 126,
}
# Where the block of a table's rows stands beside its caption.
BELOW_CAPTION = {"sugrm"}
# Cells that hold no values: before them (the row's name) and behind them.
LABELS = {("sugrm", "table4"): 2, ("mmcl", "table4"): 2, ("ucrn", "table9"): 2}
BEHIND = {
    ("self_mm", "table1"): 1,  # data setting
    ("ucrn", "table1"): 1,  # whether emotions are WA
    ("ucrn", "table4"): 1,
    ("ucrn", "table5"): 1,
}
# Lines that the paper misprints, or that were lost when its pages were read.
REPAIRS = {
    ("sugrm", "table4"): {"0.79.5/ 84.1": "79.5/ 84.1"},  # misprint
    # Lost: ten cells but one are empty.
    ("mmcl", "table3"): {
        "MulT\t\t78.8/80.2\t\t\t\t\t\t\t\t": "MulT\t-\t78.8/80.2" + 8 * "\t-"
    },
    ("ucrn", "table8"): {"Table I\t": "Table 1\t"},
    # Lost: cells that span rows. The numbers are those of Mu-Net in Table 3 (|82.25 -
    # 82.10| / .49), then MulT's, Mu-Net's and TBJE's of Table 4 and of Table 5.
    ("ucrn", "table9"): {
        "Table 5\tMu-Net\t0.31": "Table 3\tMu-Net\t0.31",
        "\tMulT\t2.72": "Table 4\tMulT\t2.72",
        "\tTBJE\t0.12": "Table 4\tTBJE\t0.12",
        "\tMulT\t5.18": "Table 5\tMulT\t5.18",
        "\tTBJE\t0.43": "Table 5\tTBJE\t0.43",
    },
}
# Rows that have another name here: as printed, letters and digits only -> ours.
NAMES = {
    "mutb": "MulT (B)",
    "mut": "MulT",
    "selfmmb": "Self-MM",
    "ours": "SUGRM",
    "mmclours": "MMCL",
    "3nocontrast": "No Contrast",
    "grafhmfn": "Graph-MFN",
    "selfmmmrma": "Self-MM, MRM added",
    "selfmmsptrp": "Self-MM, SPT for LSTM",
    "selfmmulgmoursrp": "Self-MM, SUGRM's label rule",
    "oursmrmrm": "SUGRM, no MRM",
    "oursterp": "SUGRM, transformer for SPT",
    "ourslstmrp": "SUGRM, LSTM for SPT",
    "oursulgmselfmmrp": "SUGRM, Self-MM's label rule",
}
# Heads of columns as printed, letters and digits only -> metric.
HEADS = {
    **{"mae": "mae", "mse": "mae", "corr": "corr", "acc7": "acc7", "acc2": "acc2"},
    **{"f1score": "f1", "f1": "f1", "avgf1": "f1", "avgacc": "acc2"},
    **{"acc2lalvav": "acc2", "acc7lalvav": "acc7", "emotavgalalvav": "emotions"},
    **{"acc2std": "acc2", "acc7std": "acc7", "avgemoaccstd": "emotions"},
    "emotavga": "emotions",
}
# Of these the heads were lost, too.
HEADS_LOST = {("ucrn", "table1"), ("ucrn", "table7"), ("ucrn", "table9")}
# Table 8 of UCRN goes by table; here by data set: part and row of each printed line.
LINES_OF_TABLE_8 = (
    *((0, "UCRN, Table 1"), (1, "UCRN, Table 1"), (2, "UCRN, Table 2")),
    *((3, "UCRN, Table 3"), (0, "UCRN, Table 4"), (0, "UCRN, Table 5")),
)
# Table 9: each printed line's part, row and columns (Acc-2, Acc-7, emotions).
LINES_OF_TABLE_9 = {
    "table1munet": (0, "UCRN, Table 1", (0, None, 1)),
    "table1tbje": (1, "UCRN, Table 1", (0, 1, 2)),
    "table2mult": (2, "UCRN, Table 2", (0, None, None)),
    "table2munet": (2, "UCRN, Table 2", (1, None, None)),
    "table3mult": (3, "UCRN, Table 3", (0, None, None)),
    "table3munet": (3, "UCRN, Table 3", (1, None, None)),
    "table4mult": (4, "UCRN, Table 4", (0, None, None)),
    "table4munet": (4, "UCRN, Table 4", (1, None, 2)),
    "table4tbje": (4, "UCRN, Table 4", (3, 4, None)),
    "table5mult": (4, "UCRN, Table 5", (0, None, None)),
    "table5munet": (4, "UCRN, Table 5", (1, None, 2)),
    "table5tbje": (4, "UCRN, Table 5", (3, 4, None)),
}


def plain(name: str) -> str:
    """Return the letters and digits of a name, without mark-up."""
    name = re.sub(r"<sup>.*?</sup>|<[^>]*>|\\mathcal|\\text", "", name)
    return re.sub(r"[^a-z0-9]", "", name.lower())


def block(paper: str, table: str, folder: Path) -> list[list[str]]:
    """Return the lines beside a table's caption, mended, as cells."""
    lines = (folder / f"{paper}.txt").read_text().splitlines()
    start = f"Table {table.removeprefix('table')}:"
    (caption,) = (i for i, line in enumerate(lines) if line.startswith(start))
    step = 1 if paper in BELOW_CAPTION else -1
    at = caption + step
    while "\t" not in lines[at]:
        at += step
        assert abs(at - caption) < 5, "no rows beside the caption"
    found = []
    while 0 <= at < len(lines) and lines[at]:
        found.append(lines[at])
        at += step
    text = "\n".join(found[::step])
    for wrong, right in REPAIRS.get((paper, table), {}).items():
        assert text.count(wrong) == 1, wrong
        text = text.replace(wrong, right)
    return [line.split("\t") for line in text.splitlines()]


def printed(paper: str, table: str, folder: Path) -> list[tuple[str, list[str | None]]]:
    """Read a table from the paper's text: plain row name, values as printed.

    A run of missing values is one None: of "-" alone it cannot be said for how many
    numbers it stands.
    """
    rows, above = [], ""
    for cells in block(paper, table, folder):
        labels = cells[: LABELS.get((paper, table), 1)]
        cells = cells[len(labels) : len(cells) - BEHIND.get((paper, table), 0)]
        values = [value for cell in cells for value in numbers(cell)]
        if any(value is not None for value in values):
            above = labels[0] or above  # a cell that spans rows stands in the first
            label = "".join([above, *labels[1:]]) if len(labels) > 1 else labels[0]
            rows.append((plain(label), collapse(values)))
    return rows


def numbers(cell: str) -> list[str | None]:
    """Return the numbers of a printed cell; nothing of a cell of words."""
    cell = re.sub(r"<[^>]*>|[†*\s]", "", cell)
    if not re.search(r"\d|^-$", cell) or re.search(r"[A-Za-z]", cell):
        return []
    for piece in (pieces := cell.split("/")):
        assert re.fullmatch(r"-|-?\d{1,3}(,\d{3})+|-?\d+(\.\d+)?", piece), cell
    return [None if piece == "-" else piece for piece in pieces]


def collapse(values) -> list[str | None]:
    """Make one None of each run of None."""
    return [
        value
        for i, value in enumerate(values)
        if value is not None or i == 0 or values[i - 1] is not None
    ]


def typed(paper: str, table: str) -> list[tuple[str, list[str | None]]]:
    """Return the rows of a table file as the paper prints them."""
    found = PAPERS[paper][table].parts
    if (paper, table) == ("ucrn", "table8"):
        of = [(name, found[part].published[name]) for part, name in LINES_OF_TABLE_8]
        # Where the data set has one column, the paper has dashes in the others.
        of = [(name.removeprefix("UCRN, "), (*row, None, None)[:3]) for name, row in of]
    elif len({tuple(part.published) for part in found}) == 1:  # side by side
        of = [
            (row, [value for part in found for value in part.published[row]])
            for row in found[0].published
        ]
    else:
        of = [row for part in found for row in part.published.items()]
    return [(name, collapse(list(values))) for name, values in of]


@pytest.mark.parametrize("paper, table", EVERY)
def test_every_value_is_the_papers(shared, paper, table):
    there = printed(paper, table, shared / "papers")
    if table == "table9":
        there, here = there, [line_of_table_9(label) for label, _ in there]
        assert sorted(label for label, _ in there) == sorted(LINES_OF_TABLE_9)
    else:
        here = typed(paper, table)
    assert len(here) == len(there)
    for (name, mine), (label, papers) in zip(here, there, strict=True):
        assert plain(NAMES.get(label, label)) == plain(name)
        assert mine == papers, name


def line_of_table_9(label):
    part, row, columns = LINES_OF_TABLE_9[label]
    values = PAPERS["ucrn"]["table9"].parts[part].published[row]
    return label, collapse([None if c is None else values[c] for c in columns])


@pytest.mark.parametrize("paper, table", sorted(set(EVERY) - HEADS_LOST))
def test_columns_are_in_the_papers_order(shared, paper, table):
    there = [
        HEADS[name]
        for cells in block(paper, table, shared / "papers")
        for cell in cells
        if (name := plain(unicodedata.normalize("NFKC", cell))) in HEADS
    ]
    parts = PAPERS[paper][table].parts
    side_by_side = len({tuple(part.published) for part in parts}) == 1
    columns = [c for part in parts[: None if side_by_side else 1] for c in part.columns]
    here = [
        re.sub("(wa|acc)_avg", "emotions", c.key.partition("_n")[0]) for c in columns
    ]
    here = [key.removesuffix("_has0") for key in here]
    assert [key for key, _ in itertools.groupby(here)] == there


@pytest.mark.parametrize("paper, table", EVERY)
def test_no_value_is_left_out(paper, table):
    values = [
        value
        for part in PAPERS[paper][table].parts
        for row in part.published.values()
        for value in row
        if value is not None
    ]
    assert len(values) == COUNT[paper, table]


def test_every_table_with_results_is_there(shared):
    """Tables that are not: sizes of data sets, samples, hyper-parameters."""
    others = {"self_mm": {"2"}, "sugrm": {"5", "6", "7"}, "mmcl": set(), "ucrn": set()}
    for paper, tables in PAPERS.items():
        text = (shared / "papers" / f"{paper}.txt").read_text()
        captions = set(re.findall(r"^Table (\d+):", text, re.MULTILINE))
        assert {f"table{n}" for n in captions - others[paper]} == set(tables)


def test_averages_over_emotions_are_those_of_the_six():
    for part in PAPERS["ucrn"]["table1"].parts:
        keys = [column.key for column in part.columns]
        kind = keys[2].removesuffix("avg")
        for row in part.published.values():
            of = dict(zip(keys, row, strict=True))
            six = [float(of[key]) for key in keys if key.startswith(kind)][1:]
            assert len(six) == 6
            assert float(of[f"{kind}avg"]) == pytest.approx(sum(six) / 6, abs=0.0051)


def test_improvements_are_the_papers_formula():
    """|UCRN - other| / sd from Tables 1 to 3 and 8, to the digits printed."""
    tables = PAPERS["ucrn"]
    spread, better = tables["table8"], tables["table9"]
    checked = 0
    for part in better.parts[:4]:
        (row,) = part.published
        source = tables[row.removeprefix("UCRN, ").lower().replace(" ", "")]
        (own,) = (p for p in source.parts if p.dataset == part.dataset)
        (sds,) = (p for p in spread.parts if p.dataset == part.dataset)
        for column, published in zip(part.columns, part.published[row], strict=True):
            system = column.title.rpartition(" over ")[2]
            (i,) = (i for i, c in enumerate(own.columns) if c.key == column.key)
            (k,) = (k for k, c in enumerate(sds.columns) if c.key == column.key)
            ours, other = own.published["UCRN"][i], own.published[system][i]
            assert Decimal(column.of) * 100 == Decimal(other)
            difference = abs(float(ours) - float(other)) / 100
            sd = float(sds.published[row][k])
            # Table 3's MulT is printed as 1.33 = .0065 / .0049 = 1.327.
            assert float(published) == pytest.approx(difference / sd, abs=0.011)
            checked += 1
    assert checked == 9


def of_mmsa(shared) -> dict[tuple[str, str], dict[str, str]]:
    """Read MMSA's table as noted down: (data set, method) -> metric -> as printed."""
    both = (
        "acc2_has0",
        "f1_has0",
        "acc2_non0",
        "f1_non0",
        "acc5",
        "acc7",
        "mae",
        "corr",
    )
    found = {}
    for line in (shared / "reference" / "field.md").read_text().splitlines():
        name, *cells = re.sub(r"[*†]", "", line).strip(" |").split("|")
        name = name.split(" ")[0]
        if not re.fullmatch(r"(tfn|lmf|[a-z_]*mfn|mult|misa|ef_lstm|self_mm)", name):
            continue
        values = [n for cell in cells for n in numbers(cell)]
        if len(values) == 16:
            found["mosi", name] = dict(zip(both, values[:8], strict=True))
            found["mosei", name] = dict(zip(both, values[8:], strict=True))
        elif len(values) == 12:
            keys = ("acc2", "acc3", "acc5", "f1", "mae", "corr")
            found["sims", name] = dict(zip(keys, values[:6], strict=True))
    return found


def test_mmsas_values_are_those_of_its_table(shared):
    there, compared = of_mmsa(shared), 0
    for dataset, methods in mmsa.read_values(CONFIGS / "tables" / "mmsa.csv").items():
        for method, values in methods.items():
            for key, value in values.items():
                percent = Decimal(value) * (100 if key in ("mae", "corr") else 1)
                assert percent == Decimal(there[dataset, method][key]), (method, key)
                compared += 1
    assert compared == 2 * 8 * 8 + 3 * 6


@pytest.mark.parametrize("paper, table", EVERY)
def test_mmsas_rows_are_the_same_methods(shared, paper, table):
    there, parts = of_mmsa(shared), PAPERS[paper][table].parts
    for dataset, rows in PAPERS[paper][table].mmsa.items():
        (columns,) = (part.columns for part in parts if part.dataset == dataset)
        for row, values in rows.items():
            method = re.sub(r" \(B\)|\*", "", row).lower().replace("-", "_")
            method = "self_mm" if method == "m, t, a, v" else method
            for column, value in zip(columns, values, strict=True):
                scale = 100 if column.key in ("mae", "corr") else 1
                assert value is not None
                percent = there[dataset, method][column.key]
                assert Decimal(value) * scale == Decimal(percent)


def test_mmsas_values_stand_in_the_right_columns():
    first = PAPERS["self_mm"]["table1"].mmsa["mosi"]
    assert first["TFN (B)"] == ("0.9473", "0.6733", "77.99", "79.08", "77.95", "79.11")
    assert PAPERS["self_mm"]["table3"].mmsa["sims"]["Self-MM"] == (
        *("0.4250", "0.5952"),
        *("80.04", "80.44"),
    )
    ours = PAPERS["sugrm"]["table4"].mmsa
    assert ours["mosei"]["Self-MM"] == (
        *("83.82", "84.90", "83.76", "85.15"),
        *("0.5309", "0.7649"),
    )
    # Accuracy is the same quantity, whatever the network was trained for.
    mult = PAPERS["ucrn"]["table2"].mmsa["mosi"]["MulT"]
    assert mult == ("80.95", "80.98", "0.8799", "0.7022")
    assert PAPERS["mmcl"]["table3"].mmsa["mosei"]["MISA"][0] == "52.05"
    # Aligned tables have no values of unaligned files beside aligned ones.
    assert set(PAPERS["sugrm"]["table1"].mmsa["mosi"]) == {"EF-LSTM"}
    assert set(PAPERS["mmcl"]["table1"].mmsa["mosi"]) == {"TFN", "LMF", "MFN"}
