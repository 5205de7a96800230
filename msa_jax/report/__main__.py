"""Write report.html, report.md and figures/ into the directory of a finished run.

example: python -m msa_jax.report runs/demo
example: python -m msa_jax.report runs/mmcl --beside runs/mmcl_without_contrast

With several runs on the same data set: one page that compares them, seed by seed and
sample by sample, with intervals and tests (docs/statistics.md); as markdown, LaTeX and
CSV, too.

example: python -m msa_jax.report runs/self_mm runs/sugrm runs/mmcl --against runs/sugrm
"""

from pathlib import Path

from msa_jax import report
from msa_jax.config import cli
from msa_jax.ground.errors import UserError


def main() -> None:
    """Run the command."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "workdirs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="a finished run; holds results.json",
    )
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="OTHER",
        help="another run on the same data set: its t-SNE figure is drawn, too",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="RUN",
        help="of several runs, the one the others are tested against (default: the "
        "first)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where the page of several runs goes (default: runs/compare_A_B)",
    )
    given = parser.parse_args()
    if len(given.workdirs) > 1:
        if given.beside:
            raise UserError("--beside is for the report of one run, not for several")
        print(report.compare(given.workdirs, given.against, given.out))
        return
    if given.against or given.out:
        raise UserError(
            "--against and --out are for a comparison: give two runs or more"
        )
    print(report.write_report(given.workdirs[0], given.beside))


if __name__ == "__main__":
    cli.run(main)
