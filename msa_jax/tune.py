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

from ml_collections import FrozenConfigDict

import msa_jax.methods as methods
from msa_jax.config import cli
from msa_jax.ground.backend import set_up_jax
from msa_jax.ground.errors import UserError
from msa_jax.runs import workdir
from msa_jax.studies import search


def command() -> None:
    """Run the command."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--config", metavar="FILE", help="what trials start from")
    parser.add_argument(
        "--sweep", metavar="FILE", help="has get_sweep(): field -> values"
    )
    parser.add_argument(
        "--search",
        choices=("random", "grid"),
        default="random",
        help="random draws, or grid: every combination (default: random)",
    )
    parser.add_argument(
        "--trials", type=int, default=20, help="how many at most (default: 20)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the random search (default: 0)"
    )
    parser.add_argument(
        "--lanes",
        type=int,
        default=16,
        help="trainings side by side on an accelerator; memory grows with them "
        "(default: 16)",
    )
    parser.add_argument(
        "--workdir",
        type=Path,
        help="folder of the search (default: runs/tune_NAME_OF_THE_CONFIG)",
    )
    given, chosen = parser.parse_config(methods.help_of)
    frozen = FrozenConfigDict(chosen.settings)
    methods.check(frozen)
    if not given.sweep:
        raise UserError("--sweep is missing, e.g. --sweep configs/sweeps/METHOD.py")
    if given.lanes < 1:
        raise UserError(f"--lanes {given.lanes}: must be at least 1")
    sweep = cli.from_file(given.sweep, "get_sweep", "sweep file")
    space = search.read_space(sweep, chosen.settings, given.sweep)
    searched = {field for axis in space for field in axis.fields}
    if both := searched & chosen.typed.keys():
        raise UserError(
            f"--config.{min(both)} is given, but {given.sweep} searches it, too; "
            "leave one out"
        )
    plan = search.plan(space, frozen, given.search, given.trials, given.seed)
    folder = workdir.open_workdir(given.workdir or chosen.workdir("tune"))
    set_up_jax(frozen.precision)
    from msa_jax.data import load_dataset, store
    from msa_jax.studies.tune.searching import Asked, search_and_write

    asked = Asked(
        config=chosen.settings,
        config_file=chosen.source,
        given=chosen.typed,
        seeds=tuple(chosen.file.seeds),
        space=space,
        plan=plan,
        sweep_file=given.sweep,
        search=given.search,
        search_seed=given.seed if given.search == "random" else None,
        lanes=given.lanes,
    )
    where = store.data_dir(frozen.data.dir)
    found = search_and_write(asked, load_dataset(frozen.data.name, where), folder)
    best = found["best"]
    print(f"{found['budget']['sentence']}; test was not read")
    print(f"best: trial {best['trial']}, validation loss {best['score']:.4f}")
    print(f"page: {folder / 'tune.html'}")
    print(f"train the winner:\n{best['command']}")


if __name__ == "__main__":
    cli.run(command)
