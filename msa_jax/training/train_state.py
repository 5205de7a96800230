"""The train state of all seeds, and how it lies on the devices."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PRNGKeyArray

from msa_jax.data.batches import INIT_STREAM, gather
from msa_jax.ground import hosts
from msa_jax.ground.backend import compiler_options
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Method, PyTree, Selection, Split, TrainState
from msa_jax.methods import network
from msa_jax.training import phases
from msa_jax.training.seed_axis import devices_of_a_program, with_mesh


def make_mesh(
    devices: int,
    data_devices: int,
    seeds: int,
    among: Sequence[Any] | None = None,
) -> Mesh:
    """Lay devices out as ("seed", "data").

    Args:
        devices: how many devices to use; 0 = all there are, but for those that stand
            idle because the seeds do not divide over more.
        data_devices: how many devices share one seed's batch. The rest of the devices
            run different seeds; they must divide the number of seeds.
        seeds: number of seeds of the run.
        among: the devices that there are; None: all of this run.

    Raises:
        UserError: the numbers do not divide.
    """
    devices_here = jax.devices() if among is None else among
    count = devices or len(devices_here)
    if count > len(devices_here) or count % data_devices:
        raise UserError(
            f"config.mesh: {data_devices} data device(s) out of {count}, but "
            f"{len(devices_here)} are there; use --config.mesh.devices=N with N a "
            "multiple of --config.mesh.data"
        )
    seed_devices = count // data_devices
    if not devices:
        fitting = (n for n in range(1, seed_devices + 1) if seeds % n == 0)
        seed_devices = max(fitting)
    if seeds % seed_devices:
        raise UserError(
            f"config.mesh: {seeds} seed(s) do not divide over {seed_devices} devices; "
            "use --config.mesh.devices=N with N / data a divisor of the seeds"
        )
    used = devices_here[: seed_devices * data_devices]
    if len({device.process_index for device in used}) < jax.process_count():
        raise UserError(
            f"config.mesh: {seeds} seed(s) and --config.mesh.data={data_devices} use "
            f"{len(used)} of the {len(devices_here)} devices, which leaves a process "
            "without work; let seeds times data be a multiple of the devices"
        )
    shape, names = (seed_devices, data_devices), ("seed", "data")
    types = (AxisType.Auto, AxisType.Auto)
    if len(used) == len(devices_here):  # neighbours share a batch
        return jax.make_mesh(shape, names, devices=used, axis_types=types)
    # jax.make_mesh takes a part of a TPU's chips only where they form a cuboid.
    return Mesh(np.asarray(used).reshape(shape), names, axis_types=types)


def describe_mesh(mesh: Mesh, config: Any) -> str | None:
    """Say in a line what devices do, and how those that stand idle would work, too.

    One device alone goes without saying.

    Args:
        mesh: from `make_mesh`.
        config: see `config.sections`.
    """
    present, (seed_devices, data_devices) = len(jax.devices()), mesh.devices.shape
    if present == 1:
        return None
    each = len(config.seeds) // seed_devices
    line = f"devices: {mesh.size} of {present}, {each} seed{'s' * (each > 1)} on "
    line += "each" if data_devices == 1 else f"every {data_devices}"
    if mesh.size == present or config.mesh.devices:
        return line
    return (
        f"{line}; a multiple of {present // data_devices} seeds, or "
        f"--config.mesh.data={present}, would use all"
    )


class Devices(NamedTuple):
    """The devices of a run, and how its programs use them.

    mesh: from `make_mesh`.
    platform: "cpu", "gpu", "tpu".
    over_seeds: seeds of a device run in turn ("map") or side by side ("vmap").
    options: of the compiler, see `backend.compiler_options`.
    """

    mesh: Mesh
    platform: str
    over_seeds: str
    options: dict[str, Any] | None


def devices_of(config: Any, mesh: Mesh | None = None) -> Devices:
    """Read how programs use devices.

    Seeds of a CPU device in turn (measured faster there), else in parallel.

    Args:
        config: see `config.sections`.
        mesh: the devices; None: those that the configuration asks for, see `make_mesh`.

    Raises:
        UserError: they are not here, or seeds do not divide over them.
    """
    asked = config.mesh
    if mesh is None:
        mesh = make_mesh(asked.devices, asked.data, len(config.seeds))
    platform, over_seeds = mesh.devices.flat[0].platform, asked.over_seeds
    if over_seeds == "auto":
        apart = platform == "cpu" and devices_of_a_program(mesh) == 1
        over_seeds = "map" if apart else "vmap"
    options = compiler_options(platform, quick=config.compilation == "quick")
    return Devices(mesh, platform, over_seeds, options)


def state_sharding(mesh: Mesh) -> NamedSharding:
    """Lay the leading seed axis of every leaf over "seed", copy it over "data"."""
    return NamedSharding(mesh, P("seed"))


def state_shardings(mesh: Mesh, state: TrainState, *, shard_text: bool) -> TrainState:
    """Say of every leaf of a state how it lies on the devices.

    Args:
        mesh: from `make_mesh`.
        state: shapes of one seed's, without the seed axis.
        shard_text: matrices of the text encoder, their optimiser's moments and the
            selected ones are divided over "data", each along its last axis that
            divides; the program gathers a matrix when it is used. Everything else
            is copied over "data".
    """
    devices = mesh.shape["data"]

    def of_leaf(path, leaf):
        text = any(getattr(key, "key", None) == "text_encoder" for key in path)
        if shard_text and text and len(leaf.shape) > 1:
            for axis in reversed(range(len(leaf.shape))):
                if leaf.shape[axis] % devices == 0:
                    return NamedSharding(mesh, P("seed", *(None,) * axis, "data"))
        return state_sharding(mesh)

    return jax.tree_util.tree_map_with_path(of_leaf, state)


def lying(variables: PyTree, mesh: Mesh) -> PyTree | None:
    """Return how variables lie on a mesh; None where they are not laid out on it."""
    for x in jax.tree.leaves(variables):
        if getattr(getattr(x, "sharding", None), "mesh", None) != mesh:
            return None
    return jax.tree.map(lambda x: x.sharding, variables)


def split_sharding(mesh: Mesh) -> NamedSharding:
    """Copy splits to every device; batches are cut (and divided) in the program."""
    return NamedSharding(mesh, P())


def seed_keys(seeds: Sequence[int]) -> PRNGKeyArray:
    """Return one root key per seed, [s]."""
    return jnp.stack([jax.random.key(seed) for seed in seeds])


Draw = Callable[[Split, PRNGKeyArray], network.Variables]


def drawing(method: Method) -> Draw:
    """Return what draws one seed's variables for batches of a split.

    It is traced once, though both an epoch's program and the start ask for it.
    """

    @partial(jax.jit, inline=True)
    def draw(split, key):
        batch = gather(split, jnp.zeros((1,), jnp.int32))
        return network.start(method, jax.random.fold_in(key, INIT_STREAM), batch)

    return draw


def pretrained(
    variables: network.Variables, encoder_params: PyTree | None
) -> network.Variables:
    """Return variables with pretrained encoder parameters, if there are any."""
    params = dict(variables["params"])
    if encoder_params is not None:
        expected = jax.tree.structure(params["text_encoder"])
        if jax.tree.structure(encoder_params) != expected:
            raise ValueError("pretrained encoder parameters do not fit the module")
        params["text_encoder"] = encoder_params
    return variables | {"params": params}


def new_state(
    method: Method,
    optimizer: optax.GradientTransformation,
    variables: network.Variables,
    split: Split,
    key: PRNGKeyArray,
) -> TrainState:
    """Start one seed's training from its network and the training split."""
    statistics = dict(variables)
    params = statistics.pop("params")
    selection = Selection(
        params=params,
        score=jnp.full((), jnp.inf, split.label.dtype),
        epoch=jnp.zeros((), jnp.int32),
        active=jnp.ones((), bool),
        statistics=statistics,
    )
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        epoch=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=phases.start(method, optimizer, params),
        labels=method.init_labels(split, key),
        selection=selection,
        key=key,
        statistics=statistics,
    )


