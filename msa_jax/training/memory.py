"""What a run takes of a device's memory: counted, said before it trains, measured.

`estimate` counts from shapes alone how many seeds can step at a time; what the run then
needs is known from its compiled program (`of_program`). A CPU's memory holds the
process, too: `resident`, `highest`.
"""

import contextlib
import ctypes
import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var

from msa_jax.data.batches import DROPOUT_STREAM, gather, utterances
from msa_jax.ground.types import Method, PyTree, Split, TrainState
from msa_jax.methods import network
from msa_jax.training import phases

SHARE = 0.9  # of the device's memory that a run may plan with
COMPILED_SHARE = 0.95  # of it, for a program whose bytes the compiler has counted
# Of a process that is about to train: programs that start, test and encode, compiled
# later, and the libraries of baselines and report. Measured, see docs/performance.md.
COMING = 300_000_000
# A TPU's programs take this much more than is counted: numbers lie in tiles of 8 x 128,
# and fewer operations are joined. Measured, see docs/performance.md.
TPU = 1.85


class Memory(NamedTuple):
    """Bytes on the device.

    data: both splits.
    state: of one seed: parameters, the best ones, Adam's moments, label tables.
    step: of one seed while it steps: all that is computed and there at once.
    """

    data: int
    state: int
    step: int

    def total(self, seeds: int, at_once: int) -> int:
        """Add up for so many seeds, of which some step at a time."""
        # A group is taken out of the state of all seeds, so it is there twice.
        twice = at_once * self.state if at_once < seeds else 0
        return self.data + seeds * self.state + twice + at_once * self.step


def estimate(
    method: Method,
    state: TrainState,
    train: Split,
    valid: Split,
    batch_size: int,
    *,
    platform: str,
    in_turn: bool = False,
) -> Memory:
    """Count what a training keeps.

    Args:
        method: the method.
        state: of one seed; shapes will do.
        train, valid: the splits; shapes will do.
        batch_size: samples (or videos) per batch; text counts as padded.
        platform: of the device: "cpu", "gpu", "tpu".
        in_turn: seeds step one at a time. On a CPU nothing is chosen by what a step
            takes then, its program says it later: it is not counted, but 0.
    """
    if in_turn and platform == "cpu":  # tracing a gradient takes a second
        return Memory(size_of((train, valid)), size_of(state), 0)
    program = gradient(method, state, train, batch_size).jaxpr
    data, step = (
        size_of((train, valid)),
        computed(program, platform) + size_of(state.params),
    )
    if platform == "tpu":
        step = int(TPU * step)
    return Memory(data, size_of(state), step)


def gradient(
    method: Method, state: TrainState, train: Split, batch_size: int
) -> ClosedJaxpr:
    """Return the program of a batch's gradient, as jax wrote it; see `estimate`."""
    index = jnp.zeros(batch_size * utterances(train, method.videos), jnp.int32)

    def of_batch(state, split):
        batch = gather(split, index, method.videos)
        key = jax.random.fold_in(state.key, DROPOUT_STREAM)

        def loss(params):
            variables = network.variables(state) | {"params": params}
            outputs, _ = network.learn(method, variables, batch, key)
            every = [phase for stage in phases.passes(method) for phase in stage]
            return phases.total(
                [phase.loss(outputs, batch, state.labels) for phase in every]
            )

        return jax.grad(loss)(state.params)

    return jax.make_jaxpr(of_batch)(state, train)


def computed(program: Jaxpr, platform: str) -> int:
    """Return the most bytes of results that are there at once while a program runs.

    A result is there from the operation that makes it to the last that reads it. What
    a compiler saves by joining operations is not known, nor what it wastes.

    Args:
        program: see `gradient`.
        platform: whose branch is taken where they differ by it: "cpu", "gpu", "tpu".
    """
    return _walk(program, platform)[0]


