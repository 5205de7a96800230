"""LSTMs in loops that end with the longest sequence of the batch.

Time is cut into chunks. What needs no order is done for a chunk at once: inputs are
projected before its steps, weight gradients are formed after them. The backward pass is
our own: it keeps states only (and gates where to make them again costs more: of wide
inputs, as text is, or wide states), makes the gates of a chunk again with one product,
and reads no step that the forward pass did not. Both passes cost what the longest true
length costs, not what the padding costs. Where it is read, all steps are one chunk.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from msa_jax.ground.array_rules import largest
from msa_jax.ground.backend import by_platform


class Form(NamedTuple):
    """How a kind of device likes its loops.

    time: the axis of steps: 0, before the samples, or 1.
    unroll: steps that are written out in a row.
    wide: inputs or states whose gates are kept: to make them again costs more.
    """

    time: int
    unroll: int
    wide: int


# Measured: docs/performance.md.
CHUNK = 32  # steps at most
CPU = Form(time=1, unroll=1, wide=128)
ACCELERATOR = Form(time=0, unroll=8, wide=256)


class Weights(NamedTuple):
    """An LSTM's parameters; gates stand in the order i, f, g, o.

    input_kernel: [d, g]; None: what is read has been projected, [b, t, g].
    """

    input_kernel: Any
    state_kernel: Float[Array, "h g"]
    bias: Float[Array, " g"]


class Sequence(NamedTuple):
    """What an LSTM reads; steps beyond the length are never read, None: all are."""

    x: Float[Array, "b t d"]
    length: Int[Array, " b"] | None


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
        weights: one per LSTM; all have a kernel over the input, or none has.
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
    return [_run(s, w, CPU, with_cells) for s, w in both]


def _together(sequences, weights, with_cells=False):
    """Run all as one, with one product and one fused cell per step.

    An accelerator pays for kernels more than for what they compute: LSTMs are padded to
    one size. The states that this adds stay 0 and reach nothing.
    """
    steps = max(s.x.shape[1] for s in sequences)
    width = max(w.state_kernel.shape[0] for w in weights)
    if weights[0].input_kernel is None:
        sequences = [s._replace(x=_widen(s.x, width)) for s in sequences]
    read = max(s.x.shape[2] for s in sequences)
    padded = (
        [Sequence(_pad(s.x, steps, read), _lengths(s)) for s in sequences],
        [_widen_all(w, read, width) for w in weights],
    )
    stacked = (jax.tree.map(lambda *x: jnp.stack(x), *each) for each in padded)
    one = partial(_run, form=ACCELERATOR, with_cells=with_cells)
    output, hidden, cell, cells = jax.vmap(one)(*stacked)
    found = []
    for k, (s, w) in enumerate(zip(sequences, weights, strict=True)):
        steps, h = s.x.shape[1], w.state_kernel.shape[0]
        cells_k = None if cells is None else cells[k, :, :steps, :h]
        last = hidden[k, :, :h], cell[k, :, :h]
        found.append(States(output[k, :, :steps, :h], *last, cells_k))
    return found


def _lengths(sequence):
    x, length = sequence
    return jnp.full(x.shape[0], x.shape[1]) if length is None else length


def _widen_all(weights, read, width):
    """Give an LSTM more inputs and states, all of which have weights of 0."""
    kernel, state_kernel, bias = weights
    kernel = None if kernel is None else _pad(_widen(kernel, width), read, 4 * width)
    state_kernel = _pad(_widen(state_kernel, width), width, 4 * width)
    return Weights(kernel, state_kernel, _widen(bias, width))


def _widen(x, width):
    """Give each of the four gates that x holds side by side more states."""
    gates = x.reshape(*x.shape[:-1], 4, x.shape[-1] // 4)
    return _pad(gates, width).reshape(*x.shape[:-1], 4 * width)


def _pad(x, *sizes):
    """Put zeros behind what the last axes hold."""
    before = x.shape[x.ndim - len(sizes) :]
    more = [(0, size - n) for size, n in zip(sizes, before, strict=True)]
    return jnp.pad(x, [(0, 0)] * (x.ndim - len(sizes)) + more)


def _run(sequence, weights, form, with_cells):
    x, length = sequence
    steps, trips = x.shape[1], 1
    chunks = 1 if length is None else -(-steps // CHUNK)
    size = -(-steps // chunks)
    if length is not None:
        # Zeros in place of padding: a NaN there would come back in the gradient.
        valid = jnp.arange(steps)[None] < length[:, None]
        x = _pad(jnp.where(valid[:, :, None], x, 0), chunks * size, x.shape[2])
        trips = largest(-(-length.max() // size))
    x = jnp.moveaxis(x, 1, form.time)
    shape = size, form, with_cells
    found: Any = _lstm(shape, x, weights, length, trips)
    every, last = ([jnp.swapaxes(x[:steps], 0, 1) for x in found[0]], found[1])
    return States(every[0], *last, *every[1:])


def reverse(x: Float[Array, "b t d"], length: Int[Array, " b"] | None) -> Array:
    """Turn each sequence around within its length; beyond it are zeros."""
    return jnp.flip(x, axis=1) if length is None else _reverse(x, length)


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

    Args:
        shape: steps of a chunk, the form, and whether cells are returned.
        x: time where the form has it, a multiple of the chunk's steps; 0 beyond the
            length.
        trips: chunks that have a valid step.
    """
    size, form, with_cells = shape
    time = form.time

    def chunk(number, carry):
        start = number * size
        drive = _projected(_cut(x, start, size, time), weights)

        def row(first, count, carry):
            state, kept, gated = carry
            hiddens, cells, every = [], [], []
            for k in range(count):
                gates = _gates(_at(drive, first + k, time), state[0], weights)
                state = _step(state, gates, _runs(start + first + k, length))
                hiddens.append(state[0])
                cells.append(state[1])
                every.append(gates)
            put = partial(_put_row, start=start + first)
            kept = put(kept[0], hiddens, time=time), put(kept[1], cells)
            if gated is not None:
                gated = tuple(map(put, gated, zip(*every, strict=True)))
            return state, kept, gated

        return _in_rows(size, form.unroll, row, carry)

    steps, samples = x.shape[time], x.shape[1 - time]
    width = weights.state_kernel.shape[0]
    state = (jnp.zeros((samples, width), x.dtype),) * 2
    cells = jnp.zeros((steps, samples, width), x.dtype)
    kept = jnp.zeros((*x.shape[:2], width), x.dtype), cells
    gated = None
    if max(x.shape[2], width) >= form.wide:
        gated = (cells,) * 4  # each its own array, which a CPU reads faster
    last, kept, gated = jax.lax.fori_loop(0, trips, chunk, (state, kept, gated))
    every = jnp.moveaxis(kept[0], time, 0), kept[1]
    every = every[: 1 + with_cells]
    if length is not None:
        valid = jnp.arange(steps)[:, None] < length[None]
        every = tuple(jnp.where(valid[:, :, None], x, 0) for x in every)
    return (every, last), (x, weights, length, trips, kept, gated)


