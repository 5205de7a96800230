"""Write report.html, report.md and figures/ into the directory of a finished run.

example: python -m msa_jax.report runs/demo
example: python -m msa_jax.report runs/mmcl --beside runs/mmcl_without_contrast
"""

from pathlib import Path

from msa_jax import cli, report


def main() -> None:
    """Run the command."""
    parser = cli.Parser(__doc__)
    parser.add_argument("workdir", type=Path, help="the run; holds results.json")
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="OTHER",
        help="another run on the same data set: its t-SNE figure is drawn, too",
    )
    given = parser.parse_args()
    print(report.write(given.workdir, given.beside))


if __name__ == "__main__":
    cli.run_plain(main)
