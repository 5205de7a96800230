"""Time whole epochs, evaluation and selection included: by seeds and by samples.

    python -m msa_jax.bench.epochs --method ucrn --aligned --seeds 1,8
    python -m msa_jax.bench.epochs --dataset_shape mosei --samples 1284,16326
    python -m msa_jax.bench.epochs --method self_mm --without_labels

An epoch is the program that training runs: every batch of train, then validation (a
tenth of train), then selection. Text comes as 768 features per token; clips are noise
with the lengths of the data set's twin. Programs take turns in one process. With
--without_labels each also runs without updates of label tables: their share.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from msa_jax import cli
from msa_jax.errors import UserError


def main() -> int:
    """Parse the command line, measure, print; return the exit code."""
    from msa_jax.bench.__main__ import _limit_threads, _write

    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--method", choices=("self_mm", "sugrm", "mmcl", "ucrn"), default="self_mm")
    add("--dataset_shape", choices=("mosi", "mosei", "sims"), default="mosi")
    add("--aligned", action="store_true", help="all modalities have the text's steps")
    add("--seeds", default="1", help="numbers of seeds, for example 1,5,10")
    add("--samples", default="1284", help="training samples, for example 1284,16326")
    add("--over_seeds", choices=("auto", "map", "vmap"), default="auto")
    add("--without_labels", action="store_true", help="also without label updates")
    add("--batch", type=int, default=32, help="samples per step (default: 32)")
    add("--repeats", type=int, default=3, help="timed epochs each (default: 3)")
    add("--threads", type=int, default=2, help="CPU cores to use (default: 2)")
    add("--config", type=Path, help=argparse.SUPPRESS)
    add("--json", type=Path, metavar="FILE", help="write all numbers there, too")
    options = parser.parse_args()
    _limit_threads(options.threads)
    rows = run(options)
    _print(rows)
    if options.json:
        _write(options.json, {"rows": rows})
    return 0


def run(options: Any) -> list[dict[str, Any]]:
    """Measure; return a row per number of seeds and samples."""
    from msa_jax.bench import measure

    calls: dict[Any, Any] = {}
    about: dict[Any, dict[str, Any]] = {}
    for samples in _numbers("samples", options.samples):
        for seeds in _numbers("seeds", options.seeds):
            for labels in (True, False)[: 1 + options.without_labels]:
                key = samples, seeds, labels
                calls[key], about[key] = _program(options, *key)
    times: dict[Any, measure.Times] = measure.alternate(calls, options.repeats)
    return [
        {
            "samples": samples,
            "seeds": seeds,
            "labels": "updated" if labels else "left alone",
            **about[samples, seeds, labels],
            "epoch_seconds": t.median,
            "per_seed_seconds": t.median / seeds,
            "per_sample_ms": 1e3 * t.median / seeds / samples,
            "others": t.others,
        }
        for (samples, seeds, labels), t in times.items()
    ]


def _numbers(name: str, text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = [0]
    if min(found) < 1:
        raise UserError(f"--{name} {text}: numbers of 1 or more, as in 1,5")
    return found


def _program(options: Any, samples: int, seeds: int, labels: bool) -> tuple:
    """Compile an epoch; return what runs one more, and what is known of it."""
    import jax

    from msa_jax import lanes, methods, optim, step
    from msa_jax.bench import measure, shapes
    from msa_jax.bench.__main__ import _settings
    from msa_jax.text import FeatureEncoder
    from msa_jax.train_state import make_mesh, new_state, seed_keys

    jax.config.update("jax_enable_compilation_cache", False)
    settings = _settings(options)
    shape = shapes.of_dataset(options.dataset_shape, aligned=options.aligned)
    splits = [_split(shape, n) for n in (samples, samples // 10 + 1)]
    method = methods.make(settings, FeatureEncoder(), shape.label_range)
    if not labels:
        method = method._replace(update_labels=lambda labels, *others: labels)
    optimizer = optim.make_optimizer(settings.optim.groups, method.groups)
    mesh = make_mesh(1, 1, seeds)
    batch = shapes.make_batches(shape, shapes.full_lengths(shape), 2, 1)[0]
    params = measure.draw_params(method, batch)
    one = jax.vmap(lambda key: new_state(method, optimizer, params, splits[0], key))
    state = one(seed_keys(range(seeds)))
    run_epoch: Any = step.make_epoch(
        method,
        optimizer,
        lanes.rules(settings),
        mesh,
        over_seeds=lanes.layout_of_seeds(options.over_seeds, 1),
    )
    start = time.perf_counter()
    compiled = run_epoch.lower(state, *splits).compile()
    seconds = time.perf_counter() - start
    states = [state]

    def epoch(number: int) -> None:
        del number
        states.append(jax.block_until_ready(compiled(states.pop(), *splits))[0])

    used = compiled.memory_analysis()
    memory = {
        "data_mb": sum(x.nbytes for x in jax.tree.leaves(splits)) / 1e6,
        "state_mb": used.output_size_in_bytes / 1e6,
        "temporary_mb": used.temp_size_in_bytes / 1e6,
    }
    return epoch, {"compile_seconds": seconds, **memory}


def _split(shape: Any, n: int) -> Any:
    """Draw a split of noise; every array lies on the device."""
    import jax.numpy as jnp
    import numpy as np

    from msa_jax.bench import shapes
    from msa_jax.types import MODALITIES, Split

    rng, drawn, fields = np.random.default_rng(n), shapes.true_lengths(shape), {}
    for m in MODALITIES:
        length = rng.choice(drawn[m], n).astype(np.int32)
        x = rng.normal(size=(n, shape.steps[m], shape.widths[m])).astype(np.float32)
        x[np.arange(shape.steps[m]) >= length[:, None]] = 0
        fields |= {m: jnp.asarray(x), f"{m}_length": jnp.asarray(length)}
    label = jnp.asarray(rng.choice(shape.label, n), jnp.float32)
    return Split(**fields, label=label, unimodal_label=jnp.full((n, 3), jnp.nan))


def _print(rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    heads = ("samples", "seeds", "labels", "compile s", "epoch s", "per seed s")
    heads += ("per sample ms", "data MB", "state MB", "temporary MB", "other load")
    for head in heads:
        table.add_column(head.replace(" ", "\n"), justify="right")
    for row in rows:
        table.add_row(
            *(str(row[name]) for name in ("samples", "seeds", "labels")),
            f"{row['compile_seconds']:.1f}",
            f"{row['epoch_seconds']:.2f}",
            f"{row['per_seed_seconds']:.2f}",
            f"{row['per_sample_ms']:.3f}",
            *(f"{row[f'{name}_mb']:.0f}" for name in ("data", "state", "temporary")),
            f"{100 * row['others']:.0f}%",
        )
    console = Console()
    Console(width=max(console.width, 100)).print(table)


if __name__ == "__main__":
    cli.run_plain(main)
