"""UCRN's self-quality improvement layers: gates on the features of a modality."""

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from msa_jax.layers.dense import uniform


class ReluGate(nn.Module):
    """The weight ReLU(W x + b) of every feature, made from all of them.

    The bias starts at 1: with 0 half of the gates would start closed, and a gate that
    is closed for every sample never opens again.

    Source: UCRN, Eq. 9 and section 4.2.
    Differs: the pooling it names is over time, which has collapsed before; pooled over
        features, nothing would be left for the layer to correlate. The start is ours.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b d"]:
        """Return the weights; of a sequence, give its mean over time."""
        width = x.shape[1]
        start = uniform(width**-0.5)
        dense = nn.Dense(
            width, kernel_init=start, bias_init=nn.initializers.ones, name="linear"
        )
        return nn.relu(dense(x))


class SqueezeGate(nn.Module):
    """The weight sigmoid(V ReLU(W x)) of every feature, through width // reduction.

    Source: Redaimao/UCRN@21a6783; squeeze and excitation (Hu et al., 2018), without
        biases.
    Differs: at least one unit is left (width 30 gives 1; below 16 the code has none).
    """

    reduction: int = 16

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b d"]:
        """Return the weights; of a sequence, give its mean over time."""
        width = x.shape[1]
        narrow = max(1, width // self.reduction)
        squeeze = self.param("squeeze_kernel", uniform(width**-0.5), (width, narrow))
        excite = self.param("excite_kernel", uniform(narrow**-0.5), (narrow, width))
        return jax.nn.sigmoid(nn.relu(x @ squeeze) @ excite)
