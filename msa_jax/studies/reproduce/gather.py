"""Finished runs and published values become one table.json (docs/tables.md)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from msa_jax.evaluation import compare, metric_names
from msa_jax.evaluation.statistics import summarise
from msa_jax.ground.files import json_safe
from msa_jax.methods import tasks
from msa_jax.runs import shuffled_test
from msa_jax.runs.workdir import HISTORY
from msa_jax.studies.reproduce import captions, special_cells, wanted_runs
from msa_jax.studies.reproduce import finished_rows as entries_of
from msa_jax.studies.reproduce.finished_rows import Entry
from msa_jax.studies.reproduce.wanted_runs import Wanted
from msa_jax.studies.spec import Column, Part, Table

SCHEMA = 1


def table(
    paper: str,
    asked: Table,
    parts: Sequence[tuple[int, Part, str]],
    wanted: Sequence[Wanted],
    cards: Mapping[str, Mapping[str, Any]],
    *,
    seeds: Sequence[int],
    budget: str,
    overrides: Mapping[str, str],
) -> dict[str, Any]:
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
    entries = [entries_of.read(want, seeds) for want in wanted]
    found: dict[str, Any] = {
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
        "figures": _figures(asked, entries),
        "provenance": _provenance(entries),
        "parts": [],
    }
    reasons = captions.why_not_comparable(parts, wanted, cards, overrides)
    for index, part, dataset in parts:
        mine = [e for e in entries if e.wanted.part == index]
        kinds = {
            task: tasks.metrics_kind(task, cards[dataset]["metrics"])
            for task in dict.fromkeys(c.task for c in part.columns)
        }
        span = tuple(cards[dataset]["label_range"])
        place = _Place(asked, part, dataset, span, kinds, tuple(seeds), tuple(reasons))
        found["parts"].append(_part(place, mine))
    found |= captions.about(found, wanted, cards, reasons)
    return json_safe(found)


class _Place(NamedTuple):
    """What all rows of a part share."""

    table: Table
    part: Part
    dataset: str
    span: tuple[float, ...]  # lowest and highest label
    kinds: dict[str, str]
    seeds: tuple[int, ...]
    reasons: tuple[str, ...]


def _part(place: _Place, entries: list[Entry]) -> dict[str, Any]:
    by_row: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        if entry.wanted.row != wanted_runs.BESIDE:
            by_row.setdefault(entry.wanted.row, {})[entry.wanted.task] = entry
    controls = [row for row in by_row if row not in place.part.published]
    rows = [*place.part.published, *controls]
    low, high = place.span
    columns = [_column(place, column) for column in place.part.columns]
    made: dict[str, list[dict[str, Any]]] = {row: [] for row in rows}
    for cell_of in (_means(place, columns, rows, by_row), _others(place, rows, by_row)):
        for row, found in cell_of.items():
            made[row] += found
    for found in made.values():
        found.sort(key=lambda cell: cell["column"])
    return {
        "title": place.dataset,
        "dataset": place.dataset,
        "paper_dataset": place.part.dataset,
        "label_note": f"Labels from {low:g} to {high:g}.".replace("-", "−"),
        "columns": columns,
        "baselines": _baselines(columns, by_row.get(place.table.main, {})),
        "learning": _learning(by_row),
        "rows": [
            _row(place, row, by_row.get(row, {}), made[row], row in controls)
            for row in rows
        ],
    }


def _means(
    place: _Place,
    columns: list[dict[str, Any]],
    rows: list[str],
    by_row: dict[str, dict[str, Entry]],
) -> dict[str, list[dict[str, Any]]]:
    """Make the cells that are means of test metrics, task by task."""
    made: dict[str, list[dict[str, Any]]] = {row: [] for row in rows}
    for task, kind in place.kinds.items():
        measures = [
            compare.Measure(
                index=i,
                key=c["key"],
                title=c["title"],
                percent=c["percent"],
                lower_is_better=c["lower_is_better"],
                decimals=c["decimals"],
            )
            for i, c in enumerate(columns)
            if c["task"] == task and c["reading"] == "mean"
        ]
        if not measures:
            continue
        found = compare.cells(
            {
                row: entries_of.answers(by_row[row][task], kind)
                if row in by_row
                else None
                for row in rows
            },
            measures,
            against=place.table.against,
            published=place.part.published,
            mmsa=place.table.mmsa.get(place.part.dataset, {}),
            not_comparable="; ".join(place.reasons),
        )
        for row in rows:
            made[row] += found[row]
    return made


def _others(
    place: _Place, rows: list[str], by_row: dict[str, dict[str, Entry]]
) -> dict[str, list[dict[str, Any]]]:
    """Make the cells of other readings (`spec.Column.reading`)."""
    return {
        row: [
            special_cells.cell(
                i,
                column,
                place.part.published.get(row, (None,) * len(place.part.columns))[i],
                by_row.get(row, {}).get(column.task),
                reasons=place.reasons,
            )
            for i, column in enumerate(place.part.columns)
            if column.reading != "mean"
        ]
        for row in rows
    }


def _column(place: _Place, column: Column) -> dict[str, Any]:
    metric = metric_names.described(place.kinds[column.task], column.key)
    shown = metric is not None and column.reading == "mean"
    at = place.part.columns.index(column)
    return {
        "title": column.title,
        "key": column.key,
        "task": column.task,
        "reading": column.reading,
        "percent": metric.percent if shown and metric else False,
        "lower_is_better": metric.lower_is_better if metric else False,
        "decimals": _decimals([row[at] for row in place.part.published.values()]),
        "metrics_kind": place.kinds[column.task],
    }


def _decimals(printed: Sequence[str | None]) -> int:
    """Count the decimals that the paper prints in a column."""
    return max(
        (len(text.partition(".")[2]) for text in printed if text is not None), default=3
    )


def _row(
    place: _Place, name: str, tasks_of: dict[str, Entry], cells: list, control: bool
) -> dict[str, Any]:
    entries = list(tasks_of.values())
    if not entries:
        kind, state = "published", "published"
    else:
        kind = "control" if control else "ours"
        least = min(len(e.runs) for e in entries)
        most = max(len(e.runs) for e in entries)
        state = "missing" if most == 0 else "partly"
        counted = all(c.reading == "parameters" for c in place.part.columns)
        known = all(cell["mean"] is not None for cell in cells)
        if least == len(place.seeds) or (counted and known):
            state = "finished"
    first = entries[0].wanted if entries else None
    recipe = first.recipe if first else None
    main = place.table.ours[place.table.main]
    ours = main if control else place.table.ours.get(name)
    return {
        "name": name,
        "kind": kind,
        "method": ours.method if ours and entries else "",
        "state": state,
        "why": next((e.why for e in entries if e.why), ""),
        "wanted": list(place.seeds) if entries else [],
        "seeds": sorted({seed for e in entries for seed in e.runs}),
        "folders": sorted({str(f) for e in entries for f in e.runs.values()}),
        "differs": list(recipe.differs) if recipe else [],
        "changes": dict(ours.changes) if ours and recipe else {},
        "uses_audio_vision": _uses(place, entries),
        "cells": cells,
    }


def _learning(by_row: dict[str, dict[str, Entry]]) -> dict[str, Any]:
    """Validation and training loss over epochs, per row and seed.

    Of rows of several tasks the first: losses of different tasks have no common scale.
    """
    found = {}
    for row, of_tasks in by_row.items():
        entry = next(iter(of_tasks.values()))
        curves = {}
        for seed, folder in entry.runs.items():
            results = entry.results[folder]
            curve = entries_of.curve(folder / HISTORY, results["seeds"].index(seed))
            kept = results["selected_epoch"][str(seed)]
            curves[str(seed)] = curve | {"selected": kept}
        if curves:
            found[row] = curves
    return found


def _uses(place: _Place, entries: Sequence[Entry]) -> dict[str, Any]:
    """What each metric loses when test's audio and vision belong to other samples.

    Above 0: it is worse with them.
    """
    lost: dict[str, list[float | None]] = {}
    for entry in entries:
        kind = place.kinds[entry.wanted.task]
        for seed, folder in entry.runs.items():
            results = entry.results[folder]
            controls = results.get("controls") or {}
            read = (
                shuffled_test.AUDIO_VISION,
                shuffled_test.AUDIO,
                shuffled_test.VISION,
            )
            control = next((controls[name] for name in read if name in controls), {})
            lane = results["seeds"].index(seed)
            for key, cell in control.items():
                metric = metric_names.described(kind, key)
                change = cell["change"]["per_seed"][lane]
                if metric is None or change is None:
                    continue
                worse = change if metric.lower_is_better else -change
                lost.setdefault(key, []).append(worse)
    found = {}
    for key, values in lost.items():
        cell = summarise(values)
        found[key] = {"value": cell["mean"], "ci95": cell["ci95"]}
    return found


def _baselines(
    columns: Sequence[Mapping[str, Any]], main: Mapping[str, Entry]
) -> list[dict[str, Any]]:
    """Trivial baselines, as the main row's runs have scored them."""
    found: dict[str, dict[str, Any]] = {}
    for column in columns:
        entry = main.get(column["task"])
        if entry is None or column["reading"] != "mean":
            continue
        for results in list(entry.results.values())[:1]:
            for name, values in results["baselines"].items():
                value = values.get(column["key"])
                found.setdefault(name, {})[column["key"]] = value
    return [{"name": name, "values": values} for name, values in found.items()]