def _walk(program: Jaxpr, platform: str) -> tuple[int, set[int]]:
    """Return what `computed` does, and which results are one number, repeated.

    Those take no room. A platform's branch returns them for what only another
    platform's branch keeps for the way back.
    """
    steps: list[Any] = program.eqns
    last: dict[Any, int] = {}
    for number, step in enumerate(steps):
        last |= {x: number for x in step.invars if isinstance(x, Var)}
    last |= {x: len(steps) for x in program.outvars if isinstance(x, Var)}
    gone: Counter[int] = Counter()  # bytes that nobody reads after an operation
    repeated: set[Any] = set()
    held = most = 0
    for number, step in enumerate(steps):
        name = step.primitive.name
        parts = [_walk(x, platform) for x in taken(step, platform)]
        if name == "broadcast_in_dim" and step.invars[0].aval.shape == ():
            repeated |= set(step.outvars)
        if len(parts) == 1 and name != "while":
            repeated |= {step.outvars[k] for k in parts[0][1]}
        sizes = {x: 0 if x in repeated else _bytes(x.aval) for x in step.outvars}
        for x, size in sizes.items():
            gone[last.get(x, number)] += size
        own = sum(sizes.values())
        inside = max((most for most, _ in parts), default=0)
        # What a loop returns is there beside what one trip computes; what another
        # program within this one returns is part of what that computes.
        loop = name in ("scan", "while")
        most = max(most, held + (own + inside if loop else max(own, inside)))
        held += own - gone[number]
    results = enumerate(program.outvars)
    return most, {k for k, x in results if isinstance(x, Literal) or x in repeated}


def taken(step: Any, platform: str) -> list[Jaxpr]:
    """Return the programs within an operation that a platform may run.

    Args:
        step: an equation of a program.
        platform: "cpu", "gpu" ("cuda"), "tpu".
    """
    inside, platforms = [*programs(step.params)], step.params.get("branches_platforms")
    if platforms is None:
        return inside
    name = {"gpu": "cuda"}.get(platform, platform)
    own = [names is not None and name in names for names in platforms]
    return [inside[own.index(True) if any(own) else platforms.index(None)]]


def programs(params: PyTree) -> Iterator[Jaxpr]:
    """Return the programs within an operation: a loop's body, branches, calls."""

    def is_program(x: Any) -> bool:
        return isinstance(x, (Jaxpr, ClosedJaxpr))

    for x in jax.tree.leaves(params, is_leaf=is_program):
        if is_program(x):
            yield getattr(x, "jaxpr", x)


def size_of(tree: PyTree) -> int:
    """Return the bytes of all arrays of a pytree."""
    return sum(_bytes(x) for x in jax.tree.leaves(tree))


class Need(NamedTuple):
    """Bytes at the peak of a run: of a device, and of the process where that is a CPU.

    there: what is there beside training: data, and on a CPU interpreter, libraries, the
        text encoder and compiled programs, those to come included.
    state: of one seed, see `Memory`.
    seeds: how many states there are.
    program: what an epoch's program takes beside its states and the data.
    least: what was taken already.
    """

    there: int
    state: int
    seeds: int
    program: int
    least: int = 0

    def total(self) -> int:
        """Add up."""
        return max(self.there + self.seeds * self.state + self.program, self.least)


def of_program(
    compiled: Any,
    need: Memory,
    seeds: int,
    at_once: int,
    *,
    platform: str,
    devices: int,
) -> Need:
    """Return what a run needs, from the compiled program of its epochs.

    Args:
        compiled: the program; what it says is of one device.
        need: of this run, from `estimate`: what counts where the compiler says nothing.
        seeds: of one device.
        at_once: how many of them step at a time.
        platform: of the devices: "cpu", "gpu", "tpu".
        devices: of this process; those of a CPU share its memory.
    """
    said, states = compiled.memory_analysis(), seeds * need.state
    data, program = need.data, at_once * need.step
    if said is not None:
        data = max(said.argument_size_in_bytes - states, 0)
        program = said.temp_size_in_bytes
        program += said.output_size_in_bytes - said.alias_size_in_bytes
    if platform != "cpu":
        return Need(data, need.state, seeds, program)
    give_back()
    return Need(
        there=resident() + COMING,
        state=need.state,
        seeds=seeds * devices,
        program=program * devices,
        least=highest(),
    )


