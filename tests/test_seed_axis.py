"""Seeds in groups: those that have ended cost nothing, and keep what they have."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from msa_jax import seed_axis
from msa_jax.types import Selection, TrainState


def states(active):
    seeds = len(active)
    zeros = jnp.zeros(seeds, jnp.int32)
    chosen = Selection(jnp.zeros((seeds, 2)), jnp.zeros(seeds), zeros, active)
    value = jnp.arange(2.0 * seeds).reshape(seeds, 2)
    return TrainState(zeros, zeros, value, (), (), chosen, jnp.zeros(seeds))


def test_a_group_that_has_ended_computes_nothing():
    computed = []

    def work(state, more):
        jax.debug.callback(lambda x: computed.append(float(x)), state.params[0])
        return dataclasses.replace(state, params=state.params + more), state.step

    def rest(state, more):
        return state, state.step

    def one(state, more):
        return jax.lax.cond(state.selection.active, work, rest, state, more)

    active = jnp.array([True, False, False, False, True, True])
    state = states(active)
    program = jax.jit(seed_axis.over_seed_axis(one, "vmap", 2, rest))
    found, _ = program(state, 10.0)
    jax.effects_barrier()
    # Groups (0, 1), (2, 3), (4, 5): the second is never computed, half of the first is.
    assert sorted(set(computed)) == [0, 2, 8, 10]
    expected = np.arange(12.0).reshape(6, 2) + 10 * np.asarray(active)[:, None]
    np.testing.assert_array_equal(found.params, expected)
    computed.clear()
    together, _ = jax.jit(seed_axis.over_seed_axis(one, "vmap", 0, rest))(state, 10.0)
    np.testing.assert_array_equal(together.params, expected)


def test_in_turn_states_are_there_once():
    """The program takes the states' memory over, and room for one seed, not for all."""

    def work(state, more):
        added = dataclasses.replace(state, params=2 * state.params + more)
        return added, state.params.max()

    def rest(state, more):
        return state, state.params.max()

    def one(state, more):
        return jax.lax.cond(state.selection.active, work, rest, state, more)

    seeds, numbers = 8, 250_000
    state = states(jnp.arange(seeds) != 3)
    value = jnp.arange(float(seeds * numbers)).reshape(seeds, numbers)
    # A program that takes memory over: no two leaves may share theirs.
    state = jax.tree.map(jnp.array, dataclasses.replace(state, params=value))
    expected, largest = 2 * np.asarray(value) + 1, value.max(axis=1)
    expected[3] = value[3]
    program = jax.jit(seed_axis.over_seed_axis(one, "map", 0, rest), donate_argnums=0)
    compiled = program.lower(state, 1.0).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 3 * 4 * numbers
    address = state.params.unsafe_buffer_pointer()
    found, log = compiled(state, 1.0)
    assert found.params.unsafe_buffer_pointer() == address
    np.testing.assert_array_equal(found.params, expected)
    np.testing.assert_array_equal(log, largest)
