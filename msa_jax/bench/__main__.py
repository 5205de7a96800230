"""Time a method's training step after the text encoder, and count what it needs.

    python -m msa_jax.bench --method sugrm --dataset_shape mosi --against torch
    python -m msa_jax.bench --method self_mm --repeats 30 --json speed.json

One step is forward, loss, backward (down to the text features), generated labels and
update, on noise with the shapes of a data set: once with every sequence at full length,
once with the lengths that its synthetic twin has. With --against torch, formulations of
the same computation in PyTorch (extra [bench]) take turns with ours in this process.
"""

import json
import os
import tempfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from msa_jax import cli
from msa_jax.errors import UserError

METHODS = ("self_mm", "sugrm", "spt", "mmcl", "ucrn")
DATASETS = ("mosi", "mosei", "sims")
WIDTH = 100  # columns that the table needs
DISTURBED = 0.12  # share of the machine used by others from which times mean little
BATCHES = 4  # different batches, used in turn


def main() -> int:
    """Parse the command line, measure, print; return the exit code."""
    options = _parser().parse_args()
    for name in ("batch", "repeats", "threads"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} {getattr(options, name)}: must be 1 or more")
    folder = options.json.parent if options.json else Path()
    if not folder.is_dir():
        raise UserError(f"--json {options.json}: no folder {folder}; make it first")
    threads = _limit_threads(options.threads)
    if options.against and options.method == "mmcl":
        raise UserError("--against torch: mmcl is not written in PyTorch here yet")
    if options.against:
        _require_torch(threads)
    rows, about = run(options, threads)
    _print(rows, about)
    if options.json:
        _write(options.json, {**about, "rows": rows})
    return 0


def _parser() -> cli.Parser:
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--method", choices=METHODS, default="self_mm", help="spt: that layer alone")
    add("--dataset_shape", choices=DATASETS, default="mosi")
    add("--batch", type=int, default=32, help="samples per step (default: 32)")
    add(
        "--encoder",
        choices=("none",),
        default="none",
        help="none: text comes as 768 features per token (default, the only one yet)",
    )
    add("--aligned", action="store_true", help="all modalities have the text's steps")
    add("--against", choices=("torch",), help="take turns with PyTorch")
    add("--repeats", type=int, default=10, help="timed steps each (default: 10)")
    add("--threads", type=int, default=2, help="CPU cores to use (default: 2)")
    add("--config", type=Path, help="default: configs/METHOD_DATASET.py")
    add("--json", type=Path, metavar="FILE", help="write all numbers there, too")
    return parser


def run(options: Any, threads: int) -> tuple[list[dict], dict[str, Any]]:
    """Measure; return a row per lengths and competitor, and what holds for all."""

    from msa_jax import methods, optim
    from msa_jax.bench import comparable, count, measure, shapes, spt_alone
    from msa_jax.text import FeatureEncoder
    from msa_jax.types import MODALITIES

    name = options.method
    shape = shapes.of_dataset(options.dataset_shape, aligned=options.aligned)
    if name == "spt":
        settings = None
        method = spt_alone.make(spt_alone.readings(shape.name))
        groups = spt_alone.GROUPS
    else:
        settings = _settings(options)
        if options.against:
            comparable.require_written(name, settings)
        method = methods.make(settings, FeatureEncoder(), shape.label_range)
        groups = settings.optim.groups
    clip = settings.optim.clip_norm if settings else 0.0
    optimizer = optim.make_optimizer(groups, method.groups, clip_norm=clip)
    readings = getattr(method.model, "readings", None)
    # Recalibration's weights hang on every input; LSTMs' inputs are data.
    gradient = MODALITIES if name == "sugrm" else ("text",)
    peak = count.matmul_peak()
    rows, parts = [], {}
    for kind in ("full", "true"):
        made = shapes.full_lengths if kind == "full" else shapes.true_lengths
        lengths = made(shape)
        batches = shapes.make_batches(shape, lengths, options.batch, BATCHES)
        split = shapes.make_split(shape, batches)
        params = measure.draw_params(method, batches[0])
        sides = {
            "ours": measure.compile_ours(method, optimizer, params, split, batches)
        }
        if options.against:
            from msa_jax.bench import torch_sides

            sides |= torch_sides.make(name, settings, method, params, shape, batches)
        steps: dict[str, float] = dict(shape.steps)
        # The transformer as published reads padding, too.
        pads = readings is not None and not readings.respect_lengths
        if not (pads and "spt" in params):
            steps = {
                m: sum(float(getattr(b, f"{m}_length").mean()) for b in batches)
                / len(batches)
                for m in MODALITIES
            }
        needs = _needs(options, method, params, shape.steps, steps, gradient, split)
        parts[kind] = {part: need.total for part, need in needs.items()}
        need = sum(parts[kind].values())
        stepped = measure.alternate(
            {side: s.step for side, s in sides.items()}, options.repeats
        )
        evaluated = measure.alternate(
            {side: s.evaluate for side, s in sides.items()}, options.repeats
        )
        for side, times in stepped.items():
            rows.append(
                {
                    "lengths": kind,
                    "side": side,
                    "compile_seconds": sides[side].compile_seconds,
                    "step_ms": 1e3 * times.median,
                    "step_min_ms": 1e3 * min(times.wall),
                    "step_cpu_ms": 1e3 * sum(times.cpu) / len(times.cpu),
                    "evaluate_ms": 1e3 * evaluated[side].median,
                    "need_gflop": need / 1e9 or None,
                    "gflop_per_second": need / times.median / 1e9 or None,
                    "share_of_peak": need / times.median / peak or None,
                    "memory_mb": (sides[side].memory_bytes or 0) / 1e6 or None,
                    "others": times.others,
                    "ours_over_this": stepped["ours"].median / times.median,
                }
            )
    return rows, _about(options, threads, peak, parts)


