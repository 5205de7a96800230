"""Plan a table, train what is missing of it, write its page."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict, FrozenConfigDict

from msa_jax.config import cli
from msa_jax.data import store
from msa_jax.data.made_up import synthetic
from msa_jax.ground.errors import UserError
from msa_jax.runs import workdir
from msa_jax.studies import table_catalogue
from msa_jax.studies.reproduce import fitted_columns, gather, special_cells, wanted_runs
from msa_jax.studies.reproduce.wanted_runs import Wanted
from msa_jax.studies.table_spec import Table

PLAN = "plan.json"  # of a page: what it needs
RUNS = "runs"  # folder, beside the pages, of all runs of tables


class Asked(NamedTuple):
    """What a person asked for.

    name: "sugrm/table4".
    dataset: None: the paper's own.
    only: rows as typed; None: all.
    overrides: config field -> value as typed, for every row.
    """

    name: str
    table: Table
    dataset: str | None
    seeds: tuple[int, ...]
    only: str | None
    budget: str
    controls: bool
    out: Path
    data_dir: str
    overrides: Mapping[str, str]


class Job(NamedTuple):
    """One run to train: some seeds of one configuration."""

    wanted: Wanted
    seeds: tuple[int, ...]


def reproduce(asked: Asked, *, train: bool = True) -> Path:
    """Make a table.

    Args:
        asked: what to make.
        train: whether to train what is missing.

    Returns: the path of its page.
    Raises:
        UserError: no data, no such row, or a configuration that cannot be.
    """
    rows = wanted_runs.rows_named(asked.table, asked.only)
    parts, cards = _available(asked)
    table, parts = fitted_columns.fitting(asked.table, parts, cards)
    asked = asked._replace(table=table)
    workdir.open_workdir(asked.out)
    wanted = wanted_runs.plan(
        asked.table,
        parts,
        cards,
        asked.out / RUNS,
        budget=asked.budget,
        controls=asked.controls,
        change=_overriding(asked),
    )
    if all(want.folder is None for want in wanted):  # a mistake, not a row's trouble
        raise UserError(wanted[0].why)
    folder = workdir.open_workdir(asked.out / page_name(asked))
    workdir.write_json(folder / PLAN, _plan(asked, wanted))
    if train:
        todo = jobs(wanted, asked.seeds, _rows_to_train(asked.table, rows))
        train_all(todo, _trainer(asked), _count(wanted, asked.seeds))
        special_cells.measure_missing(wanted, asked.seeds, asked.data_dir)
    found = gather.gather(
        asked.name.partition("/")[0],
        asked.table,
        parts,
        wanted,
        cards,
        seeds=asked.seeds,
        budget=asked.budget,
        overrides=asked.overrides,
    )
    workdir.write_json(folder / "table.json", found)
    from msa_jax.report import table_page

    return table_page.write_table(folder, workdir.read_json(folder / "table.json"))


def page_name(asked: Asked) -> str:
    """Name a table's folder: sugrm_table4-mosi_real-small."""
    data = asked.dataset or "own_data"
    pieces = [asked.name.replace("/", "_"), data, asked.budget]
    if asked.overrides:
        pieces.append(wanted_runs.short_hash(dict(asked.overrides)))
    return "-".join(pieces)


def jobs(
    wanted: Sequence[Wanted], seeds: tuple[int, ...], rows: Sequence[str] | None = None
) -> list[Job]:
    """List the runs that are missing, each once.

    Args:
        wanted: from `wanted_runs.plan`.
        seeds: the seeds to have.
        rows: train these only; None: all.
    """
    found: dict[Path, Job] = {}
    for want in wanted:
        if want.folder is None or (rows is not None and want.row not in rows):
            continue
        if want.columns_read == {"parameters"}:
            continue  # counted without training
        missing = wanted_runs.missing_seeds(want, seeds)
        if missing:
            found.setdefault(want.folder, Job(want, missing))
    return list(found.values())


def train_all(
    todo: Sequence[Job], train: Callable[[Job, Path], None], finished: int
) -> None:
    """Train one run after the other; a run that cannot be does not stop the others.

    Args:
        todo: from `jobs`.
        train: trains a run into a work directory.
        finished: how many runs are there already, for the message.
    """
    if finished:
        print(f"{finished} of {finished + len(todo)} runs are there already")
    start = time.monotonic()
    for done, job in enumerate(todo):
        want = job.wanted
        assert want.folder is not None  # jobs can be run
        left = ""
        if done:
            seconds = (time.monotonic() - start) / done * (len(todo) - done)
            left = f", about {seconds / 60:.0f} min left"
        listed = ", ".join(map(str, job.seeds))
        print(f"\nrun {done + 1} of {len(todo)}{left}: {want.row} [{want.task}]")
        print(f"seeds {listed}", flush=True)
        failure = want.folder / wanted_runs.FAILED
        try:
            train(job, wanted_runs.workdir_of(want.folder, job.seeds))
        except UserError as error:
            print(f"not trained: {cli.one_line(str(error))}")
            want.folder.mkdir(parents=True, exist_ok=True)
            workdir.write_json(failure, {"seeds": job.seeds, "why": str(error)})
        else:
            failure.unlink(missing_ok=True)


