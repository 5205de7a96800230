"""Finished runs on the same data, held against each other: a table of their own."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import msa_jax.methods as methods
from msa_jax.evaluation import compare
from msa_jax.evaluation.results_table import (
    SCHEMA,
    Baseline,
    Cell,
    Curve,
    Measure,
    Part,
    Row,
    Table,
    column_json,
    columns_of,
)
from msa_jax.evaluation.wording import count, lines_of, listed
from msa_jax.ground import files
from msa_jax.ground.errors import UserError
from msa_jax.ground.files import json_safe
from msa_jax.report import run_tables, table_page
from msa_jax.runs import workdir
from msa_jax.runs.finished import Run, open_folder

_LEAST = 2  # runs
_ELSEWHERE = ("seeds", "mesh", "data.dir")  # of a configuration; change no number
_UNKNOWN = "unknown"  # stands for the hash of the data where a run has none
_NAME = 60  # characters of a default folder's name


def write_comparison(
    workdirs: Sequence[Path], against: Path | None = None, out: Path | None = None
) -> Path:
    """Write the page of a comparison: table.html and all that `table_page` writes.

    Args:
        workdirs: of finished runs, two or more.
        against: the one that the others are tested against; the first if None.
        out: where; runs/compare_A_B if None.

    Returns: the path of table.html.
    Raises: UserError if the runs cannot be compared, or are not finished.
    """
    found = build(workdirs, against)
    names = [row["name"] for row in found["parts"][0]["rows"]]
    folder = out or Path("runs") / default_name(names)
    if (folder / "results.json").exists():
        raise UserError(f"--out {folder} is a run of its own; give another folder")
    page = table_page.write_table(folder, found)
    files.write(folder / "table.json", (json.dumps(found, indent=1) + "\n").encode())
    return page


def build(workdirs: Sequence[Path], against: Path | None = None) -> Table:
    """Make a table of kind "comparison" (docs/tables.md), a row per run.

    Args: as of `write_comparison`.

    Raises: UserError like `write_comparison`.
    """
    if len(workdirs) < _LEAST:
        raise UserError("a comparison needs two runs: python -m msa_jax.report A B")
    names = dict(zip(names_of(workdirs), workdirs, strict=True))
    reference = _reference(names, against)
    runs = {name: open_folder(folder) for name, folder in names.items()}
    _require_comparable(runs)
    first = runs[reference]
    kind = first.results["metrics_kind"]
    columns = compared(kind)
    answers: dict[str, compare.Answers | None] = {
        name: _answers(name, run) for name, run in runs.items()
    }
    cells = compare.cells(answers, columns, reference)
    seeds = sorted({s for run in runs.values() for s in run.results["seeds"]})
    curves = {name: _curves(run) for name, run in runs.items()}
    part: Part = {
        "title": "",
        "dataset": first.results["dataset"],
        "label_note": "",
        "columns": [column_json(column) for column in columns],
        "rows": [_row(name, run, first, cells[name]) for name, run in runs.items()],
        "baselines": _baselines(runs, reference),
        "learning": curves,
    }
    found: Table = {
        "schema": SCHEMA,
        "kind": "comparison",
        "paper": "",
        "table": "",
        "title": f"{listed(n for n in runs if n != reference)} against {reference}",
        "source": "",
        "dataset": first.results["dataset"],
        "budget": "",
        "seeds": seeds,
        "comparable": True,
        "comparable_why": "",
        "main": "",
        "against": reference,
        "caption": _caption(runs, reference),
        "notes": _notes(runs),
        "warnings": _warnings(runs, cells),
        "methods_paragraph": _methods(runs, reference),
        "parts": [part],
        "figures": [],
        "provenance": _provenance(runs),
    }
    return json_safe(found)


def compared(kind: str) -> list[Measure]:
    """Return the metrics of a kind as columns; without those that only flatter."""
    shown = [m for m in columns_of(kind) if not m.key.endswith("_legacy")]
    return [measure._replace(index=i) for i, measure in enumerate(shown)]


def names_of(workdirs: Sequence[Path]) -> list[str]:
    """Name runs by their folder, with as many folders above as tell them apart.

    Raises: UserError if one is given twice.
    """
    whole = [Path(os.path.abspath(folder)).parts for folder in workdirs]
    for i, parts in enumerate(whole):
        if parts in whole[:i]:
            raise UserError(f"{workdirs[i]} is given twice")
    names = []
    for parts in whole:
        length = 1
        while sum(other[-length:] == parts[-length:] for other in whole) > 1:
            length += 1
        names.append("/".join(parts[-length:]))
    return names


def default_name(names: Sequence[str]) -> str:
    """Return the name of the folder of a comparison, of safe characters."""
    plain = "_".join(["compare", *names])
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in plain)
    return safe if len(safe) <= _NAME else f"{safe[:_NAME]}_and_more"


def _reference(names: dict[str, Path], against: Path | None) -> str:
    if against is None:
        return next(iter(names))
    wanted = os.path.abspath(against)
    for name, folder in names.items():
        if os.path.abspath(folder) == wanted or name == str(against):
            return name
    given = ", ".join(str(folder) for folder in names.values())
    raise UserError(f"--against {against}: give one of the runs compared: {given}")


def _require_comparable(runs: dict[str, Run]) -> None:
    """Refuse runs of other metrics, other data or other test samples."""
    (first, run), *others = runs.items()
    for each in runs.values():
        if each.predictions is None:
            raise UserError(
                f"{each.folder}: no predictions_test.npz, so it cannot be compared; "
                "train again"
            )
    for name, other in others:
        why = _difference(run, other)
        if why:
            raise UserError(
                f"{first} and {name} cannot be compared: {why}; train both on the "
                "same data"
            )


def _difference(a: Run, b: Run) -> str:
    kinds = [run.results["metrics_kind"] for run in (a, b)]
    if kinds[0] != kinds[1]:
        return f"their metrics are those of {kinds[0]!r} and {kinds[1]!r}"
    sets = [run.results["dataset"] for run in (a, b)]
    hashes = [_data_hash(run) for run in (a, b)]
    if hashes[0] != hashes[1]:
        said = [f"'{s}' (content {h[:12]})" for s, h in zip(sets, hashes, strict=True)]
        return f"they were trained on other data, {' and '.join(said)}"
    assert a.predictions is not None and b.predictions is not None
    ids, others = a.predictions.id, b.predictions.id
    if ids is None or others is None or not np.array_equal(ids, others):
        return f"their test samples differ ({sets[0]!r} and {sets[1]!r})"
    if not np.array_equal(a.predictions.label, b.predictions.label):
        return "their test samples have other labels"
    return ""


def _data_hash(run: Run) -> str:
    return str((run.results.get("provenance") or {}).get("data_sha256") or _UNKNOWN)


def _answers(name: str, run: Run) -> compare.Answers:
    assert run.predictions is not None
    return compare.Answers(
        name,
        tuple(run.results["seeds"]),
        run.predictions.label,
        run.predictions.prediction,
        run.results["metrics_kind"],
        run.predictions.id,
    )


def _row(name: str, run: Run, reference: Run, cells: list[Cell]) -> Row:
    return {
        "name": name,
        "kind": "ours",
        "method": run.results["method"],
        "state": "finished",
        "why": "",
        "differs": [],
        "wanted": run.results["seeds"],
        "seeds": run.results["seeds"],
        "folders": [str(run.folder)],
        "changes": changes(reference.config, run.config),
        "uses_audio_vision": {},
        "cells": cells,
    }


def changes(reference: Any, own: Any) -> dict[str, Any]:
    """Return the fields in which a configuration differs from the reference's.

    Fields that change no number (seeds, devices, folders) are left out; what a
    configuration lacks is None.
    """
    if reference is None or own is None:
        return {}
    fields = workdir.differences(reference, own)
    return {name: b for name, _, b in fields if not name.startswith(_ELSEWHERE)}


def _baselines(runs: dict[str, Run], reference: str) -> list[Baseline]:
    """Collect the runs' baselines; one that differs between runs names its run."""
    found: dict[str, Any] = dict(runs[reference].results.get("baselines") or {})
    for name, run in runs.items():
        for title, values in (run.results.get("baselines") or {}).items():
            if title not in found:
                found[title] = values
            elif found[title] != values:
                found[f"{title} ({name})"] = values
    return [{"name": title, "values": values} for title, values in found.items()]


