"""A search from its plan to its files: trains what is not finished, writes it all."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict, FrozenConfigDict

import msa_jax.methods as methods
from msa_jax.data import Dataset, store
from msa_jax.ground.errors import UserError
from msa_jax.methods import tasks
from msa_jax.report import tune_page
from msa_jax.runs import workdir
from msa_jax.studies import search, trials
from msa_jax.studies.tune import ledger, results
from msa_jax.studies.tune.progress import SearchProgress
from msa_jax.training.epoch_program import steps_per_epoch
from msa_jax.training.loop import Epoch


class Asked(NamedTuple):
    """What was asked for.

    config: what trials start from, with all that was given on the command line.
    config_file: its name, as typed.
    given: field -> value, on the command line.
    seeds: of the config file; `config.seeds` are those of the search.
    space, plan: what is searched, see `search.plan`.
    sweep_file: its name.
    search: "random" or "grid".
    search_seed: of a random search.
    lanes: trainings side by side, see `trials.run_group`.
    """

    config: ConfigDict
    config_file: str
    given: Mapping[str, Any]
    seeds: tuple[int, ...]
    space: tuple[search.Axis, ...]
    plan: list[search.Trial]
    sweep_file: str
    search: str
    search_seed: int | None
    lanes: int = trials.MOST_LANES


def search_and_write(asked: Asked, dataset: Dataset, folder: Path) -> dict[str, Any]:
    """Run the trials that are not finished, write everything; return the results.

    Args:
        asked: the search.
        dataset: its train and valid are read.
        folder: the work directory; it is there.

    Raises:
        UserError: the folder holds another search, or every trial diverged.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    frozen, plan = FrozenConfigDict(asked.config), asked.plan
    this = ledger.description_of(
        frozen, asked.space, asked.search, asked.search_seed, dataset.card
    )
    lines = ledger.open_search(folder, this, plan)
    there = {line["trial"] for line in lines}
    traced = methods.of(frozen).is_traced
    programs = len(search.group_trials(plan, traced))
    groups = search.group_trials([t for t in plan if t.number not in there], traced)
    print(
        f"{frozen.method} on {dataset.name}: {len(plan)} trials of "
        f"{len(frozen.seeds)} seed(s), {programs} compiled program(s)"
        + (f"; {len(there)} trials are there" if there else "")
    )
    look = trials.looking(dataset)
    _train(asked, groups, look, folder, lines)
    seen = look(trials.config_of(frozen, groups[-1]) if groups else frozen)
    found = results.collect(
        this,
        lines,
        planned=len(plan),
        combinations=search.combinations(asked.space),
        programs=programs,
        loss=tasks.make(frozen.task).loss,
    )
    found |= {
        "config_file": asked.config_file,
        "sweep_file": asked.sweep_file,
        "notes": seen.notes,
        "started": started,
        "provenance": workdir.provenance(
            store.identity(dataset.card),
            seen.encoder.description,
            frozen.precision,
            frozen.mesh.devices or jax.device_count(),
        ),
    }
    if found["best"] is not None:
        found["best"] |= _write_winner(asked, found, folder)
    workdir.write_json(folder / results.RESULTS, found)
    page = tune_page.write_search(folder, workdir.read_json(folder / results.RESULTS))
    if found["best"] is None:
        raise UserError(
            f"every trial diverged, see {page}; lower the rates in the sweep or check "
            "the data card"
        )
    return found


def _train(
    asked: Asked,
    groups: list[search.Group],
    look: trials.Look,
    folder: Path,
    lines: list[tune_page.Trial],
) -> None:
    """Run groups of trials; every finished one is written, and added to `lines`."""
    settings = [trials.config_of(asked.config, group) for group in groups]
    for one in settings:  # what cannot be run is said before anything runs
        steps_per_epoch(one, look(one).train)
    seeds = tuple(asked.config.seeds)
    longest = asked.config.selection.max_epochs
    with SearchProgress(lines, len(asked.plan), longest) as progress:
        for one, group in zip(settings, groups, strict=True):
            progress.begin(group)
            for done in trials.run_group(one, group, look(one), asked.lanes):
                if isinstance(done, Epoch):
                    progress.epoch(done)
                else:
                    lines.append(ledger.add(folder, done, seeds))
                    progress.finished(lines[-1])


def _write_winner(asked: Asked, found: dict[str, Any], folder: Path) -> dict[str, str]:
    """Write best.py; return the commands that train the results.

    Seeds are a sample, not a setting: the winner gets all that its config file has.
    """
    best = found["best"]
    # JSON has no tuples; no field of a config is a list.
    values = {
        k: tuple(v) if isinstance(v, list) else v for k, v in best["values"].items()
    }
    given = {k: v for k, v in asked.given.items() if k != "seeds"}
    chosen = ConfigDict(asked.config)
    chosen.seeds = asked.seeds
    chosen.update_from_flattened_dict(values)
    path = folder / "best.py"
    tried = f"{found['budget']['trials']} trials of {asked.sweep_file}"
    title = f"The best of {tried} on validation, trial {best['trial']}."
    path.write_text(results.config_file(chosen, title, str(path)))
    return {
        "command": results.command(asked.config_file, given | values),
        "config_command": results.command(str(path), {}),
    }