def _figures(asked: Table, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Name the figures of the paper and the runs to draw them from."""

    def first(row: str) -> str | None:
        runs = [e.runs for e in entries if e.wanted.row == row and e.runs]
        return str(next(iter(runs[0].values()))) if runs else None

    run, beside = first(asked.main), first(wanted_runs.BESIDE)
    if run is None:
        return []
    return [
        {"run": run, "name": name, "beside": beside if name == "embedding" else None}
        for name in asked.figures
    ]


def _provenance(entries: Sequence[Entry]) -> dict[str, Any]:
    """Collect what the runs say of code, packages, device and data."""
    every = [r["provenance"] for e in entries for r in e.results.values()]

    def distinct(key: str) -> list[str]:
        return sorted({str(p[key]) for p in every if p.get(key)})

    return {
        "git_commits": distinct("git_commit"),
        "devices": distinct("device"),
        "data_sha256": distinct("data_sha256"),
        "encoders": distinct("encoder"),
        "precision": distinct("precision"),
        "versions": every[0]["versions"] if every else {},
        "epochs": sum(
            epochs
            for e in entries
            for r in e.results.values()
            for epochs in r["epochs_run"].values()
        ),
        "seconds": sum(
            r["time"]["seconds"] for e in entries for r in e.results.values()
        ),
    }
