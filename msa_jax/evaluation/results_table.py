"""table.json: a results table or a comparison as pages read it (docs/tables.md)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

from msa_jax.evaluation.metric_names import METRICS

Interval = Sequence[float] | None

SCHEMA = 1
# What a cell holds beside every seed's value, and how pages call it: a number more
# stands here, in `Cell`, and is computed in `compare.cells`.
NUMBERS = {"mean": "mean", "sd": "sd", "iqm": "IQM"}
INTERVALS = {
    "ci_seeds": "95 % over seeds",
    "ci_student": "… Student's t",
    "ci_samples": "95 % over test samples",
}


class Measure(NamedTuple):
    """A column.

    index: its place among those of the part.
    key: the metric's, as in results.json; of other readings a name.
    percent: values are shares, written in percent.
    decimals: as the paper prints it.
    task: `config.task` of the runs; "" in a comparison.
    reading: what is read of the runs (`table_spec.Column.reading`).
    metrics_kind: of the metric, "" if there is none.
    """

    index: int
    key: str
    title: str
    percent: bool
    lower_is_better: bool
    decimals: int
    task: str = ""
    reading: str = "mean"
    metrics_kind: str = ""


class Verdict(TypedDict):
    """What a published value is to our interval; see `verdicts.verdict`."""

    kind: str
    text: str


class Against(TypedDict):
    """The difference to the reference row, and its tests; see `compare`."""

    row: str
    difference: float | None
    ci_seeds: Interval
    ci_samples: Interval
    n_seeds: int
    p_seeds: float | None
    p_samples: float | None
    p_seeds_holm: float | None
    p_samples_holm: float | None
    significant: bool
    smallest_p: NotRequired[float | None]
    warning: str
    text: str


class Cell(TypedDict):
    """One column of one row; `per_seed` by seed, None for one without a value."""

    column: int
    per_seed: dict[str, float | None]
    mean: float | None
    sd: float | None
    iqm: float | None
    ci_seeds: Interval
    ci_student: NotRequired[Interval]
    ci_samples: Interval
    published: str | None
    mmsa: str | None
    verdict: Verdict
    against: Against | None


class Row(TypedDict):
    """A row; kind "ours", "control" or "published", state as docs/tables.md has it."""

    name: str
    kind: str
    method: str
    state: str
    why: NotRequired[str]
    wanted: list[int]
    seeds: list[int]
    folders: list[str]
    differs: NotRequired[list[str]]
    changes: dict[str, Any]
    uses_audio_vision: dict[str, Any]
    cells: list[Cell]


class Baseline(TypedDict):
    """A trivial baseline's values by the columns' keys."""

    name: str
    values: dict[str, float | None]


class Curve(TypedDict):
    """A seed's losses over the epochs that it trained."""

    epoch: list[int]
    valid_loss: list[float | None]
    train_loss: list[float | None]
    selected: int | None


Learning = dict[str, dict[str, Curve]]  # row -> seed -> curve


class Part(TypedDict):
    """The rows of one data set."""

    title: str
    dataset: str
    paper_dataset: NotRequired[str]
    label_note: str
    columns: list[dict[str, Any]]  # `measures_of`
    baselines: NotRequired[list[Baseline]]
    learning: NotRequired[Learning]
    rows: list[Row]


class Table(TypedDict):
    """All of table.json."""

    schema: int
    kind: str
    paper: str
    table: str
    title: str
    source: str
    dataset: str
    budget: str
    seeds: list[int]
    comparable: bool
    comparable_why: str
    main: str
    against: str
    caption: list[str]
    notes: list[str]
    warnings: list[str]
    methods_paragraph: str
    parts: list[Part]
    figures: list[dict[str, Any]]
    provenance: dict[str, Any]
    baselines: NotRequired[list[Baseline]]
    learning: NotRequired[Learning]


def columns_of(kind: str) -> list[Measure]:
    """Return the metrics of a kind, as `metric_names` lists them, as columns."""
    return [
        Measure(
            i,
            metric.key,
            metric.title,
            metric.percent,
            metric.lower_is_better,
            metric.decimals,
            metrics_kind=kind,
        )
        for i, metric in enumerate(METRICS[kind])
    ]


def measures_of(part: Part) -> list[Measure]:
    """Read the columns of a part."""
    known = Measure._fields[1:]
    return [
        Measure(i, **{name: column[name] for name in known if name in column})
        for i, column in enumerate(part["columns"])
    ]


def column_json(measure: Measure) -> dict[str, Any]:
    """Write a column; its index is its place."""
    column = measure._asdict()
    del column["index"]
    return column


def make_cell(
    index: int,
    verdict: Verdict,
    published: str | None = None,
    mmsa: str | None = None,
    per_seed: Mapping[str, float | None] | None = None,
    **numbers: Any,
) -> Cell:
    """Make a cell; what is not among `numbers` is not known.

    Args:
        index: of the column.
        verdict: on the published value.
        published: as printed, or None.
        mmsa: the same as MMSA reproduced it.
        per_seed: seed -> value.
        numbers: of `NUMBERS` and `INTERVALS`.
    """
    cell: Any = {"column": index, "per_seed": dict(per_seed or {})}
    cell |= dict.fromkeys((*NUMBERS, *INTERVALS)) | numbers
    cell |= {"published": published, "mmsa": mmsa, "verdict": verdict, "against": None}
    return cell


def baselines_of(table: Table, part: Part) -> list[Baseline]:
    """Return the trivial baselines of a part, which the table may hold for all."""
    return part.get("baselines", table.get("baselines", []))
