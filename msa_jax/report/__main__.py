"""Write report.html, report.md and figures/ into the directory of a finished run.

example: python -m msa_jax.report runs/demo
"""

from pathlib import Path

from msa_jax import cli, report


def main() -> None:
    """Run the command."""
    parser = cli.Parser(__doc__)
    parser.add_argument("workdir", type=Path, help="the run; holds results.json")
    print(report.write(parser.parse_args().workdir))


if __name__ == "__main__":
    cli.run_plain(main)
