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

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import ConfigDict, FrozenConfigDict, config_flags

from msa_jax import cli, config, workdir
from msa_jax.backend import set_up_jax
from msa_jax.errors import UserError
from msa_jax.experiment import search

if TYPE_CHECKING:
    from msa_jax.experiment.trials import Look

_CONFIG = config_flags.DEFINE_config_file("config", None, "what trials start from")
_SWEEP = flags.DEFINE_string("sweep", None, "file with get_sweep(): field -> values")
_SEARCH = flags.DEFINE_enum(
    "search", "random", ["random", "grid"], "random draws, or grid: every combination"
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
    frozen = FrozenConfigDict(_CONFIG.value)
    config.check(frozen)
    if not _SWEEP.value:
        raise UserError("--sweep is missing, e.g. --sweep configs/sweeps/ucrn.py")
    if _LANES.value < 1:
        raise UserError(f"--lanes {_LANES.value}: must be at least 1")
    sweep = cli.from_file(_SWEEP.value, "get_sweep", "sweep file")
    space = search.read_space(sweep, _CONFIG.value, _SWEEP.value)
    searched = {field for axis in space for field in axis.fields}
    if both := searched & _overrides().keys():
        raise UserError(
            f"--config.{min(both)} is given, but {_SWEEP.value} searches it, too; "
            "leave one out"
        )
    plan = search.plan(space, frozen, _SEARCH.value, _TRIALS.value, _SEED.value)
    folder = workdir.open_workdir(Path(_WORKDIR.value or _default_workdir()))
    return _run(frozen, space, plan, folder)


def _run(
    frozen: FrozenConfigDict,
    space: tuple[search.Axis, ...],
    plan: list[search.Trial],
    folder: Path,
) -> int:
    """Run the trials that are not finished, write everything; return the exit code."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    set_up_jax(frozen.precision)
    import jax

    from msa_jax import tasks
    from msa_jax.data import load
    from msa_jax.experiment import trials
    from msa_jax.tune import ledger, results

    data_dir = frozen.data.dir or os.environ.get("MSA_DATA") or "data"
    dataset = load(frozen.data.name, data_dir)
    this = ledger.describe(frozen, space, _SEARCH.value, _SEED.value, dataset.card)
    lines = ledger.open_search(folder, this, plan)
    there = {line["trial"] for line in lines}
    programs = len(search.group(plan, config.is_traced))
    groups = search.group([t for t in plan if t.number not in there], config.is_traced)
    print(
        f"{frozen.method} on {dataset.name}: {len(plan)} trials of "
        f"{len(frozen.seeds)} seed(s), {programs} compiled program(s)"
        + (f"; {len(there)} trials are there" if there else "")
    )
    look = trials.looking(dataset)
    _train(frozen, groups, look, folder, lines, len(plan))
    devices = frozen.mesh.devices or jax.device_count()
    seen = look(trials.config_of(frozen, groups[-1]) if groups else frozen)
    found = results.collect(
        this,
        lines,
        planned=len(plan),
        combinations=search.combinations(space),
        programs=programs,
        loss=tasks.make(frozen.task).loss,
    )
    found |= {
        "config_file": config_flags.get_config_filename(flags.FLAGS["config"]),
        "sweep_file": _SWEEP.value,
        "notes": seen.notes,
        "started": started,
        "provenance": workdir.provenance(
            dataset.card["content_sha256"],
            seen.encoder.description,
            frozen.precision,
            devices,
        ),
    }
    return _finish(folder, found)


def _train(
    frozen: FrozenConfigDict,
    groups: list[search.Group],
    look: "Look",
    folder: Path,
    lines: list[dict[str, Any]],
    planned: int,
) -> None:
    """Run groups of trials; every finished one is written, and added to `lines`."""
    from msa_jax.experiment import trials
    from msa_jax.lanes import steps_per_epoch
    from msa_jax.tune import ledger
    from msa_jax.tune.progress import SearchProgress

    settings = [trials.config_of(frozen, group) for group in groups]
    for one in settings:  # what cannot be run is said before anything runs
        steps_per_epoch(one, look(one).train)
    with SearchProgress(lines, planned, frozen.selection.max_epochs) as progress:
        for one, group in zip(settings, groups, strict=True):
            progress.begin(group)
            outcomes = trials.run_group(
                one, group, look(one), progress.epoch, _LANES.value
            )
            for outcome in outcomes:
                lines.append(ledger.add(folder, outcome, frozen.seeds))
                progress.finished(lines[-1])


def _finish(folder: Path, found: dict[str, Any]) -> int:
    """Write results, winner and page; say where they are."""
    from msa_jax.report import tune_page
    from msa_jax.tune.results import RESULTS

    best = found["best"]
    if best is not None:
        best |= _write_winner(folder, best, found)
    workdir.write_json(folder / RESULTS, found)
    page = tune_page.write(folder, workdir.read_json(folder / RESULTS))
    print(f"{found['budget']['sentence']}; test was not read")
    if best is None:
        raise UserError(
            f"every trial diverged, see {page}; lower the rates in the sweep or check "
            "the data card"
        )
    print(f"best: trial {best['trial']}, validation loss {best['score']:.4f}")
    print(f"page: {page}")
    print(f"train the winner:\n{best['command']}")
    return 0


def _write_winner(
    folder: Path, best: dict[str, Any], found: dict[str, Any]
) -> dict[str, str]:
    """Write best.py; return the commands that train the winner."""
    from msa_jax.tune import winner

    # JSON has no tuples; no field of a config is a list.
    values = {
        k: tuple(v) if isinstance(v, list) else v for k, v in best["values"].items()
    }
    # Seeds are a sample, not a setting: the winner gets all that its config file has.
    given = {k: v for k, v in _overrides().items() if k != "seeds"}
    chosen = ConfigDict(_CONFIG.value)
    if "seeds" in _overrides():
        chosen.seeds = flags.FLAGS["config.seeds"].default
    chosen.update_from_flattened_dict(values)
    path = folder / "best.py"
    tried = f"{found['budget']['trials']} trials of {found['sweep_file']}"
    title = f"The best of {tried} on validation, trial {best['trial']}."
    path.write_text(winner.config_file(chosen, title, str(path)))
    return {
        "command": winner.command(found["config_file"], given | values),
        "config_command": winner.command(str(path), {}),
    }


def _overrides() -> dict[str, Any]:
    """Return the fields of the config that were set on the command line."""
    return config_flags.get_override_values(flags.FLAGS["config"])


def _default_workdir() -> str:
    """For example runs/tune_self_mm_mosi_mmsa for configs/self_mm_mosi.py:mmsa."""
    argument = config_flags.get_config_filename(flags.FLAGS["config"])
    path, _, variant = argument.partition(":")
    name = "_".join(filter(None, ("tune", Path(path).stem, variant)))
    return str(Path("runs") / name)


if __name__ == "__main__":
    cli.run(main)
