"""The finished runs of a row: their results, answers and curves."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from msa_jax.evaluation import compare
from msa_jax.ground.errors import UserError
from msa_jax.runs.workdir import read_json
from msa_jax.studies.reproduce import wanted_runs
from msa_jax.studies.reproduce.wanted_runs import Wanted


class Entry(NamedTuple):
    """A row of ours in one part and one task.

    wanted: its configuration.
    runs: seed -> work directory, of the seeds asked for that are finished.
    results: work directory -> its results.json.
    why: why seeds are missing, if that is known.
    """

    wanted: Wanted
    runs: dict[int, Path]
    results: dict[Path, dict[str, Any]]
    why: str


def read(want: Wanted, seeds: Sequence[int]) -> Entry:
    """Find a configuration's finished runs.

    Args:
        want: the configuration.
        seeds: asked for.

    Raises:
        UserError: a result is damaged.
    """
    if want.folder is None:
        return Entry(want, {}, {}, want.why)
    there = wanted_runs.finished_seeds(want.folder)
    runs = {seed: there[seed] for seed in seeds if seed in there}
    results = {
        folder: read_json(folder / wanted_runs.RESULTS) for folder in runs.values()
    }
    failed = want.folder / wanted_runs.FAILED
    why = read_json(failed)["why"] if failed.exists() and len(runs) < len(seeds) else ""
    return Entry(want, runs, results, why)


def answers(entry: Entry, kind: str) -> compare.Answers | None:
    """Read a row's answers on test, of all its seeds; None without a finished run.

    Raises:
        UserError: files are damaged, or the runs of different seeds have other samples.
    """
    labels, predictions = [], []
    for seed, folder in entry.runs.items():
        label, prediction = _predictions(folder)
        lane = entry.results[folder]["seeds"].index(seed)
        labels.append(label)
        predictions.append(prediction[lane])
    if not labels:
        return None
    if any(not np.array_equal(label, labels[0]) for label in labels):
        raise UserError(
            f"{entry.wanted.folder}: its runs have different test samples; delete the "
            "folder to train them again"
        )
    name, seeds = entry.wanted.row, tuple(entry.runs)
    return compare.Answers(name, seeds, labels[0], np.stack(predictions), kind)


def _predictions(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    path = folder / "predictions_test.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["label"], arrays["prediction"]
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); delete {folder} to train it again"
        ) from error


def curve(path: Path, lane: int) -> dict[str, list]:
    """Read one seed's losses over the epochs it trained, from a run's history."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    trained = [line for line in lines if line["active"][lane]]
    return {
        "epoch": [line["epoch"] for line in trained],
        "valid_loss": [line["valid"]["loss"][lane] for line in trained],
        "train_loss": [line["train"]["loss"][lane] for line in trained],
    }
