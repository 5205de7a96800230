"""The modality recalibration module: every feature weighed by all modalities."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from msa_jax.ground.names import MODALITIES
from msa_jax.layers.dense import Linear

# Order of the concatenation: the public code's, which decides the weights' layout.
ORDER = ("audio", "vision", "text")


class Recalibration(nn.Module):
    """Scale each feature by 2 sigmoid of what all modalities' means say.

    The means are squeezed to floor(sum of widths / `squeeze`) values and restored.

    Source: SUGRM, section 3.2.1 (squeeze and excitation, Hu et al., 2018).
    Differs: `masked` averages valid steps only; the public code averages the padding,
        too (paper: over the sequence length l_s).
    """

    squeeze: int = 4
    masked: bool = False

    @nn.compact
    def __call__(
        self,
        sequences: dict[str, Float[Array, "b _ _"]],
        lengths: dict[str, Int[Array, " b"]],
    ) -> dict[str, Float[Array, "b _ _"]]:
        """Return the sequences, rescaled; factors are in 0..2."""
        means = [self._mean(sequences[m], lengths[m]) for m in ORDER]
        total = jnp.concatenate(means, axis=-1)
        narrow = Linear(max(1, total.shape[-1] // self.squeeze), name="squeeze_map")
        signal = nn.relu(narrow(total))
        scaled = {}
        for m in MODALITIES:
            excited = Linear(sequences[m].shape[-1], name=f"{m}_map")(signal)
            scaled[m] = sequences[m] * (2 * nn.sigmoid(excited))[:, None]
        return scaled

    def _mean(self, x: Array, length: Array) -> Float[Array, "b d"]:
        if not self.masked:
            return x.mean(axis=1)
        valid = jnp.arange(x.shape[1])[None] < length[:, None]
        kept = jnp.where(valid[:, :, None], x, 0)
        return kept.sum(axis=1) / length[:, None].astype(x.dtype)
