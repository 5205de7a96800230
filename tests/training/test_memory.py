"""Memory: counted from shapes, of programs and the process; limits, the line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict

from msa_jax.methods import PAPERS
from msa_jax.training import memory
from msa_jax.training.memory import Memory, Need

GB = 10**9


def test_counts_bytes():
    tree = {
        "a": jnp.zeros((3, 4), jnp.bfloat16),
        "b": jax.random.split(jax.random.key(0), 5),
    }
    assert memory.size_of(tree) == 3 * 4 * 2 + 5 * 8


def test_adds_up():
    need = Memory(data=10, state=3, step=100)
    assert need.total(seeds=4, at_once=4) == 10 + 12 + 400
    # A group that steps is a copy of its states.
    assert need.total(seeds=4, at_once=2) == 10 + 12 + 2 * (100 + 3)


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (2000, (8, 4, 2, 1)),
        (900, (4, 2, 1)),
        (700, (4, 2, 1)),
        (400, (2, 1)),
        (1, (1,)),
        (None, (8, 4, 2, 1)),
    ],
)
def test_seeds_step_in_the_largest_group_that_fits(room, expected):
    """8 seeds: 100 of data and state; .9 of the room may be planned with."""
    need = Memory(data=20, state=10, step=120)
    assert memory.groups_of_seeds(need, 8, room) == expected


NEED = Need(there=GB // 2, state=GB, seeds=5, program=3 * GB)


def config(**changes):
    found = ConfigDict(PAPERS["self_mm"].config())
    found.update_from_flattened_dict(changes)
    return found


def test_adds_up_to_the_peak():
    assert NEED.total() == 8.5 * GB
    assert NEED._replace(least=10 * GB).total() == 10 * GB  # compiling took more


def test_says_what_is_needed():
    line = memory.describe(NEED, 80 * GB, config())
    assert line == (
        "memory: about 8.5 GB at most (500 MB are there, 5 x 1 GB state, 3 GB to "
        "compute) of 80 GB"
    )
    assert memory.describe(NEED, None, config()) == line.removesuffix(" of 80 GB")


def test_says_what_to_do_where_it_does_not_fit():
    own = {"text.implementation": "own", "optim.batch_size": 32}
    said = memory.describe(NEED, 7 * GB, config(**own, **{"text.remat": False}))
    assert said.endswith(
        "of 7 GB; it may not fit: --config.seeds with at most 2 of them, or "
        "--config.text.remat=True, or --config.optim.batch_size=16 with "
        "--config.optim.accumulate_batches=8, or a machine with 9.44 GB"
    )
    # What is done already, or cannot be done, is not advised.
    done = {"text.remat": True, "optim.batch_size": 1}
    said = memory.describe(NEED, 3 * GB, config(**done))
    assert said.endswith("it may not fit: a machine with 9.44 GB")
    frozen = memory.describe(NEED, 3 * GB, config(**{"text.finetune": False}))
    assert "remat" not in frozen and "seeds with" not in frozen
    other = memory.describe(NEED, 3 * GB, config(**{"text.implementation": "other"}))
    assert "--config.text.implementation=own with --config.text.remat=True" in other


class Compiled:
    """What a program of 6 GB of arguments, 5 of them states, says of itself."""

    argument_size_in_bytes = 6 * GB
    output_size_in_bytes = 5 * GB + 7
    alias_size_in_bytes = 5 * GB
    temp_size_in_bytes = 2 * GB

    def __init__(self, known):
        self.known = known

    def memory_analysis(self):
        return self if self.known else None


@pytest.mark.parametrize("known", [True, False])
def test_a_program_says_what_it_takes(monkeypatch, known):
    """Of an accelerator the device alone counts; a CPU's memory holds the process."""
    counted = Memory(data=GB, state=GB, step=4 * GB)
    program = 2 * GB + 7 if known else 8 * GB

    def need(platform, devices):
        return memory.of_program(
            Compiled(known), counted, 5, 2, platform=platform, devices=devices
        )

    found = need("gpu", 2)
    assert found == Need(there=GB, state=GB, seeds=5, program=program)
    monkeypatch.setattr(memory, "resident", lambda: 3 * GB)
    monkeypatch.setattr(memory, "highest", lambda: 4 * GB)
    found = need("cpu", 2)
    there = 3 * GB + memory.COMING
    assert found == Need(there, GB, seeds=10, program=2 * program, least=4 * GB)


def test_counts_the_memory_of_this_process():
    before = memory.resident()
    block = np.ones(25_000_000)
    assert memory.resident() > before + 0.9 * block.nbytes
    assert memory.highest() >= before + 0.9 * block.nbytes
    del block
    memory.give_back()
    assert memory.resident() < before + 0.5 * 8 * 25_000_000 <= memory.highest()


def limits(tmp_path, text, files):
    (tmp_path / "cgroup").write_text(text)
    for name, content in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return list(memory._limits_of_groups(tmp_path / "cgroup", tmp_path / "fs"))


