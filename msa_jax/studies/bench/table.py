"""The rows of the benchmark's table, and the table."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from msa_jax.studies.bench.measure import Side, Times

Row = dict[str, Any]
WIDTH = 132  # columns that the table needs
DISTURBED = 0.12  # share of the machine used by others from which times mean little


class _Column(NamedTuple):
    head: str
    key: str
    digits: int = 1
    factor: int = 1
    unit: str = ""


_COLUMNS = (
    _Column("compile\ns", "compile_seconds"),
    _Column("step\nms", "step_ms"),
    _Column("min\nms", "step_min_ms"),
    _Column("CPU\nms", "step_cpu_ms"),
    _Column("eval\nms", "evaluate_ms"),
    _Column("epoch\ns", "epoch_seconds", 2),
    _Column("GFLOP", "gflop", 2),
    _Column("GFLOP\n/s", "gflop_per_second"),
    _Column("of\npeak", "share_of_peak", 1, 100, "%"),
    _Column("MB", "memory_mb", 0),
    _Column("other\nload", "others", 0, 100, "%"),
    _Column("ours /\nthis", "ours_over_this", 2),
)


def step_row(
    method: str,
    lengths: str,
    name: str,
    side: Side,
    stepped: Mapping[str, Times],
    evaluated: Mapping[str, Times],
    *,
    peak: float,
    batches: int = 1,
) -> Row:
    """Return what was measured of one competitor.

    Args:
        method: its name.
        lengths: "full" or "true".
        name: of the side.
        side: the competitor.
        stepped: times of all sides' steps.
        evaluated: times of all sides' evaluations.
        peak: operations per second that the device can do.
        batches: steps (evaluations) per call.
    """
    times = stepped[name]
    seconds = times.median / batches
    need = side.operations
    rate = need / seconds if need is not None else None
    ours = [t.median for other, t in stepped.items() if "torch" not in other]
    return {
        "method": method,
        "lengths": lengths,
        "side": name,
        "compile_seconds": side.compile_seconds,
        "step_ms": 1e3 * seconds,
        "step_min_ms": 1e3 * min(times.wall) / batches,
        "step_cpu_ms": 1e3 * sum(times.cpu) / len(times.cpu) / batches,
        "evaluate_ms": 1e3 * evaluated[name].median / batches,
        "gflop": None if need is None else need / 1e9,
        "gflop_per_second": None if rate is None else rate / 1e9,
        "share_of_peak": None if rate is None else rate / peak,
        "memory_mb": side.memory_bytes / 1e6 if side.memory_bytes else None,
        "others": times.others,
        "ours_over_this": min(ours) / times.median,
    }


def show(rows: list[Row], about: dict[str, Any]) -> None:
    """Print all rows."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    layout = "aligned" if about["aligned"] else "unaligned"
    text = "steps after the text encoder"
    if about["encoder"] != "none":
        text = f"whole steps with {about['encoder']}"
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"{text}, {about['dataset_shape']} {layout}, batch {about['batch']}",
        caption=f"{about['device']}, {about['threads']} thread(s), measured matmul "
        f"peak {about['matmul_peak_gflop_per_second']:.0f} GFLOP/s; {versions}",
    )
    shown = [c for c in _COLUMNS if any(row.get(c.key) is not None for row in rows)]
    for head in ("method", "lengths", ""):
        table.add_column(head, no_wrap=True)
    for column in shown:
        table.add_column(column.head, justify="right", no_wrap=True)
    for row in rows:
        cells = [_form(row.get(column.key), column) for column in shown]
        table.add_row(row["method"], row["lengths"], row["side"], *cells)
    console = Console()
    Console(width=max(console.width, WIDTH)).print(table)
    if any(row["others"] > DISTURBED for row in rows):
        print("other processes took part of these cores: only a quiet machine's count")


def _form(value: float | None, column: _Column) -> str:
    if value is None:
        return ""
    return f"{column.factor * value:.{column.digits}f}{column.unit}"
