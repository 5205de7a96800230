"""Tables of papers as data: the parser, the catalogue, every row's configuration."""

import functools
from pathlib import Path

import numpy as np
import pytest

from msa_jax import methods
from msa_jax.data.check.known import KNOWN
from msa_jax.evaluation import metrics
from msa_jax.ground.errors import UserError
from msa_jax.methods import PAPERS, tasks
from msa_jax.studies import mmsa, table_catalogue
from msa_jax.studies.table_spec import ACC2, CORR, MAE, Column, Head, Ours, Table, parts

CONFIGS = Path(__file__).parents[2] / "configs"
EVERY = [
    (f"{paper}/{name}", table)
    for paper, tables in table_catalogue.load_tables(CONFIGS).items()
    for name, table in tables.items()
]
# Rows that are one setting on purpose: the paper repeats its own, or lists other
# numbers of the same networks.
SAME = {
    "mmcl/table5": {"mu = 0.7", "eta = 1.0", "alpha = 1.0"},
    "ucrn/table8": {f"UCRN, Table {i}" for i in (1, 2, 3)},
    "ucrn/table9": {f"UCRN, Table {i}" for i in (1, 2, 3)},
}
# Rows that spell out what the method's own configuration says.
OWN = {
    "self_mm/table4": {"M, T, A, V"},
    "sugrm/table3": {"M, T, A, V"},
    "sugrm/table8": {"L1 loss"},
    "mmcl/table5": SAME["mmcl/table5"],
}

every_table = pytest.mark.parametrize(
    "name, table", EVERY, ids=[name for name, _ in EVERY]
)


@functools.cache
def own(method, dataset):
    """Return the method's own values: it has some for every data set of the papers."""
    assert dataset in PAPERS[method].datasets()
    return PAPERS[method].config(dataset)


def config_of(ours, part, task):
    """Return a row's configuration; only fields that are there can be changed."""
    c = own(ours.method, part.dataset).copy_and_resolve_references()
    c.task = task
    if part.aligned:
        c.data.aligned = True
    for field, value in ours.changes.items():
        *groups, leaf = field.split(".")
        inside = functools.reduce(lambda group, key: group[key], groups, c)
        if leaf not in inside:
            raise UserError(f"no field {field}")
        inside[leaf] = value
    methods.check(c)
    return c


def fields(c):
    return c.to_json_best_effort(sort_keys=True)


@every_table
def test_every_row_can_be_run(name, table):
    assert table_catalogue.problems(table) == []
    for part in table.parts:
        rows = [ours for row, ours in table.ours.items() if row in part.published]
        if part is table.parts[0] and table.beside is not None:
            rows.append(table.beside)
        for task in {column.task for column in part.columns}:
            for ours in rows:
                config_of(ours, part, task)  # raises where it cannot be run


@every_table
def test_rows_differ(name, table):
    for part in table.parts:
        rows = {row: ours for row, ours in table.ours.items() if row in part.published}
        for task in {column.task for column in part.columns}:
            made = {
                row: fields(config_of(ours, part, task)) for row, ours in rows.items()
            }
            alike = SAME.get(name, set())
            assert len({made[row] for row in made.keys() & alike}) <= 1
            others = [text for row, text in made.items() if row not in alike]
            one = [made[row] for row in made.keys() & alike][:1]
            assert len(set(others + one)) == len(others + one)


@every_table
def test_changes_change_something(name, table):
    for part in table.parts:
        for row, ours in table.ours.items():
            if row in part.published:
                task = part.columns[0].task
                plain = fields(config_of(Ours(ours.method), part, task))
                same = fields(config_of(ours, part, task)) == plain
                assert same == (not ours.changes or row in OWN.get(name, set()))


@every_table
def test_columns_are_metrics_that_runs_have(name, table):
    for part in table.parts:
        card = "sims" if part.dataset == "sims" else "mosi"
        for column in part.columns:
            if column.reading != "parameters":
                kind = tasks.metrics_kind(column.task, card)
                assert column.key in scored(kind), column


@functools.cache
def scored(kind):
    """Compute every metric of a kind for ten samples; return the names."""
    rng = np.random.default_rng(0)
    label = rng.uniform(-1, 1, 10).astype(np.float32)
    width = {"two_class": 2, "seven_class": 7, "seven_class_sdk": 7, "emotion": 6}
    if kind == "emotion":
        label = np.tile([[0.0, 1.0]] * 3, (1, 3)).astype(np.float32)
    shape = (len(label), width[kind]) if kind in width else label.shape
    answer = rng.normal(size=shape).astype(np.float32)
    return frozenset(metrics.score(kind, answer, label))


