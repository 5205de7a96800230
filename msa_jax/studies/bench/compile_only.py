"""Compile a method's epoch for accelerators that are not here, and say what it takes.

It is the program that training runs: every batch of the data set's training split,
label tables, Adam, validation, selection, for all seeds. Weights, data and devices are
shapes only; nothing is run. The text encoder is bert-base where the configuration reads
token ids (--encoder minilm: that one), else text is word vectors, 300 wide.
"""

import os
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict, FrozenConfigDict

from msa_jax.data.batches import fold
from msa_jax.data.check.known import KNOWN, WORD_VECTOR
from msa_jax.ground import backend
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Split
from msa_jax.layers.recurrence import CHUNK
from msa_jax.methods import check
from msa_jax.studies.bench import encoders, hlo, operations, shapes, targets
from msa_jax.studies.bench.options import load_config
from msa_jax.text import bert
from msa_jax.text.encoders import FeatureEncoder
from msa_jax.training import epoch_program, memory
from msa_jax.training.train_state import devices_of, make_mesh

LARGE = 10_000_000  # bytes from which padding matters


def run(options: Any) -> tuple[list[dict[str, Any]], bool]:
    """Compile what the flags ask for; print and return what is known of each.

    Returns: a row per method and number of seeds, and whether all of them fit.
    """
    devices = targets.devices(options.compile_only)
    jax.config.update("jax_enable_compilation_cache", False)
    rows = []
    for name in options.method:
        for seeds in options.seeds or (1,):
            row = _compile(options, name, seeds, devices)
            print("\n  ".join(_lines(row)), flush=True)
            rows.append(row)
    return rows, all(row["fits"] for row in rows)


def _compile(options: Any, name: str, seeds: int, devices: list[Any]) -> dict[str, Any]:
    target = targets.TARGETS[options.compile_only]
    shape = shapes.of_dataset(options.dataset_shape, aligned=options.aligned)
    data_devices = options.mesh_data or 1
    config, encoder, bert_shape = _encoded(options, name, seeds)
    backend.set_up_jax(config.precision)
    width = bert_shape.hidden_size if bert_shape else WORD_VECTOR
    shape = shape._replace(widths=shape.widths | {"text": width})
    counts = len(shape.label), KNOWN[shape.name].sizes[1]
    tokens = bert_shape is not None
    train, valid = (fold(_split(shape, n, tokens=tokens)) for n in counts)
    mesh = make_mesh(0, data_devices, seeds, among=devices)
    row: dict[str, Any] = {
        "method": name,
        "text": _name(bert_shape, options),
        "target": options.compile_only,
        "data": f"{shape.name} {'aligned' if shape.aligned else 'unaligned'}",
        "seeds": seeds,
        "seed_devices": mesh.shape["seed"],
        "data_devices": mesh.shape["data"],
        "idle_devices": len(devices) - mesh.size,
        "batch": config.optim.batch_size,
        "precision": config.precision,
        "level": os.environ.get("JAX_OPTIMIZATION_LEVEL", "default"),
        "room": target.memory,
    }
    plan = epoch_program.plan(
        config,
        train,
        valid,
        encoder,
        devices_of(config, mesh),
        shape.label_range,
        lanes=seeds,
        room=target.memory,
    )
    row["planned"] = plan.need.total(plan.seeds, plan.groups[0])
    try:
        built = epoch_program.build(plan, target.memory, config)
    except (UserError, jax.errors.JaxRuntimeError) as error:
        said = str(error).strip().splitlines()[0]
        return {**row, "fits": False, "refused": said}
    said = built.epoch.memory_analysis()
    accumulate = config.optim.accumulate_batches
    steps = epoch_program.steps_per_epoch(config, train)
    text = built.epoch.as_text()
    most = -(-max(shape.steps[m] for m in ("audio", "vision")) // CHUNK)
    whole = hlo.loops(text, most)
    step = hlo.heaviest(whole, steps) or whole
    groups = plan.seeds // built.at_once
    need = _need(config, plan, target.platform)
    padded = hlo.worst_padding(text, LARGE)
    return {
        **row,
        "fits": memory.fits(built.need.total(), target.memory, memory.COMPILED_SHARE),
        "refused_groups": built.refused,
        "compile_seconds": built.seconds,
        "at_once": built.at_once,
        "seeds_of_a_device": plan.seeds,
        "arguments": said.argument_size_in_bytes,
        "to_compute": built.need.program,
        "needed": built.need.total(),
        "kernels_a_batch": groups * step.kernels / accumulate,
        "kernels_an_epoch": whole.kernels,
        "bytes_a_batch": groups * step.moved / accumulate,
        "flop_a_batch": need * plan.seeds / mesh.shape["data"],
        "seconds_at_peak": need
        * plan.seeds
        / mesh.shape["data"]
        * (1 if config.precision == "bfloat16" else target.passes)
        / target.peak,
        "seconds_at_bandwidth": groups * step.moved / accumulate / target.bandwidth,
        "collectives_a_step": step.collectives,
        "collectives_an_epoch": whole.collectives,
        "loops": hlo.nested(whole),
        "padding": padded and padded._asdict(),
    }


def _encoded(
    options: Any, name: str, seeds: int
) -> tuple[FrozenConfigDict, nn.Module, bert.Shape | None]:
    """Return the configuration, the text encoder, and its shape where it is a BERT."""
    config = ConfigDict(load_config(options, name))
    config.seeds = tuple(range(seeds))
    config.precision = options.precision or config.precision
    check(config)
    if config.text.encoder != "bert":
        return FrozenConfigDict(config), FeatureEncoder(), None
    shape = encoders.shape_of(options)
    compute = jnp.bfloat16 if config.precision == "bfloat16" else None
    shape = shape._replace(compute=compute, remat=config.text.remat)
    return FrozenConfigDict(config), bert.OwnBertEncoder(shape), shape


def _name(shape: bert.Shape | None, options: Any) -> str:
    if shape is None:
        return "word vectors"
    name = options.encoder or "bert-base"
    return f"{name}, {options.layers} layers" if options.layers else name


def _split(shape: shapes.Shape, n: int, *, tokens: bool) -> Split:
    """Return the shapes of a split."""

    def array(*sizes: int, kind: Any = jnp.float32) -> Any:
        return jax.ShapeDtypeStruct(sizes, kind)

    fields: dict[str, Any] = {}
    for m in MODALITIES:
        fields[f"{m}_length"] = array(n, kind=jnp.int32)
        fields[m] = array(n, shape.steps[m], shape.widths[m])
    if tokens:
        fields["text"] = array(n, 3, shape.steps["text"], kind=jnp.int32)
    return Split(**fields, label=array(n), unimodal_label=array(n, 3))


def _need(config: Any, plan: epoch_program.Plan, platform: str) -> float:
    """Count the operations of a batch of one seed, both passes, padding included."""
    one = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), plan.states
    )
    program = memory.gradient(plan.method, one, plan.splits[0], config.optim.batch_size)
    return operations.count(program, platform)


