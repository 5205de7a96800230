"""LSTMs in turn (a CPU's form) and together (an accelerator's), against one scan."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.sharding import NamedSharding, PartitionSpec

from msa_jax.layers import recurrence
from msa_jax.layers.recurrence import Sequence, Weights
from msa_jax.training.train_state import make_mesh

SIZES = ((9, 3, 4), (13, 2, 6))  # steps, inputs, width of two LSTMs
FORMS = {"cpu": recurrence._in_turn, "accelerator": recurrence._together}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Write out fewer steps of a loop: each takes time to compile."""
    short = recurrence.ACCELERATOR._replace(unroll=2)
    monkeypatch.setattr(recurrence, "ACCELERATOR", short)


def make(batch=5, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    sequences, weights = [], []
    for steps, read, width in SIZES:
        x = rng.normal(size=(batch, steps, read)).astype(dtype)
        length = rng.integers(1, steps - 3, batch)
        length[0], length[1] = steps - 4, 0
        sequences.append(Sequence(jnp.asarray(x), jnp.asarray(length, jnp.int32)))
        shapes = (read, 4 * width), (width, 4 * width), (4 * width,)
        drawn = (rng.normal(size=s).astype(dtype) for s in shapes)
        weights.append(Weights(*map(jnp.asarray, drawn)))
    return sequences, weights


def plain(sequence, w):
    """One LSTM, step by step; its state stands still beyond the length."""
    x, length = sequence
    zero = jnp.zeros((len(x), w.state_kernel.shape[0]), x.dtype)

    def step(state, inputs):
        hidden, cell = state
        t, now = inputs
        gates = now @ w.input_kernel + hidden @ w.state_kernel + w.bias[None]
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        i, f, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jax.nn.sigmoid(o)
        new_cell = f * cell + i * jnp.tanh(g)
        runs = (t < length)[:, None]
        new = o * jnp.tanh(new_cell)
        hidden, cell = jnp.where(runs, new, hidden), jnp.where(runs, new_cell, cell)
        return (hidden, cell), [jnp.where(runs, x, 0) for x in (new, new_cell)]

    times = jnp.arange(x.shape[1]), jnp.swapaxes(x, 0, 1)
    last, every = jax.lax.scan(step, (zero, zero), times)
    output, cells = (jnp.swapaxes(x, 0, 1) for x in every)
    return recurrence.States(output, *last, cells)


def run_plain(sequences, weights, with_cells=False):
    states = [plain(s, w) for s, w in zip(sequences, weights, strict=True)]
    return states if with_cells else [s._replace(cells=None) for s in states]


def number(run, xs, weights, lengths):
    """Mix everything that is returned into one number."""
    sequences = [Sequence(*both) for both in zip(xs, lengths, strict=True)]
    states = run(sequences, weights)
    leaves = enumerate(jax.tree.leaves(states))
    return sum(jnp.sin(x * (k + 1)).sum() for k, x in leaves)


def values_and_gradients(run, sequences, weights):
    xs, lengths = zip(*sequences, strict=True)
    both = jax.jit(jax.value_and_grad(partial(number, run), argnums=(0, 1)))
    return both(xs, weights, lengths)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk", [1, 4, 32])
def test_equals_the_plain_recurrence(monkeypatch, form, chunk):
    """In 32 steps fit all 13, of which 2 at a time leave one; 4: with all cells.

    Three inputs may be wide.
    """
    monkeypatch.setattr(recurrence, "CHUNK", chunk)
    if chunk < 32:
        for name in ("CPU", "ACCELERATOR"):
            wide = getattr(recurrence, name)._replace(wide=3)
            monkeypatch.setattr(recurrence, name, wide)
    ours, theirs = (
        partial(run, with_cells=chunk == 4) for run in (FORMS[form], run_plain)
    )
    with jax.enable_x64(True):
        given = make()
        states = ours(*given), theirs(*given)
        found = values_and_gradients(ours, *given)
        expected = values_and_gradients(theirs, *given)
        for a, b in zip(*map(jax.tree.leaves, (states[0], states[1])), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)
        for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_without_lengths_all_steps_are_read_here_projected_before(form):
    def projected(sequences, weights):
        both = list(zip(sequences, weights, strict=True))
        drives = [Sequence(s.x @ w.input_kernel, None) for s, w in both]
        return FORMS[form](drives, [w._replace(input_kernel=None) for w in weights])

    with jax.enable_x64(True):
        sequences, weights = make()
        full = [Sequence(x, jnp.full(len(x), x.shape[1])) for x, _ in sequences]
        found = values_and_gradients(projected, full, weights)
        expected = values_and_gradients(run_plain, full, weights)
        for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_what_lies_beyond_the_length_is_never_read(form):
    sequences, weights = make(dtype=np.float32)
    broken = []
    for x, length in sequences:
        beyond = jnp.arange(x.shape[1])[None] >= length[:, None]
        broken.append(Sequence(jnp.where(beyond[:, :, None], jnp.nan, x), length))
    found = values_and_gradients(FORMS[form], broken, weights)
    tiny.assert_same(found, values_and_gradients(FORMS[form], sequences, weights))
    assert np.isfinite(found[0])


@pytest.mark.parametrize(("form", "taken"), [("cpu", 6 + 12), ("accelerator", 12)])
def test_ends_with_the_longest_sequence(monkeypatch, form, taken):
    """Lengths to 5 in 9 padded steps (3 chunks of 3); to 9 in 13 (4 of 4)."""
    steps = []
    take = recurrence._step

    def counted(*args):
        jax.debug.callback(lambda: steps.append(1))
        return take(*args)

    monkeypatch.setattr(recurrence, "_step", counted)
    monkeypatch.setattr(recurrence, "CHUNK", 4)
    sequences, weights = make(dtype=np.float32)
    assert [int(s.length.max()) for s in sequences] == [5, 9]
    jax.block_until_ready(FORMS[form](sequences, weights))
    jax.effects_barrier()
    assert len(steps) == taken


@pytest.mark.parametrize("form", FORMS)
def test_seeds_side_by_side_advance_in_one_loop(form):
    """Under vmap the loop's length is a number, and each seed gets what it gets alone.

    A loop with a condition per seed would keep every buffer of every seed alive; a
    place to write at per seed would make every write a scatter.
    """
    run = FORMS[form]
    seeds = [make(seed=seed, dtype=np.float32) for seed in (0, 1, 2)]
    each = [values_and_gradients(run, *given) for given in seeds]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *seeds)
    together = jax.vmap(partial(values_and_gradients, run))
    for k, alone in enumerate(each):
        for a, b in zip(
            jax.tree.leaves(alone), jax.tree.leaves(together(*stacked)), strict=True
        ):
            np.testing.assert_allclose(b[k], a, rtol=2e-5, atol=2e-5)
    # JAX joins the conditions of several seeds by "or".
    program = jax.jit(together).lower(*stacked).as_text()
    assert "while" in program and "stablehlo.or" not in program
    assert "scatter" not in program


