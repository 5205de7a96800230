"""A table's columns on a data set whose metrics are not those of the paper's.

Decided from the data card alone, before anything is trained: a column is read as it is,
as the nearest metric there is, or left out; what changed is said.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msa_jax.evaluation import metric_names
from msa_jax.ground.errors import UserError
from msa_jax.methods import tasks
from msa_jax.studies.table_spec import Column, Part, Table

# The nearest metric of the other kind; of two columns with the same one the first.
INSTEAD = {
    "acc2": "acc2_non0",
    "f1": "f1_non0",
    "f1_legacy": "f1_non0_legacy",
    "acc2_has0": "acc2",
    "acc2_non0": "acc2",
    "f1_has0": "f1",
    "f1_non0": "f1",
    "f1_has0_legacy": "f1_legacy",
    "f1_non0_legacy": "f1_legacy",
}


def fitting(
    table: Table,
    parts: Sequence[tuple[int, Part, str]],
    cards: Mapping[str, Mapping[str, Any]],
) -> tuple[Table, list[tuple[int, Part, str]]]:
    """Give every part the columns that its data set's metrics have.

    Args:
        table: as the paper has it.
        parts: from `wanted_runs.choose_parts`.
        cards: data set -> data card.

    Returns: the table, with MMSA's values of those columns, and its parts, with what
        changed in `Part.differs`; parts without any column are left out.
    Raises:
        UserError: no column is left.
    """
    found, mmsa, gone = [], dict(table.mmsa), []
    for index, part, dataset in parts:
        columns = _columns(part, cards[dataset])
        kept = [i for i, column in enumerate(columns) if column is not None]
        differs = _differs(part, columns, dataset)
        if not kept:
            gone += differs
            continue

        def cut(rows: Mapping[str, Sequence[Any]], kept: list[int] = kept) -> Any:
            return {row: tuple(values[i] for i in kept) for row, values in rows.items()}

        if part.dataset in mmsa:
            mmsa[part.dataset] = cut(mmsa[part.dataset])
        made = part._replace(
            columns=tuple(c for c in columns if c is not None),
            published=cut(part.published),
            differs=differs,
        )
        found.append((index, made, dataset))
    if not found:
        raise UserError(f"{table.name} cannot be made: {'; '.join(gone)}")
    return table._replace(mmsa=mmsa), found


def _columns(part: Part, card: Mapping[str, Any]) -> list[Column | None]:
    """Return each column as it is read, None where it is left out."""
    kinds = {
        c.task: tasks.metrics_kind(c.task, card["metrics"])
        for c in part.columns
        if _has_labels(c.task, card)
    }
    own = {c for c in part.columns if c.task in kinds and _has(kinds[c.task], c)}
    found: list[Column | None] = []
    for column in part.columns:
        read: Column | None = column
        if column not in own:
            read = _instead(kinds.get(column.task), column)
            if read is not None and any(_same(read, c) for c in (*own, *found)):
                read = None
        found.append(read)
    return found


def _has_labels(task: str, card: Mapping[str, Any]) -> bool:
    """Tell whether a data set has what a task learns from: seven classes need -3..3."""
    if task == "emotion":
        return card.get("emotion", True) is not None
    seven = task.startswith("seven_class")
    return not seven or tuple(card["label_range"]) == (-3, 3)


def _has(kind: str, column: Column) -> bool:
    known = metric_names.described(kind, column.key) is not None
    return known or column.reading == "parameters"


def _instead(kind: str | None, column: Column) -> Column | None:
    """Return the nearest column of a kind of metrics, None where there is none.

    An improvement over another system's value is of that system's metric alone.
    """
    key = INSTEAD.get(column.key, "")
    metric = None if kind is None else metric_names.described(kind, key)
    if metric is None or column.reading == "improvement":
        return None
    return column._replace(key=key, title=metric.title)


def _same(a: Column, b: Column | None) -> bool:
    return b is not None and a._replace(title="") == b._replace(title="")


def _differs(
    part: Part, columns: Sequence[Column | None], dataset: str
) -> tuple[str, ...]:
    """Say which columns stand for others, and which are left out."""
    pairs = list(zip(part.columns, columns, strict=True))
    swapped = [f"{c.title} for {o.title}" for o, c in pairs if c and c.key != o.key]
    gone = [o.title for o, c in pairs if c is None]
    said = [f"on {dataset} {', '.join(swapped)}"] if swapped else []
    if gone:
        said.append(f"{dataset} has no metric for {', '.join(gone)}: left out")
    return tuple(said)
