"""Time whole epochs, evaluation and selection included, by number of seeds.

An epoch is the program that training runs: every batch of train, then validation (a
tenth of train), then selection. Clips are noise with the lengths of the data set's
twin. Programs take turns in one process. With --without-labels each also runs without
updates of label tables: their share.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax

import msa_jax.methods as methods
from msa_jax.ground.types import Split
from msa_jax.studies.bench import encoders, measure, shapes
from msa_jax.studies.bench.options import load_config
from msa_jax.studies.bench.table import Row
from msa_jax.studies.bench.whole_step import on_batch, sides_of
from msa_jax.text.encoders import FeatureEncoder
from msa_jax.training import epoch_program, optim, step
from msa_jax.training.train_state import devices_of, make_mesh, new_state, seed_keys


def run(options: Any, name: str, shape: shapes.Shape) -> list[Row]:
    """Measure one method; return a row per number of seeds."""
    calls: dict[str, Callable[[int], None]] = {}
    about: dict[str, Row] = {}
    for seeds in options.seeds:
        for labels in (True, False)[: 1 + options.without_labels]:
            side = f"{seeds} seed{'s' * (seeds > 1)}"
            side += "" if labels else ", no labels"
            calls[side], made = _program(options, name, shape, seeds, labels)
            about[side] = made | {"seeds": seeds, "labels_updated": labels}
    times = measure.alternate(calls, options.repeats)
    return [
        {
            "method": name,
            "lengths": "true",
            "side": side,
            **about[side],
            "epoch_seconds": t.median,
            "epoch_seconds_per_seed": t.median / about[side]["seeds"],
            "others": t.others,
        }
        for side, t in times.items()
    ]


def _program(
    options: Any, name: str, shape: shapes.Shape, seeds: int, labels: bool
) -> tuple[Callable[[int], None], Row]:
    """Compile an epoch; return what runs one more, and what is known of it."""
    config = load_config(options, name)
    samples = options.samples or len(shape.label)
    counts = samples, samples // 10 + 1
    side = "padded"
    if options.encoder == "none":
        encoder: Any = FeatureEncoder()
        splits = [shapes.draw_split(shape, n) for n in counts]
    else:
        encoder = encoders.module(encoders.shape_of(options))
        splits = [
            shapes.draw_split(shape, n, encoders.tokens(options, shape, n))
            for n in counts
        ]
        side = "packed" if "packed" in sides_of(options, config) else side
    method = methods.make(config, encoder, shape.label_range)
    both: dict[str, Split] = {"train": splits[0], "valid": splits[1]}
    method = method._replace(on_batch=on_batch(config, side, both))
    if not labels:
        method = method._replace(update_labels=lambda labels, *others: labels)
    optimizer = optim.make_optimizer(
        config.optim.groups, method.groups, clip_norm=config.optim.clip_norm
    )
    mesh = make_mesh(1, 1, seeds)
    batch = step.gather(splits[0], jax.numpy.arange(2))
    variables = measure.draw_variables(method, batch)
    start = partial(new_state, method, optimizer, variables, splits[0])
    one = jax.vmap(start)
    state = one(seed_keys(range(seeds)))
    run_epoch: Any = step.make_epoch(
        method,
        optimizer,
        epoch_program.rules(config),
        mesh,
        over_seeds=devices_of(config, mesh).over_seeds,
    )
    start = time.perf_counter()
    compiled = run_epoch.lower(state, *splits).compile()
    seconds = time.perf_counter() - start
    states = [state]

    def epoch(number: int) -> None:
        del number
        states.append(jax.block_until_ready(compiled(states.pop(), *splits))[0])

    return epoch, {
        "samples": samples,
        "compile_seconds": seconds,
        "memory_mb": (measure.memory_of(compiled) or 0) / 1e6 or None,
        "data_mb": sum(x.nbytes for x in jax.tree.leaves(splits)) / 1e6,
    }
