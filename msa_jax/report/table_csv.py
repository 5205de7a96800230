"""A results table as CSV: a line per seed, a line per cell, a line per baseline."""

import csv
import io
from typing import Any

from msa_jax.report import table_rows, table_sentences

# What makes a spreadsheet run a text as a formula, wide forms included.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
GUARD = "'"

_TEST = (
    "difference difference_ci_seeds_low difference_ci_seeds_high "
    "difference_ci_samples_low difference_ci_samples_high n_seeds p_seeds p_samples "
    "p_seeds_holm p_samples_holm significant"
).split()
FIELDS = (
    "line dataset row row_kind state column key seed value mean sd iqm ci_seeds_low "
    "ci_seeds_high ci_student_low ci_student_high ci_samples_low "
    "ci_samples_high published mmsa verdict verdict_text against"
).split() + [*_TEST, "comparable", "warning"]


def write(found: dict[str, Any]) -> str:
    """Return the file: natural units, full precision; published values as printed.

    The column `line` is "seed" (has `value`), "cell" (has everything else) or
    "baseline". A text that a spreadsheet would run as a formula begins with `GUARD`.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(FIELDS)
    whole = {
        "comparable": "yes" if found["comparable"] else "no",
        "warning": table_sentences.not_comparable(found),
    }
    for part in found["parts"]:
        for line in _part(found, part):
            line |= whole
            writer.writerow([_guard(line.get(name)) for name in FIELDS])
    return buffer.getvalue()


def _part(found: dict[str, Any], part: dict[str, Any]) -> list[dict[str, Any]]:
    lines = []
    for row in part["rows"]:
        for column, cell in zip(part["columns"], row["cells"], strict=True):
            place = {
                "dataset": part["dataset"],
                "row": row["name"],
                "row_kind": row["kind"],
                "state": row["state"],
                "column": column["title"],
                "key": column["key"],
            }
            lines += [
                place | {"line": "seed", "seed": int(seed), "value": value}
                for seed, value in cell["per_seed"].items()
            ]
            lines.append(place | {"line": "cell"} | _cell(cell))
    for baseline in table_rows.baselines(found, part):
        lines += [
            {
                "line": "baseline",
                "dataset": part["dataset"],
                "row": baseline["name"],
                "row_kind": "baseline",
                "column": column["title"],
                "key": column["key"],
                "value": baseline["values"].get(column["key"]),
            }
            for column in part["columns"]
        ]
    return lines


def _cell(cell: dict[str, Any]) -> dict[str, Any]:
    line = {name: cell[name] for name in ("mean", "sd", "iqm", "published", "mmsa")}
    line |= _ends("ci_seeds", cell["ci_seeds"])
    line |= _ends("ci_student", cell.get("ci_student"))
    line |= _ends("ci_samples", cell["ci_samples"])
    line["verdict"] = cell["verdict"]["kind"]
    line["verdict_text"] = cell["verdict"]["text"]
    if (against := cell["against"]) is not None:
        line["against"] = against["row"]
        line |= {name: against[name] for name in _TEST if name in against}
        line["significant"] = "yes" if against["significant"] else "no"
        line |= _ends("difference_ci_seeds", against["ci_seeds"])
        line |= _ends("difference_ci_samples", against["ci_samples"])
    return line


def _ends(name: str, ends: Any) -> dict[str, Any]:
    low, high = ends or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def _guard(value: Any) -> Any:
    """Keep a text from being run as a formula; numbers stay numbers."""
    if not isinstance(value, str) or not value.lstrip(" ").startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return GUARD + value
    return value
