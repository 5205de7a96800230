"""LSTMs over padded sequences, one, several or both directions; see `recurrence`."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from msa_jax.layers import recurrence
from msa_jax.layers.dense import uniform
from msa_jax.layers.recurrence import Sequence, States, Weights


class LstmWeights(nn.Module):
    """The parameters of an LSTM.

    Both biases are parameters, because Adam moves (and L2 shrinks) two biases
    differently from their sum.

    Source: torch.nn.LSTM: gates i, f, g, o; every number uniform in +-1/sqrt(width).
    """

    width: int

    @nn.compact
    def __call__(self, read: int) -> Weights:
        """Return them, for inputs that are `read` wide."""
        start, gates = uniform(self.width**-0.5), 4 * self.width
        kernel = self.param("input_kernel", start, (read, gates))
        state_kernel = self.param("state_kernel", start, (self.width, gates))
        bias = self.param("input_bias", start, (gates,))
        state_bias = self.param("state_bias", start, (gates,))
        return Weights(kernel, state_kernel, bias + state_bias)


def last_states(
    widths: Mapping[str, int], x: Mapping[str, Array], length: Mapping[str, Array]
) -> dict[str, Float[Array, "b h"]]:
    """Encode modalities by their LSTMs' states after the last valid step.

    All are run by one call. Call it inside a module; the parameters are its
    "MODALITY_lstm".

    Args:
        widths: of the states; which modalities.
        x: their sequences, [b, t, d]; steps beyond the length reach nothing.
        length: valid steps, in 1..t, [b].

    Source: torch.nn.LSTM on a packed sequence, h_n; Self-MM, "Overall Architecture".
    """
    sequences = [Sequence(x[m], length[m]) for m in widths]
    weights = [
        LstmWeights(width, name=f"{m}_lstm")(x[m].shape[-1])
        for m, width in widths.items()
    ]
    states = recurrence.run(sequences, weights)
    return {m: s.hidden for m, s in zip(widths, states, strict=True)}


class SequenceLstm(nn.Module):
    """A one-directional LSTM.

    Source: torch.nn.LSTM on a packed sequence; MMCL, section 3.4.1 (sLSTM, the
        auto-regressive model over the CNN's output: 128 wide).
    """

    width: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], length: Int[Array, " b"] | None = None
    ) -> States:
        """Run over time; `length` is in 1..t, None: all t steps are valid."""
        own = LstmWeights(self.width)
        nn.share_scope(self, own)  # the parameters are this module's
        weights = own(x.shape[-1])
        return recurrence.run([Sequence(x, length)], [weights])[0]


class BothWays(NamedTuple):
    """What the two directions of an LSTM read, forwards first, and their parameters."""

    sequences: list[Sequence]
    weights: list[Weights]


class BidirectionalLstm(nn.Module):
    """An LSTM forwards and one backwards, side by side: forward channels first.

    Source: torch.nn.LSTM(bidirectional=True) on a packed sequence; MMCL, Eq. 2.
    Differs: MMCL says neither the width nor the number of layers; one layer here.
    """

    width: int  # of one direction

    def __call__(
        self, x: Float[Array, "b t d"], length: Int[Array, " b"] | None = None
    ) -> States:
        """Run over time; see `run_both_ways`. `length`: see `reads`."""
        return run_both_ways([self.reads(x, length)])[0]

    @nn.compact
    def reads(
        self, x: Float[Array, "b t d"], length: Int[Array, " b"] | None = None
    ) -> BothWays:
        """Prepare a run; `length` is in 1..t, None: all t steps are valid."""
        ahead = Sequence(x, length)
        back = Sequence(recurrence.reverse(x, length), length)
        weights = [
            LstmWeights(self.width, name=name)(x.shape[-1])
            for name in ("forward", "backward")
        ]
        return BothWays([ahead, back], weights)


def run_both_ways(lstms: list[BothWays]) -> list[States]:
    """Run bidirectional LSTMs, all by one call.

    Returns:
        Outputs and states of each, twice its width wide; the backward direction's state
        is the one after the first step.
    """
    sequences = [s for lstm in lstms for s in lstm.sequences]
    states = recurrence.run(sequences, [w for lstm in lstms for w in lstm.weights])
    found = []
    for ahead, forward, backward in zip(
        sequences[::2], states[::2], states[1::2], strict=True
    ):
        turned = recurrence.reverse(backward.output, ahead.length)
        pairs = (
            (forward.output, turned),
            (forward.hidden, backward.hidden),
            (forward.cell, backward.cell),
        )
        found.append(States(*(jnp.concatenate(pair, axis=-1) for pair in pairs)))
    return found
