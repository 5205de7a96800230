"""Finished runs and published values become one table.json (docs/tables.md)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from msa_jax.evaluation import compare, metric_names
from msa_jax.evaluation.results_table import (
    SCHEMA,
    Baseline,
    Cell,
    Learning,
    Measure,
    Part,
    Row,
    Table,
    column_json,
)
from msa_jax.evaluation.statistics import summarise
from msa_jax.ground.files import json_safe
from msa_jax.methods import tasks
from msa_jax.runs import shuffled_modalities
from msa_jax.studies.reproduce import captions, special_cells, wanted_runs
from msa_jax.studies.reproduce.row_runs import RowRuns, answers, runs_of
from msa_jax.studies.reproduce.wanted_runs import Wanted
from msa_jax.studies.table_spec import Part as PaperPart
from msa_jax.studies.table_spec import Table as PaperTable


def gather(
    paper: str,
    asked: PaperTable,
    parts: Sequence[tuple[int, PaperPart, str]],
    wanted: Sequence[Wanted],
    cards: Mapping[str, Mapping[str, Any]],
    *,
    seeds: Sequence[int],
    budget: str,
    overrides: Mapping[str, str],
) -> Table:
    """Collect everything a reader of a table sees.

    Args:
        paper: "sugrm".
        asked: the table, from `columns.fitting` like its parts.
        parts: from `columns.fitting`.
        wanted: from `wanted_runs.plan`.
        cards: data set -> data card.
        seeds: asked for.
        budget: see `recipes.recipe`.
        overrides: what the user set for all rows.

    Raises:
        UserError: a finished run cannot be read, or two of a table cannot be compared.
    """
    finished = [runs_of(want, seeds) for want in wanted]
    table: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "table",
        "paper": paper,
        "table": asked.name,
        "title": asked.title,
        "source": asked.source,
        "dataset": ", ".join(dict.fromkeys(data for _, _, data in parts)),
        "budget": budget,
        "seeds": list(seeds),
        "main": asked.main,
        "against": asked.against,
        "notes": list(asked.notes),
        "figures": _figures(asked, finished),
        "provenance": _provenance(finished),
        "parts": [],
    }
    reasons = captions.why_not_comparable(parts, wanted, cards, overrides)
    for index, part, dataset in parts:
        mine = [e for e in finished if e.wanted.part == index]
        kinds = {
            task: tasks.metrics_kind(task, cards[dataset]["metrics"])
            for task in dict.fromkeys(c.task for c in part.columns)
        }
        span = tuple(cards[dataset]["label_range"])
        shared = _Shared(
            asked, part, dataset, span, kinds, tuple(seeds), tuple(reasons)
        )
        table["parts"].append(_part(shared, mine))
    table |= captions.about(table, wanted, cards, reasons)
    return json_safe(table)


# What is read of both, or of the one that a run reads.
SHUFFLED = (
    shuffled_modalities.AUDIO_VISION,
    shuffled_modalities.AUDIO,
    shuffled_modalities.VISION,
)


class _Shared(NamedTuple):
    """What all rows of a part share."""

    table: PaperTable
    part: PaperPart
    dataset: str
    span: tuple[float, ...]  # lowest and highest label
    kinds: dict[str, str]
    seeds: tuple[int, ...]
    reasons: tuple[str, ...]


def _part(shared: _Shared, finished: list[RowRuns]) -> Part:
    by_row: dict[str, dict[str, RowRuns]] = {}
    for one in finished:
        if one.wanted.row != wanted_runs.BESIDE:
            by_row.setdefault(one.wanted.row, {})[one.wanted.task] = one
    controls = [row for row in by_row if row not in shared.part.published]
    rows = [*shared.part.published, *controls]
    low, high = shared.span
    columns = [_column(shared, i) for i in range(len(shared.part.columns))]
    cells = _cells(shared, columns, rows, by_row)
    return {
        "title": shared.dataset,
        "dataset": shared.dataset,
        "paper_dataset": shared.part.dataset,
        "label_note": f"Labels from {low:g} to {high:g}.".replace("-", "−"),
        "columns": [column_json(column) for column in columns],
        "baselines": _baselines(columns, by_row.get(shared.table.main, {})),
        "learning": _learning(by_row),
        "rows": [
            _row(shared, row, by_row.get(row, {}), cells[row], row in controls)
            for row in rows
        ],
    }


def _cells(
    shared: _Shared,
    columns: Sequence[Measure],
    rows: list[str],
    by_row: dict[str, dict[str, RowRuns]],
) -> dict[str, list[Cell]]:
    """Make every row's cells: means of test metrics task by task, then all others."""
    cells: dict[str, list[Cell]] = {row: [] for row in rows}
    for task, kind in shared.kinds.items():
        means = [c for c in columns if c.task == task and c.reading == "mean"]
        if not means:
            continue
        of_means = compare.cells(
            {
                row: answers(by_row[row][task], kind) if row in by_row else None
                for row in rows
            },
            means,
            against=shared.table.against,
            published=shared.part.published,
            mmsa=shared.table.mmsa.get(shared.part.dataset, {}),
            not_comparable="; ".join(shared.reasons),
        )
        for row in rows:
            cells[row] += of_means[row]
    nothing = (None,) * len(columns)
    for i, column in enumerate(shared.part.columns):
        for row in rows if column.reading != "mean" else ():
            printed = shared.part.published.get(row, nothing)[i]
            runs = by_row.get(row, {}).get(column.task)
            cell = special_cells.special_cell(
                i, column, printed, runs, reasons=shared.reasons
            )
            cells[row].append(cell)
    for row_cells in cells.values():
        row_cells.sort(key=lambda cell: cell["column"])
    return cells


