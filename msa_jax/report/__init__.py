"""The report of a run: reads files of its work directory only, needs no network."""

from pathlib import Path


def write(workdir: Path) -> Path:
    """Write report.html, report.md and figures/ into a finished run's directory.

    Returns: the path of report.html, one page that needs no other file.
    Raises: UserError if the directory holds no results.
    """
    from msa_jax.report.page import write_report  # draws: slow to import

    return write_report(Path(workdir))


__all__ = ["write"]
