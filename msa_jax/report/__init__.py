"""The report of a run: reads files of its work directory only, needs no network."""

from collections.abc import Sequence
from pathlib import Path

from msa_jax.evaluation.results_table import Table


def write_report(workdir: Path, beside: Path | None = None) -> Path:
    """Write report.html, report.md and figures/ into a finished run's directory.

    Args:
        workdir: the run.
        beside: another run on the same data set, whose fused representation is drawn
            beside this one's; nothing is written there.

    Returns: the path of report.html, one page that needs no other file.
    Raises: UserError if a directory holds no results, or the runs cannot be compared.
    """
    from msa_jax.report import page  # draws: slow to import

    return page.write_run_page(Path(workdir), beside)


def compare(
    workdirs: Sequence[Path], against: Path | None = None, out: Path | None = None
) -> Path:
    """Write the page that holds finished runs on the same data against each other.

    Args:
        workdirs: of the runs, two or more.
        against: the one that the others are tested against; the first if None.
        out: the folder to write to; runs/compare_A_B if None.

    Returns: the path of table.html, one page that needs no other file.
    Raises: UserError if the runs are not finished, or cannot be compared.
    """
    from msa_jax.report import comparison  # draws: slow to import

    return comparison.write_comparison([Path(w) for w in workdirs], against, out)


def write_table(folder: Path, found: Table) -> Path:
    """Write the page of a results table (docs/tables.md) and its other forms.

    Args:
        folder: where.
        found: what table.json holds.

    Returns: the path of table.html, one page that needs no other file.
    Raises: UserError if it is of another schema, or the files cannot be written.
    """
    from msa_jax.report import table_page  # draws: slow to import

    return table_page.write_table(Path(folder), found)


__all__ = ["compare", "write_report", "write_table"]
