"""LSTMs in loops that end with the longest sequence of the batch.

Time is cut into chunks. What needs no order is done for a chunk at once: inputs are
projected before its steps, weight gradients are formed after them. The backward pass is
our own: it keeps states only (and gates where to make them again costs more: of wide
inputs, as text is, or wide states), makes the gates of a chunk again with one product,
and reads no step that the forward pass did not. Both passes cost what the longest true
length costs, not what the padding costs.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from msa_jax.ground.array_rules import largest
from msa_jax.ground.backend import by_platform

CHUNK = 32  # steps at most; measured: docs/performance.md
WIDE = 256  # inputs or states whose gates are kept: to make them again costs more
UNROLL = 8  # steps that an accelerator runs without a loop; measured there, too


class Weights(NamedTuple):
    """An LSTM's parameters; gates stand in the order i, f, g, o."""

    input_kernel: Float[Array, "d g"]
    state_kernel: Float[Array, "h g"]
    bias: Float[Array, " g"]


class Sequence(NamedTuple):
    """What an LSTM reads; steps beyond the length are never read."""

    x: Float[Array, "b t d"]
    length: Int[Array, " b"]


class States(NamedTuple):
    """What an LSTM gives.

    output: the hidden state after every step; 0 beyond the length.
    hidden, cell: the state after the last step.
    cells: the cell after every step, where asked for; 0 beyond the length.
    """

    output: Float[Array, "b t h"]
    hidden: Float[Array, "b h"]
    cell: Float[Array, "b h"]
    cells: Float[Array, "b t h"] | None = None


def run(
    sequences: list[Sequence], weights: list[Weights], *, with_cells: bool = False
) -> list[States]:
    """Run LSTMs, each over its own sequences.

    Args:
        sequences: one per LSTM, all of one batch; lengths are in 0..t.
        weights: one per LSTM.
        with_cells: return the cells of every step, too.

    Source: torch.nn.LSTM on packed sequences (gates, order, initial zeros).
    """
    return by_platform(
        sequences,
        weights,
        cpu=partial(_in_turn, with_cells=with_cells),
        default=partial(_together, with_cells=with_cells),
    )


def _in_turn(sequences, weights, with_cells=False):
    """Run one after another, which a CPU likes best: nothing is padded."""
    both = zip(sequences, weights, strict=True)
    return [_run(s, w, 1, with_cells) for s, w in both]


def _together(sequences, weights, with_cells=False):
    """Run all as one, with one product and one fused cell per step.

    An accelerator pays for kernels more than for what they compute: LSTMs are padded to
    one size. The states that this adds stay 0 and reach nothing.
    """
    steps = max(s.x.shape[1] for s in sequences)
    read = max(s.x.shape[2] for s in sequences)
    width = max(w.state_kernel.shape[0] for w in weights)
    padded = (
        [Sequence(_pad(s.x, steps, read), s.length) for s in sequences],
        [_widen(w, read, width) for w in weights],
    )
    stacked = (jax.tree.map(lambda *x: jnp.stack(x), *each) for each in padded)
    one = partial(_run, unroll=UNROLL, with_cells=with_cells)
    output, hidden, cell, cells = jax.vmap(one)(*stacked)
    found = []
    for k, (s, w) in enumerate(zip(sequences, weights, strict=True)):
        steps, h = s.x.shape[1], w.state_kernel.shape[0]
        cells_k = None if cells is None else cells[k, :, :steps, :h]
        last = hidden[k, :, :h], cell[k, :, :h]
        found.append(States(output[k, :, :steps, :h], *last, cells_k))
    return found