def _column(shared: _Shared, index: int) -> Measure:
    column = shared.part.columns[index]
    metric = metric_names.described(shared.kinds[column.task], column.key)
    shown = metric is not None and column.reading == "mean"
    return Measure(
        index,
        column.key,
        column.title,
        percent=metric.percent if shown and metric else False,
        lower_is_better=metric.lower_is_better if metric else False,
        decimals=_decimals([row[index] for row in shared.part.published.values()]),
        task=column.task,
        reading=column.reading,
        metrics_kind=shared.kinds[column.task],
    )


def _decimals(printed: Sequence[str | None]) -> int:
    """Count the decimals that the paper prints in a column."""
    return max(
        (len(text.partition(".")[2]) for text in printed if text is not None), default=3
    )


def _row(
    shared: _Shared, name: str, tasks_of: dict[str, RowRuns], cells: list, control: bool
) -> Row:
    finished = list(tasks_of.values())
    if not finished:
        kind, state = "published", "published"
    else:
        kind = "control" if control else "ours"
        least = min(len(e.runs) for e in finished)
        most = max(len(e.runs) for e in finished)
        state = "missing" if most == 0 else "partly"
        counted = all(c.reading == "parameters" for c in shared.part.columns)
        known = all(cell["mean"] is not None for cell in cells)
        if least == len(shared.seeds) or (counted and known):
            state = "finished"
    first = finished[0].wanted if finished else None
    recipe = first.recipe if first else None
    main = shared.table.ours[shared.table.main]
    ours = main if control else shared.table.ours.get(name)
    return {
        "name": name,
        "kind": kind,
        "method": ours.method if ours and finished else "",
        "state": state,
        "why": next((e.why for e in finished if e.why), ""),
        "wanted": list(shared.seeds) if finished else [],
        "seeds": sorted({seed for e in finished for seed in e.runs}),
        "folders": sorted({str(r.folder) for e in finished for r in e.each()}),
        "differs": list(recipe.differs) if recipe else [],
        "changes": dict(ours.changes) if ours and recipe else {},
        "uses_audio_vision": _uses(shared, finished),
        "cells": cells,
    }


def _learning(by_row: dict[str, dict[str, RowRuns]]) -> Learning:
    """Validation and training loss over epochs, per row and seed.

    Of rows of several tasks the first: losses of different tasks have no common scale.
    """
    curves_of = {}
    for row, of_tasks in by_row.items():
        one = next(iter(of_tasks.values()))
        curves = {str(seed): run.curve(seed) for seed, run in one.runs.items()}
        if any(curves.values()):
            curves_of[row] = {seed: curve for seed, curve in curves.items() if curve}
    return curves_of


def _uses(shared: _Shared, finished: Sequence[RowRuns]) -> dict[str, Any]:
    """What each metric loses when test's audio and vision belong to other samples.

    Above 0: it is worse with them.
    """
    lost: dict[str, list[float | None]] = {}
    for one in finished:
        kind = shared.kinds[one.wanted.task]
        for seed, run in one.runs.items():
            controls = run.results.get("controls") or {}
            control = next(
                (controls[name] for name in SHUFFLED if name in controls), {}
            )
            for key, cell in control.items():
                metric = metric_names.described(kind, key)
                change = cell["change"]["per_seed"][run.lane(seed)]
                if metric is None or change is None:
                    continue
                worse = change if metric.lower_is_better else -change
                lost.setdefault(key, []).append(worse)
    cells = {key: summarise(values) for key, values in lost.items()}
    return {
        k: {"value": cell["mean"], "ci95": cell["ci95"]} for k, cell in cells.items()
    }


def _baselines(
    columns: Sequence[Measure], main: Mapping[str, RowRuns]
) -> list[Baseline]:
    """Trivial baselines, as the main row's runs have scored them."""
    values_of: dict[str, dict[str, Any]] = {}
    for column in columns:
        one = main.get(column.task)
        if one is None or column.reading != "mean":
            continue
        for run in one.each()[:1]:
            for name, values in (run.results.get("baselines") or {}).items():
                values_of.setdefault(name, {})[column.key] = values.get(column.key)
    return [{"name": name, "values": values} for name, values in values_of.items()]


def _figures(asked: PaperTable, finished: Sequence[RowRuns]) -> list[dict[str, Any]]:
    """Name the figures of the paper and the runs to draw them from."""

    def first(row: str) -> str | None:
        runs = [e.runs for e in finished if e.wanted.row == row and e.runs]
        return str(next(iter(runs[0].values())).folder) if runs else None

    run, beside = first(asked.main), first(wanted_runs.BESIDE)
    if run is None:
        return []
    return [
        {"run": run, "name": name, "beside": beside if name == "embedding" else None}
        for name in asked.figures
    ]


def _provenance(finished: Sequence[RowRuns]) -> dict[str, Any]:
    """Collect what the runs say of code, packages, device and data."""
    results = [run.results for one in finished for run in one.each()]
    every = [r.get("provenance") or {} for r in results]

    def distinct(key: str) -> list[str]:
        return sorted({str(p[key]) for p in every if p.get(key)})

    return {
        "git_commits": distinct("git_commit"),
        "devices": distinct("device"),
        "data_sha256": distinct("data_sha256"),
        "encoders": distinct("encoder"),
        "precision": distinct("precision"),
        "versions": every[0].get("versions", {}) if every else {},
        "epochs": sum(sum((r.get("epochs_run") or {}).values()) for r in results),
        "seconds": sum((r.get("time") or {}).get("seconds", 0) for r in results),
    }
