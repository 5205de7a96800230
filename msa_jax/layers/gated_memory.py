"""Three LSTMs side by side and a memory of what they say together, step by step.

Nothing in the LSTMs depends on the memory, and what is written into it does not either:
the LSTMs run first, what they say is mapped for all steps at once, and the loop over
the memory holds the gates alone.

Source: MFN, sections 3.1 to 3.3; MMSA a94e65d, models of MFN, Graph-MFN, MFM. There one
    loop does everything, a step after the other.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from msa_jax.layers import recurrence
from msa_jax.layers.dense import LinearWeights, TwoLayerHead, product
from msa_jax.layers.recurrence import Sequence, summed, summed_product
from msa_jax.layers.recurrent import LstmWeights

# Axis t is first here: what has no order is one product over steps and samples.
Steps = Float[Array, "t b _"]


class Small(NamedTuple):
    """A small network of two layers: the width between them, and the dropout there."""

    width: int
    dropout: float


def small(module: nn.Module, *names: str) -> list[Small]:
    """Return the sizes that a module has as its NAME_hidden and NAME_dropout."""
    fields = ([f"{name}_hidden", f"{name}_dropout"] for name in names)
    return [Small(*(getattr(module, field) for field in pair)) for pair in fields]


class Lstm(NamedTuple):
    """What an LSTM gives: states and cells of every step, and the last state."""

    hidden: Steps
    cell: Steps
    last: Float[Array, "b h"]


def lstms(
    x: Mapping[str, Float[Array, "b t _"]],
    widths: Mapping[str, int],
    length: Int[Array, " b"] | None,
) -> dict[str, Lstm]:
    """Run LSTMs over sequences of the same steps, all by one call.

    Call it inside a module; the parameters are its "NAME_lstm".

    Args:
        x: sequence of each.
        widths: of the states.
        length: steps after which states stay as they are; None: none.
    """
    sequences = [Sequence(x[name], length) for name in widths]
    weights = [
        LstmWeights(width, name=f"{name}_lstm")(x[name].shape[-1])
        for name, width in widths.items()
    ]
    states = recurrence.run(sequences, weights, with_cells=True)
    turned = (
        Lstm(jnp.swapaxes(s.output, 0, 1), jnp.swapaxes(s.cells, 0, 1), s.hidden)
        for s in states
        if s.cells is not None
    )
    return dict(zip(widths, turned, strict=True))


def before(x: Steps) -> Steps:
    """Return what every step starts from: the step before it, and 0."""
    return jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]])


class GatedMemory(nn.Module):
    """A memory u that one gate keeps and another one fills: u <- g1 u + g2 c.

    With x of a step: c = tanh(candidate(x)), g1 = sigmoid(retain([x; u])), g2 =
    sigmoid(update([x; u])), each of them two layers. u starts at 0. Where intermediates
    are kept: what tanh and sigmoid are taken of, "steps_candidate_pre" and so on.

    Source: MMSA's MFN (att2 is the candidate, gamma1 and gamma2 are the gates).
    Differs: MFN's gates (the paper, section 3.3) do not read u.
    """

    width: int
    candidate: Small
    retain: Small
    update: Small

    @nn.compact
    def __call__(
        self, x: Steps, length: Int[Array, " b"] | None, *, train: bool
    ) -> Float[Array, "b {self.width}"]:
        """Return the memory after the last step; `length` as in `lstms`."""
        write = TwoLayerHead(
            self.width, self.candidate.dropout, self.candidate.width, name="candidate"
        )(x, train=train)
        gates = {"retain": self.retain, "update": self.update}
        parts = [
            _Gate(self.width, gate, name=name)(x, train=train)
            for name, gate in gates.items()
        ]
        kernel, bias, keep = (
            jnp.concatenate(both, axis=-1)
            for both in zip(*(part[:3] for part in parts), strict=True)
        )
        read = x.shape[-1]
        weights = _Weights(kernel[read:], *zip(*(p[3:] for p in parts), strict=True))
        drops = train and any(gate.dropout for gate in gates.values())
        runs = jnp.ones(x.shape[:2], bool)
        if length is not None:
            runs = jnp.arange(len(x))[:, None] < length[None]
        steps = _Steps(
            product(x, kernel[:read]) + bias[None, None],
            keep if drops else None,
            jnp.tanh(write),
            runs,
        )
        u, hidden = _remember(weights, steps)
        if self.is_mutable_collection("intermediates"):
            pre = _scores(weights, hidden)
            for name, value in zip(("candidate", *gates), (write, *pre), strict=True):
                self.sow("intermediates", f"steps_{name}_pre", value)
        return u


class _Weights(NamedTuple):
    """The gates' parameters that the memory meets: both first layers, side by side,
    as far as they read it; then both second ones.
    """

    state_kernel: Float[Array, "m h"]
    kernels: tuple[Array, ...]
    biases: tuple[Array, ...]


class _Steps(NamedTuple):
    """What the loop over the memory takes of each step.

    drive: what x adds to both first layers.
    keep: what dropout leaves of these; None: all.
    write: what may be written.
    runs: whether the step counts, [t, b]; None in what goes back.
    """

    drive: Steps
    keep: Steps | None
    write: Steps
    runs: Array | None


def _scores(weights, hidden):
    """Return what the gates' sigmoids are taken of."""
    cut = len(weights.kernels[0])
    split = hidden[..., :cut], hidden[..., cut:]
    both = zip(split, weights.kernels, weights.biases, strict=True)
    scores = [(h @ kernel, bias) for h, kernel, bias in both]
    return [x + jnp.broadcast_to(bias, x.shape) for x, bias in scores]


