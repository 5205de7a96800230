"""Operations of programs against closed forms: products, loops, branches, networks."""

import jax
import jax.numpy as jnp
import pytest

from msa_jax.layers import recurrence
from msa_jax.studies.bench.operations import count
from msa_jax.text import bert

pytestmark = pytest.mark.platforms


def counted(function, *shapes, platform="cpu"):
    given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return count(jax.make_jaxpr(function)(*given), platform)


def test_a_linear_map_forward_and_backward():
    def loss(x, kernel):
        return jnp.square(x @ kernel).sum()

    once = 2 * 4 * 3 * 5
    assert counted(loss, (4, 3), (3, 5)) == once
    assert counted(jax.grad(loss, argnums=1), (4, 3), (3, 5)) == 2 * once
    assert counted(jax.grad(loss, argnums=(0, 1)), (4, 3), (3, 5)) == 3 * once


def test_what_nothing_reads_is_left_out():
    def wasteful(x, y):
        x @ y
        return jax.lax.scan(lambda c, _: (c, (c @ y).sum()), x, None, 9)[0]

    assert counted(wasteful, (4, 4), (4, 4)) == 0


def test_attention_forward_and_backward():
    """Scores and mixtures: two products of all pairs of steps, batched by head."""

    def attend(q, k, v):
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k)
        return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)

    b, t, h, d = 2, 7, 3, 4
    once = 2 * (2 * b * h * t * t * d)
    assert counted(attend, *[(b, t, h, d)] * 3) == once
    gradient = jax.grad(lambda *x: jnp.square(attend(*x)).sum(), argnums=(0, 1, 2))
    assert counted(gradient, *[(b, t, h, d)] * 3) == 3 * once


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_forward_and_backward(stride):
    """Each output and each kernel entry: one pair; a stride's zeros are no work."""

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (stride,), [(0, 0)], dimension_numbers=("NWC", "WIO", "NWC")
        )

    steps = (16 - 4) // stride + 1
    once = 2 * 2 * steps * 4 * 3 * 5  # batch, outputs, window, channels in and out
    assert counted(convolve, (2, 16, 3), (4, 3, 5)) == once
    both = jax.grad(lambda x, k: jnp.square(convolve(x, k)).sum(), argnums=(0, 1))
    # By the input every row of it counts, also those that few windows read.
    by_input = 2 * 2 * 16 * 4 * 3 * 5 / stride
    assert counted(both, (2, 16, 3), (4, 3, 5)) == 2 * once + by_input


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_lstms_over_all_their_steps(platform):
    """A loop of unknown trips runs over every chunk; the way back makes gates again.

    On an accelerator both LSTMs are as large as the larger one.
    """
    batch, steps, states = 2, 70, 4  # three chunks of 24 steps, two of them padding
    inputs = (3, 5)

    def loss(*given):
        length = jnp.full(batch, steps)
        found = recurrence.run(
            [recurrence.Sequence(x, length) for x in given[:2]],
            [recurrence.Weights(*given[i : i + 3]) for i in (2, 5)],
        )
        return sum(s.output.sum() for s in found)

    shapes = [(batch, steps, read) for read in inputs]
    for read in inputs:
        shapes += [(read, 4 * states), (states, 4 * states), (4 * states,)]
    if platform == "tpu":
        inputs = (5, 5)
    kernels = sum((read + states) * 4 * states for read in inputs)
    once = 2 * batch * 72 * kernels
    assert counted(loss, *shapes, platform=platform) == once
    gradient = jax.grad(loss, argnums=range(len(shapes)))
    # Beside that: gates again, by states and inputs, by kernels; by biases.
    biases = 2 * batch * 72 * len(inputs) * 4 * states
    assert counted(gradient, *shapes, platform=platform) == 4 * once + biases


def test_branches_and_loops():
    def product(x):
        return x @ x

    def nothing(x):
        return x

    once = 2 * 4**3
    assert counted(
        lambda x: jax.lax.cond(x[0, 0] > 0, nothing, product, x), (4, 4)
    ) == (once)

    def platforms(x):
        return jax.lax.platform_dependent(x, cpu=product, default=nothing)

    assert counted(platforms, (4, 4)) == once
    assert counted(jax.vmap(platforms), (3, 4, 4), platform="cuda") == 0
    many = jax.checkpoint(lambda x: jax.lax.fori_loop(0, 5, lambda _, x: x @ x, x))
    assert counted(jax.jit(many), (4, 4)) == 5 * once

    def unknown(x):
        return jax.lax.while_loop(lambda x: x.sum() < 9, product, x)

    assert counted(unknown, (4, 4)) == once


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_bert_forward_and_backward(platform):
    """Two layers: four maps of the width, two of the feed-forward, all pairs of steps.

    The way back needs twice as much, and nothing is computed again.
    """
    shape = bert.Shape(50, 12, 2, 3, 20, 16)
    encoder = bert.OwnBertEncoder(shape)
    tokens = jax.ShapeDtypeStruct((4, 3, 7), jnp.int32)
    params = jax.eval_shape(
        lambda key, tokens: encoder.init(key, tokens, train=False),
        jax.random.key(0),
        tokens,
    )

    def forward(params, tokens):
        return encoder.apply(params, tokens, train=False).sum()

    each = 2 * (4 * 12**2 + 2 * 12 * 20) + 2 * 2 * 7 * 12
    once = 2 * 4 * 7 * each
    assert count(jax.make_jaxpr(forward)(params, tokens), platform) == once
    gradient = jax.make_jaxpr(jax.grad(forward))(params, tokens)
    assert count(gradient, platform) == 3 * once
