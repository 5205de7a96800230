"""The standard transformer encoder, normalised after each residual (post-LN)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from msa_jax.layers.channels import Affine, Drop, dropping, normalise
from msa_jax.layers.dense import uniform

Start = Callable[..., Array]


class Layer(NamedTuple):
    """Weights of one layer; in a stack every leaf has a leading layer axis.

    kernel [inputs, outputs]; `attend` is query, key and value side by side.
    """

    attend: Affine
    output: Affine
    rise: Affine
    fall: Affine
    attend_norm: Affine
    forward_norm: Affine


class EncoderStack(nn.Module):
    """Layers of self-attention and feed-forward, normalised after each residual.

    To encode two views with the same weights, call one instance twice.

    forward_width: of the hidden feed-forward layer; 0: 4 times the input's width.
    dropout: of attention weights, of both residual branches and of the hidden layer.

    Source: torch.nn.TransformerEncoder(Layer) without a final norm (Vaswani et al.,
        2017, section 3.1); MMCL, Eq. 3 and appendix A.1: 3 layers, 8 heads.
    Differs: MMCL says neither width of the hidden layer, norm nor activation: 4 times,
        after the residual, ReLU. No position code, the LSTM before it has ordered the
        steps. torch copies the first layer's start to the others; here each is drawn.
    """

    layers: int = 3
    heads: int = 8
    forward_width: int = 0
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], valid: Bool[Array, "b t"], *, train: bool
    ) -> Float[Array, "b t d"]:
        """Return the encoded sequence.

        Args:
            x: sequences; the width must be a multiple of `heads`.
            valid: the steps that are attended to; the others come back as 0.
            train: apply dropout, drawn from the "dropout" stream.
        """
        if x.shape[2] % self.heads:
            raise ValueError(f"width {x.shape[2]} is no multiple of {self.heads} heads")
        weights = self._weights(x.shape[2])
        train = train and self.dropout > 0
        key = self.make_rng("dropout") if train else jax.random.key(0)
        keys = jax.random.split(key, self.layers)
        x = jnp.where(valid[:, :, None], x, 0)

        def one_layer(x, changing):
            layer, key = changing

            def run(drop: Drop) -> Array:
                return _layer(x, valid, layer, self.heads, drop, self.dropout)

            return dropping(run, key if train else None), None

        # Scores of all steps against all are computed again on the way back.
        x, _ = jax.lax.scan(jax.checkpoint(one_layer), x, (weights, keys))
        return jnp.where(valid[:, :, None], x, 0)

    def _weights(self, width: int) -> Layer:
        wide = self.forward_width or 4 * width
        zeros, ones = nn.initializers.zeros, nn.initializers.ones

        def affine(name: str, shape: tuple[int, ...], kernel: Start, bias: Start):
            made = self.param(f"{name}_kernel", kernel, (self.layers, *shape))
            return Affine(
                made, self.param(f"{name}_bias", bias, (self.layers, shape[-1]))
            )

        def norm(name: str):
            scale = self.param(f"{name}_scale", ones, (self.layers, width))
            return Affine(
                scale, self.param(f"{name}_bias", zeros, (self.layers, width))
            )

        narrow, broad = uniform(width**-0.5), uniform(wide**-0.5)
        xavier = uniform((6 / (4 * width)) ** 0.5)
        return Layer(
            attend=affine("attend", (width, 3 * width), xavier, zeros),
            output=affine("output", (width, width), narrow, zeros),
            rise=affine("rise", (width, wide), narrow, narrow),
            fall=affine("fall", (wide, width), broad, broad),
            attend_norm=norm("attend_norm"),
            forward_norm=norm("forward_norm"),
        )


def mean_step(
    x: Float[Array, "b t d"], valid: Bool[Array, "b t"]
) -> Float[Array, "b d"]:
    """Average the valid steps; 0 where a sequence has none.

    Source: none; MMCL takes a dot product of sequences without saying how.
    """
    kept = jnp.where(valid[:, :, None], x, 0).sum(axis=1)
    return kept / jnp.maximum(valid.sum(axis=1), 1)[:, None].astype(x.dtype)


def _layer(x, valid, layer: Layer, heads: int, drop: Drop, rate: float) -> Array:
    mixed = _attention(x, valid, layer.attend, heads, lambda w: drop(w, rate))
    x = _normed(x + drop(_apply(mixed, layer.output), rate), layer.attend_norm)
    hidden = drop(nn.relu(_apply(x, layer.rise)), rate)
    forward = drop(_apply(hidden, layer.fall), rate)
    return _normed(x + forward, layer.forward_norm)


def _attention(
    x, valid, affine: Affine, heads: int, drop: Callable[[Array], Array]
) -> Array:
    batch, steps, width = x.shape
    stacked = _apply(x, affine).reshape(batch, steps, 3, heads, width // heads)
    query, key, value = (stacked[:, :, i] for i in range(3))
    score = jnp.einsum("bqhc,bkhc->bhqk", query * (width // heads) ** -0.5, key)
    score = jnp.where(valid[:, None, None], score, jnp.finfo(score.dtype).min)
    weight = drop(jax.nn.softmax(score, axis=-1))
    return jnp.einsum("bhqk,bkhc->bqhc", weight, value).reshape(batch, steps, width)


def _apply(x: Array, affine: Affine) -> Array:
    return x @ affine.kernel + affine.bias[None, None]


def _normed(x: Array, norm: Affine) -> Array:
    return normalise(x, -1) * norm.kernel[None, None] + norm.bias[None, None]
