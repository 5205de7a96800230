"""Answers of several runs -> cells of a table: values, intervals, differences, verdicts.

What the numbers mean and when they say nothing: docs/statistics.md. The shape of the
cells: docs/tables.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from msa_jax.experiment.spec import Column


class Answers(NamedTuple):
    """What one row answered on the test split.

    name: of the row, as a reader sees it.
    seeds: of the runs, each once.
    label: truth, [n]; of emotions intensities [n, 6].
    prediction: scores [s, n]; of classes and emotions logits [s, n, k]. A seed that
        diverged may hold values that are not finite.
    kind: of metrics, as `metrics.score` takes it.
    id: names of the samples [n], if known; answers are paired by sample only where
        labels and ids agree.
    """

    name: str
    seeds: tuple[int, ...]
    label: np.ndarray
    prediction: np.ndarray
    kind: str
    id: np.ndarray | None = None


class Measure(NamedTuple):
    """A metric as a column of a table.

    index: place among the columns of its table, and among published values.
    key: of the metric in `metrics.score`.
    title: as shown.
    percent: shown and published in percent; values here are 0 to 1.
    decimals: of the values as shown.
    """

    index: int
    key: str
    title: str
    percent: bool
    lower_is_better: bool
    decimals: int


def columns_of(kind: str) -> tuple[Measure, ...]:
    """Return every metric of a kind as a column, in the order of `metrics.score`."""
    raise NotImplementedError


def measures(columns: Sequence[Column], task: str = "sentiment") -> tuple[Measure, ...]:
    """Return those columns of a part that are means of that task's test metrics."""
    raise NotImplementedError


def cells(
    rows: Mapping[str, Answers | None],
    columns: Sequence[Measure],
    against: str = "",
    published: Mapping[str, Sequence[str | None]] | None = None,
    mmsa: Mapping[str, Sequence[str | None]] | None = None,
    not_comparable: str = "",
) -> dict[str, list[dict[str, Any]]]:
    """Compute the cells of a table, one per row and column.

    Args:
        rows: row -> its answers; None: not run (yet). All of one metrics kind.
        columns: of that kind, from `measures` or `columns_of`.
        against: the row that the others are tested against; "": no tests.
        published: row -> values as printed, by `Measure.index`.
        mmsa: the same as MMSA reproduced them.
        not_comparable: why published values cannot be compared with ours (other data,
            other text encoder, small budget), as the end of a sentence; "": they can.

    Returns: row -> the `cell` objects of docs/tables.md in the order of `columns`,
        ready for JSON. Deterministic; neither the order of samples nor that of seeds
        changes a number.

    Raises:
        UserError: rows of different metrics kinds.
    """
    raise NotImplementedError


def warnings_of(table: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return what a reader must be told of a table's cells as a whole.

    Seeds without a value, and too few seeds for any difference to be significant.
    """
    raise NotImplementedError
