"""MMCL's stack of strided convolutions, over a vector's features or over time."""

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from msa_jax.layers.dense import product, uniform

KERNELS = (10, 8, 4, 4, 4)
STRIDES = (5, 4, 2, 2, 2)
CPC_PADDING = (3, 2, 1, 1, 1)  # on both sides

Padding = Literal["cpc", "valid", "same"]


def output_steps(steps: int, padding: Padding) -> tuple[int, ...]:
    """Return the number of steps after each layer; below 1: too short an input."""
    found = []
    for kernel, stride, pad in zip(KERNELS, STRIDES, CPC_PADDING, strict=True):
        if padding == "same":
            steps = -(-steps // stride)
        else:
            pad = pad if padding == "cpc" else 0
            steps = (steps + 2 * pad - kernel) // stride + 1
        found.append(steps)
    return tuple(found)


class ConvStack(nn.Module):
    """Five strided convolutions, each followed by tanh.

    padding: "cpc" 3, 2, 1, 1, 1 zeros on both sides (at least 159 steps); "valid" none
        (at least 465); "same" as many as give ceil(steps / stride) outputs, of which
        (kernel - stride) // 2 in front (any input).

    Source: MMCL, appendix A.1: strides, kernels, 256 channels, tanh. torch.nn.Conv1d
        for the start: U(+-1/sqrt(channels in * kernel)).
    Differs: the paper names no padding. The five sizes are those of CPC's encoder of
        speech (Oord et al., 2018), whose public PyTorch version pads by 3, 2, 1, 1, 1.
    """

    channels: int = 256
    padding: Padding = "cpc"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], length: Int[Array, " b"] | None = None
    ) -> Float[Array, "b s {self.channels}"]:
        """Return the last layer's outputs.

        Args:
            x: channels last.
            length: valid steps; only with "same", where the outputs from
                ceil(length / 160) on are 0 and no padding reaches the others.

        Raises:
            ValueError: the input is too short.
        """
        if min(output_steps(x.shape[1], self.padding)) < 1:
            raise ValueError(f"{x.shape[1]} steps are too few for {self.padding!r}")
        if length is not None and self.padding != "same":
            raise ValueError("lengths need padding 'same'")
        x = _only(x, length)
        outputs = output_steps(x.shape[1], self.padding)
        layers = zip(STRIDES, CPC_PADDING, outputs, strict=True)
        for number, (stride, pad, steps) in enumerate(layers, start=1):
            front = {"cpc": pad, "valid": 0, "same": stride // 2}[self.padding]
            convolve = BlockConv(self.channels, stride, name=f"layer_{number}")
            length = None if length is None else -(-length // stride)
            x = _only(jnp.tanh(convolve(x, front, steps)), length)
        return x


class BlockConv(nn.Module):
    """A convolution whose kernel is twice its stride, as two products over blocks.

    Source: torch.nn.Conv1d: kernel [2 stride, in, out], starts at
        U(+-1/sqrt(2 stride in)).
    Differs: not computed as a convolution: inside a loop (an epoch is one) XLA's CPU
        convolutions are 40 times slower than these products (docs/performance.md).
    """

    channels: int
    stride: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], front: int, steps: int
    ) -> Float[Array, "b s {self.channels}"]:
        """Return `steps` outputs; `front` zeros stand before x, enough behind it."""
        width = self.stride * x.shape[2]
        start = uniform((2 * width) ** -0.5)
        shape = (2 * self.stride, x.shape[2], self.channels)
        kernel = self.param("kernel", start, shape).reshape(2, width, self.channels)
        bias = self.param("bias", start, (self.channels,))
        read = (steps + 1) * self.stride  # by `steps` windows of two blocks
        behind = max(0, read - front - x.shape[1])
        x = jnp.pad(x, ((0, 0), (front, behind), (0, 0)))[:, :read]
        block = x.reshape(x.shape[0], steps + 1, width)
        both = product(block[:, :-1], kernel[0]) + product(block[:, 1:], kernel[1])
        return both + bias[None, None]


class SiameseCnn(nn.Module):
    """One of two networks of the same shape and unshared weights; called twice apart.

    axis: "feature" reads a vector as a signal of one channel, "time" a sequence.

    Source: MMCL, section 3.4.1 (two encoders "in pseudo siamese structure").
    Differs: the paper does not say along which axis. Strides multiply to 160, so 50
        aligned steps could not be convolved at all; a vector of 768 features leaves 4
        positions.
    """

    channels: int = 256
    axis: Literal["feature", "time"] = "feature"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b d"] | Float[Array, "b t d"],
        length: Int[Array, " b"] | None = None,
    ) -> Float[Array, "b s {self.channels}"]:
        """Return positions by channels.

        Args:
            x: a vector per sample (axis "feature") or a sequence ("time").
            length: valid steps of a sequence.
        """
        if self.axis == "feature":
            if x.ndim != 2:
                raise ValueError("axis 'feature' reads one vector per sample")
            return ConvStack(self.channels, "cpc", name="stack")(x[..., None])
        return ConvStack(self.channels, "same", name="stack")(x, length)


def mean_position(
    x: Float[Array, "b s c"], length: Int[Array, " b"] | None = None
) -> Float[Array, "b c"]:
    """Average the positions.

    Args:
        x: a network's output.
        length: positions that count, ceil(valid steps / 160); None: all.

    Source: none; MMCL does not say how a target becomes one vector.
    """
    if length is None:
        return x.mean(axis=1)
    return _only(x, length).sum(axis=1) / length[:, None].astype(x.dtype)


def _only(x: Array, length: Array | None) -> Array:
    if length is None:
        return x
    return jnp.where(
        jnp.arange(x.shape[1])[None, :, None] < length[:, None, None], x, 0
    )