def _trainer(asked: Asked) -> Callable[[Job, Path], None]:
    from msa_jax.runs import run
    from msa_jax.studies import controls

    def train(job: Job, folder: Path) -> None:
        import jax

        assert job.wanted.recipe is not None  # jobs can be run
        settings = ConfigDict(job.wanted.recipe.settings)
        settings.seeds = job.seeds
        settings.data.dir = asked.data_dir
        change = controls.of(job.wanted.control)
        workdir.open_workdir(folder)
        run.complete_run(FrozenConfigDict(settings), folder, change)
        jax.clear_caches()  # the next run has programs of its own

    return train


def _available(
    asked: Asked,
) -> tuple[list[tuple[int, Any, str]], dict[str, dict[str, Any]]]:
    """Return the parts whose data are there, and the data cards.

    Without a data set asked for, parts of a paper whose data are not prepared are left
    out, and said so.
    """
    parts, cards, missing = [], {}, []
    for index, part, dataset in wanted_runs.choose_parts(asked.table, asked.dataset):
        if dataset in synthetic.SIZES:
            store.make_synthetic(dataset, asked.data_dir)
        path = store.dataset_path(dataset, asked.data_dir)
        if not path.exists():
            missing.append(dataset)
            continue
        cards[dataset] = store.read_card(path)
        parts.append((index, part, dataset))
    names = ", ".join(dict.fromkeys(missing))
    if not parts:
        why = store.absent(missing[0], asked.data_dir, "--dataset")
        raise UserError(f"{asked.name}: {why}, or use another: --dataset demo")
    if missing:
        print(f"left out, because not prepared in {asked.data_dir}: {names}")
    return parts, cards


def _overriding(asked: Asked) -> Callable[[ConfigDict], None]:
    overrides = dict(asked.overrides)

    def change(settings: ConfigDict) -> None:
        if overrides:
            cli.override(settings, overrides)

    return change


def _rows_to_train(table: Table, rows: list[str] | None) -> list[str] | None:
    """Add the controls of the main row, if it is to be trained."""
    if rows is None or table.main not in rows:
        return rows
    return rows + [f"{table.main}, {said}" for said in wanted_runs.CONTROLS]


def _count(wanted: Sequence[Wanted], seeds: tuple[int, ...]) -> int:
    """Count the configurations of which every seed is finished."""
    folders = {w.folder: w for w in wanted if w.folder is not None}
    return sum(not wanted_runs.missing_seeds(w, seeds) for w in folders.values())


def _plan(asked: Asked, wanted: Sequence[Wanted]) -> dict[str, Any]:
    """Say what the table needs, for `--list` and for people."""
    return {
        "table": asked.name,
        "dataset": asked.dataset,
        "budget": asked.budget,
        "seeds": asked.seeds,
        "runs": [
            {
                "row": want.row,
                "part": want.part,
                "task": want.task,
                "folder": None
                if want.folder is None
                else str(want.folder.relative_to(asked.out)),
                "why": want.why,
            }
            for want in wanted
        ],
    }


def list_tables(configs: Path, out: Path) -> None:
    """Print all tables, with the pages begun under `out` and how far they are."""
    begun = list(_begun(out))
    for paper, tables in table_catalogue.load_tables(configs).items():
        for name, table in tables.items():
            rows = dict.fromkeys(row for part in table.parts for row in part.published)
            full, ours = f"{paper}/{name}", f"{len(table.ours)} of {len(rows)}"
            print(f"{full:15} {ours:>8} rows  {table.title}")
            for plan in begun:
                if plan["table"] == full:
                    print(f"{'':29}{_state(out, plan)}")
    print(
        "Rows: those that are run here, of all; the others are shown as published.\n"
        "Make one: python -m msa_jax.reproduce NAME --dataset demo"
    )


def _begun(out: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(out.glob(f"*/{PLAN}")):
        with contextlib.suppress(UserError):  # its own command says so
            yield workdir.read_json(path)


def _state(out: Path, plan: dict[str, Any]) -> str:
    """For example "mosi_real (small): 7 of 11, 6 seeds"."""
    folders = {run["folder"] for run in plan["runs"] if run["folder"]}
    seeds = set(plan["seeds"])
    done = sum(
        seeds <= wanted_runs.finished_seeds(out / folder).keys() for folder in folders
    )
    data = plan["dataset"] or "its own data"
    return (
        f"on {data}, {plan['budget']} budget: {done} of {len(folders)} runs finished, "
        f"{len(seeds)} seeds"
    )
