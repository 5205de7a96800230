"""Several processes as one run, on jax's own distributed runtime.

All processes load the data and run the same programs; process 0 alone reads and writes
the work directory, and what it read there it hands to the others. Programs are spread
over all processes' devices by their shardings, as over one process's. With one process
everything here does nothing.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

from msa_jax.ground import signals
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import PyTree

LOST = signals.PREEMPTED  # exit code where another process is gone: start all again
_SHUTDOWN = 3600  # seconds that processes wait for process 0's report
# Words of the runtimes' errors (gloo, NCCL, jax's coordination service) for a peer
# that went away.
_GONE = (
    *("gloo", "nccl", "coordination", "connection", "heartbeat"),
    *("unavailable", "deadline_exceeded", "aborted", "barrier"),
)


class Cluster(NamedTuple):
    """Where the processes of a run meet; all None where jax finds it out by itself.

    It does on Cloud TPU, in SLURM jobs and in Kubernetes jobs.

    coordinator: HOST:PORT of process 0, reachable from all.
    processes: how many there are.
    number: of this one, from 0.
    """

    coordinator: str | None = None
    processes: int | None = None
    number: int | None = None


def several() -> bool:
    """Say whether this run has more than one process."""
    return jax.process_count() > 1


def is_first() -> bool:
    """Say whether this process is the one that reads and writes the work directory."""
    return jax.process_index() == 0


def put(tree: PyTree, sharding: Sharding | PyTree) -> PyTree:
    """Lay values that every process has out on the devices of all.

    Args:
        tree: arrays, NumPy's or jax's, random keys included; what lies on the devices
            of all processes already stays there.
        sharding: of every leaf, or one for all.
    """
    if not several():
        return jax.device_put(tree, sharding)
    if isinstance(sharding, Sharding):
        return jax.tree.map(lambda x: _put(x, sharding), tree)
    return jax.tree.map(_put, tree, sharding)


def to_host(tree: PyTree) -> PyTree:
    """Copy arrays to every process, whole, as NumPy arrays (random keys: as keys).

    All processes must call it, with the same tree.
    """
    if not several():
        return jax.device_get(tree)
    leaves, structure = jax.tree.flatten(tree)
    spread = [
        i
        for i, x in enumerate(leaves)
        if isinstance(x, jax.Array) and not x.is_fully_addressable
    ]
    keys = [i for i in spread if _is_key(leaves[i])]
    if spread:
        everywhere = NamedSharding(leaves[spread[0]].sharding.mesh, P())
        whole = jax.jit(_without_keys, out_shardings=everywhere)(
            [leaves[i] for i in spread]
        )
        for i, x in zip(spread, whole, strict=True):
            leaves[i] = np.asarray(x.addressable_data(0))
    for i in keys:
        leaves[i] = jax.random.wrap_key_data(leaves[i])
    leaves = [x if _is_key(x) else np.asarray(x) for x in leaves]
    return jax.tree.unflatten(structure, leaves)


def share(make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Call `make` in process 0 and return what it returned in all of them.

    The others learn of its failure by losing their connection to process 0.
    """
    if not several():
        return make()
    made = make() if is_first() else {}
    about = {name: (x.dtype.str, x.shape) for name, x in made.items()}
    about = json.loads(_send(json.dumps(about).encode()))
    found = {}
    for name, (dtype, shape) in about.items():
        own = np.ascontiguousarray(made[name]).tobytes() if is_first() else b""
        found[name] = np.frombuffer(_send(own), np.dtype(dtype)).reshape(shape).copy()
    return found


@contextlib.contextmanager
def joined(cluster: Cluster) -> Iterator[None]:
    """Make this process one of several for the length of a block.

    A block that fails ends the process at once: the usual end would wait for the
    others, which wait for this one.

    Raises:
        UserError: the processes do not meet.
    """
    given = [x is not None for x in cluster]
    if any(given) and not all(given):
        raise UserError(
            "--coordinator, --processes and --process_id go together: HOST:PORT of "
            "process 0, how many there are, and which one this is, from 0"
        )
    # Two programs at once would mix up their messages between CPUs.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        jax.distributed.initialize(*cluster, shutdown_timeout_seconds=_SHUTDOWN)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"--distributed: the processes do not meet ({_line(error)}); outside Cloud "
            "TPU, SLURM and Kubernetes give each one --coordinator=HOST:PORT "
            "--processes=N --process_id=I"
        ) from error
    try:
        yield
    except UserError as error:
        _leave(f"error: {' '.join(str(error).split())}", 2)
    except KeyboardInterrupt as stop:
        signals.leave(stop, at_once=True)
    except Exception as error:
        if not _is_gone(error):
            import traceback

            _leave(traceback.format_exc(), 1)
        _leave(
            f"error: process {jax.process_index()}: another process of this run is "
            f"gone or out of reach ({_line(error)}); give all of them the same "
            "command again: they go on after the last epoch that was saved",
            LOST,
        )


