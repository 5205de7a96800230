"""What MMSA reproduced: its own table, beside which the papers' values are shown.

Source: thuiar/MMSA, results/result-stat.md, as configs/tables/mmsa.csv: means in
    percent, MAE and Corr times 100; neither standard deviations nor the number of seeds
    are in the file. Rows of methods that stand in the tables of configs/tables.
    Unaligned files but for ef_lstm, mfn and graph_mfn.
"""

import csv
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from msa_jax.studies.table_spec import Part

# Of tables whose accuracies come from a classifier, too: MMSA's come from the sign of
# the score, and are the same quantity.
_TASKS = ("sentiment", "two_class")
# Data set -> method -> metric as in results.json -> value in the papers' notation.
Values = Mapping[str, Mapping[str, Mapping[str, str]]]


def read_values(path: Path) -> Values:
    """Return the values of a file like configs/tables/mmsa.csv.

    Args:
        path: of a table with a line per data set and method; a metric that the data set
            has not is empty.
    """
    values: dict[str, dict[str, dict[str, str]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            methods = values.setdefault(line.pop("dataset"), {})
            method = line.pop("method")
            methods[method] = {
                key: str(Decimal(value).scaleb(-2)) if key in ("mae", "corr") else value
                for key, value in line.items()
                if value
            }
    return values


def reproduced(
    values: Values, parts: Sequence[Part], rows: Mapping[str, str]
) -> dict[str, dict[str, tuple[str | None, ...]]]:
    """Write MMSA's values in the columns of a table and in the papers' notation.

    Args:
        values: from `read_values`.
        parts: the table's parts; those of other data sets than MMSA's are left out.
        rows: row of the table -> method as MMSA names it; each must be of MMSA's table
            for at least one part's data set.

    Returns:
        `table_spec.Table.mmsa`: MAE and Corr in natural units, shares in percent.
    """
    found: dict[str, dict[str, tuple[str | None, ...]]] = {}
    for part in parts:
        methods = values.get(part.dataset, {})
        of_part = {
            row: tuple(
                methods[method].get(column.key)
                if column.reading == "mean" and column.task in _TASKS
                else None
                for column in part.columns
            )
            for row, method in rows.items()
            if method in methods and row in part.published
        }
        if of_part:
            found[part.dataset] = of_part
    if missing := set(rows) - {row for part in found.values() for row in part}:
        raise ValueError(f"MMSA has no values for {sorted(missing)}")
    return found
