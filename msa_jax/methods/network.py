"""A method's network as it is called: at the start, in training, and to answer.

Its variables are a dict of collections, Flax's: "params", and running statistics under
names of their own ("batch_stats"). A caller may add "draws", see `layers.draws`.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from msa_jax.data.batches import gather
from msa_jax.ground.types import (
    Batch,
    Method,
    Outputs,
    PyTree,
    Selection,
    Split,
    TrainState,
)
from msa_jax.layers.draws import DRAWS

Variables = dict[str, Any]


def variables(state: TrainState | Selection) -> Variables:
    """Return all that the network is applied with."""
    return {"params": state.params, **state.statistics}


def start(method: Method, key: PRNGKeyArray, batch: Batch) -> Variables:
    """Draw the variables of a network for batches of this shape."""
    return dict(method.model.init(key, batch, train=False))


def shapes(method: Method, split: Split) -> Variables:
    """Return the shapes and types of a network's variables; nothing is computed."""

    def init(split: Split) -> Variables:
        batch = gather(split, jnp.zeros((1,), jnp.int32))
        return start(method, jax.random.key(0), batch)

    return jax.eval_shape(init, split)


def learn(
    method: Method, variables: Variables, batch: Batch, key: PRNGKeyArray
) -> tuple[Outputs, dict[str, PyTree]]:
    """Return a training pass's outputs, and the statistics it leaves.

    Args:
        method: the method.
        variables: see above.
        batch: what is learnt.
        key: of its dropout; every other stream has one derived from it.
    """
    rngs = {"dropout": key}
    for number, name in enumerate(method.streams):
        rngs[name] = jax.random.fold_in(key, number)
    moving = [name for name in variables if name not in ("params", DRAWS)]
    outputs, statistics = method.model.apply(
        variables, batch, train=True, rngs=rngs, mutable=moving
    )
    return cast(Outputs, outputs), dict(statistics)


def answer(method: Method, variables: Variables, batch: Batch) -> Outputs:
    """Return the outputs outside training; nothing changes.

    What a network draws there is the same for every batch, seed and run.
    """
    rngs = {name: jax.random.key(i) for i, name in enumerate(method.streams)}
    return cast(Outputs, method.model.apply(variables, batch, train=False, rngs=rngs))
