"""The report of a run: reads files of its work directory only, needs no network."""

from pathlib import Path


def write(workdir: Path, beside: Path | None = None) -> Path:
    """Write report.html, report.md and figures/ into a finished run's directory.

    Args:
        workdir: the run.
        beside: another run on the same data set, whose fused representation is drawn
            beside this one's; nothing is written there.

    Returns: the path of report.html, one page that needs no other file.
    Raises: UserError if a directory holds no results, or the runs cannot be compared.
    """
    from msa_jax.report.page import write_report  # draws: slow to import

    return write_report(Path(workdir), beside)


__all__ = ["write"]
