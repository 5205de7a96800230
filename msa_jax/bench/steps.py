"""Time a method's training step after the text encoder, at full and at true lengths."""

from typing import Any

import jax
import numpy as np

from msa_jax import methods, optim
from msa_jax.bench import comparable, measure, needs, shapes, spt_alone
from msa_jax.bench.options import load_config
from msa_jax.bench.table import Row, step_row
from msa_jax.text import FeatureEncoder
from msa_jax.types import MODALITIES

BATCHES = 4  # steps of a call


def run(
    options: Any, name: str, shape: shapes.Shape, peak: float
) -> tuple[list[Row], dict[str, dict[str, float]]]:
    """Measure one method.

    Args:
        options: from `options.parse`.
        name: of the method, or "spt".
        shape: of the data set.
        peak: operations per second that the device can do.

    Returns:
        A row per kind of lengths and competitor, and operations by kind and part.
    """
    if name == "spt":
        config = None
        method = spt_alone.make(spt_alone.readings(shape.name))
        groups, clip = spt_alone.GROUPS, 0.0
    else:
        config = load_config(options, name)
        if options.against:
            comparable.require_written(name, config)
        method = methods.make(config, FeatureEncoder(), shape.label_range)
        groups, clip = config.optim.groups, config.optim.clip_norm
    optimizer = optim.make_optimizer(groups, method.groups, clip_norm=clip)
    rows, parts = [], {}
    for kind in ("full", "true"):
        made = shapes.full_lengths if kind == "full" else shapes.true_lengths
        batches = shapes.make_batches(shape, made(shape), options.batch, BATCHES)
        split = shapes.make_split(shape, batches)
        params = measure.draw_params(method, batches[0])
        sides = {
            "ours": measure.compile_ours(method, optimizer, params, split, batches)
        }
        if options.against:
            from msa_jax.bench import torch_sides

            inputs = [torch_sides.tensors(batch) for batch in batches]
            label = np.asarray(split.label)
            written = torch_sides.formulations(
                name, config, method, params, shape, label
            )
            sides |= {
                k: measure.repeated(torch_sides.side(v, inputs), BATCHES)
                for k, v in written.items()
            }
        lengths = {
            m: np.concatenate([getattr(b, f"{m}_length") for b in batches])
            for m in MODALITIES
        }
        tables = method.init_labels(split, jax.random.key(0))
        needed = needs.of_step(
            name, config, method, params, shape, lengths, options.batch, tables
        )
        parts[kind] = {part: need.total for part, need in needed.items()}
        stepped, evaluated = measure.time_sides(sides, options.repeats)
        rows += [
            step_row(
                name,
                kind,
                side,
                sides[side],
                stepped,
                evaluated,
                need=sum(parts[kind].values()),
                peak=peak,
                batches=BATCHES,
            )
            for side in sides
        ]
    return rows, parts