def _lines(row: dict[str, Any]) -> Iterator[str]:
    """Say in a few lines what is known of a program."""
    human = memory.human
    yield (
        f"{row['method']}, {row['text']}, {row['data']}, batch {row['batch']}, "
        f"{row['seeds']} seed(s) on {row['target']} as {row['seed_devices']} x "
        f"{row['data_devices']} (seed, data), {row['precision']}, level {row['level']}"
    )
    if row["idle_devices"]:
        yield f"idle: {row['idle_devices']} of the devices"
    if "refused" in row:
        yield f"REFUSED: {row['refused']}; planned {human(row['planned'])}"
        return
    for reason in row["refused_groups"]:
        yield f"refused: {reason}"
    ratio = row["planned"] / row["needed"]
    yield (
        f"a chip: arguments {human(row['arguments'])}, to compute "
        f"{human(row['to_compute'])}, together {human(row['needed'])} of "
        f"{human(row['room'])}: {'fits' if row['fits'] else 'DOES NOT FIT'}; planned "
        f"{human(row['planned'])} ({ratio:.2f}); {row['at_once']} of a chip's "
        f"{row['seeds_of_a_device']} seed(s) at a time"
    )
    yield f"compiled in {row['compile_seconds']:.0f} s"
    yield (
        f"a batch: {row['kernels_a_batch']:.0f} kernels; "
        f"{row['flop_a_batch'] / 1e12:.3g} TFLOP needed, "
        f"{1e3 * row['seconds_at_peak']:.3g} ms at the chip's peak; "
        f"{human(row['bytes_a_batch'])} moved, "
        f"{1e3 * row['seconds_at_bandwidth']:.3g} ms at its bandwidth"
    )
    yield f"an epoch: {row['kernels_an_epoch']} kernels; loops {row['loops']}"
    for what in ("step", "epoch"):
        sent = row[f"collectives_a{'n' * (what == 'epoch')}_{what}"]
        if sent:
            listed = ", ".join(f"{n} {k} ({human(b)})" for k, (n, b) in sent.items())
            yield f"sent in {what}: {listed}"
    if row["padding"]:
        worst = row["padding"]
        yield (
            f"worst padding: x{worst['factor']:.2g} of {worst['type']}, "
            f"{human(worst['size'])}"
        )