@every_table
def test_figures_have_a_name_that_the_report_draws(name, table):
    files = (CONFIGS.parent / "msa_jax" / "report").glob("*.py")
    source = "\n".join(path.read_text() for path in files)
    for figure in table.figures:
        assert f'"{figure}"' in source or f"/{figure}.png" in source
    assert table.beside is None or "embedding" in table.figures


@every_table
def test_titles_and_sources(name, table):
    assert f"Table {table.name.removeprefix('table')}" in table.source
    for part in table.parts:
        titles = [column.title for column in part.columns]
        assert len(set(titles)) == len(titles)
    lines = (table.title, *table.notes)
    assert all(line and line == line.strip() and "  " not in line for line in lines)


def test_what_is_told_apart_by_alignment():
    """SUGRM's Tables 1 and 2 have the same rows, on other files."""
    tables = dict(EVERY)
    for aligned, name in ((True, "sugrm/table1"), (False, "sugrm/table2")):
        for part in tables[name].parts:
            made = config_of(tables[name].ours["Self-MM"], part, "sentiment")
            assert made.data.aligned == aligned


# The parser


def test_parts_are_read_by_position():
    first, second = parts(
        {"mosi": (MAE, ACC2), "mosei": (CORR,)},
        """
        a, b | 0.730 | 82.38/83.67 | -.5
        c    | -     | -/83.52     | -
        d    | .7    | -           | 1,234
        """,
        aligned=True,
    )
    assert (first.dataset, second.dataset) == ("mosi", "mosei")
    assert first.aligned is True
    assert [c.key for c in first.columns] == ["mae", "acc2_has0", "acc2_non0"]
    assert first.published == {
        "a, b": ("0.730", "82.38", "83.67"),
        "c": (None, None, "83.52"),
        "d": (".7", None, None),
    }
    assert second.published == {"a, b": ("-.5",), "c": (None,), "d": ("1,234",)}


@pytest.mark.parametrize(
    "line, said",
    [
        ("a | 1 | 2/3 | 4", "has 3 cells, not 2"),
        ("a | 1", "has 1 cells, not 2"),
        ("a | 1 | 2", "must hold 2"),
        ("a | 1/2 | 2/3", "must hold 1"),
        ("a | 1 | 2/3/4", "must hold 2"),
        ("a | x | 2/3", "'x' is no number"),
        ("a | 0.79.5 | 2/3", "is no number"),
        ("a | 1,23 | 2/3", "is no number"),
        ("a | 1 | 2/", "'' is no number"),
        ("a | | 2/3", "'' is no number"),
        ("a | 1 | 2/3\na | 1 | 2/3", "stands twice"),
    ],
)
def test_a_malformed_row_is_refused(line, said):
    with pytest.raises(ValueError, match="row 'a'") as error:
        parts({"mosi": (MAE, ACC2)}, line)
    assert said in str(error.value)


def test_mmsa_must_have_the_rows_that_are_asked_for():
    found = parts({"mosi": (MAE,), "ucrn": (MAE,)}, "TFN | 1 | 2")
    values = mmsa.read_values(CONFIGS / "tables" / "mmsa.csv")
    assert mmsa.reproduced(values, found, {"TFN": "tfn"}) == {
        "mosi": {"TFN": ("0.9473",)}
    }
    for rows in ({"TFN": "mmim"}, {"LMF": "lmf"}):
        with pytest.raises(ValueError, match="MMSA has no values"):
            mmsa.reproduced(values, found, rows)


# The catalogue

SOUND = Table(
    name="table1",
    title="t",
    source="s",
    parts=parts({"mosi": (MAE, ACC2)}, "A | 1 | 2/3\nB | 1 | 2/3"),
    ours={"A": Ours("self_mm"), "B": Ours("self_mm", {"loss.weighting": "equal"})},
    main="A",
    against="B",
)


def unsound(**changes):
    return SOUND._replace(**changes)