def start_shapes(
    method: Method,
    optimizer: optax.GradientTransformation,
    split: Split,
    mesh: Mesh,
    draw: Draw,
) -> TrainState:
    """Return shapes and types of one seed's state; see `make_start`."""
    lies = split_sharding(mesh)  # as the start sees them: what was traced serves it

    def shape(x):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=lies)

    given = jax.tree.map(shape, (split, jax.random.key(0)))
    variables = jax.eval_shape(with_mesh(draw, mesh), *given)
    return jax.eval_shape(partial(new_state, method, optimizer), variables, *given)


def make_start(
    method: Method,
    optimizer: optax.GradientTransformation,
    split: Split,
    encoder_params: PyTree | None,
    mesh: Mesh,
    lie: TrainState | None = None,
    draw: Draw | None = None,
) -> Callable[[Sequence[int]], TrainState]:
    """Return what starts seeds, each leaf with a leading seed axis, born sharded.

    As many seeds as before need no new compilation.

    Args:
        method, optimizer, split: see `new_state`.
        encoder_params: see `pretrained`.
        mesh: from `make_mesh`.
        lie: from `state_shardings`; None: as `state_sharding` says.
        draw: from `drawing`, where it was traced already.
    """
    draw = draw or drawing(method)

    def init(split, key, encoder_params):
        variables = pretrained(draw(split, key), encoder_params)
        return new_state(method, optimizer, variables, split, key)

    replicated = split_sharding(mesh)
    # Random draws are slow to compile on CPU and run once: leave them unoptimised.
    program = jax.jit(
        with_mesh(jax.vmap(init, in_axes=(None, 0, None)), mesh),
        out_shardings=lie or state_sharding(mesh),
        compiler_options=compiler_options(jax.default_backend(), quick=True),
    )
    split = hosts.put(split, replicated)

    def start(seeds: Sequence[int]) -> TrainState:
        keys = hosts.put(seed_keys(seeds), state_sharding(mesh))
        # On the devices only until the states are there, which hold them, too.
        given = encoder_params and hosts.put(encoder_params, replicated)
        return program(split, keys, given)

    return start
