"""What MMSA's systems of late and tensor fusion share.

One vector per modality: text from an LSTM, audio and vision from their means over time;
and the outer product of such vectors, as far as a linear map reads it.

Source: MMSA a94e65d, models of TFN, LMF, LF-DNN, MLF-DNN, MTFN, MLMF; its data loader.
"""

import math
from functools import reduce
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from msa_jax.layers.dense import Linear, uniform
from msa_jax.layers.norm import BatchNorm
from msa_jax.layers.recurrent import SequenceLstm


def time_mean(
    x: Float[Array, "b t d"], length: Int[Array, " b"], over: Literal["all", "valid"]
) -> Float[Array, "b d"]:
    """Return the mean over all stored steps, padding included, or over the valid ones.

    What is NaN then becomes 0; so does -inf before, of which COVAREP's files have some.

    Args:
        x: a sequence; one step is its own mean.
        length: valid steps, in 1..t.
        over: which steps.

    Source: MMSA's data loader (`need_normalized`): "all".
    Differs: there -inf is replaced in audio only; vision has none.
    """
    x = jnp.where(jnp.isneginf(x), 0, x)
    count = jnp.full_like(length, x.shape[1])
    if over == "valid":
        valid = jnp.arange(x.shape[1])[None] < length[:, None]
        x = jnp.where(valid[:, :, None], x, 0)
        count = length
    total = x.sum(axis=1)
    # One divisor for all features would become a factor, and the mean differ from the
    # loader's in its last bit; behind the barrier the compiler sees one for each.
    each = jnp.broadcast_to(count[:, None], total.shape).astype(x.dtype)
    mean = total / jax.lax.optimization_barrier(each)
    return jnp.where(jnp.isnan(mean), 0, mean)


class MeanNet(nn.Module):
    """Batch norm, dropout and three times Linear and ReLU, of a modality's mean.

    Source: MMSA's SubNet; the originals' networks of audio and vision.
    """

    width: int
    dropout: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "b d"], valid: Bool[Array, " b"], *, train: bool
    ) -> Float[Array, "b {self.width}"]:
        """Apply it; rows that are not valid are in no statistic."""
        x = BatchNorm(name="norm")(x, valid, train=train)
        x = nn.Dropout(self.dropout, deterministic=not train, name="drop")(x)
        for layer in (1, 2, 3):
            x = nn.relu(Linear(self.width, name=f"linear_{layer}")(x))
        return x


class TextNet(nn.Module):
    """An LSTM's final state, dropout, Linear.

    state: after the padded sequence ("padded_end") or its last valid step.

    Source: MMSA's TextSubNet, which reads padding, and whose dropout is always 0
        because its LSTM has one layer.
    """

    hidden: int
    width: int
    dropout: float
    state: Literal["padded_end", "last_valid"]

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], length: Int[Array, " b"], *, train: bool
    ) -> Float[Array, "b {self.width}"]:
        """Apply it; `length` is in 1..t."""
        lstm = SequenceLstm(self.hidden, name="rnn")
        state = lstm(x, length if self.state == "last_valid" else None).hidden
        state = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(state)
        return Linear(self.width, name="linear_1")(state)


def outer(*x: Float[Array, "b _"]) -> Float[Array, "b d"]:
    """Return all products of one entry of each vector, every vector after a 1.

    The last vector's index changes fastest; entry 0 is 1.

    Source: TFN, section 3.2 (tensor fusion).
    """
    return reduce(
        lambda a, b: (a[:, :, None] * b[:, None]).reshape(len(a), -1),
        map(_after_one, x),
    )


class OuterLinear(nn.Module):
    """Dropout of the outer product of vectors (see `outer`), then a linear map.

    Where no entry is dropped, the map is contracted with one vector after the other,
    the longest first, and the product is never formed: 1.1 million entries a sample
    for TFN on SIMS.
    """

    width: int
    dropout: float

    @nn.compact
    def __call__(
        self, *x: Float[Array, "b _"], train: bool
    ) -> Float[Array, "b {self.width}"]:
        """Apply it."""
        sizes = [1 + vector.shape[1] for vector in x]
        start = uniform(math.prod(sizes) ** -0.5)
        kernel = self.param("kernel", start, (math.prod(sizes), self.width))
        bias = self.param("bias", start, (self.width,))
        if train and self.dropout:
            drop = nn.Dropout(self.dropout, deterministic=False, name="drop")
            return drop(outer(*x)) @ kernel + bias[None]
        rest = kernel.reshape(*sizes, self.width)
        vectors = [_after_one(vector) for vector in x]
        longest = sizes.index(max(sizes))
        axes = jnp.moveaxis(rest, longest, 0)
        mapped = jnp.tensordot(vectors.pop(longest), axes, 1)
        for vector in vectors:
            mapped = jnp.einsum("bi,bi...->b...", vector, mapped)
        return mapped + bias[None]


def _after_one(x: Float[Array, "b d"]) -> Float[Array, "b d+1"]:
    return jnp.concatenate([jnp.ones_like(x[:, :1]), x], axis=1)
