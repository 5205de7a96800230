"""Train a method on a data set with several seeds, and report what came out.

    python -m msa_jax.main --config configs/demo.py
    python -m msa_jax.main --config configs/self_mm_mosi.py:mmsa --workdir runs/mosi \\
        --config.seeds=1111,1112,1113 --config.data.dir=data

Writes WORKDIR/results.json, report.html, report.md and everything they rest on. Any
field of the config can be set on the command line; --help beside --config lists them.
A method has one card, configs/METHOD.py; configs/METHOD_DATASET.py means that card with
the method's values for the data set. Run again in the same workdir to go on after a
kill, with the same results to the bit (docs/resume.md), or to see the results of a
finished run. With --distributed the same command on several hosts is one run.
"""

from pathlib import Path

from ml_collections import ConfigDict, FrozenConfigDict

from msa_jax.config import cli
from msa_jax.ground.errors import UserError
from msa_jax.runs import workdir


def command() -> int:
    """Run the command; return its exit code."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--config", metavar="FILE", help="the run's config file")
    parser.add_argument(
        "--workdir",
        type=Path,
        help="folder of the run (default: runs/NAME_OF_THE_CONFIG)",
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="this is one of several processes that train together",
    )
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="of process 0, where jax cannot find it out",
    )
    parser.add_argument(
        "--processes", type=int, help="how many processes there are, likewise"
    )
    parser.add_argument(
        "--process_id", type=int, help="which of them this is, from 0, likewise"
    )
    given, chosen = parser.parse_config(_explain)
    frozen = FrozenConfigDict(chosen.settings)
    folder = given.workdir or chosen.workdir()
    where = (given.coordinator, given.processes, given.process_id)
    if not given.distributed:
        if where != (None, None, None):
            raise UserError(
                "--coordinator, --processes and --process_id need --distributed"
            )
        return _show(frozen, folder)
    import msa_jax.methods as methods
    from msa_jax.ground import hosts
    from msa_jax.runs import run

    methods.check(frozen)  # before anybody waits for the others
    with hosts.joined(hosts.Cluster(*where)):
        if not hosts.is_first():
            return run.take_part(frozen)
        code = _show(frozen, folder)
        hosts.share(dict)  # nothing more to do for the others
    return code


def _show(frozen: FrozenConfigDict, folder: Path) -> int:
    """Run, unless it is done; print the results."""
    from msa_jax import api

    done = (folder / workdir.RESULTS).exists()
    run = api.train(frozen, folder)
    from rich.console import Console

    from msa_jax.report.console_table import results_table

    headline = f"already done in {folder} (delete it to run again)" if done else "done"
    console = Console()
    console.print(results_table(run.results))
    console.print(f"{headline}; report: {run.report}", soft_wrap=True)
    return 0


def _explain(settings: ConfigDict) -> str:
    """List the fields of a configuration, for --help."""
    import msa_jax.methods as methods

    return methods.help_of(settings)


if __name__ == "__main__":
    cli.run(command)
