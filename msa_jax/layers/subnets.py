"""What MMSA's systems of late and tensor fusion share.

One vector per modality: text from an LSTM, audio and vision from their means over time;
and the outer product of such vectors, as far as a linear map reads it, of full rank or
of a low one.

Source: MMSA a94e65d, models of TFN, LMF, LF-DNN, MLF-DNN, MTFN, MLMF; its data loader.
"""

import math
from functools import reduce
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from msa_jax.ground.types import Batch
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


def vectors(
    net: Any, batch: Batch, text_width: int, *, train: bool
) -> dict[str, Float[Array, "b _"]]:
    """Encode each modality to a vector: audio, vision and text, in this order.

    Call it inside a module; the parameters are its "MODALITY_net".

    Args:
        net: that module. Its fields say how: {text,audio,vision}_{hidden,dropout},
            text_encoder, text_state (see `TextNet`) and time_mean (see `time_mean`).
        batch: what is encoded.
        text_width: of the text's vector; the others are as wide as their networks.
        train: whether entries are dropped, and statistics are the batch's.
    """
    found = {}
    for m in ("audio", "vision"):
        length = getattr(batch, f"{m}_length")
        mean = time_mean(getattr(batch, m), length, net.time_mean)
        net.sow("intermediates", f"seen_{m}", mean[:, None])
        width, rate = getattr(net, f"{m}_hidden"), getattr(net, f"{m}_dropout")
        found[m] = MeanNet(width, rate, name=f"{m}_net")(mean, batch.valid, train=train)
    tokens = net.text_encoder(batch.text, train=train)
    text_net = TextNet(
        net.text_hidden, text_width, net.text_dropout, net.text_state, name="text_net"
    )
    return found | {"text": text_net(tokens, batch.text_length, train=train)}


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


class LowRank(nn.Module):
    """Products of maps of several vectors, each after a 1, to `rank` numbers an output.

    Entry r is a linear map of the outer product (see `outer`) whose weights are an
    outer product themselves, of column r of each factor; it is never formed. The
    entries of an output stand side by side.

    Source: LMF, section 3.2; factors start as its public code's xavier_normal of
        [rank, 1 + d, outputs] has them, deviation sqrt(2 / (1 + d + rank)) for one
        output, and for several that over the root of their number; nothing cut off.
    """

    rank: int
    outputs: int = 1

    @nn.compact
    def __call__(
        self, **x: Float[Array, "b _"]
    ) -> Float[Array, "b {self.rank*self.outputs}"]:
        """Apply it; the factor of argument `name` is the parameter "name_factor"."""
        maps, columns = [], self.rank * self.outputs
        for name, vector in x.items():
            entries = 1 + vector.shape[1]
            deviation = math.sqrt(2 / ((entries + self.rank) * self.outputs))
            start = nn.initializers.normal(deviation)
            factor = self.param(f"{name}_factor", start, (entries, columns))
            maps.append(_after_one(vector) @ factor)
        return math.prod(maps[1:], start=maps[0])


def _after_one(x: Float[Array, "b d"]) -> Float[Array, "b d+1"]:
    return jnp.concatenate([jnp.ones_like(x[:, :1]), x], axis=1)
