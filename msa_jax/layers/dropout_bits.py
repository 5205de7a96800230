"""Random words for dropout: Threefry in one pass, with both of its outputs."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, UInt32

_TURNS = ((13, 15, 26, 6), (17, 29, 16, 24))  # bits, round by round
_PARITY = np.uint32(0x1BD11BDA)


def words(key: PRNGKeyArray, count: int) -> UInt32[Array, " count"]:
    """Return random 32-bit words.

    They are those of `jax.random.bits` where `jax_threefry_partitionable` is off. With
    it on, as it is by default, jax makes every word from a block of its own and throws
    half of each away, and on a CPU it goes over the memory once a group of rounds: 3
    times the time (docs/performance.md). Every word depends on the key and its own
    place only, so the layout over devices does not matter.

    Args:
        key: of jax's default generator.
        count: how many words.

    Source: Threefry-2x32 with 20 rounds (Salmon et al., SC 2011, section 3.3).
    """
    half = -(-count // 2)
    first, second = jax.random.key_data(key)[..., -2:]
    schedule = (first, second, first ^ second ^ _PARITY)
    place = jnp.arange(half, dtype=jnp.uint32)
    # An odd number of words leaves the last block's second counter at 0, as in jax.
    other = jnp.where(half + place < count, half + place, 0).astype(jnp.uint32)
    x, y = place + schedule[0], other + schedule[1]
    for group in range(5):
        for turn in _TURNS[group % 2]:
            x = x + y
            y = ((y << np.uint32(turn)) | (y >> np.uint32(32 - turn))) ^ x
        x = x + schedule[(group + 1) % 3]
        y = y + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return jnp.concatenate([x, y])[:count]