@pytest.mark.parametrize("form", FORMS)
def test_devices_that_share_a_batch_gather_nothing(form):
    """Of a chunk only the weights' gradients cross the devices, as sums."""
    mesh = make_mesh(8, 8, 1)
    sequences, weights = make(batch=8, dtype=np.float32)
    divided = NamedSharding(mesh, PartitionSpec("data"))
    sequences = jax.device_put(sequences, divided)
    weights = jax.device_put(weights, NamedSharding(mesh, PartitionSpec()))
    xs, lengths = zip(*sequences, strict=True)
    both = jax.jit(jax.grad(partial(number, FORMS[form]), argnums=(0, 1)))
    options = {"xla_backend_optimization_level": 0}
    text = both.lower(xs, weights, lengths).compile(compiler_options=options).as_text()
    assert "all-reduce" in text
    assert "all-gather" not in text and "all-to-all" not in text


@pytest.mark.platforms
@pytest.mark.parametrize(
    ("platform", "more"), [("cuda", 0), ("tpu", 0), ("cpu", 1)], ids=str
)
def test_an_accelerator_takes_one_product_for_all(platform, more):
    """Products of a chunk, both passes: another LSTM adds none but on a CPU."""

    def products(count):
        sequences, weights = make(dtype=np.float32)
        sequences, weights = (sequences * 2)[:count], (weights * 2)[:count]
        xs, lengths = zip(*sequences, strict=True)
        both = jax.jit(jax.grad(partial(number, recurrence.run), argnums=(0, 1)))
        traced = both.trace(xs, weights, lengths)
        lowered = traced.lower(lowering_platforms=(platform,))
        return lowered.as_text().count("stablehlo.dot_general")

    assert products(3) == products(1) * (1 + 2 * more)


def test_an_accelerator_writes_the_steps_of_a_row_at_once(monkeypatch):
    """However many they are: every write is a kernel, and waits for the one before."""

    def writes(unroll):
        form = recurrence.ACCELERATOR._replace(unroll=unroll, wide=wide)
        monkeypatch.setattr(recurrence, "ACCELERATOR", form)
        run = partial(number, recurrence._together)
        program = jax.jit(jax.grad(run, argnums=(0, 1))).lower(xs, weights, (None,))
        return program.as_text().count("stablehlo.dynamic_update_slice")

    sequences, weights = make(dtype=np.float32)
    xs, weights = (sequences[0].x[:, :8],), weights[:1]
    for wide in (1, 256):  # gates kept, and made again
        assert writes(2) == writes(4)


def test_turning_around_is_its_own_transpose():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5, 2)), jnp.float32)
    length = jnp.array([5, 0, 3])
    turned = recurrence.reverse(x, length)
    np.testing.assert_array_equal(turned[0], x[0, ::-1])
    np.testing.assert_array_equal(turned[1], np.zeros((5, 2)))
    np.testing.assert_array_equal(turned[2, :3], x[2, 2::-1])
    assert not turned[2, 3:].any()
    weight = jnp.cos(jnp.arange(30.0)).reshape(3, 5, 2)
    ours = jax.grad(lambda x: (recurrence.reverse(x, length) * weight).sum())(x)
    for row, n in enumerate([5, 0, 3]):
        np.testing.assert_array_equal(ours[row, :n], weight[row, :n][::-1])
        assert not ours[row, n:].any()
