"""Batch norm whose statistics count valid rows only."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

_EPSILON = 1e-5
_MOMENTUM = 0.1  # share of a batch in running statistics


class BatchNorm(nn.Module):
    """Bring every channel to mean 0 and variance 1; then a scale and a bias.

    In training with the mean and the biased variance of the batch's valid rows, over
    all axes but the channels': of the whole batch, on however many devices it lies.
    Running statistics ("batch_stats": running_mean, running_var) then move by a tenth
    of the way to that mean and to the *unbiased* variance; otherwise they take the
    batch's place. Padding rows count for nothing; what they become depends on the
    valid ones, and is finite.

    Parameters are `scale` (starts at 1) and `bias` (0), running statistics start at 0
    and 1.

    axis: where the channels are. -1: features. 1 of [b, t, d]: time steps, each with
        statistics over samples and features.

    Source: torch.nn.BatchNorm1d (epsilon 1e-5, momentum .1), whose channels are axis 1.
    Differs: of fewer than two values a channel PyTorch raises ValueError; here one
        value becomes the bias, and running statistics stay.
    """

    axis: int = -1

    def __call__(
        self, x: Float[Array, "b *t d"], valid: Bool[Array, " b"], *, train: bool
    ) -> Float[Array, "b *t d"]:
        """Normalise; with `train`, "batch_stats" must be mutable (not so in `init`)."""
        normed, scale, bias = self.parts(x, valid, train=train)
        return normed * scale + bias

    @nn.compact
    def parts(
        self, x: Float[Array, "b *t d"], valid: Bool[Array, " b"], *, train: bool
    ) -> tuple[Float[Array, "b *t d"], Array, Array]:
        """Return what is normed, and the scale and the bias that it lacks.

        Where intermediates are kept, this counts as a call: all three together.
        """
        channels = (x.shape[self.axis],)
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        running = [
            self.variable("batch_stats", name, start, channels)
            for name, start in (("running_mean", jnp.zeros), ("running_var", jnp.ones))
        ]
        others = tuple(i for i in range(x.ndim) if i != self.axis % x.ndim)

        def spread(statistic: Array) -> Array:
            return jnp.expand_dims(statistic, others)

        if not train:
            mean, variance = (r.value for r in running)
        else:
            counted = jnp.expand_dims(valid, range(1, x.ndim))
            x = jnp.where(counted, x, 0)  # so that no gradient meets NaN in padding
            count = valid.sum() * (x[0].size // channels[0])
            n = jnp.maximum(count, 1).astype(x.dtype)
            mean = x.sum(others) / n
            # Not E x^2 - (E x)^2, which loses the digits that a large mean takes.
            squares = jnp.where(counted, jnp.square(x - spread(mean)), 0).sum(others)
            variance = squares / n
            if not self.is_initializing():
                unbiased = squares / jnp.maximum(n - 1, 1)
                for r, now in zip(running, (mean, unbiased), strict=True):
                    moved = (1 - _MOMENTUM) * r.value + _MOMENTUM * now
                    r.value = jnp.where(count > 1, moved, r.value)
        normed = (x - spread(mean)) * jax.lax.rsqrt(spread(variance) + _EPSILON)
        scale, bias = spread(scale), spread(bias)
        self.sow("intermediates", "__call__", normed * scale + bias)
        return normed, scale, bias