def _widen(weights, read, width):
    """Give an LSTM more inputs and states, all of which have weights of 0."""

    def pad(x, *sizes):
        gates = x.reshape(*x.shape[:-1], 4, x.shape[-1] // 4)
        return _pad(gates, *sizes, 4, width).reshape(*sizes, 4 * width)

    input_kernel, state_kernel, bias = weights
    return Weights(pad(input_kernel, read), pad(state_kernel, width), pad(bias))


def _pad(x, *sizes):
    """Put zeros behind what the last axes hold."""
    before = x.shape[x.ndim - len(sizes) :]
    more = [(0, size - n) for size, n in zip(sizes, before, strict=True)]
    return jnp.pad(x, [(0, 0)] * (x.ndim - len(sizes)) + more)


def _run(sequence, weights, unroll, with_cells):
    x, length = sequence
    steps = x.shape[1]
    chunks = -(-steps // CHUNK)
    size = -(-steps // chunks)
    # Zeros in place of padding: a NaN there would come back in the gradient.
    valid = jnp.arange(steps)[None] < length[:, None]
    x = _pad(jnp.where(valid[:, :, None], x, 0), chunks * size, x.shape[2])
    trips = largest(-(-length.max() // size))
    shape = size, unroll, with_cells
    found: Any = _lstm(shape, jnp.swapaxes(x, 0, 1), weights, length, trips)
    every, last = ([jnp.swapaxes(x[:steps], 0, 1) for x in found[0]], found[1])
    return States(every[0], *last, *every[1:])


def reverse(x: Float[Array, "b t d"], length: Int[Array, " b"]) -> Array:
    """Turn each sequence around within its length; beyond it are zeros."""
    return _reverse(x, length)


@jax.custom_vjp
def _reverse(x, length):
    place = length[:, None] - 1 - jnp.arange(x.shape[1])[None]
    turned = jnp.take_along_axis(x, jnp.maximum(place, 0)[:, :, None], axis=1)
    return jnp.where(place[:, :, None] >= 0, turned, 0)


# It is its own transpose; the automatic one is a scatter, slow on a CPU.
_reverse.defvjp(
    lambda x, length: (_reverse(x, length), length),
    lambda length, gradient: (_reverse(gradient, length), None),
)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _lstm(shape, x, weights, length, trips):
    return _forward(shape, x, weights, length, trips)[0]


def _forward(shape, x, weights, length, trips):
    """Return ((output, cells), (hidden, cell)), and what `_backward` needs.

    States are kept one place later than their step, so that [k] is what step k starts
    from; output and cells [t b h] are views of them.

    Args:
        shape: steps of a chunk, how many of them are written out in its loop, and
            whether cells are returned.
        x: [t b d], t a multiple of the chunk's steps; 0 beyond the length.
        trips: chunks that have a valid step.
    """
    size, unroll, with_cells = shape

    def chunk(number, carry):
        start = number * size

        def step(state, inputs):
            t, drive = inputs
            runs = (t < length)[:, None]
            gates = _gates(drive, state[0], weights)
            new = _step(state, gates, runs)
            return new, (new, None if gated is None else jnp.concatenate(gates, -1))

        state, kept, gated = carry
        driven = _cut(x, start, size) @ weights.input_kernel
        inputs = start + jnp.arange(size), driven
        state, (new, gates) = jax.lax.scan(step, state, inputs, unroll=unroll)
        kept = jax.tree.map(partial(_put, start=start + 1), kept, new)
        return state, kept, jax.tree.map(partial(_put, start=start), gated, gates)

    one = x.shape[1], weights.state_kernel.shape[0]
    state = (jnp.zeros(one, x.dtype),) * 2
    kept = (jnp.zeros((len(x) + 1, *one), x.dtype),) * 2
    gated = None
    if max(x.shape[2], one[1]) >= WIDE:
        gated = jnp.zeros((*x.shape[:2], len(weights.bias)), x.dtype)
    last, kept, gated = jax.lax.fori_loop(0, trips, chunk, (state, kept, gated))
    valid = jnp.arange(len(x))[:, None] < length[None]
    every = tuple(
        jnp.where(valid[:, :, None], whole[1:], 0) for whole in kept[: 1 + with_cells]
    )
    return (every, last), (x, weights, length, trips, kept, gated)


def _backward(shape, saved, gradients):
    x, weights, length, trips, kept, gated = saved
    by_every, by_state = gradients
    size, unroll, _ = shape
    back = weights.state_kernel.T

    def chunk(turn, carry):
        start = (trips - 1 - turn) * size
        read, hidden, cell, *by_steps = (
            _cut(whole, start, size) for whole in (x, *kept, *by_every)
        )
        if gated is None:
            gates = _gates(read @ weights.input_kernel, hidden, weights)
        else:
            gates = tuple(jnp.split(_cut(gated, start, size), 4, axis=-1))

        def step(by_state, inputs):
            t, gate, before, by = inputs
            runs = (t < length)[:, None]
            return _step_back(by_state, gate, before, by, back, runs)

        by_state, total, by_x = carry
        inputs = start + jnp.arange(size), gates, cell, by_steps
        by_state, by_gates = jax.lax.scan(
            step, by_state, inputs, reverse=True, unroll=unroll
        )
        total = Weights(
            total.input_kernel + summed_product(read, by_gates),
            total.state_kernel + summed_product(hidden, by_gates),
            total.bias + summed(by_gates),
        )
        by_x = _put(by_x, by_gates @ weights.input_kernel.T, start)
        return by_state, total, by_x

    carry = tuple(by_state), jax.tree.map(jnp.zeros_like, weights), jnp.zeros_like(x)
    _, total, by_x = jax.lax.fori_loop(0, trips, chunk, carry)
    return by_x, total, None, None


_lstm.defvjp(_forward, _backward)


def _gates(drive, hidden, weights):
    """Return i, f, g, o of what the input adds to them and the state before."""
    gates = drive + hidden @ weights.state_kernel
    gates = gates + jnp.broadcast_to(weights.bias, gates.shape)
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)


def _step(state, gates, runs):
    hidden, cell = state
    i, f, g, o = gates
    new_cell = f * cell + i * g
    new_hidden = o * jnp.tanh(new_cell)
    return jnp.where(runs, new_hidden, hidden), jnp.where(runs, new_cell, cell)


def _step_back(by_state, gates, cell, by_step, kernel, runs):
    """Return the gradient by the state before a step, and by its gates.

    by_step: by what the step itself gives, its output and maybe its cell.
    """
    i, f, g, o = gates
    given = [jnp.where(runs, by, 0) for by in by_step]
    added = [by + now for by, now in zip(by_state, given, strict=False)]
    by_hidden, by_cell = *added, *by_state[len(added) :]
    squashed = jnp.tanh(f * cell + i * g)
    total = by_cell + by_hidden * o * (1 - squashed * squashed)
    by_gates = jnp.concatenate(
        [
            total * g * i * (1 - i),
            total * cell * f * (1 - f),
            total * i * (1 - g * g),
            by_hidden * squashed * o * (1 - o),
        ],
        axis=-1,
    )
    by_gates = jnp.where(runs, by_gates, 0)
    before = (
        jnp.where(runs, by_gates @ kernel, by_hidden),
        jnp.where(runs, total * f, by_cell),
    )
    return before, by_gates


def _cut(x, start, size):
    return jax.lax.dynamic_slice_in_dim(x, start, size, axis=0)


def _put(x, part, start, axis=0):
    """Return x with a part of it replaced, for many at once (vmap) in one go, too.

    JAX's own rule for many makes a scatter of it, even where all start at one place.
    """

    @jax.custom_batching.custom_vmap
    def put(x, part, start):
        return jax.lax.dynamic_update_slice_in_dim(x, part, start, axis)

    @put.def_vmap
    def _(count, batched, x, part, start):
        x, part = (
            one if many else jnp.broadcast_to(one, (count, *one.shape))
            for one, many in zip((x, part), batched[:2], strict=True)
        )
        return _put(x, part, start, axis + 1), True

    return put(x, part, start)


def summed_product(a, b):
    """Return the sum over steps and samples of a's row times b's.

    Both axes are summed as they are: joined into one, samples that lie on several
    devices would be gathered first.
    """
    return jnp.einsum("tbi,tbj->ij", a, b)


def summed(x):
    """Return the sum over steps and samples, as a product.

    XLA's own sums over rows take a CPU as long as a product of some width.
    """
    return jnp.einsum("tb,tbj->j", jnp.ones(x.shape[:2], x.dtype), x)
