"""The standard transformer encoder, normalised after each residual (post-LN)."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from msa_jax.ground.array_rules import largest, move
from msa_jax.ground.backend import by_platform
from msa_jax.layers.channels import Affine, Drop, dropping, normalise
from msa_jax.layers.dense import product, uniform

Start = Callable[..., Array]
Attend = Callable[..., Array]  # (query, key and value side by side, drop) -> mixed
FEW = 3 / 8  # share of valid steps up to which padding is left out of the products


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

    Where few steps are valid, products run over those alone (on a CPU): the same
    numbers but for rounding and what dropout draws.

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
        attend = partial(_attention, valid=valid, heads=self.heads)

        def padded(x):
            return self._run(x, attend, (weights, keys), train)

        def without_padding(x):
            flat = x.reshape(-1, x.shape[2])
            rows = valid_rows(valid, size)

            def attend_padded(stacked, drop):
                there = move(stacked, rows.place, rows.source)
                mixed = attend(there.reshape(*valid.shape, -1), drop)
                mixed = mixed.reshape(-1, x.shape[2])
                return move(mixed, rows.source, rows.place)

            only = move(flat, rows.source, rows.place)
            only = self._run(only, attend_padded, (weights, keys), train)
            return move(only, rows.place, rows.source).reshape(x.shape)

        x = jnp.where(valid[:, :, None], x, 0)
        # An exported program may leave the number of samples open.
        size = int(FEW * valid.size) if isinstance(valid.size, int) else 0
        if size:
            few = largest(valid.sum()) <= size

            def shorter(x):
                return jax.lax.cond(few, without_padding, padded, x)

            # Elsewhere a product over padding costs less than the gathers, which would
            # also cross the devices that share a batch.
            x = by_platform(x, cpu=shorter, default=padded)
        else:
            x = padded(x)
        return jnp.where(valid[:, :, None], x, 0)

    def _run(self, x: Array, attend: Attend, changing: Any, train: bool) -> Array:
        """Apply all layers to rows of any layout."""

        def one_layer(x, changing):
            layer, key = changing

            def run(drop: Drop) -> Array:
                return _layer(x, layer, attend, drop, self.dropout)

            return dropping(run, key if train else None), None

        # Scores of all steps against all are computed again on the way back.
        return jax.lax.scan(jax.checkpoint(one_layer), x, changing)[0]

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


class Rows(NamedTuple):
    """The valid steps of sequences, one after another.

    source: where a row comes from in the flattened sequences; their number where the
        row stays empty.
    place: the row of each step, in the same order; the number of rows where the step
        is padding.
    """

    source: Int[Array, " n"]
    place: Int[Array, " bt"]


def valid_rows(valid: Bool[Array, "b t"], size: int) -> Rows:
    """Lay out the valid steps, at most `size`, without padding."""
    flat = valid.reshape(-1)
    (source,) = jnp.nonzero(flat, size=size, fill_value=flat.size)
    return Rows(source, jnp.where(flat, jnp.cumsum(flat) - 1, size))


def _layer(x, layer: Layer, attend: Attend, drop: Drop, rate: float) -> Array:
    stacked = _apply(x, layer.attend)
    mixed = attend(stacked, drop=lambda w: drop(w, rate))
    x = _normed(x + drop(_apply(mixed, layer.output), rate), layer.attend_norm)
    hidden = drop(nn.relu(_apply(x, layer.rise)), rate)
    forward = drop(_apply(hidden, layer.fall), rate)
    return _normed(x + forward, layer.forward_norm)


def _attention(
    stacked: Float[Array, "b t d3"],
    drop: Callable[[Array], Array],
    *,
    valid: Bool[Array, "b t"],
    heads: int,
) -> Float[Array, "b t d"]:
    batch, steps, width = *stacked.shape[:2], stacked.shape[2] // 3
    stacked = stacked.reshape(batch, steps, 3, heads, width // heads)
    query, key, value = (stacked[:, :, i] for i in range(3))
    score = jnp.einsum("bqhc,bkhc->bhqk", query * (width // heads) ** -0.5, key)
    score = jnp.where(valid[:, None, None], score, jnp.finfo(score.dtype).min)
    weight = drop(jax.nn.softmax(score, axis=-1))
    return jnp.einsum("bhqk,bkhc->bqhc", weight, value).reshape(batch, steps, width)


def _apply(x: Array, affine: Affine) -> Array:
    return product(x, affine.kernel) + _broad(affine.bias, x)


def _normed(x: Array, norm: Affine) -> Array:
    return normalise(x, -1) * _broad(norm.kernel, x) + _broad(norm.bias, x)


def _broad(channels: Array, x: Array) -> Array:
    return channels.reshape(*(1,) * (x.ndim - 1), -1)
