"""The gated memory, the memory fusion and what aligns their inputs, step by step."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import quick

from msa_jax.layers import gated_memory
from msa_jax.layers.gated_memory import GatedMemory, Lstm, MemoryFusion, Small
from msa_jax.layers.resample import block_mean

T, B, D, M = 4, 2, 3, 2
LENGTH = np.array([4, 2])


def drawn(module, *given):
    shapes = jax.eval_shape(
        partial(module.init, train=False), jax.random.key(0), *given
    )
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape)), shapes)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def two_layers(p, x, *path):
    """Linear, ReLU, Linear, of parameters as NumPy arrays."""
    first, last = (p[layer].get("linear", p[layer]) for layer in ("layer_1", "score"))
    return (
        np.maximum(x @ first["kernel"] + first["bias"], 0) @ last["kernel"]
        + (last["bias"])
    )


def remembered(p, x, length):
    """Return the memory after the last valid step, as the paper writes it."""
    u = np.zeros((x.shape[1], M))
    for t, now in enumerate(x):
        both = np.concatenate([now, u], axis=1)
        keep, write = (sigmoid(two_layers(p[g], both)) for g in ("retain", "update"))
        new = keep * u + write * np.tanh(two_layers(p["candidate"], now))
        u = np.where((t < length)[:, None], new, u)
    return u


@pytest.mark.parametrize("length", [None, LENGTH])
def test_the_memory_fusion_is_that_of_a_plain_loop(length):
    """Attention over the cells of a step and the one before, then the gates."""
    rng = np.random.default_rng(1)
    states = {
        m: Lstm(*rng.normal(size=(2, T, B, D)), rng.normal(size=(B, D))) for m in "ab"
    }
    module = MemoryFusion(M, *(Small(width, 0.5) for width in (5, 6, 4, 7)))
    count = None if length is None else jnp.asarray(length)
    variables = drawn(module, states, count)
    run = quick(partial(module.apply, train=False, mutable="intermediates"))
    ours, kept = run(variables, states, count)
    p = jax.tree.map(np.asarray, variables["params"])
    cells = np.concatenate([s.cell for s in states.values()], axis=-1)
    both = np.concatenate(
        [np.append(0 * cells[:1], cells[:-1], axis=0), cells], axis=-1
    )
    logits = two_layers(p["attention"], both)
    weight = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    u = remembered(
        p["memory"], weight * both, np.full(B, T) if length is None else length
    )
    last = [s.last for s in states.values()]
    np.testing.assert_allclose(
        ours, np.concatenate([*last, u], axis=1), rtol=2e-5, atol=1e-5
    )
    (seen,) = kept["intermediates"]["steps_attention_logits"]
    np.testing.assert_allclose(seen, logits, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("drops", [True, False])
def test_the_way_back_through_the_memory_is_that_of_its_loop(drops):
    """Gradients by all that it reads, against JAX's own; a sample ends earlier."""
    rng = np.random.default_rng(3)
    with jax.enable_x64(True):
        draw = lambda *shape: jnp.asarray(rng.normal(size=shape))  # noqa: E731
        weights = gated_memory._Weights(
            draw(M, 7), (draw(4, M), draw(3, M)), (draw(M), draw(M))
        )
        keep = 2.0 * (draw(T, B, 7) > 0) if drops else None
        runs = jnp.arange(T)[:, None] < jnp.asarray(LENGTH)[None]
        steps = gated_memory._Steps(draw(T, B, 7), keep, draw(T, B, M), runs)

        def number(run, weights, drive, write):
            given = steps._replace(drive=drive, write=write)
            return jnp.sin(run(weights, given)[0]).sum()

        def plain(weights, given):
            return gated_memory._forward(weights, given)[0]

        ours, theirs = (
            quick(jax.grad(partial(number, run), argnums=(0, 1, 2)))(
                weights, steps.drive, steps.write
            )
            for run in (gated_memory._remember, plain)
        )
        for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
            assert abs(b).max() > 0
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_every_step_drops_entries_of_its_own():
    """A gate of one hidden entry, which is doubled or gone: the memory counts them.

    What is written is 1 and the memory keeps everything, so each step adds sigmoid(2)
    or sigmoid(0).
    """
    module = GatedMemory(1, Small(1, 0.0), Small(1, 0.0), Small(1, 0.5))
    x = jnp.ones((40, 1, 1))
    shapes = jax.eval_shape(
        partial(module.init, train=False), jax.random.key(0), x, None
    )
    p = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes)["params"]
    p["candidate"]["score"]["linear"]["bias"] = jnp.full(1, 20.0)
    p["retain"]["score"]["bias"] = jnp.full(1, 20.0)
    p["update"]["layer_1"]["bias"] = jnp.ones(1)
    p["update"]["score"]["kernel"] = jnp.ones((1, 1))
    run = quick(partial(module.apply, train=True))
    u = run({"params": p}, x, None, rngs={"dropout": jax.random.key(0)})
    doubled = (u[0, 0] - 40 * sigmoid(0)) / (sigmoid(2) - sigmoid(0))
    np.testing.assert_allclose(doubled, np.round(doubled), atol=1e-3)
    assert 10 < doubled < 30


def test_blocks_of_stored_steps():
    """Even blocks; else larger ones, after copies of the last step; none to repeat."""
    x = jnp.arange(6.0).reshape(1, 6, 1)
    np.testing.assert_array_equal(block_mean(x, 6), x)
    np.testing.assert_array_equal(block_mean(x, 3).ravel(), [0.5, 2.5, 4.5])
    np.testing.assert_array_equal(block_mean(x, 4).ravel(), [0.5, 2.5, 4.5, 5])
    np.testing.assert_array_equal(block_mean(x[:, :1] + 7, 3).ravel(), [7, 7, 7])
