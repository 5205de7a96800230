"""Measure how a finished run, of any method, bears missing and noisy modalities.

example: python -m msa_jax.robustness runs/demo
example: python -m msa_jax.robustness --workdir runs/demo --repeats 10 --retrain

Test is predicted with every combination of modalities, with frames, modalities or text
tokens missing at rates up to .9, with Bernoulli and with Gaussian noise, by every
seed's parameters, in one compiled program. Writes WORKDIR/robustness/: results.json,
robustness.html, robustness.md, figures/. What is measured: docs/robustness.md.
"""

from pathlib import Path

from msa_jax.config import cli
from msa_jax.ground.errors import UserError

REPEATS = 5


def command() -> None:
    """Run the command."""
    parser = cli.Parser(__doc__)
    parser.add_argument("folder", nargs="?", metavar="WORKDIR", help="a finished run")
    parser.add_argument("--workdir", metavar="WORKDIR", help="the same")
    parser.add_argument(
        "--data_dir", help="where its data set lies (default: where the run found it)"
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=REPEATS,
        help=f"draws of each random corruption, averaged (default: {REPEATS})",
    )
    parser.add_argument(
        "--retrain",
        action="store_true",
        help="also train a network per combination of modalities, with the run's own "
        "configuration, into WORKDIR/robustness/retrained/; finished ones are kept",
    )
    given = parser.parse_args()
    if (given.folder is None) == (given.workdir is None):
        raise UserError("give one work directory: python -m msa_jax.robustness WORKDIR")
    if given.repeats < 1:
        raise UserError(f"--repeats {given.repeats}: must be at least 1")
    folder = Path(given.folder or given.workdir)
    from msa_jax.ground.backend import set_up_jax
    from msa_jax.runs.finished import open_own
    from msa_jax.studies.robustness.measure import measure_run

    set_up_jax(open_own(folder).settings.precision)
    print(measure_run(folder, given.data_dir, given.repeats, given.retrain))


if __name__ == "__main__":
    cli.run(command)
