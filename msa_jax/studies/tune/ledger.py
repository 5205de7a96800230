"""What a search has done so far, on disk: written after every trial, read on a restart.

search.json   what is searched: configuration, space, how trials are drawn, data
trials.jsonl  a line per finished trial
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msa_jax.data import store
from msa_jax.ground.errors import UserError
from msa_jax.ground.files import json_safe
from msa_jax.report import tune_page
from msa_jax.runs import workdir
from msa_jax.studies.search import Axis, LogUniform, Trial, Uniform
from msa_jax.studies.trials import Outcome

SEARCH, TRIALS = "search.json", "trials.jsonl"


def open_search(
    folder: Path, search: Mapping[str, Any], plan: Sequence[Trial]
) -> list[tune_page.Trial]:
    """Begin a search in a folder, or go on with the same one.

    Args:
        folder: the work directory; it is there.
        search: what makes this search; another's trials cannot be mixed with its.
        plan: its trials.

    Returns:
        The lines of the trials that are finished, in the order of their numbers.

    Raises:
        UserError: the folder holds another search.
    """
    path, search = folder / SEARCH, json_safe(search)
    if path.exists():
        found = workdir.differences(workdir.read_json(path), search)
        if found:
            raise UserError(
                f"workdir {folder} holds another search ({workdir.in_words(found)}); "
                "give another --workdir, or delete that one"
            )
    else:
        workdir.write_json(path, search)
    lines = {line["trial"]: line for line in _lines(folder / TRIALS)}
    planned = {trial.number: json_safe(trial.values) for trial in plan}
    for number, line in lines.items():
        if line["values"] != planned.get(number, line["values"]):
            raise UserError(
                f"{folder / TRIALS}: trial {number} is not the one that this version "
                "draws; give another --workdir, or delete that one"
            )
    return [lines[number] for number in sorted(lines)]


def description_of(
    config: Any,
    space: Sequence[Axis],
    search: str,
    seed: int | None,
    card: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what makes a search: two with the same description may be one.

    Args:
        config: what trials start from; where its data lie does not matter.
        space: of the search.
        search: "random" or "grid".
        seed: of a random search.
        card: of the data set.
    """
    kinds = {Uniform: "uniform", LogUniform: "log_uniform"}
    fields = config.to_dict()
    del fields["data"]["dir"]
    return {
        "config": fields,
        "search": search,
        "search_seed": seed,
        "space": [
            {
                "fields": list(axis.fields),
                "kind": kinds.get(type(axis.values), "list"),
                "values": list(axis.values),
            }
            for axis in space
        ],
        **store.identity(card),
    }


def add(folder: Path, outcome: Outcome, seeds: Sequence[int]) -> tune_page.Trial:
    """Write a finished trial's line; return it."""

    def per_seed(values: Sequence[Any]) -> dict[str, Any]:
        return {str(seed): v for seed, v in zip(seeds, values, strict=True)}

    line = json_safe(
        {
            "trial": outcome.trial.number,
            "values": outcome.trial.values,
            "score": outcome.score,
            "sd": outcome.sd,
            "valid_loss": per_seed(outcome.valid_loss),
            "selected_epoch": per_seed(outcome.selected_epoch),
            "epochs_run": per_seed(outcome.epochs_run),
            "seconds": outcome.seconds,
        }
    )
    workdir.append_line(folder / TRIALS, line)
    return line


def _lines(path: Path) -> list[tune_page.Trial]:
    """Read whole lines; one that a kill cut off is removed, its trial runs again."""
    if not path.exists():
        return []
    text = path.read_text()
    whole, _, cut = text.rpartition("\n")
    if cut:
        path.write_text(f"{whole}\n" if whole else "")
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise UserError(
            f"{path}: cannot be read ({error}); delete the workdir and search again"
        ) from error
