"""Memory counted from shapes: sizes from closed forms, groups of seeds, the line."""

import jax
import jax.numpy as jnp
import pytest
import tiny

from msa_jax import memory
from msa_jax.memory import Memory

GB = 10**9


def test_counts_bytes():
    tree = {
        "a": jnp.zeros((3, 4), jnp.bfloat16),
        "b": jax.random.split(jax.random.key(0), 5),
    }
    assert memory.size_of(tree) == 3 * 4 * 2 + 5 * 8


def test_adds_up():
    need = Memory(data=10, state=3, step=100)
    assert need.total(seeds=4, at_once=2) == 10 + 12 + 200


@pytest.mark.parametrize(
    ("room", "expected"), [(2000, 8), (900, 4), (700, 4), (400, 2), (1, 1), (None, 8)]
)
def test_seeds_step_in_the_largest_group_that_fits(room, expected):
    """8 seeds: 100 of data and state; .9 of the room may be planned with."""
    need = Memory(data=20, state=10, step=130)
    assert memory.group_of_seeds(need, 8, room) == expected


def test_says_what_is_needed_and_what_to_do():
    need = Memory(data=GB // 2, state=GB, step=3 * GB)
    line = memory.describe(need, seeds=5, at_once=5, room=80 * GB)
    assert line == (
        "memory: about 20.5 GB (data 500 MB, 5 x 1 GB state, 5 x 3 GB step) of 80 GB"
    )
    line = memory.describe(need, seeds=5, at_once=1, room=8 * GB)
    assert "1 x 3 GB step) of 8 GB; it may not fit: fewer seeds, --config" in line


def test_estimates_what_a_training_keeps():
    method, split = tiny.make_self_mm(), tiny.make_split(40)
    states = tiny.make_states(method, split, (1,))
    state = jax.tree.map(lambda x: x[0], states)
    need = memory.estimate(method, state, split, split, 8)
    params = memory.size_of(state.params)
    assert need.data == 2 * memory.size_of(split)
    assert need.state == memory.size_of(state) >= 4 * params  # best, two moments
    more, most = (memory.estimate(method, state, split, split, n) for n in (16, 24))
    assert need.step > 2 * params
    # What is kept per sample is the same for each.
    assert more.step - need.step == most.step - more.step > 0
