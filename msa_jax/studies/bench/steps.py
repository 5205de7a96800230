"""Time a method's training step after the text encoder, at full and at true lengths."""

from typing import Any

import msa_jax.methods as methods
from msa_jax.studies.bench import against, measure, shapes
from msa_jax.studies.bench.options import load_config
from msa_jax.studies.bench.table import Row, step_row
from msa_jax.text.encoders import FeatureEncoder
from msa_jax.training import optim

BATCHES = 4  # steps of a call


def run(options: Any, name: str, shape: shapes.Shape, peak: float) -> list[Row]:
    """Measure one method.

    Args:
        options: from `options.parse`.
        name: of the method.
        shape: of the data set.
        peak: operations per second that the device can do.

    Returns: a row per kind of lengths and competitor.
    """
    config = load_config(options, name)
    if options.against:
        against.require_written(name, config)
    method = methods.make(config, FeatureEncoder(), shape.label_range)
    optimizer = optim.make_optimizer(
        config.optim.groups, method.groups, clip_norm=config.optim.clip_norm
    )
    rows = []
    for kind in ("full", "true"):
        made = shapes.full_lengths if kind == "full" else shapes.true_lengths
        batches = shapes.make_batches(shape, made(shape), options.batch, BATCHES)
        split = shapes.make_split(shape, batches)
        variables = measure.draw_variables(method, batches[0])
        sides = {
            "ours": measure.compile_ours(
                method,
                optimizer,
                variables,
                split,
                batches,
                to_text=config.text.finetune,
            )
        }
        if options.against:
            sides |= against.sides(
                name,
                config,
                method,
                variables["params"],
                shape,
                split.label,
                batches,
            )
        stepped, evaluated = measure.time_sides(sides, options.repeats)
        rows += [
            step_row(
                name,
                kind,
                side,
                sides[side],
                stepped,
                evaluated,
                peak=peak,
                batches=BATCHES,
            )
            for side in sides
        ]
    return rows