def _needs(
    options: Any,
    method: Any,
    params: Any,
    padded: dict[str, int],
    steps: dict[str, float],
    gradient: tuple[str, ...],
    split: Any,
) -> dict[str, Any]:
    """Count what a step needs, by part; nothing for MMCL, which is not counted yet."""
    import jax

    from msa_jax.bench import count

    if options.method == "mmcl":
        return {}
    if options.method == "ucrn":
        return count.ucrn(params, padded, options.batch)
    return count.step(
        params,
        steps,
        options.batch,
        readings=getattr(method.model, "readings", None),
        gradient=gradient,
        tables=_buffered(method.init_labels(split, jax.random.key(0))),
    )


def _buffered(tables: Any) -> int:
    """Count the numbers in label tables' feature buffers."""
    import jax

    return sum(x.size for x in jax.tree.leaves(getattr(tables, "feature", ())))


def _settings(options: Any) -> Any:
    """Return the method's configuration for the data set."""
    import runpy

    from ml_collections import FrozenConfigDict

    path = options.config
    if path is None:
        folder = Path(__file__).parents[2] / "configs"
        path = folder / f"{options.method}_{options.dataset_shape}.py"
    if not path.is_file():
        raise UserError(f"config file {str(path)!r} not found: give one with --config")
    get_config = runpy.run_path(str(path)).get("get_config")
    if get_config is None:
        raise UserError(f"config file {path}: it has no function get_config()")
    # UCRN: the network of the public code, which PyTorch's side computes.
    config = get_config("code") if options.method == "ucrn" else get_config()
    config.text.encoder = "features"
    config.data.aligned = options.aligned
    config.optim.batch_size = options.batch
    return FrozenConfigDict(config)


def _limit_threads(threads: int) -> int:
    """Keep this process on so many cores; return how many there are for it."""
    try:  # before jax makes its thread pools
        cores = sorted(os.sched_getaffinity(0))[:threads]
        os.sched_setaffinity(0, cores)
    except AttributeError:  # not Linux
        return threads
    return len(cores)


def _require_torch(threads: int) -> None:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise UserError(
            "--against torch needs PyTorch: pip install 'msa_jax[bench]'"
        ) from None
    torch.set_num_threads(threads)


def _about(options: Any, threads: int, peak: float, parts: dict) -> dict[str, Any]:
    import jax

    packages = ["jax", "jaxlib", "flax"] + ["torch"] * bool(options.against)
    chosen = {k: v for k, v in vars(options).items() if k not in ("json", "config")}
    return {
        **chosen,
        "threads": threads,
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "matmul_peak_gflop_per_second": peak / 1e9,
        "need_by_part_gflop": {
            kind: {part: need / 1e9 for part, need in needs.items()}
            for kind, needs in parts.items()
        },
        "versions": {name: metadata.version(name) for name in packages},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _print(rows: list[dict], about: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    layout = "aligned" if about["aligned"] else "unaligned"
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"{about['method']} after the text encoder, {about['dataset_shape']} "
        f"{layout}, batch {about['batch']}",
        caption=f"{about['device']}, {about['threads']} thread(s), measured matmul "
        f"peak {about['matmul_peak_gflop_per_second']:.0f} GFLOP/s; "
        + ", ".join(f"{k} {v}" for k, v in about["versions"].items()),
    )
    heads = ("lengths", "", "compile\ns", "step\nms", "min\nms", "CPU\nms", "eval\nms")
    heads += (
        "needs\nGFLOP",
        "GFLOP\n/s",
        "of\npeak",
        "MB",
        "other\nload",
        "ours /\nthis",
    )
    for head in heads:
        left = head in ("", "lengths")
        table.add_column(head, justify="left" if left else "right", no_wrap=True)

    def form(value: float | None, digits: int, times: int = 1, unit: str = "") -> str:
        return "" if value is None else f"{times * value:.{digits}f}{unit}"

    for row in rows:
        table.add_row(
            row["lengths"],
            row["side"],
            form(row["compile_seconds"], 1),
            form(row["step_ms"], 1),
            form(row["step_min_ms"], 1),
            form(row["step_cpu_ms"], 1),
            form(row["evaluate_ms"], 1),
            form(row["need_gflop"], 2),
            form(row["gflop_per_second"], 1),
            form(row["share_of_peak"], 1, 100, "%"),
            form(row["memory_mb"], 0),
            form(row["others"], 0, 100, "%"),
            form(row["ours_over_this"], 2),
        )
    console = Console()
    Console(width=max(console.width, WIDTH)).print(table)
    if any(row["others"] > DISTURBED for row in rows):
        print("other processes took part of these cores: only a quiet machine's count")
    for kind, needs in about["need_by_part_gflop"].items():
        listed = ", ".join(f"{part} {need:.3f}" for part, need in needs.items())
        print(f"needs at {kind} length, GFLOP: {listed}")


def _write(path: Path, results: dict[str, Any]) -> None:
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=path.name, delete=False
    ) as file:
        json.dump(results, file, indent=2)
    os.replace(file.name, path)


if __name__ == "__main__":
    cli.run_plain(main)
