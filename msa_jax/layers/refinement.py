"""UCRN's refinement modules: stacks of self-attention, and how time collapses."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from msa_jax.layers import channels, crossmodal
from msa_jax.layers.channels import Affine, Drop, FeedForward, project
from msa_jax.layers.dense import uniform
from msa_jax.layers.spt import Readings

Block = Literal["paper", "code"]


class SlicedLayer(NamedTuple):
    """Weights of one layer of Eq. 3 to 5; in a stack a leading layer axis.

    query, key, value: of every head, kernel [heads, size, size], bias [heads, size].
    output: fc1. forward: the norm, fc2 and fc3.
    """

    query: Affine
    key: Affine
    value: Affine
    output: Affine
    forward: FeedForward


class SlicedLayers(nn.Module):
    """Creates the weights of a stack, all layers side by side.

    Source: torch.nn.Linear for every start, U(+-1/sqrt(inputs)).
    """

    width: int
    heads: int
    count: int

    @nn.compact
    def __call__(self) -> SlicedLayer:
        """Return them."""
        width, wide = self.width, 4 * self.width
        size = width // self.heads

        def affine(name: str, *shape: int) -> Affine:
            start = uniform(shape[-2] ** -0.5)
            kernel = self.param(f"{name}_kernel", start, (self.count, *shape))
            outputs = (*shape[:-2], shape[-1])
            return Affine(
                kernel, self.param(f"{name}_bias", start, (self.count, *outputs))
            )

        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        norm = Affine(
            self.param("forward_norm_scale", ones, (self.count, width)),
            self.param("forward_norm_bias", zeros, (self.count, width)),
        )
        names = ("query", "key", "value")
        heads = {name: affine(name, self.heads, size, size) for name in names}
        output = affine("output", width, width)
        rise, fall = affine("rise", width, wide), affine("fall", wide, width)
        return SlicedLayer(
            **heads, output=output, forward=FeedForward(norm, rise, fall)
        )


class RefinementStack(nn.Module):
    """Layers of self-attention over one sequence, each with weights of its own.

    block: "paper": Eq. 3 to 5, no norm but the one inside; "code": MulT's layer,
        normalised before attention and feed-forward and once more at the end.
    readings: `embed` (the sequence's width), `heads`, `rounds` (layers), dropouts.
    causal: a step sees itself and the steps before it.
    scaled: the sequence is multiplied by sqrt(width) first.

    Source: UCRN, Eq. 2 to 5, and Redaimao/UCRN@21a6783 (its encoder).
    Differs: the paper's heads are taken as learned query, key and value maps within
        their slice, scores over sqrt(width / heads), 4 width hidden; it says neither.
        Dropouts are where the code's block has them.
    """

    readings: Readings
    block: Block = "paper"
    causal: bool = False
    scaled: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "c t b"], length: Int[Array, " b"], *, train: bool
    ) -> Float[Array, "c t b"]:
        """Return the refined sequence.

        Args:
            x: channels first; `length` of them padded to t.
            length: steps that are attended to; what the others become is meaningless.
            train: apply dropout, drawn from the "dropout" stream.

        Raises:
            ValueError: the width is no multiple of the heads.
        """
        r, width = self.readings, x.shape[0]
        if width % r.heads:
            raise ValueError(f"width {width} is no multiple of {r.heads} heads")
        seen = jnp.arange(x.shape[1])[None, :, None] < length[None, None]
        x = jnp.where(seen[0][None], x, 0)
        train = train and 0 < max(
            *(r.attention_dropout, r.relu_dropout),
            *(r.residual_dropout, r.embed_dropout),
        )
        key = self.make_rng("dropout") if train else jax.random.key(0)
        keys = jax.random.split(key, r.rounds + 1)
        if self.scaled:
            x = x * np.sqrt(width)
        x = channels.dropping(
            lambda drop: drop(x, r.embed_dropout), keys[0] if train else None
        )
        sliced = self.block == "paper"
        if sliced:
            layers = SlicedLayers(width, r.heads, r.rounds, name="layers")()
        else:
            layers = crossmodal.Layers(width, r.rounds, name="layers")()

        def one_layer(x, changing):
            weights, key = changing

            def run(drop):
                if sliced:
                    return refine(x, weights, seen, drop, r, self.causal)
                return crossmodal.encode(
                    x, None, weights, seen, drop, r, causal=self.causal
                )

            return channels.dropping(run, key if train else None), None

        # Scores of all steps against all are computed again on the way back.
        x, _ = jax.lax.scan(jax.checkpoint(one_layer), x, (layers, keys[1:]))
        if sliced:
            return x
        final = channels.Weights({}, {"norm": width}, name="final")()["norm"]
        x = channels.normalise(x)
        return x * final.kernel[:, None, None] + final.bias[:, None, None]


def attend_slices(
    x: Float[Array, "c t b"],
    weights: SlicedLayer,
    seen: Bool[Array, "_ t b"],
    drop: Drop,
    r: Readings,
    causal: bool = False,
) -> Float[Array, "c t b"]:
    """Let each head attend within its slice of the channels, and add the slice.

    Source: UCRN, Eq. 3.
    """
    slices = x.reshape(r.heads, -1, *x.shape[1:])

    def mapped(affine: Affine) -> Array:
        made = jnp.einsum("hitb,hio->hotb", slices, affine.kernel)
        return (made + affine.bias[:, :, None, None]).reshape(x.shape)

    mixed = channels.attend_all(
        mapped(weights.query),
        mapped(weights.key),
        mapped(weights.value),
        r.heads,
        crossmodal.dropped(drop, r.attention_dropout),
        seen,
        causal=causal,
    )
    return x + drop(mixed, r.residual_dropout)


def refine(
    x: Float[Array, "c t b"],
    weights: SlicedLayer,
    seen: Bool[Array, "_ t b"],
    drop: Drop,
    r: Readings,
    causal: bool = False,
) -> Float[Array, "c t b"]:
    """Apply one layer: heads on slices, fc1, then the normalised feed-forward.

    Args:
        x: the running sequence.
        weights: of this layer.
        seen: which keys a query sees; one row for all queries, or a row for each.
        drop: (x, rate) -> x with entries dropped.
        r: heads and rates.
        causal: a step sees itself and the steps before it.

    Source: UCRN, Eq. 3 to 5.
    """
    z = project(attend_slices(x, weights, seen, drop, r, causal), weights.output)
    return channels.feed_forward(
        z, weights.forward, drop, r.relu_dropout, r.residual_dropout
    )


def last_step(
    x: Float[Array, "c t b"], length: Int[Array, " b"]
) -> Float[Array, "b c"]:
    """Return each sequence's last valid step.

    Source: UCRN, Eq. 6.
    Differs: the paper's last time step is that of the padded sequence where files are
        padded in front; ours are padded at the back.
    """
    return jnp.take_along_axis(x, length[None, None] - 1, axis=1)[:, 0].T


class StepMix(nn.Module):
    """A learned linear combination of all steps, the same for every channel.

    The number of steps is part of the weights: it must be that of training.

    Source: Redaimao/UCRN@21a6783 (a bias-free convolution over time).
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "c t b"], length: Int[Array, " b"]
    ) -> Float[Array, "b c"]:
        """Return the combination of the valid steps."""
        steps = x.shape[1]
        weight = self.param("kernel", uniform(steps**-0.5), (steps,))
        valid = jnp.arange(steps)[:, None] < length[None]
        return jnp.einsum("ctb,t->bc", jnp.where(valid[None], x, 0), weight)
