"""Networks trained without some modalities: ordinary runs, one per combination."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from msa_jax import report
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.runs import workdir
from msa_jax.runs.reopened import ReopenedRun
from msa_jax.runs.run import complete_run
from msa_jax.studies import controls


def folder_of(robustness: Path, kept: tuple[str, ...]) -> Path:
    """Return the work directory of the network that reads `kept` only."""
    return robustness / "retrained" / "_".join(kept)


def is_finished(folder: Path) -> bool:
    """Say whether a reduced network is there, trained to its end."""
    return (folder / workdir.RESULTS).exists()


def train(
    run: ReopenedRun,
    kept: tuple[str, ...],
    folder: Path,
    replacement: int,
    data_dir: str | None = None,
) -> dict[str, Any]:
    """Train the run's method, with its configuration and seeds, on `kept` alone.

    A method whose config names its modalities gets the reduced network; of the others
    the absent features are zeroed in every split. A finished run is not run again.

    Args:
        run: the run with all modalities.
        kept: the modalities to train on.
        folder: of the reduced run.
        replacement: the token id that stands for a missing one.
        data_dir: where the data set lies, if not where the run found it.

    Returns: its results.
    """
    absent = tuple(m for m in MODALITIES if m not in kept)
    settings = controls.reduced_config(run.files.settings, kept)
    change = partial(controls.zeroed, absent=absent, replacement=replacement)
    if settings is not None:
        change = partial(controls.noted, absent=absent)
    settings = settings or run.files.settings
    if data_dir is not None:
        moved = ConfigDict(settings)
        moved.data.dir = data_dir
        settings = FrozenConfigDict(moved)
    if is_finished(folder):
        return _finished(run, folder, settings)
    results = complete_run(settings, workdir.open_workdir(folder), change)
    report.write_report(folder)
    return results


def _finished(
    run: ReopenedRun, folder: Path, settings: FrozenConfigDict
) -> dict[str, Any]:
    """Return the results of a reduced run that is there, if it is the one wanted."""
    there = workdir.read_json(folder / workdir.CONFIG)
    now = json.loads(json.dumps(settings.to_dict()))  # tuples are lists there
    found = [
        field
        for field, _, _ in workdir.differences(there, now)
        if field != "data.dir"  # the same data may lie elsewhere now
    ]
    if found:
        raise UserError(
            f"{folder} was trained with another configuration ({', '.join(found[:3])}"
            " differs); delete it to train again"
        )
    return results_of(run, folder)


def results_of(run: ReopenedRun, folder: Path) -> dict[str, Any]:
    """Return the results of a reduced run that is there.

    Raises:
        UserError: it was trained on other data than the run is.
    """
    results = workdir.read_json(folder / workdir.RESULTS)
    dataset, advice = run.dataset, "delete it to train again"
    workdir.require_same_data(folder, results, dataset.name, dataset.card, advice)
    return results