def _curves(run: Run) -> dict[str, Curve]:
    curves = {str(seed): run.curve(seed) for seed in run.results["seeds"]}
    return {seed: curve for seed, curve in curves.items() if curve is not None}


def _caption(runs: dict[str, Run], reference: str) -> list[str]:
    first = runs[reference]
    assert first.predictions is not None
    samples = count(len(first.predictions.label), "sample")
    known = _data_hash(first)
    content = "" if known == _UNKNOWN else f", content {known[:12]}"
    rules = dict.fromkeys(
        str(run.results.get("selection", "")).strip() for run in runs.values()
    )
    rules.pop("", None)
    return [
        f"Test split of {first.results['dataset']}, {samples}{content}.",
        f"{_seeds(runs)}.",
        *(["Selection: " + " / ".join(rules)] if rules else []),
        f"Tested against {reference}: sign-flip over paired seeds and permutation over "
        "paired test samples, Holm-corrected over the rows of a column.",
    ]


def _seeds(runs: dict[str, Run]) -> str:
    """Say which seeds the runs have: once if they are the same."""
    seeds = {name: run.results["seeds"] for name, run in runs.items()}
    first = next(iter(seeds.values()))
    if all(set(other) == set(first) for other in seeds.values()):
        return f"Seeds {', '.join(map(str, first))}"
    each = [f"{name}: {', '.join(map(str, own))}" for name, own in seeds.items()]
    return f"Seeds of {'; '.join(each)}"


