"""LSTMs side by side in one loop that ends with the longest sequence of the batch.

Time is cut into chunks. What needs no order is done for a chunk at once: inputs are
projected before its steps, weight gradients are formed after them. The backward pass is
our own: it keeps states only, makes the gates of a chunk again with one product, and
reads no step that the forward pass did not. Both passes cost what the longest true
length costs, not what the padding costs.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from msa_jax.packing import largest

CHUNK = 32  # steps at most; measured: docs/performance.md


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
    """

    output: Float[Array, "b t h"]
    hidden: Float[Array, "b h"]
    cell: Float[Array, "b h"]


def run(sequences: list[Sequence], weights: list[Weights]) -> list[States]:
    """Run LSTMs, each over its own sequences, step by step together.

    Args:
        sequences: one per LSTM, all of one batch; lengths are in 0..t.
        weights: one per LSTM.

    Source: torch.nn.LSTM on packed sequences (gates, order, initial zeros).
    """
    longest = max(s.x.shape[1] for s in sequences)
    chunks = -(-longest // CHUNK)
    size = -(-longest // chunks)
    xs, lengths = [], []
    for x, length in sequences:
        # Zeros in place of padding: a NaN there would come back in the gradient.
        valid = jnp.arange(x.shape[1])[None] < length[:, None]
        x = jnp.where(valid[:, :, None], x, 0)
        x = jnp.pad(x, ((0, 0), (0, chunks * size - x.shape[1]), (0, 0)))
        xs.append(jnp.swapaxes(x, 0, 1))
        lengths.append(length)
    needed = jnp.stack([length.max() for length in lengths]).max()
    trips = largest(-(-needed // size))
    found: Any = _lstms(size, tuple(xs), tuple(weights), tuple(lengths), trips)
    return [
        States(jnp.swapaxes(output[: s.x.shape[1]], 0, 1), hidden, cell)
        for s, (output, hidden, cell) in zip(sequences, found, strict=True)
    ]


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
def _lstms(size, xs, weights, lengths, trips):
    return _forward(size, xs, weights, lengths, trips)[0]


def _forward(size, xs, weights, lengths, trips):
    """Return (output [t b h], hidden, cell) of each, and what `_backward` needs.

    States are kept one place later than their step, so that [k] is what step k starts
    from; output is a view of them.
    """

    def chunk(number, carry):
        start = number * size
        driven = tuple(
            _cut(x, start, size) @ w.input_kernel + w.bias[None, None]
            for x, w in zip(xs, weights, strict=True)
        )

        def step(states, inputs):
            t, driven = inputs
            new = tuple(
                _step(state, drive, w.state_kernel, (t < length)[:, None])
                for state, drive, w, length in zip(
                    states, driven, weights, lengths, strict=True
                )
            )
            return new, new

        states, kept = carry
        states, new = jax.lax.scan(step, states, (start + jnp.arange(size), driven))
        kept = jax.tree.map(
            lambda old, part: jax.lax.dynamic_update_slice_in_dim(
                old, part, start + 1, axis=0
            ),
            kept,
            new,
        )
        return states, kept

    zeros, kept = [], []
    for x, w in zip(xs, weights, strict=True):
        shape = x.shape[1], w.state_kernel.shape[0]
        zeros.append((jnp.zeros(shape, x.dtype),) * 2)
        kept.append((jnp.zeros((x.shape[0] + 1, *shape), x.dtype),) * 2)
    states, kept = jax.lax.fori_loop(0, trips, chunk, (tuple(zeros), tuple(kept)))
    found = tuple(
        (_within(hiddens[1:], length), hidden, cell)
        for (hidden, cell), (hiddens, _), length in zip(
            states, kept, lengths, strict=True
        )
    )
    return found, (xs, weights, lengths, trips, kept)


def _backward(size, saved, gradients):
    xs, weights, lengths, trips, kept = saved
    back = tuple(w.state_kernel.T for w in weights)

    def chunk(turn, carry):
        start = (trips - 1 - turn) * size
        cut = partial(_cut, start=start, size=size)
        read = [
            (cut(x), cut(hidden), cut(cell), cut(by_output))
            for x, (hidden, cell), (by_output, _, _) in zip(
                xs, kept, gradients, strict=True
            )
        ]
        gates = tuple(
            _activate(x @ w.input_kernel + w.bias[None, None] + hidden @ w.state_kernel)
            for (x, hidden, _, _), w in zip(read, weights, strict=True)
        )

        def step(carry, inputs):
            t, gates, cells, by_outputs = inputs
            both = [
                _step_back(state, gate, cell, by_output, kernel, (t < n)[:, None])
                for state, gate, cell, by_output, kernel, n in zip(
                    carry, gates, cells, by_outputs, back, lengths, strict=True
                )
            ]
            return tuple(b[0] for b in both), tuple(b[1] for b in both)

        states, totals, by_xs = carry
        inputs = (
            start + jnp.arange(size),
            gates,
            tuple(r[2] for r in read),
            tuple(r[3] for r in read),
        )
        states, by_gates = jax.lax.scan(step, states, inputs, reverse=True)
        totals = tuple(
            Weights(
                total.input_kernel + _summed_product(x, by_gate),
                total.state_kernel + _summed_product(hidden, by_gate),
                total.bias + by_gate.sum(axis=(0, 1)),
            )
            for total, (x, hidden, _, _), by_gate in zip(
                totals, read, by_gates, strict=True
            )
        )
        by_xs = tuple(
            jax.lax.dynamic_update_slice_in_dim(
                old, by_gate @ w.input_kernel.T, start, axis=0
            )
            for old, by_gate, w in zip(by_xs, by_gates, weights, strict=True)
        )
        return states, totals, by_xs

    states = tuple((hidden, cell) for _, hidden, cell in gradients)
    totals = jax.tree.map(jnp.zeros_like, weights)
    by_xs = jax.tree.map(jnp.zeros_like, xs)
    _, totals, by_xs = jax.lax.fori_loop(0, trips, chunk, (states, totals, by_xs))
    return by_xs, totals, None, None


_lstms.defvjp(_forward, _backward)


def _step(state, drive, kernel, runs):
    hidden, cell = state
    i, f, g, o = _activate(drive + hidden @ kernel)
    new_cell = f * cell + i * g
    new_hidden = o * jnp.tanh(new_cell)
    return jnp.where(runs, new_hidden, hidden), jnp.where(runs, new_cell, cell)


def _step_back(by_state, gates, cell, by_output, kernel, runs):
    """Return the gradient by the state before a step, and by its gates."""
    (by_hidden, by_cell), (i, f, g, o) = by_state, gates
    by_hidden = by_hidden + jnp.where(runs, by_output, 0)
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


def _activate(gates):
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)


def _cut(x, start, size):
    return jax.lax.dynamic_slice_in_dim(x, start, size, axis=0)


def _within(x, length):
    valid = jnp.arange(len(x))[:, None] < length[None]
    return jnp.where(valid[:, :, None], x, 0)


def _summed_product(a, b):
    """Return the sum over steps and samples of a's row times b's."""
    return a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])
