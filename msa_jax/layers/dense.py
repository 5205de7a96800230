"""Linear layers that start as PyTorch's do."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray

from msa_jax.ground.backend import by_platform, divides_batches


def uniform(bound: float) -> Callable[..., Array]:
    """Return an initialiser that draws from U(-bound, bound)."""

    def draw(key: PRNGKeyArray, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def product(x: Array, kernel: Float[Array, "d o"], axis: int = -1) -> Array:
    """Multiply an axis of x by a matrix.

    A CPU is given all other axes as one. Else its compiler turns the gradient of the
    result around for that of the matrix, entry by entry, and makes it anew for it: a
    quarter of a step of SUGRM (docs/performance.md). Not where devices share a batch,
    whose samples would be gathered.

    Args:
        x: [..., d].
        kernel: the matrix.
        axis: -1, or 0: x and the result are [d, ...] and [o, ...].
    """

    def joined(x: Array, kernel: Array) -> Array:
        shape = x.shape[1:] if axis == 0 else x.shape[:-1]
        if axis == 0:
            return (kernel.T @ x.reshape(len(x), -1)).reshape(-1, *shape)
        return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*shape, -1)

    def plain(x: Array, kernel: Array) -> Array:
        return jnp.einsum("d...,do->o...", x, kernel) if axis == 0 else x @ kernel

    if x.ndim == 2 or divides_batches():
        return plain(x, kernel)
    return by_platform(x, kernel, cpu=joined, default=plain)


class Linear(nn.Module):
    """An affine map whose kernel and bias start at U(+-1/sqrt(inputs)).

    Source: torch.nn.Linear (kaiming_uniform with a = sqrt 5 comes to this bound), on
        which every published number of Self-MM rests.
    """

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b {self.width}"]:
        """Apply the map to the last axis."""
        kernel, bias = LinearWeights(self.width, name="linear")(x.shape[-1])
        mapped = product(x, kernel)
        return mapped + jnp.broadcast_to(bias, mapped.shape)


class LinearWeights(nn.Module):
    """The parameters of such a map, for who applies it in parts."""

    width: int

    @nn.compact
    def __call__(
        self, read: int
    ) -> tuple[Float[Array, "d {self.width}"], Float[Array, " {self.width}"]]:
        """Return kernel and bias, for inputs that are `read` wide."""
        start = uniform(read**-0.5)
        kernel = self.param("kernel", start, (read, self.width))
        return kernel, self.param("bias", start, (self.width,))


class ScoreHead(nn.Module):
    """Dropout, then Linear-ReLU once or twice, then a score.

    Returns the score and the feature after the *first* ReLU, which is what ULGM reads.

    Source: Self-MM, "Overall Architecture" (one hidden layer);
        models/multiTask/SELF_MM.py (two: post_*_layer_1 to 3).
    Differs: `hidden_layers` chooses; 2, the public code, is the default.
    """

    width: int
    dropout: float
    hidden_layers: int = 2

    @nn.compact
    def __call__(
        self, x: Float[Array, "b d"], *, train: bool
    ) -> tuple[Float[Array, " b"], Float[Array, "b {self.width}"]]:
        """Return (score, feature)."""
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        feature = nn.relu(Linear(self.width, name="layer_1")(x))
        x = feature
        for layer in range(2, self.hidden_layers + 1):
            x = nn.relu(Linear(self.width, name=f"layer_{layer}")(x))
        return Linear(1, name="score")(x)[:, 0], feature


class ResidualHead(nn.Module):
    """Linear, ReLU, dropout and Linear, added to their input; then Linear.

    Source: UCRN's public code (its model's last block); MulT's before it.
    """

    outputs: int
    dropout: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "b d"], *, train: bool
    ) -> Float[Array, "b {self.outputs}"]:
        """Return scores or logits."""
        hidden = nn.relu(Linear(x.shape[1], name="layer_1")(x))
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        hidden = x + Linear(x.shape[1], name="layer_2")(hidden)
        return Linear(self.outputs, name="score")(hidden)


class TwoLayerHead(nn.Module):
    """Linear, ReLU, dropout, Linear.

    hidden: width between them; None: as wide as the input.

    Source: UCRN, section 3.5 (two fully connected layers); the small nets of MFN.
    Differs: UCRN does not state activation and dropout; as in the public code's head.
    """

    outputs: int
    dropout: float
    hidden: int | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b d"], *, train: bool
    ) -> Float[Array, "*b {self.outputs}"]:
        """Return scores, logits or whatever the last map gives."""
        hidden = nn.relu(Linear(self.hidden or x.shape[-1], name="layer_1")(x))
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        return Linear(self.outputs, name="score")(hidden)