def _backward(shape, saved, gradients):
    x, weights, length, trips, kept, gated = saved
    by_every, by_state = gradients
    size, form, _ = shape
    time = form.time
    hiddens, cells = map(_delayed, kept, (time, 0))
    back = weights.state_kernel.T

    def chunk(turn, carry):
        start = (trips - 1 - turn) * size
        read, hidden = (_cut(whole, start, size, time) for whole in (x, hiddens))
        again = None
        if gated is None:
            again = _gates(_projected(read, weights), hidden, weights)

        def row(first, count, carry):
            by_state, by_gates = carry
            found = []
            for k in reversed(range(count)):
                at = partial(_at, step=start + first + k)
                if again is None:
                    gates = tuple(map(at, gated))
                else:
                    gates = tuple(_at(gate, first + k, time) for gate in again)
                given = gates, at(cells), list(map(at, by_every))
                runs = _runs(start + first + k, length)
                by_state, by = _step_back(by_state, *given, back, runs)
                found.append(by)
            return by_state, _put_row(by_gates, found[::-1], first, time)

        by_state, total, by_x = carry
        by_gates = jnp.zeros((*read.shape[:2], len(weights.bias)), x.dtype)
        carry = by_state, by_gates
        by_state, by_gates = _in_rows(size, form.unroll, row, carry, back=True)
        by_kernel, by_read = None, by_gates
        if time == 1:
            read, hidden, by_gates = map(_joined, (read, hidden, by_gates))
        if weights.input_kernel is not None:
            by_kernel = total.input_kernel + summed_product(read, by_gates)
            by_read = by_read @ weights.input_kernel.T
        total = Weights(
            by_kernel,
            total.state_kernel + summed_product(hidden, by_gates),
            total.bias + summed(by_gates),
        )
        return by_state, total, _put(by_x, by_read, start, time)

    carry = tuple(by_state), jax.tree.map(jnp.zeros_like, weights), jnp.zeros_like(x)
    _, total, by_x = jax.lax.fori_loop(0, trips, chunk, carry)
    return by_x, total, None, None


_lstm.defvjp(_forward, _backward)


def _runs(step, length):
    """Return which samples have this step; None: all."""
    return None if length is None else (step < length)[:, None]


def _where(runs, x, otherwise):
    return x if runs is None else jnp.where(runs, x, otherwise)


