"""Time whole training steps of a method, text encoder and Adam included.

A step is what training runs: forward, loss, backward, generated labels, Adam; as in
training, one program runs several, here four batches, at the lengths of the data set's
twin. Weights are random (a step takes as long whatever they are). Competitors: our step
with the text padded (transformers' BERT, our own) and packed, PyTorch's with the text
padded.
"""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import msa_jax.methods as methods
from msa_jax.data.batches import gather
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Split
from msa_jax.studies.bench import against, encoders, measure, operations, shapes
from msa_jax.studies.bench.options import SIDES, load_config
from msa_jax.studies.bench.table import Row, step_row
from msa_jax.text import layout
from msa_jax.training import optim
from msa_jax.training.step import Rules, predict, train_epoch
from msa_jax.training.train_state import new_state

BATCHES = 4


def run(options: Any, name: str, shape: shapes.Shape, peak: float) -> list[Row]:
    """Measure one method; see `steps.run`."""
    settings = load_config(options, name)
    if options.against:
        against.require_written(name, settings)
    names = sides_of(options, settings)
    encoder = encoders.shape_of(options)
    shape = shape._replace(widths=shape.widths | {"text": encoder.hidden_size})
    n = len(shape.label)
    split = shapes.draw_split(shape, n, encoders.tokens(options, shape, n))
    steps = shape.steps | {"text": split.text.shape[-1]}
    shape = shape._replace(steps=steps)
    size = options.batch
    count = min(BATCHES, n // size)
    if count == 0:
        raise UserError(f"--batch {size}: {shape.name} has {n} training samples")
    order = np.random.default_rng(0).permutation(n)[: count * size].reshape(-1, size)
    sides, variables, method = {}, None, None
    for side in names:
        module = encoders.module(encoder, ours=side != "transformers")
        method = methods.make(settings, module, shape.label_range)
        optimizer = optim.make_optimizer(
            settings.optim.groups, method.groups, clip_norm=settings.optim.clip_norm
        )
        variables = variables or measure.draw_variables(
            method, gather(split, jnp.asarray(order[0]))
        )
        method = method._replace(on_batch=on_batch(settings, side, {"train": split}))
        sides[f"ours, {side}"] = _side(method, optimizer, variables, split, order)
    assert method is not None and variables is not None
    if options.against:
        batches = [gather(split, jnp.asarray(index)) for index in order]
        sides |= against.sides(
            name,
            settings,
            method,
            variables["params"],
            shape,
            split.label,
            batches,
            encoder,
        )
    stepped, evaluated = measure.time_sides(sides, options.repeats)
    return [
        step_row(
            name,
            "true",
            side,
            sides[side],
            stepped,
            evaluated,
            peak=peak,
            batches=count,
        )
        for side in sides
    ]


def sides_of(options: Any, settings: Any) -> tuple[str, ...]:
    """Return our sides: those asked for, or all that the method can run.

    Raises:
        UserError: packed text was asked for, but the method reads padding.
    """
    try:
        methods.check(_of_side(settings, "packed"))
    except UserError:
        if "packed" in (options.sides or ()):
            raise
        return options.sides or tuple(s for s in SIDES if s != "packed")
    return options.sides or SIDES


def on_batch(settings: Any, side: str, splits: dict[str, Split]) -> Any:
    """Return what runs a side's functions of a batch, see `types.Method`."""
    given = _of_side(settings, side), splits, ""
    return layout.of_batches(*given, platform="cpu", shards=1, together=1).on_batch


def _of_side(settings: Any, side: str) -> ConfigDict:
    own, packing = side != "transformers", "tokens" if side == "packed" else "none"
    settings = ConfigDict(settings)
    settings.text.update(
        encoder="bert",
        implementation="own" if own else "transformers",
        packing=packing,
    )
    return settings


def _side(method, optimizer, variables, split: Split, order) -> measure.Side:
    """Compile an epoch of a few batches, and their evaluation; a call runs them."""
    state = new_state(method, optimizer, variables, split, jax.random.key(0))
    rules = Rules(order.shape[1], 1)
    state = dataclasses.replace(state, epoch=jnp.asarray(measure.EPOCH - 1))
    state = jax.tree.map(jnp.array, state)

    def epoch(state, split, order):
        state, parts, _ = train_epoch(method, optimizer, state, split, order, rules)
        return dataclasses.replace(state, epoch=state.epoch - 1), parts

    start = time.perf_counter()
    traced = jax.jit(epoch, donate_argnums=0).trace(state, split, order)
    compiled: Any = traced.lower().compile()
    seconds = time.perf_counter() - start
    need = operations.count(traced.jaxpr, jax.default_backend()) / len(order)
    states = [state]

    def step(number: int) -> None:
        del number
        new, _ = jax.block_until_ready(compiled(states.pop(), split, order))
        states.append(new)

    few = jax.tree.map(lambda x: x[order.ravel()], split)
    answer: Any = jax.jit(
        lambda variables, split: predict(method, variables, split, order.shape[1])
    )
    answer = answer.lower(variables, few).compile()

    def evaluate(number: int) -> None:
        del number
        jax.block_until_ready(answer(variables, few))

    return measure.Side(step, evaluate, seconds, measure.memory_of(compiled), need)
