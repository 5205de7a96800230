"""Make a results table or an ablation of a paper, with statistics and a verdict a cell.

example: python -m msa_jax.reproduce --list
example: python -m msa_jax.reproduce self_mm/table4 --dataset demo --seeds 6
example: python -m msa_jax.reproduce sugrm/table4 --dataset mosi_real --budget small
example: python -m msa_jax.reproduce mmcl/table2 --only "No Contrast,MMCL" --seeds 10 \\
             --config.text.weights=bert-base-uncased

Trains what is missing, row by row, and writes one page: table.html, table.md,
table.tex, table.csv, table.json, methods.txt. Finished runs are never repeated: stop it
whenever you like and start it again. Any field of the configurations can be set for all
rows with --config.FIELD=VALUE. Without --dataset the paper's own data sets are used, as
far as they are prepared. How to read the page: docs/tables.md, docs/statistics.md.
"""

import sys
from pathlib import Path

from msa_jax.config import cli
from msa_jax.ground.errors import UserError

# Six are the fewest with which a sign-flip test over seeds can say anything; ten leave
# room for Holm's correction over the rows of a table.
SEEDS = 10
FIRST_SEED = 1111


def command() -> None:
    """Run the command."""
    parser = cli.Parser(__doc__)
    parser.add_argument("table", nargs="?", metavar="PAPER/TABLE")
    parser.add_argument(
        "--list", action="store_true", help="all tables and their state"
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="any prepared data set, or demo, the built-in one (default: the paper's)",
    )
    parser.add_argument(
        "--seeds",
        default=str(SEEDS),
        help=f"how many, from {FIRST_SEED} on, or a list: 3,5,7 (default: {SEEDS})",
    )
    parser.add_argument("--only", metavar="ROW,...", help="train these rows only")
    parser.add_argument(
        "--budget",
        choices=("full", "small"),
        help="small: frozen text encoder and at most 10 epochs (default: full; small "
        "for demo)",
    )
    parser.add_argument(
        "--no-controls",
        action="store_true",
        help="leave out the method without audio and vision, and with them shuffled",
    )
    parser.add_argument(
        "--show", action="store_true", help="train nothing, write the page anew"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/tables"), help="default: runs/tables"
    )
    parser.add_argument("--data_dir", help="default: $MSA_DATA or data")
    parser.add_argument("--configs", type=Path, help="folder of config files")
    mine, overrides = cli.split_overrides(sys.argv[1:])
    given = parser.parse_args(mine)
    from msa_jax.data import store
    from msa_jax.studies import table_catalogue
    from msa_jax.studies.reproduce import run

    configs = given.configs or cli.own_configs()
    if given.list:
        run.list_tables(configs, given.out)
        return
    if given.table is None:
        raise UserError(
            "name a table: python -m msa_jax.reproduce PAPER/TABLE; --list shows all"
        )
    from msa_jax.studies.reproduce.recipes import ALIASES

    asked = run.Asked(
        name=given.table,
        table=table_catalogue.find_table(configs, given.table),
        dataset=ALIASES.get(given.dataset, given.dataset),
        seeds=seeds_of(given.seeds),
        only=given.only,
        budget=given.budget or ("small" if given.dataset == "demo" else "full"),
        controls=not given.no_controls,
        out=given.out,
        data_dir=store.data_dir(given.data_dir),
        overrides=overrides,
    )
    print(run.reproduce(asked, train=not given.show))


def seeds_of(said: str) -> tuple[int, ...]:
    """Read "6" as six seeds from 1111 on, "3,5" as those two.

    Raises:
        UserError: neither.
    """
    try:
        numbers = tuple(int(word) for word in said.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) == 1 and numbers[0] > 0:
        return tuple(range(FIRST_SEED, FIRST_SEED + numbers[0]))
    if len(numbers) < 2 or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise UserError(
            f"--seeds {said}: give how many (6), or two and more different ones: 3,5,7"
        )
    return numbers


if __name__ == "__main__":
    cli.run(command)
