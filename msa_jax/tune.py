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

from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import FrozenConfigDict, config_flags

import msa_jax.methods as methods
from msa_jax.config import cli
from msa_jax.ground.backend import set_up_jax
from msa_jax.ground.errors import UserError
from msa_jax.runs import workdir
from msa_jax.studies import search

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
    methods.check(frozen)
    if not _SWEEP.value:
        raise UserError("--sweep is missing, e.g. --sweep configs/sweeps/METHOD.py")
    if _LANES.value < 1:
        raise UserError(f"--lanes {_LANES.value}: must be at least 1")
    sweep = cli.from_file(_SWEEP.value, "get_sweep", "sweep file")
    space = search.read_space(sweep, _CONFIG.value, _SWEEP.value)
    given = config_flags.get_override_values(flags.FLAGS["config"])
    searched = {field for axis in space for field in axis.fields}
    if both := searched & given.keys():
        raise UserError(
            f"--config.{min(both)} is given, but {_SWEEP.value} searches it, too; "
            "leave one out"
        )
    plan = search.plan(space, frozen, _SEARCH.value, _TRIALS.value, _SEED.value)
    folder = workdir.open_workdir(Path(_WORKDIR.value or _default_workdir()))
    set_up_jax(frozen.precision)
    from msa_jax.data import load, store
    from msa_jax.studies.tune.searching import Asked, search_and_write

    asked = Asked(
        config=_CONFIG.value,
        config_file=_config_file(),
        given=given,
        seeds=_seeds_of_the_file(given),
        space=space,
        plan=plan,
        sweep_file=_SWEEP.value,
        search=_SEARCH.value,
        search_seed=_SEED.value if _SEARCH.value == "random" else None,
        lanes=_LANES.value,
    )
    where = store.data_dir(frozen.data.dir)
    found = search_and_write(asked, load(frozen.data.name, where), folder)
    best = found["best"]
    print(f"{found['budget']['sentence']}; test was not read")
    print(f"best: trial {best['trial']}, validation loss {best['score']:.4f}")
    print(f"page: {folder / 'tune.html'}")
    print(f"train the winner:\n{best['command']}")
    return 0


def _config_file() -> str:
    """Return the config file: "configs/demo.py" or "configs/mmcl.py:mosei"."""
    return config_flags.get_config_filename(flags.FLAGS["config"])


def _seeds_of_the_file(given: dict[str, Any]) -> tuple[int, ...]:
    """Return the seeds of the config file, whatever the command line says."""
    if "seeds" in given:
        return tuple(flags.FLAGS["config.seeds"].default or ())
    return tuple(_CONFIG.value.seeds)


def _default_workdir() -> str:
    """For example runs/tune_self_mm_mosi_mmsa for configs/self_mm_mosi.py:mmsa."""
    path, _, words = _config_file().partition(":")
    named = "tune", Path(path).stem, words.replace("+", "_", 1)
    name = "_".join(filter(None, named))
    return str(Path("runs") / name)


if __name__ == "__main__":
    cli.run(main)