def _send(content: bytes) -> bytes:
    """Return process 0's bytes in every process."""
    from jax.experimental import multihost_utils

    # Sizes in two parts, because jax's integers have 32 bits.
    parts = np.asarray(divmod(len(content), 2**20), np.int32)
    parts = multihost_utils.broadcast_one_to_all(parts)
    size = int(parts[0]) * 2**20 + int(parts[1])
    own = np.frombuffer(content, np.uint8) if is_first() else np.zeros(size, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(own), np.uint8).tobytes()


def _put(x: Any, sharding: Sharding) -> Any:
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return x
    if _is_key(x):
        data = _put(jax.random.key_data(x), sharding)
        return jax.jit(jax.random.wrap_key_data, out_shardings=sharding)(data)
    value = np.asarray(x)
    return jax.make_array_from_callback(value.shape, sharding, lambda i: value[i])


def _without_keys(leaves: list[Any]) -> list[Any]:
    return [jax.random.key_data(x) if _is_key(x) else x for x in leaves]


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(getattr(x, "dtype", None), jax.dtypes.prng_key)


def _is_gone(error: Exception) -> bool:
    said = str(error).lower()
    return any(word in said for word in _GONE)


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _leave(said: str, code: int) -> NoReturn:
    print(said, file=sys.stderr, flush=True)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)


def on_host(tree: PyTree) -> dict[str, np.ndarray]:
    """Return a pytree's arrays: "params/head/kernel" -> array, keys as their bits.

    A CPU's are no copies. A program that takes the tree's memory meanwhile leaves them
    as they are: jax copies what somebody still holds.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    plain = [jax.random.key_data(x) if _is_key(x) else x for _, x in leaves]
    found = to_host(plain)
    return {
        _name(path): np.asarray(x) for (path, _), x in zip(leaves, found, strict=True)
    }


def on_devices(
    arrays: Mapping[str, np.ndarray], like: PyTree, sharding: Sharding | PyTree
) -> PyTree:
    """Make a pytree of what `on_host` copied.

    Args:
        arrays: from `on_host`.
        like: shapes and types of the pytree.
        sharding: how every leaf lies on the devices, or one for all.

    Raises:
        UserError: these are not the arrays of such a tree.
    """
    leaves = jax.tree_util.tree_leaves_with_path(like)
    wanted = {_name(path): leaf for path, leaf in leaves}
    odd = sorted(wanted.keys() ^ arrays.keys())
    odd += [n for n, x in wanted.items() if not odd and not _fits(arrays[n], x)]
    if odd:
        raise UserError(
            f"the saved state is not one of this version ({odd[0]} differs); go on "
            "with the version that began the run, or give another --workdir"
        )

    def value_of(path, leaf):
        value = arrays[_name(path)]
        if _is_key(leaf):
            value = jax.random.wrap_key_data(jnp.asarray(value))
        return value

    return put(jax.tree_util.tree_map_with_path(value_of, like), sharding)


def _name(path: tuple[Any, ...]) -> str:
    """For example params/head/kernel, opt_state/0/mu/head/kernel."""
    parts = []
    for key in path:
        kinds = ("key", "name", "idx")
        parts.append(next(str(getattr(key, k)) for k in kinds if hasattr(key, k)))
    return "/".join(part.replace("/", "|") for part in parts)


def _fits(x: np.ndarray, leaf: Any) -> bool:
    if _is_key(leaf):
        shape = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0))).shape
        return x.dtype == np.uint32 and x.shape == (*leaf.shape, *shape)
    return (x.dtype, x.shape) == (leaf.dtype, leaf.shape)
