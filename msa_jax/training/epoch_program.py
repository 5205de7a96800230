"""The program of an epoch, for the devices of a mesh: planned, then compiled.

It is made of shapes alone. Nothing here puts anything on a device, so the devices need
not be there: `bench --compile-only` compiles for other machines what
`program.make_program` runs on this one.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from flax import linen as nn
from jax.sharding import Mesh

import msa_jax.methods as methods
from msa_jax.config import with_values
from msa_jax.data.batches import count
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Method, Split, TrainState
from msa_jax.text import layout
from msa_jax.text.layout import TextLayout
from msa_jax.training import memory, optim, seed_axis, step
from msa_jax.training.train_state import (
    Devices,
    Draw,
    drawing,
    start_shapes,
    state_sharding,
    state_shardings,
)


class Plan(NamedTuple):
    """What the program of an epoch is to be.

    method, optimizer: for what no traced field changes.
    draw: draws the method's variables.
    states: shapes of the lanes' states, [lanes, ...].
    lie: how they lie on the devices.
    splits: shapes of train and valid.
    devices: that it is for.
    seeds: lanes of one device.
    need: memory of one device, counted.
    groups: how many of a device's lanes may step at a time, first choice first.
    program: that number -> (state, train, valid) -> (state, log), not compiled.
    """

    method: Method
    optimizer: optax.GradientTransformation
    draw: Draw
    states: TrainState
    lie: TrainState
    splits: tuple[Split, Split]
    devices: Devices
    seeds: int
    need: memory.Memory
    groups: tuple[int, ...]
    program: Callable[[int], Any]


class Compiled(NamedTuple):
    """What became of a plan.

    epoch: (state, train, valid) -> (state, log).
    at_once: how many of a device's lanes step at a time.
    need: memory of one device (a CPU: of the process), see `memory.of_program`.
    seconds: what compiling took; of the last try.
    refused: what the compiler said of every larger group.
    """

    epoch: Any
    at_once: int
    need: memory.Need
    seconds: float
    refused: list[str]


def plan(
    config: Any,
    train: Split,
    valid: Split,
    encoder: nn.Module,
    devices: Devices,
    label_range: tuple[float, float],
    *,
    lanes: int,
    room: int | None,
    text: TextLayout | None = None,
) -> Plan:
    """Plan an epoch of a training.

    Args:
        config: see `config.sections`.
        train, valid: the splits; shapes will do.
        encoder: of the text.
        devices: from `train_state.devices_of`.
        label_range: (low, high).
        lanes: how many will run together.
        room: bytes of one device, None if unknown; see `memory.capacity`.
        text: how it lies in batches, from `text_layout`; None: padded.
    """

    def assemble(config):
        method = methods.make(config, encoder, label_range)
        method = method._replace(on_batch=(text or TextLayout()).on_batch)
        steps = steps_per_epoch(config, train, method.videos)
        epochs = config.selection.max_epochs
        of_run = config.optim, method.groups, epochs * steps, epochs
        return method, optim.from_settings(*of_run)

    mesh = devices.mesh
    method, optimizer = assemble(config)
    draw = drawing(method)
    one = start_shapes(method, optimizer, train, mesh, draw)
    lie = state_shardings(mesh, one, shard_text=config.mesh.shard_text)
    need = memory.estimate(
        method,
        one,
        train,
        valid,
        -(-config.optim.batch_size // mesh.shape["data"]),  # of one device
        platform=devices.platform,
        in_turn=devices.over_seeds == "map",
    )
    need = need._replace(state=_on_one_device(one, lie, mesh))
    hyper = methods.traced_values(config)
    lie = dataclasses.replace(lie, hyper=dict.fromkeys(hyper, state_sharding(mesh)))
    of_hyper = jax.ShapeDtypeStruct((), train.label.dtype)
    one = dataclasses.replace(one, hyper=dict.fromkeys(hyper, of_hyper))
    seeds = lanes // mesh.shape["seed"]

    def of_lane(hyper):
        return assemble(with_values(config, hyper))

    def program(at_once: int) -> Any:
        return step.make_epoch(
            method,
            optimizer,
            rules(config),
            mesh,
            over_seeds=devices.over_seeds,
            at_once=at_once,
            of_lane=of_lane,
            lie=lie,
        )

    return Plan(
        method=method,
        optimizer=optimizer,
        draw=draw,
        states=jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((lanes, *x.shape), x.dtype), one
        ),
        lie=lie,
        splits=(train, valid),
        devices=devices,
        seeds=seeds,
        need=need,
        groups=_groups(config, need, seeds, devices, room),
        program=program,
    )


def build(plan: Plan, room: int | None, config: Any) -> Compiled:
    """Compile; where lanes together do not fit into the room, in smaller groups.

    Args:
        plan: what to compile.
        room: see `plan`.
        config: see `config.sections`.

    Raises:
        UserError: the compiler refuses the smallest group, too.
    """
    refused: list[str] = []
    for at_once in plan.groups:
        clock = time.perf_counter()
        lowered = plan.program(at_once).lower(plan.states, *plan.splits)
        try:
            epoch = lowered.compile(compiler_options=plan.devices.options)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            refused.append(memory.refusal(str(error)))
            continue
        seconds = time.perf_counter() - clock
        need = memory.of_program(
            epoch,
            plan.need,
            plan.seeds,
            at_once,
            platform=plan.devices.platform,
            devices=plan.devices.mesh.local_mesh.size,
        )
        compiled = Compiled(epoch, at_once, need, seconds, refused)
        enough = memory.fits(need.total(), room, memory.COMPILED_SHARE)
        if at_once == plan.groups[-1] or enough:
            return compiled
        refused.append(f"{at_once} at a time need {memory.human(need.total())}")
    need = memory.Need(
        plan.need.data, plan.need.state, plan.seeds, plan.groups[-1] * plan.need.step
    )
    advice = "" if room is None else f": {memory.advice(need, room, config)}"
    raise UserError(f"an epoch does not fit the device, {refused[-1]}{advice}")


def text_layout(config: Any, splits: dict[str, Split], devices: Devices) -> TextLayout:
    """Choose how text lies in batches of these splits, "train" among them."""
    mesh = devices.mesh
    apart = mesh.shape["seed"] // seed_axis.devices_of_a_program(mesh)
    return layout.of_batches(
        config,
        splits,
        methods.of(config).reads_padding(config),
        platform=devices.platform,
        shards=mesh.shape["data"],
        together=len(config.seeds) // apart if devices.over_seeds == "vmap" else 1,
    )


def rules(config: Any) -> step.Rules:
    """Read how an epoch runs and how the best one is chosen."""
    return step.Rules(
        batch_size=config.optim.batch_size,
        accumulate=config.optim.accumulate_batches,
        drop_last=config.data.drop_last,
        valid_mean=config.selection.valid_mean,
        round_decimals=config.selection.round_decimals,
        min_delta=config.selection.min_delta,
        early_stop=config.selection.early_stop,
        on_nonfinite=config.on_nonfinite,
        tail=config.optim.tail,
        step_every_batch=config.optim.step_every_batch,
        clip_value=config.optim.clip_value,
    )


def steps_per_epoch(config: Any, train: Split, videos: bool = False) -> int:
    """Count optimiser steps; refuse a training split that gives none."""
    n, size, rule = count(train, videos), config.optim.batch_size, rules(config)
    whole = n // size if config.data.drop_last else -(-n // size)
    steps = whole // rule.accumulate + whole * rule.step_every_batch
    steps += rule.tail == "stepped" and whole % rule.accumulate > 0
    if not steps:
        raise UserError(
            f"{n} training {'videos' if videos else 'samples'} make {whole} batch(es) "
            f"of {size}, fewer than the {rule.accumulate} of one optimiser step; lower "
            "--config.optim.batch_size or --config.optim.accumulate_batches"
        )
    return steps


def _groups(
    config: Any,
    need: memory.Memory,
    seeds: int,
    devices: Devices,
    room: int | None,
) -> tuple[int, ...]:
    """List how many of a device's lanes may step at a time, first choice first."""
    if devices.over_seeds == "map":
        return (1,)
    if config.mesh.seeds_at_once:
        return (math.gcd(config.mesh.seeds_at_once, seeds),)
    on_cpu = devices.platform == "cpu"
    if on_cpu and devices.mesh.size > 1:  # they share one memory
        return (seeds,)
    fitting = memory.groups_of_seeds(need, seeds, room)
    # A CPU's compiler refuses nothing, and another try would cost its time.
    return fitting[:1] if on_cpu else fitting


def _on_one_device(state: TrainState, lie: TrainState, mesh: Mesh) -> int:
    """Return the bytes of one seed's state on one device."""

    def part(x, sharding):
        whole = (mesh.shape["seed"], *x.shape)
        return jax.ShapeDtypeStruct(sharding.shard_shape(whole)[1:], x.dtype)

    return memory.size_of(jax.tree.map(part, state, lie))
