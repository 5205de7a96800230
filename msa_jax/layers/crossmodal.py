"""The vanilla crossmodal transformer: every modality reads both others, all steps."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from msa_jax.ground.names import MODALITIES
from msa_jax.layers import channels
from msa_jax.layers.channels import Affine, Drop, FeedForward, normalise, project
from msa_jax.layers.dense import Linear, uniform
from msa_jax.layers.spt import Readings


class Layer(NamedTuple):
    """Weights of one layer; in a stack every leaf has a leading layer axis.

    norm: of queries, keys and values alike.
    """

    query: Affine
    key: Affine
    value: Affine
    output: Affine
    norm: Affine
    forward: FeedForward


class Layers(nn.Module):
    """Creates the weights of a stack, all layers side by side."""

    width: int
    count: int

    @nn.compact
    def __call__(self) -> Layer:
        """Return them; Xavier's range, query, key and value drawn as one matrix."""
        width, wide, made = self.width, 4 * self.width, {}
        ranges = {
            **dict.fromkeys(("query", "key", "value"), (width, width, 4 * width)),
            "output": (width, width, 2 * width),
            "rise": (width, wide, width + wide),
            "fall": (wide, width, width + wide),
        }
        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        for name, (inputs, outputs, total) in ranges.items():
            start, shape = uniform((6 / total) ** 0.5), (self.count, inputs, outputs)
            kernel = self.param(f"{name}_kernel", start, shape)
            bias = self.param(f"{name}_bias", zeros, (self.count, outputs))
            made[name] = Affine(kernel, bias)
        for name in ("norm", "forward_norm"):
            scale = self.param(f"{name}_scale", ones, (self.count, width))
            bias = self.param(f"{name}_bias", zeros, (self.count, width))
            made[name] = Affine(scale, bias)
        forward = FeedForward(*(made.pop(n) for n in ("forward_norm", "rise", "fall")))
        return Layer(**made, forward=forward)


class Stack(nn.Module):
    """Layers of attention, each with weights of its own, as one scan.

    Source: MulT (Tsai et al., ACL 2019), section 3.2, Eq. 4, and its public code.
    """

    readings: Readings

    @nn.compact
    def __call__(
        self,
        target: Float[Array, "c q b"],
        source: Float[Array, "c t b"] | None,
        length: Int[Array, " b"],
        *,
        train: bool,
    ) -> Float[Array, "c q b"]:
        """Return the target sequence, layer-normalised.

        Args:
            target: queries; what a padding step becomes is meaningless.
            source: keys and values of every layer; None: the running target itself.
            length: valid steps of what is attended to; the rest is not seen.
            train: apply dropout, drawn from the "dropout" stream.
        """
        r = self.readings
        layers = Layers(target.shape[0], r.rounds, name="layers")()
        final = channels.Weights({}, {"norm": target.shape[0]}, name="final")()["norm"]
        keys = jax.random.split(
            self.make_rng("dropout") if train else jax.random.key(0), r.rounds + 1
        )

        def begin(drop):
            x = _embedded(target, drop, r)
            if source is None:
                return x, None
            # Key and value are dropped apart, as in the public code; their norm is
            # the same in all layers but for its affine part.
            return x, [normalise(_embedded(source, drop, r)) for _ in range(2)]

        x, context = channels.dropping(begin, keys[0] if train else None)
        steps = (target if source is None else source).shape[1]
        seen = jnp.arange(steps)[None, :, None] < length[None, None]

        def one_layer(x, changing):
            weights, key = changing

            def run(drop):
                return encode(x, context, weights, seen, drop, r)

            return channels.dropping(run, key if train else None), None

        # Scores of all steps against all would fill the memory: only x is kept for
        # the way back, the rest is computed again.
        x, _ = jax.lax.scan(jax.checkpoint(one_layer), x, (layers, keys[1:]))
        return normalise(x) * final.kernel[:, None, None] + final.bias[:, None, None]