def _notes(runs: dict[str, Run]) -> list[str]:
    """Collect the runs' notes; one that not all of them have names its runs."""
    found: dict[str, list[str]] = {}
    for name, run in runs.items():
        for note in run_tables.notes(run.results):
            found.setdefault(note, []).append(name)
    return [
        note if len(names) == len(runs) else f"{', '.join(names)}: {note}"
        for note, names in found.items()
    ]


def _warnings(runs: dict[str, Run], cells: dict[str, list[Any]]) -> list[str]:
    grave = dict.fromkeys(
        c for r in runs.values() for c in run_tables.cautions(r.results)
    )
    said = list(grave)
    seeds = [set(run.results["seeds"]) for run in runs.values()]
    if any(own != seeds[0] for own in seeds):
        said.append(
            "The runs have different seeds: differences are taken over the seeds that "
            "two runs have in common."
        )
    return said + compare.warnings_of(cells)


def _methods(runs: dict[str, Run], reference: str) -> str:
    first = runs[reference]
    rows = listed(
        f"{name} ({methods.title(run.results['method'])}, "
        f"{count(len(run.results['seeds']), 'seed')})"
        for name, run in runs.items()
    )
    return (
        f"We compared {rows} on the test split of {first.results['dataset']}. We give "
        "the mean and the sample standard deviation over seeds, and 95 % bootstrap "
        "intervals of the mean over seeds (BCa) and over test samples. Differences to "
        f"{reference} were tested, two-sided, with a sign-flip test over paired seeds "
        "and a permutation test over paired test samples; p-values were corrected by "
        "Holm's method over the systems tested in a metric, and a difference is called "
        "significant if both corrected p-values are below .05."
    )


def _provenance(runs: dict[str, Run]) -> dict[str, Any]:
    """Collect what the runs depend on; equal values stand once."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, run in runs.items():
        for key, value in (run.results.get("provenance") or {}).items():
            line = "; ".join(lines_of(value))
            found.setdefault(key, {}).setdefault(line, []).append(name)
    return {
        key: [
            line if len(names) == len(runs) else f"{', '.join(names)}: {line}"
            for line, names in lines.items()
        ]
        for key, lines in found.items()
    }