@pytest.mark.parametrize(
    "table, said",
    [
        (unsound(main="C"), "main is 'C'"),
        (unsound(against="C"), "against is 'C'"),
        (
            unsound(ours=SOUND.ours | {"C": Ours("spt")}),
            "row 'C' of ours is in no part",
        ),
        (unsound(mmsa={"sims": {"A": ()}}), "MMSA's row 'A' is in no part of sims"),
        (unsound(mmsa={"mosi": {"A": ("1",)}}), "MMSA's row 'A' has 1 values of mosi"),
        (
            unsound(parts=(SOUND.parts[0]._replace(published={"A": ("1",), "B": ()}),)),
            "part 1: row 'A' has 1 values, not 3",
        ),
        (
            unsound(parts=(SOUND.parts[0]._replace(columns=(Column("a", "b"),) * 3),)),
            "part 1: a column stands twice",
        ),
    ],
)
def test_problems_are_found(table, said):
    assert table_catalogue.problems(SOUND) == []
    assert said in "; ".join(table_catalogue.problems(table))


@pytest.mark.parametrize(
    "column, said",
    [
        (Column("a", "mae", reading="median"), "reading 'median' must be one of"),
        (Column("a", "mae", reading="drop", of="without"), "write without:MODALITY"),
        (Column("a", "mae", reading="drop", of="fog:1"), "write without:MODALITY"),
        (Column("a", "mae", reading="improvement"), "the other system's value"),
        (Column("a", "mae", of="without:text"), "no meaning for mean"),
    ],
)
def test_readings_are_checked(column, said):
    found = parts({"mosi": (Head((column,)),)}, "A | 1\nB | 1")
    assert said in "; ".join(table_catalogue.problems(unsound(parts=found)))


def test_a_table_is_found_by_name():
    for name in ("sugrm/table4", "SUGRM/Table 4", "sugrm/ table4"):
        assert table_catalogue.find_table(CONFIGS, name).source.startswith("SUGRM")
    assert table_catalogue.find_table(CONFIGS, "self-mm/table4").name == "table4"


@pytest.mark.parametrize(
    "name, said",
    [
        ("sugrm/tabel4", "did you mean sugrm/table4?"),
        ("sugrm/table5", "sugrm has table1, table2, table3, table4, table8"),
        ("sugrm", "sugrm has table1"),
        ("selfmm/table4", "did you mean self_mm/...?"),
        ("x/y", "papers are mmcl, self_mm, sugrm, ucrn"),
    ],
)
def test_an_unknown_table_is_a_clear_line(name, said):
    with pytest.raises(UserError) as error:
        table_catalogue.find_table(CONFIGS, name)
    assert str(error.value).startswith(f"no table {name!r}") and said in str(
        error.value
    )
    assert "\n" not in str(error.value)
    assert ("did you mean" in str(error.value)) == ("did you mean" in said)


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "no function get_tables"),
        ("def get_tables(:", "line 1: SyntaxError"),
        ("def get_tables():\n    return 1 / 0", "line 2: ZeroDivisionError"),
        (
            "from test_table_catalogue import SOUND\n"
            "def get_tables():\n    return (SOUND, SOUND)",
            "table1 stands twice",
        ),
        (
            "from test_table_catalogue import SOUND\n"
            "def get_tables():\n    return (SOUND._replace(main='C'),)",
            "table1: main is 'C'",
        ),
    ],
)
def test_a_broken_table_file_is_a_clear_line(tmp_path, text, said):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "mine.py").write_text(text)
    with pytest.raises(UserError) as error:
        table_catalogue.load_tables(tmp_path)
    assert said in str(error.value) and "mine.py" in str(error.value)


def test_a_folder_without_tables_is_a_clear_line(tmp_path):
    with pytest.raises(UserError, match="no tables in .*--configs"):
        table_catalogue.load_tables(tmp_path)


def test_data_sets_are_those_that_prepare_knows():
    for name, table in EVERY:
        for part in table.parts:
            assert part.dataset in KNOWN, name


def test_no_row_of_a_method_that_there_is_stays_as_published():
    titles = {paper.title: name for name, paper in PAPERS.items()}
    grey = set()
    for name, table in EVERY:
        for part in table.parts:
            for row in part.published.keys() - table.ours.keys():
                method = titles.get(table_catalogue._MARKS.sub("", row).strip())
                made = {ours.method for ours in table.ours.values()}
                if method is not None and method not in made:
                    grey.add((name, method))
    assert grey == set()
