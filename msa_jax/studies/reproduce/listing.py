"""`reproduce --list`: every table of the papers, and how far each page is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msa_jax.studies import catalogue
from msa_jax.studies.reproduce import wanted_runs

PLAN = "plan.json"


def show(configs: Path, out: Path) -> None:
    """Print all tables, with the pages begun under `out` and how far they are."""
    begun = list(_begun(out))
    for paper, tables in catalogue.load(configs).items():
        for name, table in tables.items():
            rows = dict.fromkeys(row for part in table.parts for row in part.published)
            full, ours = f"{paper}/{name}", f"{len(table.ours)} of {len(rows)}"
            print(f"{full:15} {ours:>8} rows  {table.title}")
            for plan in begun:
                if plan["table"] == full:
                    print(f"{'':29}{_state(out, plan)}")
    print(
        "Rows: those that are run here, of all; the others are shown as published.\n"
        "Make one: python -m msa_jax.reproduce NAME --dataset demo"
    )


def _begun(out: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(out.glob(f"*/{PLAN}")):
        try:
            yield json.loads(path.read_text())
        except (OSError, ValueError):
            continue  # half of another version's; its command says so when run


def _state(out: Path, plan: dict[str, Any]) -> str:
    """For example "mosi_real (small): 7 of 11, 6 seeds"."""
    folders = {run["folder"] for run in plan["runs"] if run["folder"]}
    seeds = set(plan["seeds"])
    done = sum(
        seeds <= wanted_runs.finished_seeds(out / folder).keys() for folder in folders
    )
    data = plan["dataset"] or "its own data"
    return (
        f"on {data}, {plan['budget']} budget: {done} of {len(folders)} runs finished, "
        f"{len(seeds)} seeds"
    )