@jax.custom_vjp
def _remember(weights, steps):
    """Return the memory after the last step, and both first layers of every step.

    Gradients go through the memory alone. JAX's own way back would add a product to
    the gradient of every kernel at every step; here each is one product, at the end.
    """
    return _forward(weights, steps)[0]


def _forward(weights, steps):
    def step(u, now):
        hidden = nn.relu(now.drive + u @ weights.state_kernel)
        hidden = hidden if now.keep is None else hidden * now.keep
        retain, update = map(nn.sigmoid, _scores(weights, hidden))
        new = retain * u + update * now.write
        new = jnp.where(now.runs[:, None], new, u)
        return new, (u, hidden, retain, update)

    start = jnp.zeros((*steps.runs.shape[1:], len(weights.state_kernel)))
    start = start.astype(steps.write.dtype)
    u, kept = jax.lax.scan(step, start, steps)
    return (u, kept[1]), (weights, steps, kept)


def _backward(saved, by):
    weights, steps, kept = saved
    turned = jax.tree.map(jnp.transpose, (weights.state_kernel, weights.kernels))

    def step(by_u, inputs):
        now, (u, hidden, retain, update) = inputs
        runs = now.runs[:, None]
        by_new = jnp.where(runs, by_u, 0)
        by_scores = (
            by_new * u * retain * (1 - retain),
            by_new * now.write * update * (1 - update),
        )
        both = zip(by_scores, turned[1], strict=True)
        by_hidden = jnp.concatenate([by @ kernel for by, kernel in both], axis=-1)
        by_hidden = by_hidden if now.keep is None else by_hidden * now.keep
        by_drive = jnp.where(hidden > 0, by_hidden, 0)
        before = jnp.where(runs, by_new * retain, by_u) + by_drive @ turned[0]
        return before, (by_drive, by_scores, by_new * update)

    _, (by_drive, by_scores, by_write) = jax.lax.scan(
        step, by[0], (steps, kept), reverse=True
    )
    u, hidden = kept[:2]
    cut = len(weights.kernels[0])
    by_kernels = map(summed_product, (hidden[..., :cut], hidden[..., cut:]), by_scores)
    by_weights = _Weights(
        summed_product(u, by_drive), tuple(by_kernels), tuple(map(summed, by_scores))
    )
    by_keep = None if steps.keep is None else jnp.zeros_like(steps.keep)
    return by_weights, _Steps(by_drive, by_keep, by_write, None)


_remember.defvjp(_forward, _backward)


class _Parts(NamedTuple):
    """A gate as the loop takes it: its first layer's parameters, what dropout leaves of
    that layer at all steps; then the second layer's parameters.
    """

    first_kernel: Float[Array, "r h"]
    first_bias: Float[Array, " h"]
    keep: Steps
    kernel: Float[Array, "h m"]
    bias: Float[Array, " m"]


class _Gate(nn.Module):
    """The two layers of a gate over [x; u], with x in place and u to come."""

    memory: int
    sizes: Small

    @nn.compact
    def __call__(self, x: Steps, *, train: bool) -> _Parts:
        """Return its parts."""
        width, dropout = self.sizes
        first = LinearWeights(width, name="layer_1")(x.shape[-1] + self.memory)
        keep = jnp.ones((*x.shape[:2], width), x.dtype)
        if train and dropout:
            keep = nn.Dropout(dropout, deterministic=False, name="drop")(keep)
        return _Parts(*first, keep, *LinearWeights(self.memory, name="score")(width))


class MemoryFusion(nn.Module):
    """What MFN keeps of three LSTMs: their last states and a memory of their cells.

    The cells of a step and of the one before, side by side, are weighed by a softmax
    over all of them; `GatedMemory` reads what is left. Where intermediates are kept:
    "steps_attention_logits".

    Source: MFN, sections 3.2 (delta-memory attention) and 3.3; MMSA's MFN.
    """

    memory: int
    attention: Small
    candidate: Small
    retain: Small
    update: Small

    @nn.compact
    def __call__(
        self,
        states: Mapping[str, Lstm],
        length: Int[Array, " b"] | None,
        *,
        train: bool,
    ) -> Float[Array, "b _"]:
        """Return last states, in the order given, then the memory; see `lstms`."""
        now = jnp.concatenate([s.cell for s in states.values()], axis=-1)
        both = jnp.concatenate([before(now), now], axis=-1)
        width, dropout = self.attention
        attention = TwoLayerHead(both.shape[-1], dropout, width, name="attention")
        logits = attention(both, train=train)
        self.sow("intermediates", "steps_attention_logits", logits)
        memory = GatedMemory(
            self.memory, self.candidate, self.retain, self.update, name="memory"
        )
        kept = memory(nn.softmax(logits) * both, length, train=train)
        return last_states(self, states, kept)


def last_states(
    module: nn.Module, states: Mapping[str, Lstm], memory: Float[Array, "b m"]
) -> Float[Array, "b _"]:
    """Return the LSTMs' last states and the memory side by side.

    Where intermediates are kept, the module has them as "last_states", and states and
    cells of every step as "steps_h_NAME" and "steps_c_NAME".
    """
    for name, state in states.items():
        module.sow("intermediates", f"steps_h_{name}", state.hidden)
        module.sow("intermediates", f"steps_c_{name}", state.cell)
    found = jnp.concatenate([*(s.last for s in states.values()), memory], axis=-1)
    module.sow("intermediates", "last_states", found)
    return found
