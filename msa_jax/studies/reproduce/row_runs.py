"""The finished runs of a row: their results, answers and curves."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from msa_jax.evaluation import compare
from msa_jax.ground.errors import UserError
from msa_jax.runs import workdir
from msa_jax.runs.finished import Run
from msa_jax.studies.reproduce import wanted_runs
from msa_jax.studies.reproduce.wanted_runs import Wanted


class RowRuns(NamedTuple):
    """A row of ours in one part and one task.

    wanted: its configuration.
    runs: seed -> run, of the seeds asked for that are finished.
    why: why seeds are missing, if that is known.
    """

    wanted: Wanted
    runs: dict[int, Run]
    why: str

    def each(self) -> list[Run]:
        """Return every run once."""
        return list(dict.fromkeys(self.runs.values()))

    def metric(self, key: str) -> dict[str, float | None]:
        """Return a test metric by seed; None for a seed without a value."""
        cells = {seed: run.results["test"].get(key) for seed, run in self.runs.items()}
        return {
            str(seed): cell and cell["per_seed"][self.runs[seed].lane(seed)]
            for seed, cell in cells.items()
        }


def runs_of(want: Wanted, seeds: Sequence[int]) -> RowRuns:
    """Find a configuration's finished runs.

    Args:
        want: the configuration.
        seeds: asked for.

    Raises:
        UserError: a result is damaged.
    """
    if want.folder is None:
        return RowRuns(want, {}, want.why)
    finished = wanted_runs.finished_seeds(want.folder)
    runs = {seed: finished[seed] for seed in seeds if seed in finished}
    path, why = want.folder / wanted_runs.FAILED, ""
    if path.exists() and len(runs) < len(seeds):
        why = workdir.read_json(path)["why"]
    return RowRuns(want, runs, why)


def answers(row: RowRuns, kind: str) -> compare.Answers | None:
    """Read a row's answers on test, of all its seeds; None without a finished run.

    Raises:
        UserError: files are damaged, or the runs of different seeds have other samples.
    """
    if not row.runs:
        return None
    label, predictions = None, []
    for seed, run in row.runs.items():
        if run.predictions is None:
            raise UserError(f"{run.folder}: no answers; delete it to train it again")
        if label is None:
            label = run.predictions.label
        if not np.array_equal(label, run.predictions.label):
            raise UserError(
                f"{row.wanted.folder}: its runs have different test samples; delete "
                "the folder to train them again"
            )
        predictions.append(run.predictions.prediction[run.lane(seed)])
    assert label is not None  # of the first run
    name, seeds = row.wanted.row, tuple(row.runs)
    return compare.Answers(name, seeds, label, np.stack(predictions), kind)
