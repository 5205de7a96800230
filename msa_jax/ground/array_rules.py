"""Operations on arrays with rules of their own: going back, and for several at once."""

import jax
from jaxtyping import Array


@jax.custom_vjp
def move(x: Array, place: Array, source: Array) -> Array:
    """Return x[place], 0 where that lies outside; `source` is the way back.

    Gathers both ways: the automatic backward pass is a scatter, slow on a CPU.

    Args:
        x: rows [n, ...].
        place: which rows to take; n or more: none.
        source: the other way round: which place has row i.
    """
    del source
    return x.at[place].get(mode="fill", fill_value=0)


def _move_forward(x, place, source):
    return move(x, place, source), (place, source)


def _move_backward(both, gradient):
    return move(gradient, *both[::-1]), None, None


move.defvjp(_move_forward, _move_backward)


@jax.custom_batching.custom_vmap
def largest(x: Array) -> Array:
    """Return x; of several at once (seeds under vmap), the largest for all.

    Their programs run as one. A choice that differs between them would run every size.
    """
    return x


@largest.def_vmap
def _(axis_size, in_batched, x):
    del axis_size
    return (largest(x.max(axis=0)), False) if in_batched[0] else (x, False)
