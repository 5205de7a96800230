"""Compile a training step of any method, and time what runs side by side."""

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from msa_jax.ground.types import Batch, Method, Split
from msa_jax.methods import network
from msa_jax.studies.bench import operations
from msa_jax.training import phases

EPOCH = 2  # the first in which ULGM makes labels


class Side(NamedTuple):
    """One competitor: a step and an evaluation, each a call with the turn's number."""

    step: Callable[[int], None]
    evaluate: Callable[[int], None]
    compile_seconds: float | None = None
    memory_bytes: int | None = None  # of a step: arguments, results, what lies between
    operations: float | None = None  # of a step, see `operations`


class Times(NamedTuple):
    """What was measured of one competitor, per call.

    wall, cpu: seconds; cpu is of all threads of this process.
    others: share of the machine that other processes used meanwhile; NaN if unknown.
    """

    wall: list[float]
    cpu: list[float]
    others: float

    @property
    def median(self) -> float:
        """Median of the wall time, seconds."""
        return float(np.median(self.wall))


def draw_variables(method: Method, batch: Batch) -> network.Variables:
    """Draw a network's variables with NumPy.

    Matrices are uniform, norms and running variances 1, biases and running means 0.
    """
    rng = np.random.default_rng(0)
    start = partial(network.start, method)
    shapes = jax.eval_shape(start, jax.random.key(0), batch)

    def draw(path, leaf):
        name = jax.tree_util.keystr(path)
        if leaf.ndim < 2:
            one = "scale" in name or "running_var" in name
            return jnp.full(leaf.shape, 1.0 if one else 0.0, leaf.dtype)
        bound = (6 / sum(leaf.shape)) ** 0.5
        return jnp.asarray(rng.uniform(-bound, bound, leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def make_step(
    method: Method, optimizer: optax.GradientTransformation, *, to_text: bool = True
) -> Callable[..., tuple[tuple, jax.Array | None]]:
    """Return (state, batch, key) -> (state, gradient of the text or None).

    A step of training after the text encoder: forward, loss, backward, label tables,
    update. The state is (variables, optimiser's, label tables). Phases are one here: a
    step on the sum of their losses.

    Args:
        to_text: go back to the text features, as an encoder that is trained needs it.
    """
    every = [phase for stage in phases.passes(method) for phase in stage]

    def step(state, batch, key):
        variables, opt_state, labels = state
        params = variables["params"]

        def forward(params, text=batch.text):
            given = variables | {"params": params}
            outputs, statistics = network.learn(
                method, given, batch.replace(text=text), key
            )
            losses = [phase.loss(outputs, batch, labels) for phase in every]
            return phases.total(losses), (outputs, statistics)

        by = (params, batch.text) if to_text else (params,)
        differentiate = jax.grad(forward, argnums=tuple(range(len(by))), has_aux=True)
        (gradient, *by_text), (outputs, statistics) = differentiate(*by)
        epoch = jnp.asarray(EPOCH, jnp.int32)
        labels = method.update_labels(labels, outputs, batch, epoch)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        state = {"params": params, **statistics}, opt_state, labels
        return state, by_text[0] if to_text else None

    return step


def compile_ours(
    method: Method,
    optimizer: optax.GradientTransformation,
    variables: network.Variables,
    split: Split,
    batches: list[Batch],
    *,
    to_text: bool = True,
) -> Side:
    """Compile a program of as many steps as there are batches, and one that evaluates.

    Training runs an epoch as one program, which takes its memory once: a program of a
    single step would spend up to a third of its time on new pages. `to_text`: see
    `make_step`.
    """
    key = jax.random.key(0)
    together = jax.tree.map(lambda *x: jnp.stack(x), *batches)
    opt_state = optimizer.init(variables["params"])
    state = (variables, opt_state, method.init_labels(split, key))
    # The program takes its state's memory over: no two leaves may share theirs.
    state = jax.tree.map(jnp.array, state)
    one_step = make_step(method, optimizer, to_text=to_text)

    def steps(state, batches, key):
        def one(state, given):
            state, by_text = one_step(state, *given)
            # What goes on to the encoder is computed.
            return state, None if by_text is None else by_text.sum()

        return jax.lax.scan(one, state, (batches, jax.random.split(key, count)))

    def predict(variables, batches):
        def one(batch):
            return network.answer(method, variables, batch).prediction

        return jax.lax.map(one, batches)

    count = len(batches)
    start = time.perf_counter()
    traced = jax.jit(steps, donate_argnums=0).trace(state, together, key)
    program: Any = traced.lower().compile()
    seconds = time.perf_counter() - start
    need = operations.count(traced.jaxpr, jax.default_backend()) / count
    answer: Any = jax.jit(predict).lower(variables, together).compile()
    states = [state]  # a call takes the one state out and puts the next one in

    def run_steps(number: int) -> None:
        fresh = jax.random.fold_in(key, number)
        state, _ = jax.block_until_ready(program(states.pop(), together, fresh))
        states.append(state)

    def run_evaluate(number: int) -> None:
        del number
        jax.block_until_ready(answer(variables, together))

    return Side(run_steps, run_evaluate, seconds, memory_of(program), need)


def repeated(side: Side, count: int) -> Side:
    """Return a side whose calls run all batches, one after another."""

    def all_of(call: Callable[[int], None]) -> Callable[[int], None]:
        def run(number: int) -> None:
            del number
            for i in range(count):
                call(i)

        return run

    return side._replace(step=all_of(side.step), evaluate=all_of(side.evaluate))


def memory_of(compiled: Any) -> int | None:
    """Return the bytes of a program's arguments, results and what lies between."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    parts = ("argument_size", "output_size", "temp_size")
    total = sum(getattr(analysis, f"{part}_in_bytes") for part in parts)
    return int(total - analysis.alias_size_in_bytes)


def alternate(
    runs: Mapping[str, Callable[[int], None]], repeats: int
) -> dict[str, Times]:
    """Call all competitors in turn, `repeats` times after one call to warm up."""
    for run in runs.values():
        run(0)
    wall = {name: [] for name in runs}
    cpu = {name: [] for name in runs}
    busy = dict.fromkeys(runs, 0.0)
    for number in range(repeats):
        # Every other turn backwards: none always follows the same one.
        for name in list(runs)[:: 1 if number % 2 else -1]:
            before, own, clock = _busy(), time.process_time(), time.perf_counter()
            runs[name](number)
            wall[name].append(time.perf_counter() - clock)
            cpu[name].append(time.process_time() - own)
            busy[name] += _busy() - before
    cores = os.cpu_count() or 1
    return {
        name: Times(
            wall[name],
            cpu[name],
            max(0.0, busy[name] - sum(cpu[name])) / cores / sum(wall[name]),
        )
        for name in runs
    }


def time_sides(
    sides: Mapping[str, Side], repeats: int
) -> tuple[dict[str, Times], dict[str, Times]]:
    """Let all sides step in turn, then evaluate in turn."""
    steps = alternate({name: side.step for name, side in sides.items()}, repeats)
    return steps, alternate({n: s.evaluate for n, s in sides.items()}, repeats)


def matmul_peak(size: int = 1536, repeats: int = 5) -> float:
    """Return the device's best measured rate of a float32 product, per second."""
    x = jnp.full((size, size), 0.5)
    product: Any = jax.jit(jnp.matmul).lower(x, x).compile()
    jax.block_until_ready(product(x, x))
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(product(x, x))
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best


def _busy() -> float:
    """Return the seconds that all cores have worked so far; NaN where unknown."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return float("nan")
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")