def test_reads_limits_of_containers(tmp_path):
    """Version 2 and 1; the groups above count; what is no limit does not."""
    found = limits(
        tmp_path,
        "0::/a/b\n",
        {"memory.max": "max\n", "a/memory.max": "700\n", "a/b/memory.max": "800\n"},
    )
    assert found == [700, 800]
    found = limits(
        tmp_path,
        "5:cpu:/x\n4:memory,other:/c:d\n0::/\n",
        {"memory/c:d/memory.limit_in_bytes": "900", "memory.max": "5000"},
    )
    assert sorted(found) == [900, 5000]
    # A container may not see the path that its own file names.
    found = limits(tmp_path, "0::/../../elsewhere\n", {"memory.max": "600"})
    assert found == [600]
    assert list(memory._limits_of_groups(tmp_path / "none", tmp_path)) == []


def test_a_container_has_its_own_limit(monkeypatch):
    of_machine = memory.capacity()
    assert of_machine is not None
    monkeypatch.setattr(memory, "_limits_of_groups", lambda *_: iter([12345, 1 << 62]))
    assert memory.capacity() == 12345


X = jnp.zeros(100, jnp.float32)
OWN = {
    "a chain": (lambda x: jnp.sin(jnp.cos(jnp.exp(x))), 2),
    "both ends": (lambda x: jnp.exp(x) + jnp.sin(jnp.cos(jnp.exp(x))), 3),
    "results": (lambda x: (jnp.sin(x), jnp.cos(x), jnp.exp(x)), 3),
    "another program": (jax.jit(lambda x: jnp.sin(jnp.cos(jnp.exp(x)))), 2),
    "beside another": (lambda x: jax.jit(jnp.sin)(x) + jnp.exp(jnp.cos(x)), 3),
    "the larger branch": (
        lambda x: jax.lax.cond(x[0] > 0, lambda x: x, lambda x: (x + x) * x, x),
        2 + 0.01,
    ),
    # What seven trips leave, the carry, and a trip's sine, cosine and sum.
    "a loop": (
        lambda x: jax.lax.scan(lambda x, _: (jnp.sin(x) + jnp.cos(x), x), x, length=7),
        7 + 1 + 3,
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_counts_what_is_computed_and_there_at_once(name):
    """In units of x; the condition is one more number of a hundred."""
    function, expected = OWN[name]
    program = jax.make_jaxpr(function)(X).jaxpr
    assert memory.computed(program, "gpu") == pytest.approx(expected * X.nbytes, abs=8)


def test_what_is_computed_again_is_counted_once():
    def layer(x, weight):
        return jnp.sin(jnp.cos(x * weight) * weight), None

    def kept(layer):
        gradient = jax.grad(lambda w: jax.lax.scan(layer, X, w)[0].sum())
        program = jax.make_jaxpr(gradient)(jnp.ones((9, 100))).jaxpr
        return memory.computed(program, "gpu")

    # Without, some numbers of every layer are kept, with it its input alone.
    assert kept(jax.checkpoint(layer)) < 0.6 * kept(layer)


@pytest.mark.parametrize("wrapped", [lambda f: f, jax.jit])
def test_a_platform_is_counted_by_its_own_form(wrapped):
    """What the other form keeps for the way back is a number repeated there."""

    def many(x):
        return jnp.sin(jnp.cos(jnp.sin(jnp.cos(x))))

    def few(x):
        return jnp.sin(x)

    def kept(form, platform):
        gradient = jax.grad(lambda x: wrapped(form)(x).sum())
        return memory.computed(jax.make_jaxpr(gradient)(X).jaxpr, platform)

    def either(x):
        return jax.lax.platform_dependent(x, cpu=many, default=few)

    assert kept(many, "cpu") > kept(few, "cpu")
    room = X.nbytes / 2
    assert kept(either, "cpu") == pytest.approx(kept(many, "cpu"), abs=room)
    assert kept(either, "gpu") == pytest.approx(kept(few, "gpu"), abs=room)


def test_estimates_what_a_training_keeps():
    method, split = tiny.make_self_mm(), tiny.make_split(40)
    states = tiny.make_states(method, split, (1,))
    state = jax.tree.map(lambda x: x[0], states)

    def estimate(size, platform="gpu"):
        given = method, state, split, split, size
        return memory.estimate(*given, platform=platform)

    need = estimate(8)
    params = memory.size_of(state.params)
    assert need.data == 2 * memory.size_of(split)
    assert need.state == memory.size_of(state) >= 4 * params  # best, two moments
    more, most = estimate(16), estimate(24)
    assert need.step > 2 * params
    # What is kept per sample is the same for each.
    assert more.step - need.step == most.step - more.step > 0
    on_tpu = estimate(8, "tpu")
    assert on_tpu.data == need.data and on_tpu.state == need.state
    assert on_tpu.step == pytest.approx(memory.TPU * need.step, abs=1)
