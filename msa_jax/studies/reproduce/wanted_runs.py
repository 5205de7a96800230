"""Which runs a table needs, where they lie, and which of them are finished.

A run is what `main` writes: one configuration and some seeds in a work directory. All
runs of one configuration lie under one folder, named after what its numbers depend on,
so a row that stands in several tables is trained once.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from msa_jax.data import store
from msa_jax.ground.errors import UserError
from msa_jax.runs import workdir
from msa_jax.runs.finished import Run, open_folder
from msa_jax.studies.reproduce.recipes import Recipe, recipe
from msa_jax.studies.table_spec import Ours, Part, Table

FAILED = "failed.json"  # of a configuration that could not be trained: why
# Of a configuration, what numbers do not depend on.
_ELSEWHERE = ("seeds", "mesh")

BESIDE = "beside the main row"  # a run that a figure of the paper needs
# Rows that are made of the main one: what is done to its inputs (experiment.controls).
CONTROLS = {
    "without audio and vision": "without",
    "audio and vision shuffled across samples": "shuffled",
}


class Wanted(NamedTuple):
    """One configuration that a row of a part needs.

    row: its name; of a control, the main row's with the control behind it.
    part: index of the part.
    task: `config.task`; columns of a part may need several.
    columns_read: what its columns read (`table_spec.Column.reading`).
    recipe: None if it cannot be run.
    control: "" or a value of `CONTROLS`.
    folder: where its runs lie; None like `recipe`.
    why: why it cannot be run, a sentence; else empty.
    """

    row: str
    part: int
    task: str
    columns_read: frozenset[str]
    recipe: Recipe | None
    control: str
    folder: Path | None
    why: str = ""


def choose_parts(table: Table, dataset: str | None) -> list[tuple[int, Part, str]]:
    """Return the parts of a table to make: index, part and data set.

    Args:
        table: the table.
        dataset: the data set asked for; None: every part on its own.

    Returns: the parts whose paper used that data set; if none did, the first, on it.
    """
    if dataset is None:
        return [(i, part, part.dataset) for i, part in enumerate(table.parts)]
    own = [
        (i, part, dataset)
        for i, part in enumerate(table.parts)
        if part.dataset == dataset
    ]
    return own or [(0, table.parts[0], dataset)]


def plan(
    table: Table,
    parts: Iterable[tuple[int, Part, str]],
    cards: Mapping[str, Mapping[str, Any]],
    root: Path,
    *,
    budget: str,
    controls: bool = True,
    change: Callable[[ConfigDict], None] = lambda settings: None,
) -> list[Wanted]:
    """List every configuration that a table needs, in the order of its rows.

    Args:
        table: the table.
        parts: from `choose_parts`, with columns from `columns.fitting`.
        cards: data set -> its data card.
        root: folder of all runs of tables.
        budget: see `recipes.recipe`.
        controls: also the main row without audio and vision, and with them shuffled.
        change: what the user sets on top of every configuration.
    """
    wanted = []
    for index, part, dataset in parts:
        card = cards[dataset]
        make = partial(
            recipe,
            card=card,
            budget=budget,
            aligned=part.aligned if dataset == part.dataset else None,
            change=change,
        )
        rows = [
            (row, ours, "") for row, ours in table.ours.items() if row in part.published
        ]
        if controls and any(c.reading == "mean" for c in part.columns):
            main = table.ours[table.main]
            rows += [(f"{table.main}, {said}", main, c) for said, c in CONTROLS.items()]
        if table.beside is not None:
            rows.append((BESIDE, table.beside, ""))
        tasks: dict[str, set[str]] = {}
        for column in part.columns:
            tasks.setdefault(column.task, set()).add(column.reading)
        for row, ours, control in rows:
            for task, columns_read in tasks.items():
                asked = (row, index, task, frozenset(columns_read))
                wanted.append(_want(asked, ours, control, make, card, root))
    return wanted


def _want(
    asked: tuple[str, int, str, frozenset[str]],
    ours: Ours,
    control: str,
    make: Callable[..., Recipe],
    card: Mapping[str, Any],
    root: Path,
) -> Wanted:
    try:
        how = make(ours, task=asked[2])
    except UserError as error:
        return Wanted(*asked, None, control, None, str(error))
    folder = root / card["name"] / name_of(how.settings, card, control)
    return Wanted(*asked, how, control, folder)


def name_of(settings: ConfigDict, card: Mapping[str, Any], control: str = "") -> str:
    """Name the folder of a configuration's runs: method and hash.

    Hashed are the configuration but for seeds, devices and where the data lie; what the
    data set holds and how its labels are read; and the control.
    """
    values = json.loads(settings.to_json_best_effort())
    for key in _ELSEWHERE:
        values.pop(key)
    values["data"].pop("dir")
    whole = [values, store.identity(card), control]
    return f"{settings.method}-{short_hash(whole)}"


def short_hash(value: Any) -> str:
    """Hash what JSON can hold; ten digits."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def finished_seeds(folder: Path) -> dict[int, Run]:
    """Return each finished seed of a configuration and the run it is in.

    Raises:
        UserError: results of one cannot be read.
    """
    run_of: dict[int, Run] = {}
    for results in sorted(folder.glob(f"seeds_*/{workdir.RESULTS}")):
        run = open_folder(results.parent)
        for seed in run.results["seeds"]:
            run_of.setdefault(seed, run)
    return run_of


def missing_seeds(wanted: Wanted, seeds: Sequence[int]) -> tuple[int, ...]:
    """Return the seeds of a configuration that are not finished, in order."""
    assert wanted.folder is not None  # it can be run
    finished = finished_seeds(wanted.folder)
    return tuple(seed for seed in seeds if seed not in finished)


def workdir_of(folder: Path, seeds: Sequence[int]) -> Path:
    """Name the work directory of a run of some seeds: seeds_1111-1116, seeds_3+7."""
    span = list(range(seeds[0], seeds[0] + len(seeds)))
    listed = "+".join(map(str, seeds))
    if list(seeds) == span and len(seeds) > 1:
        listed = f"{seeds[0]}-{seeds[-1]}"
    return folder / f"seeds_{listed}"


def rows_named(table: Table, said: str | None) -> list[str] | None:
    """Find the rows that a person names, divided by commas; None for all.

    Names may hold commas themselves ("M, T"): the longest name that fits is taken.
    Case and spaces do not matter.

    Raises:
        UserError: a row that is not ours.
    """
    if said is None:
        return None
    known = {_plain(name): name for name in table.ours}
    pieces, names = said.split(","), []
    while pieces:
        for stop in range(len(pieces), 0, -1):
            name = known.get(_plain(",".join(pieces[:stop])))
            if name is not None:
                names.append(name)
                pieces = pieces[stop:]
                break
        else:
            listed = "; ".join(table.ours)
            raise UserError(
                f"--only {said}: {table.name} has no row {pieces[0].strip()!r} of "
                f"ours; it has: {listed}"
            )
    return names


def _plain(name: str) -> str:
    return "".join(name.split()).lower()