def _projected(x, weights):
    """Return what the input adds to the gates."""
    return x if weights.input_kernel is None else x @ weights.input_kernel


def _gates(drive, hidden, weights):
    """Return i, f, g, o of what the input adds to them and the state before.

    All are one tanh, which takes a CPU less than four functions of four arrays:
    sigmoid(x) = tanh(x / 2) / 2 + 1 / 2.
    """
    gates = drive + hidden @ weights.state_kernel
    gates = gates + jnp.broadcast_to(weights.bias, gates.shape)
    scale = np.repeat([0.5, 0.5, 1, 0.5], gates.shape[-1] // 4).astype(gates.dtype)
    scale = jnp.broadcast_to(scale, gates.shape)
    return tuple(jnp.split(jnp.tanh(gates * scale) * scale + (1 - scale), 4, axis=-1))


def _step(state, gates, runs):
    hidden, cell = state
    i, f, g, o = gates
    new_cell = f * cell + i * g
    new_hidden = o * jnp.tanh(new_cell)
    return _where(runs, new_hidden, hidden), _where(runs, new_cell, cell)


def _step_back(by_state, gates, cell, by_step, kernel, runs):
    """Return the gradient by the state before a step, and by its gates.

    by_step: by what the step itself gives, its output and maybe its cell.
    """
    i, f, g, o = gates
    given = [_where(runs, by, 0) for by in by_step]
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
    by_gates = _where(runs, by_gates, 0)
    before = (
        _where(runs, by_gates @ kernel, by_hidden),
        _where(runs, total * f, by_cell),
    )
    return before, by_gates


def _delayed(x, time):
    """Return what every step starts from: the states of the step before, and 0."""
    first = jnp.zeros_like(jax.lax.slice_in_dim(x, 0, 1, axis=time))
    rest = jax.lax.slice_in_dim(x, 0, x.shape[time] - 1, axis=time)
    return jnp.concatenate([first, rest], axis=time)


def _cut(x, start, size, time):
    return jax.lax.dynamic_slice_in_dim(x, start, size, axis=time)


def _at(x, step, time=0):
    """Return a step of x, for many at once (vmap) in one go, too, as `_put` does."""

    @jax.custom_batching.custom_vmap
    def at(x, step):
        return jax.lax.dynamic_index_in_dim(x, step, time, keepdims=False)

    @at.def_vmap
    def _(count, batched, x, step):
        del count, batched  # all at the same step
        return _at(x, step, time + 1), True

    return at(x, step)


def _put(x, part, start, time):
    """Return x with a part of it replaced, for many at once (vmap) in one go, too.

    JAX's own rule for many makes a scatter of it, even where all start at one place.
    """

    @jax.custom_batching.custom_vmap
    def put(x, part, start):
        return jax.lax.dynamic_update_slice_in_dim(x, part, start, time)

    @put.def_vmap
    def _(count, batched, x, part, start):
        x, part = (
            one if many else jnp.broadcast_to(one, (count, *one.shape))
            for one, many in zip((x, part), batched[:2], strict=True)
        )
        return _put(x, part, start, time + 1), True

    return put(x, part, start)


def _put_row(x, parts, start, time=0):
    """Replace steps in a row, written at once: an accelerator's kernel writes once."""
    return _put(x, jnp.stack(list(parts), axis=time), start, time)


def _in_rows(size, unroll, row, carry, back=False):
    """Run rows of so many steps in a loop, and one with what is left.

    Args:
        row: (its first step, how many it has, carry) -> carry.
        back: the last step is the first.
    """
    rows, rest = divmod(size, unroll)

    def one(turn, carry):
        number = rows - 1 - turn if back else turn
        return row(rest * back + number * unroll, unroll, carry)

    if rows:  # a loop without trips is traced, too, and cuts more than there is
        carry = jax.lax.fori_loop(0, rows, one, carry)
    return row(0 if back else rows * unroll, rest, carry) if rest else carry


def _joined(x):
    """Make one axis of samples, which are first here, and steps.

    Samples on several devices stay there, and a CPU need not turn an array around
    before a product that sums over both.
    """
    return x.reshape(-1, x.shape[-1])


def summed_product(a, b):
    """Return the sum over all axes but the last of a's row times b's.

    Axes are summed as they are: with steps in front of samples and both joined into
    one, samples that lie on several devices would be gathered first.
    """
    axes = tuple(range(a.ndim - 1))
    return jax.lax.dot_general(a, b, ((axes, axes), ((), ())))


def summed(x):
    """Return the sum over all axes but the last, as a product.

    XLA's own sums over rows take a CPU as long as a product of some width.
    """
    return summed_product(jnp.ones((*x.shape[:-1], 1), x.dtype), x)[0]
