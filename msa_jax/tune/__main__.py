"""Search hyper-parameters; validation alone says which are best, test is never read.

    python -m msa_jax.tune --config configs/ucrn_mosi_real.py \\
        --sweep configs/sweeps/ucrn.py --trials 20 --config.seeds=1,2

Every trial changes fields of the config as the sweep file says, trains all seeds as
`python -m msa_jax.main` would, and is scored by the mean over seeds of its best
validation loss. Trials that differ in rates and loss weights only share one compiled
program. Writes WORKDIR/tune.html, tune.md, tune.json (all trials), trials.jsonl (each
as soon as it is finished) and best.py, the winner as a config file. Start the same
command again after a kill, or with more --trials, and it goes on. Any field of the
config can be set on the command line. More: docs/tuning.md.
"""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import ConfigDict, FrozenConfigDict, config_flags

from msa_jax import cli, config, workdir
from msa_jax.errors import UserError

if TYPE_CHECKING:
    from msa_jax.experiment.lanes import Outcome, Seen

_CONFIG = config_flags.DEFINE_config_file("config", None, "what trials start from")
_SWEEP = flags.DEFINE_string("sweep", None, "file with get_sweep(): field -> values")
_SEARCH = flags.DEFINE_enum(
    "search", "random", ["random", "grid"], "random draws, or every combination"
)
_TRIALS = flags.DEFINE_integer("trials", 20, "how many trials at most")
_SEED = flags.DEFINE_integer("seed", 0, "of the random search")
_LANES = flags.DEFINE_integer(
    "lanes", 16, "trainings side by side on an accelerator; memory grows with them"
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder of the search (default: runs/tune_NAME_OF_THE_CONFIG)"
)


def main(argv: list[str]) -> int:
    """Run what the flags say; return the exit code."""
    del argv
    from msa_jax.experiment import search

    frozen = FrozenConfigDict(_CONFIG.value)
    config.check(frozen)
    if not _SWEEP.value:
        raise UserError("--sweep is missing, e.g. --sweep configs/sweeps/ucrn.py")
    sweep = cli.from_file(_SWEEP.value, "get_sweep", "sweep file")
    space = search.read_space(sweep, _CONFIG.value, _SWEEP.value)
    for field in _overrides():
        if any(field in axis.fields for axis in space):
            raise UserError(
                f"--config.{field} is given, but {_SWEEP.value} searches it, too; "
                "leave one out"
            )
    if _LANES.value < 1:
        raise UserError(f"--lanes {_LANES.value}: must be at least 1")
    plan = search.plan(space, frozen, _SEARCH.value, _TRIALS.value, _SEED.value)
    folder = workdir.open_workdir(Path(_WORKDIR.value or _default_workdir()))
    return _search(frozen, space, plan, folder)


def _search(
    frozen: FrozenConfigDict, space: tuple[Any, ...], plan: list[Any], folder: Path
) -> int:
    """Run the trials that are not finished, write everything; return the exit code."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    from msa_jax.backend import set_up_jax

    set_up_jax(frozen.precision)
    from msa_jax import tasks
    from msa_jax.data import load
    from msa_jax.experiment import lanes, search
    from msa_jax.tune import ledger, results
    from msa_jax.tune.progress import SearchProgress

    data_dir = frozen.data.dir or os.environ.get("MSA_DATA") or "data"
    dataset = load(frozen.data.name, data_dir)
    notes: list[str] = []
    look = _looker(dataset, notes)
    known = {
        "config": _without_place(frozen),
        "space": ledger.describe_space(space),
        "search": _SEARCH.value,
        "search_seed": _SEED.value if _SEARCH.value == "random" else None,
        "data_sha256": dataset.card["content_sha256"],
    }
    lines = ledger.open_search(folder, known, plan)
    there = {line["trial"] for line in lines}
    groups = search.group([t for t in plan if t.number not in there], config.is_traced)
    for group in groups:
        look(lanes.config_of(frozen, group))  # what cannot be run is said at once
    total = len(search.group(plan, config.is_traced))
    print(
        f"{frozen.method} on {dataset.name}: {len(plan)} trials, {len(frozen.seeds)} "
        f"seed(s) each, {total} compiled program(s); {len(there)} trials are there"
    )
    with SearchProgress(lines, len(plan), frozen.selection.max_epochs) as progress:
        for group in groups:
            settings = FrozenConfigDict(lanes.config_of(frozen, group))
            progress.begin(group)
            for block in lanes.run_group(
                settings, group, look(settings), progress.epoch, _LANES.value
            ):
                for outcome in block:
                    line = ledger.add(folder, outcome, frozen.seeds)
                    lines.append(line)
                    progress.finished(line)
    found = results.collect(
        known,
        lines,
        len(plan),
        search.combinations(space),
        total,
        tasks.make(frozen.task).loss,
    )
    return _write(folder, found, frozen, dataset, notes, started)
