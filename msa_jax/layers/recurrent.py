"""Recurrent layers over padded sequences."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from msa_jax.layers.dense import uniform


class LastStateLstm(nn.Module):
    """A one-directional LSTM that returns its state at each sequence's last valid step.

    The state stands still beyond the length, so padding reaches neither the result nor
    a gradient. Gates stand in the order i, f, g, o; both biases are parameters, because
    Adam moves (and L2 shrinks) two biases differently from their sum.

    Source: torch.nn.LSTM on a packed sequence, h_n; Self-MM, "Overall Architecture".
    """

    width: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], length: Int[Array, " b"]
    ) -> Float[Array, "b {self.width}"]:
        """Run over time; `length` is in 1..t."""
        start = uniform(self.width**-0.5)
        gates = 4 * self.width
        kernel_in = self.param("input_kernel", start, (x.shape[-1], gates))
        kernel_state = self.param("state_kernel", start, (self.width, gates))
        bias_in = self.param("input_bias", start, (gates,))
        bias_state = self.param("state_bias", start, (gates,))
        # One large product for all steps; only the state's product is sequential.
        bias = (bias_in + bias_state)[None, None]
        driven = jnp.swapaxes(x @ kernel_in + bias, 0, 1)
        running = jnp.arange(x.shape[1])[:, None] < length[None]

        def step(carry, inputs):
            hidden, cell = carry
            drive, runs = inputs
            i, f, g, o = jnp.split(drive + hidden @ kernel_state, 4, axis=-1)
            next_cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
            next_hidden = nn.sigmoid(o) * jnp.tanh(next_cell)
            keep = runs[:, None]
            hidden = jnp.where(keep, next_hidden, hidden)
            cell = jnp.where(keep, next_cell, cell)
            return (hidden, cell), None

        zero = jnp.zeros((x.shape[0], self.width), driven.dtype)
        (hidden, _), _ = jax.lax.scan(step, (zero, zero), (driven, running))
        return hidden