class CrossmodalTransformer(nn.Module):
    """Text, audio and vision sequences to one vector each.

    Each modality is projected to `embed` channels; as a target it reads either other
    modality in a stack of its own, and the two results, side by side, are refined by
    a stack of self-attention, whose last valid step is projected to `embed`. `rounds`
    is the number of layers of every stack.

    Source: MulT (Tsai et al., ACL 2019), section 3; SUGRM, Table 4.
    Differs: MulT reads the last step, of sequences padded in front; ours are padded at
        the back, so the last valid step is its counterpart, and padding is masked. It
        gives a step whose first feature is 0 no position code (its mark of padding),
        drops text features out once more before projecting them, and gives the last
        stacks at least 3 layers. The last projection is ours: heads stay as with SPT.
    """

    readings: Readings

    @nn.compact
    def __call__(
        self,
        inputs: dict[str, Float[Array, "b _ _"]],
        lengths: dict[str, Int[Array, " b"]],
        *,
        train: bool,
    ) -> dict[str, Float[Array, "b c"]]:
        """Return each modality's final state.

        Args:
            inputs: per modality; widths may differ.
            lengths: valid steps, at least 1.
            train: apply dropout, drawn from the "dropout" stream.
        """
        embed, projected = self.readings.embed, {}
        for m in MODALITIES:
            width = inputs[m].shape[2]
            kernel = self.param(f"{m}_kernel", uniform(width**-0.5), (width, embed))
            projected[m] = jnp.einsum("btd,dc->ctb", inputs[m], kernel)
        last = {}
        for m in MODALITIES:
            read = []
            for other in MODALITIES:
                if other != m:
                    stack = Stack(self.readings, name=f"{m}_reads_{other}")
                    args = (projected[m], projected[other], lengths[other])
                    read.append(stack(*args, train=train))
            memory = Stack(self.readings, name=f"{m}_memory")
            both = jnp.concatenate(read)
            refined = memory(both, None, lengths[m], train=train)
            index = lengths[m][None, None] - 1
            state = jnp.take_along_axis(refined, index, axis=1)[:, 0].T
            last[m] = Linear(embed, name=f"{m}_state")(state)
        return last


def _embedded(
    x: Float[Array, "c t b"], drop: Drop, r: Readings
) -> Float[Array, "c t b"]:
    """Scale a sequence and add its position code."""
    table = channels.position_table(x.shape[1], x.shape[0]).T[:, :, None]
    x = x * np.sqrt(x.shape[0]) + jnp.asarray(table, x.dtype)
    return drop(x, r.embed_dropout)


def encode(
    x: Float[Array, "c q b"],
    context: list[Float[Array, "c t b"]] | None,
    weights: Layer,
    seen: Bool[Array, "_ t b"],
    drop: Drop,
    r: Readings,
    *,
    causal: bool = False,
) -> Float[Array, "c q b"]:
    """Apply one layer: attention, then feed-forward, each to what its norm leaves.

    Args:
        x: the running sequence.
        context: normalised keys and normalised values; None: those of x.
        weights: of this layer.
        seen: which keys a query sees; one row for all queries, or a row for each.
        drop: (x, rate) -> x with entries dropped.
        r: heads and rates.
        causal: a query sees no later step than its own.
    """
    z = normalise(x)
    of_key, of_value = (z, z) if context is None else context
    mixed = channels.attend_all(
        project(z, weights.query, weights.norm),
        project(of_key, weights.key, weights.norm),
        project(of_value, weights.value, weights.norm),
        r.heads,
        dropped(drop, r.attention_dropout),
        seen,
        causal=causal,
    )
    mixed = drop(project(mixed, weights.output), r.residual_dropout)
    rates = (r.relu_dropout, r.residual_dropout)
    return channels.feed_forward(x + mixed, weights.forward, drop, *rates)


def dropped(drop: Drop, rate: float) -> Callable[[Array], Array] | None:
    """Return what drops attention weights; None where none are."""
    return (lambda weight: drop(weight, rate)) if rate else None
