"""Random numbers of a network that are no dropout, and may be given instead.

The stream is one of `types.Method.streams`; given values lie in the collection "draws",
under the module's path and the draw's name, as a replay of recorded ones needs.
"""

import jax
from flax import linen as nn
from jaxtyping import Array

DRAWS = "draws"


def normal(module: nn.Module, stream: str, name: str, shape: tuple[int, ...]) -> Array:
    """Draw from the normal distribution of mean 0 and variance 1.

    Args:
        module: that draws, in its own `__call__`.
        stream: where the key comes from.
        name: of the draw within the module.
        shape: of the numbers; given ones must have it.
    """
    if not module.has_variable(DRAWS, name):
        return jax.random.normal(module.make_rng(stream), shape)
    given = module.get_variable(DRAWS, name)
    if given.shape != shape:
        raise ValueError(f"{name}: given draws have shape {given.shape}, not {shape}")
    return given
