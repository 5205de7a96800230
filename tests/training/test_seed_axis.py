"""Seeds in groups: those that have ended cost nothing, and keep what they have."""

import dataclasses
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msa_jax.ground.array_rules import largest
from msa_jax.ground.backend import by_platform
from msa_jax.ground.types import Selection, TrainState
from msa_jax.training import seed_axis
from msa_jax.training.train_state import make_mesh, state_sharding


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
        moved = jnp.where(state.selection.active, state.params + more, state.params)
        return dataclasses.replace(state, params=moved), state.params[1]

    def ended(state, more):
        return -state.params[1]

    def computed_by(how, at_once):
        computed.clear()
        program = jax.jit(seed_axis.over_groups(work, ended, how, at_once))
        (found, log) = program(states(active), 10.0)
        jax.effects_barrier()
        np.testing.assert_array_equal(found.params, expected)
        return sorted(set(computed)), log.tolist()

    active = jnp.array([True, False, False, False, True, True])
    expected = np.arange(12.0).reshape(6, 2) + 10 * np.asarray(active)[:, None]
    assert computed_by("map", 0) == ([0, 8, 10], [1, -3, -5, -7, 9, 11])
    # Groups (0, 1), (2, 3), (4, 5): the second is never computed.
    assert computed_by("vmap", 2) == ([0, 2, 8, 10], [1, 3, -5, -7, 9, 11])
    for all_at_once in (0, 6):
        found = computed_by("vmap", all_at_once)
        assert found == ([0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11])


@pytest.mark.parametrize("how, at_once", [("map", 0), ("vmap", 2), ("vmap", 3)])
def test_any_groups_may_go_on(how, at_once):
    def work(state):
        return dataclasses.replace(state, params=state.params * 2), state.params[0]

    program = jax.jit(
        seed_axis.over_groups(work, lambda state: state.params[0], how, at_once)
    )
    for going in itertools.product([False, True], repeat=6 // (at_once or 1)):
        active = np.repeat(going, at_once or 1)
        state = states(jnp.asarray(active))
        found, log = program(state)
        expected = state.params * (1 + active[:, None])
        np.testing.assert_array_equal(found.params, expected)
        np.testing.assert_array_equal(log, state.params[:, 0])


def test_in_turn_states_are_there_once():
    """The program takes the states' memory over, and room for one seed, not for all."""

    def work(state, more):
        added = dataclasses.replace(state, params=2 * state.params + more)
        return added, state.params.max()

    def ended(state, more):
        return state.params.max()

    seeds, numbers = 8, 250_000
    state = states(jnp.arange(seeds) != 3)
    value = jnp.arange(float(seeds * numbers)).reshape(seeds, numbers)
    # A program that takes memory over: no two leaves may share theirs.
    state = jax.tree.map(jnp.array, dataclasses.replace(state, params=value))
    expected, largest = 2 * np.asarray(value) + 1, value.max(axis=1)
    expected[3] = value[3]
    program = jax.jit(seed_axis.over_groups(work, ended, "map"), donate_argnums=0)
    compiled = program.lower(state, 1.0).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 3 * 4 * numbers
    address = state.params.unsafe_buffer_pointer()
    found, log = compiled(state, 1.0)
    assert found.params.unsafe_buffer_pointer() == address
    np.testing.assert_array_equal(found.params, expected)
    np.testing.assert_array_equal(log, largest)


@pytest.mark.parametrize("how, at_once", [("vmap", 0), ("vmap", 1), ("map", 0)])
def test_a_device_does_its_own_seeds_and_waits_for_no_other(how, at_once):
    """Nothing is sent, though a loop is as long as the longest seed of its device."""
    mesh = make_mesh(2, 1, 4)

    def work(state, more):
        steps = largest(state.params[0].astype(int))
        moved = jax.lax.fori_loop(0, steps, lambda _, x: x * more, state.params)
        moved = jnp.where(state.selection.active, moved, state.params)
        return dataclasses.replace(state, params=moved), steps

    def ended(state, more):
        return jnp.zeros((), int)

    program = jax.jit(
        seed_axis.per_device(seed_axis.over_groups(work, ended, how, at_once), mesh),
        in_shardings=(state_sharding(mesh), None),
        out_shardings=state_sharding(mesh),
    )
    active = jnp.array([True, True, False, True])
    given = jax.device_put(states(active), state_sharding(mesh))
    text = program.lower(given, 3.0).compile().as_text()
    assert re.findall(r"all-|collective-", text) == []
    found, log = program(given, 3.0)
    together = how == "vmap" and not at_once
    first = [0, 2, 4, 6]  # numbers of the seeds
    steps = [2, 2, 6, 6] if together else [*first[:2], 0, first[3]]
    assert log.tolist() == steps
    before = np.arange(8.0).reshape(4, 2)
    times = np.where(active, 3.0 ** np.array(steps), 1)
    np.testing.assert_array_equal(found.params, times[:, None] * before)


def test_a_group_has_seeds_of_every_device():
    """Of devices that share batches: groups (0, 4), (1, 5), ...; no state is sent."""
    mesh = make_mesh(4, 2, 8)

    def work(state, more):
        moved = jnp.where(state.selection.active, state.params * more, state.params)
        return dataclasses.replace(state, params=moved), state.params[0]

    program = jax.jit(
        seed_axis.over_groups(work, lambda state, more: state.params[0], "vmap", 1, 2),
        in_shardings=(state_sharding(mesh), None),
        out_shardings=state_sharding(mesh),
    )
    active = jnp.array([True, False, False, True, True, False, True, True])
    given = jax.device_put(states(active), state_sharding(mesh))
    text = program.lower(given, 3.0).compile().as_text()
    assert re.findall(r"all-gather|all-to-all|collective-permute", text) == []
    found, log = program(given, 3.0)
    before = np.arange(16.0).reshape(8, 2)
    expected = np.where(np.asarray(active)[:, None], 3 * before, before)
    np.testing.assert_array_equal(found.params, expected)
    np.testing.assert_array_equal(log, before[:, 0])


@pytest.mark.platforms
def test_a_program_that_knows_its_devices_is_traced_for_them_alone():
    traced = []

    def form(name):
        return lambda x: traced.append(name) or x + 1

    def program(x):
        return by_platform(x, cpu=form("cpu"), default=form("default"))

    with_mesh = seed_axis.with_mesh(program, make_mesh(1, 1, 1))
    assert jax.jit(with_mesh)(1) == 2 and traced == ["cpu"]
    traced.clear()
    assert jax.jit(program)(1) == 2 and traced == ["cpu", "default"]
