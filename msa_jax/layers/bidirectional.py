"""LSTMs that return every step, in one or both directions, over padded sequences."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from msa_jax.layers.dense import uniform


class Run(NamedTuple):
    """What an LSTM gives.

    output: the hidden state after every step; 0 beyond the length.
    hidden, cell: the state after the last step that was read.
    """

    output: Float[Array, "b t h"]
    hidden: Float[Array, "b h"]
    cell: Float[Array, "b h"]


class SequenceLstm(nn.Module):
    """A one-directional LSTM; parameters and gates are those of `LastStateLstm`.

    Source: torch.nn.LSTM on a packed sequence; MMCL, section 3.4.1 (sLSTM, the
        auto-regressive model over the CNN's output: 128 wide).
    """

    width: int
    backward: bool = False  # from the last valid step to the first

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], length: Int[Array, " b"] | None = None
    ) -> Run:
        """Run over time; `length` is in 1..t, None: all t steps are valid."""
        start = uniform(self.width**-0.5)
        gates = 4 * self.width
        kernel_in = self.param("input_kernel", start, (x.shape[-1], gates))
        kernel_state = self.param("state_kernel", start, (self.width, gates))
        bias_in = self.param("input_bias", start, (gates,))
        bias_state = self.param("state_bias", start, (gates,))
        batch, steps = x.shape[:2]
        length = jnp.full(batch, steps) if length is None else length
        running = jnp.arange(steps)[:, None, None] < length[None, :, None]
        # Zeros in place of padding: a NaN there would come back in the gradient.
        x = jnp.where(jnp.swapaxes(running, 0, 1), x, 0)
        bias = (bias_in + bias_state)[None, None]
        driven = jnp.swapaxes(x @ kernel_in + bias, 0, 1)

        def step(carry, inputs):
            hidden, cell = carry
            drive, runs = inputs
            i, f, g, o = jnp.split(drive + hidden @ kernel_state, 4, axis=-1)
            next_cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
            next_hidden = nn.sigmoid(o) * jnp.tanh(next_cell)
            hidden = jnp.where(runs, next_hidden, hidden)
            cell = jnp.where(runs, next_cell, cell)
            return (hidden, cell), jnp.where(runs, next_hidden, 0)

        zero = jnp.zeros((batch, self.width), driven.dtype)
        # Backwards the state stands still at 0 until the last valid step is reached.
        (hidden, cell), output = jax.lax.scan(
            step, (zero, zero), (driven, running), reverse=self.backward
        )
        return Run(jnp.swapaxes(output, 0, 1), hidden, cell)


class BidirectionalLstm(nn.Module):
    """An LSTM forwards and one backwards, side by side: forward channels first.

    Source: torch.nn.LSTM(bidirectional=True) on a packed sequence; MMCL, Eq. 2.
    Differs: MMCL says neither the width nor the number of layers; one layer here.
    """

    width: int  # of one direction

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], length: Int[Array, " b"] | None = None
    ) -> Run:
        """Run over time; `length` is in 1..t, None: all t steps are valid.

        Returns:
            Outputs and states, twice `width` wide; the backward direction's state is
            the one after the first step.
        """
        forward = SequenceLstm(self.width, name="forward")(x, length)
        backward = SequenceLstm(self.width, backward=True, name="backward")(x, length)
        both = zip(forward, backward, strict=True)
        return Run(*(jnp.concatenate(pair, axis=-1) for pair in both))
