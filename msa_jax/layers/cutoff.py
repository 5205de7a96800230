"""Feature cutoff: an augmented view that lacks some channels at every step."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, PRNGKeyArray


def kept_channels(
    key: PRNGKeyArray, batch: int, width: int, ratio: float
) -> Bool[Array, "b d"]:
    """Draw which channels each sample keeps; floor(ratio * width) are cut.

    Source: MMCL, section 3.3; Shen et al. (2020), section 3.1 (feature cutoff).
    Differs: the public code of Cutoff draws indices with replacement, so that fewer are
        cut (18 % where 20 % are asked for); the paper says a certain proportion.
    """
    count = int(ratio * width + 1e-9)  # 0.29 * 100 is 28.999...
    places = jnp.broadcast_to(jnp.arange(width)[None], (batch, width))
    return jax.random.permutation(key, places, axis=1, independent=True) >= count


def cut(x: Float[Array, "b t d"], kept: Bool[Array, "b d"]) -> Float[Array, "b t d"]:
    """Set the channels that are not kept to zero at every step; nothing is rescaled."""
    return jnp.where(kept[:, None], x, 0)


class FeatureCutoff(nn.Module):
    """Cut channels, drawn anew for each sample and call, from the "dropout" stream.

    Source: MMCL, section 3.3 and appendix A.1 (ratio 0.2).
    """

    ratio: float = 0.2

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], *, train: bool
    ) -> Float[Array, "b t d"]:
        """Return the view; the sequence itself outside training."""
        if not train:
            return x
        key = self.make_rng("dropout")
        return cut(x, kept_channels(key, x.shape[0], x.shape[2], self.ratio))
