"""What MMSA reproduced: its own table, beside which the papers' values are shown.

Source: thuiar/MMSA, results/result-stat.md: means in percent, MAE and Corr times 100;
    neither standard deviations nor the number of seeds are in the file. Rows of methods
    that stand in the tables of configs/tables. Unaligned files but for ef_lstm, mfn and
    graph_mfn.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from msa_jax.experiment.spec import Part

# Of tables whose accuracies come from a classifier, too: MMSA's come from the sign of
# the score, and are the same quantity.
_TASKS = ("sentiment", "two_class")
_KEYS = {
    "mosi": "acc2_has0 f1_has0 acc2_non0 f1_non0 acc5 acc7 mae corr",
    "mosei": "acc2_has0 f1_has0 acc2_non0 f1_non0 acc5 acc7 mae corr",
    "sims": "acc2 acc3 acc5 f1 mae corr",
}
_VALUES = {
    "mosi": """
        ef_lstm   77.38 77.35 78.48 78.51 40.15 35.39 94.88 66.90
        tfn       77.99 77.95 79.08 79.11 39.39 34.46 94.73 67.33
        lmf       77.90 77.80 79.18 79.15 38.13 33.82 95.04 65.10
        mfn       77.67 77.63 78.87 78.90 40.47 35.83 92.68 67.02
        graph_mfn 77.14 77.08 78.35 78.35 38.63 34.64 95.57 64.86
        mult      79.71 79.63 80.98 80.95 42.68 36.91 87.99 70.22
        misa      81.84 81.82 83.54 83.58 47.08 41.37 77.65 77.81
        self_mm   83.44 83.36 85.46 85.43 53.47 46.67 70.80 79.63
    """,
    "mosei": """
        ef_lstm   77.84 78.34 80.79 80.67 51.16 50.01 60.05 68.25
        tfn       78.50 78.96 81.89 81.74 53.10 51.60 57.26 71.41
        lmf       80.54 80.94 83.48 83.36 52.99 51.59 57.57 71.69
        mfn       78.94 79.55 82.86 82.85 52.76 51.34 57.33 71.82
        graph_mfn 81.28 81.48 83.48 83.23 52.69 51.37 57.45 71.33
        mult      81.15 81.56 84.63 84.52 54.18 52.84 55.93 73.31
        misa      80.67 81.12 84.67 84.66 53.63 52.05 55.75 75.15
        self_mm   83.76 83.82 85.15 84.90 55.53 53.87 53.09 76.49
    """,
    "sims": """
        tfn       78.38 65.12 39.30 78.62 43.22 59.10
        lmf       77.77 64.68 40.53 77.88 44.12 57.59
        self_mm   80.04 65.47 41.53 80.44 42.50 59.52
    """,
}


def reproduced(
    parts: Sequence[Part], rows: Mapping[str, str]
) -> dict[str, dict[str, tuple[str | None, ...]]]:
    """Write MMSA's values in the columns of a table and in the papers' notation.

    Args:
        parts: the table's parts; those of other data sets than MMSA's are left out.
        rows: row of the table -> method as MMSA names it; each must be of MMSA's table
            for at least one part's data set.

    Returns:
        `spec.Table.mmsa`: MAE and Corr in natural units, shares in percent.
    """
    found: dict[str, dict[str, tuple[str | None, ...]]] = {}
    for part in parts:
        values = table(part.dataset)
        of_part = {
            row: tuple(
                values[method].get(column.key)
                if column.reading == "mean" and column.task in _TASKS
                else None
                for column in part.columns
            )
            for row, method in rows.items()
            if method in values and row in part.published
        }
        if of_part:
            found[part.dataset] = of_part
    if missing := set(rows) - {row for part in found.values() for row in part}:
        raise ValueError(f"MMSA has no values for {sorted(missing)}")
    return found


def table(dataset: str) -> dict[str, dict[str, str]]:
    """Return MMSA's values on a data set.

    Returns: method -> metric as in results.json -> value in the papers' notation;
        empty for a data set that MMSA's table does not have.
    """
    found = {}
    for line in _VALUES.get(dataset, "").split("\n"):
        if line.strip():
            method, *values = line.split()
            keyed = zip(_KEYS[dataset].split(), values, strict=True)
            found[method] = {
                key: str(Decimal(value).scaleb(-2)) if key in ("mae", "corr") else value
                for key, value in keyed
            }
    return found