def capacity() -> int | None:
    """Return the bytes that one device has (a CPU: the process); None if unknown."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    limits = [*_limits_of_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))]
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not a Unix
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(limits, default=None)


def resident() -> int:
    """Return the bytes of memory that the process has now."""
    return _of_status("VmRSS") or highest()


def highest() -> int:
    """Return the most bytes that the process has had; 0 where nobody knows."""
    if most := _of_status("VmHWM"):
        return most
    try:
        import resource
    except ImportError:  # not a Unix
        return 0
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def give_back() -> None:
    """Let the C library return to the system what it keeps for later: glibc's alone."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def groups_of_seeds(need: Memory, seeds: int, room: int | None) -> tuple[int, ...]:
    """List how many seeds can step at a time: divisors that fit, the largest first."""
    fits_in = [n for n in _divisors(seeds) if fits(need.total(seeds, n), room)]
    return tuple(fits_in[::-1]) or (1,)


def fits(size: float, room: int | None, share: float = SHARE) -> bool:
    """Say whether a run of this size may have a share of this room (None: unknown)."""
    return room is None or size <= share * room


def refusal(said: str) -> str:
    """Return in a few words why a compiler refused a program for its memory."""
    known = re.search(r"Used (\S+) of (\S+) hbm", said)
    if known:
        return "the compiler needs {} of {}".format(*known.groups())
    return "the compiler says: " + said.strip().splitlines()[0][:200]


def describe(need: Need, room: int | None, config: Any) -> str:
    """Say in a line what a run needs, and what to do where that is too much.

    Args:
        need: of one device.
        room: what it has, from `capacity`.
        config: see `config.sections`.
    """
    line = (
        f"memory: about {human(need.total())} at most "
        f"({human(need.there)} are there, {need.seeds} x {human(need.state)} state, "
        f"{human(need.program)} to compute)"
    )
    if room is None:
        return line
    line += f" of {human(room)}"
    if not fits(need.total(), room):
        line += f"; it may not fit: {advice(need, room, config)}"
    return line


def advice(need: Need, room: int, config: Any) -> str:
    """Say what to do where a run needs more than there is; see `describe`."""
    return ", or ".join(_ways(need, SHARE * room, config))


def human(size: float) -> str:
    """Write bytes, for example "1.2 GB"."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def _ways(need: Need, room: float, config: Any) -> Iterator[str]:
    """List what makes a run smaller, what changes its numbers least first."""
    alone = need.there + need.program
    fitting = int((room - alone) // need.state)
    if 0 < fitting < need.seeds:
        yield f"--config.seeds with at most {fitting} of them"
    text = config.text
    if text.encoder == "bert" and text.finetune and not text.remat:
        own = text.implementation == "own"
        other = "" if own else "--config.text.implementation=own with "
        yield f"{other}--config.text.remat=True"
    size = config.optim.batch_size
    if size > 1:
        more = 2 * config.optim.accumulate_batches
        yield (
            f"--config.optim.batch_size={size // 2} with "
            f"--config.optim.accumulate_batches={more}"
        )
    yield f"a machine with {human(need.total() / SHARE)}"


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


def _bytes(x: Any) -> int:
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return math.prod(x.shape) * 8
    return math.prod(x.shape) * x.dtype.itemsize


def _of_status(field: str) -> int:
    """Read a size of /proc/self/status; 0 where there is none.

    The peak in `resource` can be that of the process that started this one.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return 0


def _limits_of_groups(of_process: Path, mounted: Path) -> Iterator[int]:
    """Read the limits of the control groups that this process is in, and those above.

    Args:
        of_process: /proc/self/cgroup: lines "number:controllers:path".
        mounted: where the groups lie.

    Source: man 7 cgroups; Linux, Documentation/admin-guide/cgroup-v2.rst (memory.max)
        and cgroup-v1/memory.rst (memory.limit_in_bytes).
    """
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in of_process.read_text().splitlines():
            _, _, rest = line.partition(":")
            controllers, _, inside = rest.partition(":")
            if controllers == "":
                top, name = mounted, "memory.max"
            elif "memory" in controllers.split(","):
                top, name = mounted / "memory", "memory.limit_in_bytes"
            else:
                continue
            # A container may see its own group as the top, whatever the path says.
            below = Path(inside.lstrip("/")).parts
            for depth in range(len(below) + 1):
                with contextlib.suppress(OSError, ValueError):  # or no limit: "max"
                    yield int(top.joinpath(*below[:depth], name).read_text())
