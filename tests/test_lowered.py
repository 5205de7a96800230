"""What an epoch's program is on devices that are not here, read from its own text.

Each of these was found with the TPU's and the GPU's compilers; none of them can be seen
in the numbers that a CPU computes.
"""

import re
from functools import partial

import jax
import jax.numpy as jnp
import pytest
import tiny
from test_mmcl import settings as mmcl_settings

from msa_jax import bert, config, lanes, step
from msa_jax.layers import block_attention
from msa_jax.layers.encoder_stack import EncoderStack
from msa_jax.text import Encoder, FeatureEncoder
from msa_jax.train_state import make_mesh

TRAIN, VALID = tiny.make_split(23), tiny.make_split(11, seed=1)
DATA = {f"{n}x" + "x".join(map(str, TRAIN.audio.shape[1:])) for n in (23, 11)}


def of_self_mm(seeds: int):
    c = config.base()
    c.text.encoder = "features"
    c.seeds = tuple(range(seeds))
    c.optim.batch_size = 7
    return c


def of_mmcl(seeds: int):
    c = mmcl_settings()
    c.seeds = tuple(range(seeds))
    c.optim.batch_size = 7
    return c


class Epoch:
    """Stands for an epoch's program: keeps what it is compiled for, and is not."""

    def __init__(self, program):
        self.program = program

    def lower(self, *given):
        self.given = given
        return self

    def compile(self):
        return self

    def memory_analysis(self):
        return None


def epoch(monkeypatch, make, seeds: int, devices: int = 1) -> Epoch:
    """Return the program of an epoch as `lanes.prepare` asks for it."""
    c = make(seeds)
    c.mesh.over_seeds = "vmap"
    mesh = make_mesh(devices, 1, seeds)
    encoder = Encoder(FeatureEncoder(), None, None, 0, 0, "features")
    found, make_epoch = [], step.make_epoch

    def keep(*given, **named):
        found.append(Epoch(make_epoch(*given, **named)))
        return found[0]

    monkeypatch.setattr(step, "make_epoch", keep)
    lanes.prepare(c, TRAIN, VALID, encoder, mesh, (-3.0, 3.0))
    return found[0]


def test_seeds_on_several_devices_step_at_once(monkeypatch):
    """A device's own seeds are its own: nothing of them is gathered or sent."""
    found = epoch(monkeypatch, of_self_mm, 8, devices=8)
    text = found.program.lower(*found.given).compile().as_text()
    sent = re.findall(r"(all-gather|all-to-all|collective-permute)\(", text)
    assert sent == []


@pytest.mark.parametrize("make", [of_self_mm, of_mmcl])
def test_the_data_are_not_copied_for_every_seed(monkeypatch, make):
    found = epoch(monkeypatch, make, 5)
    traced = found.program.trace(*found.given)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    shapes = set(re.findall(r"tensor<([0-9x]+)xf32>", text))
    assert DATA <= shapes  # the data themselves are seen
    assert {f"5x{shape}" for shape in DATA} & shapes == set()


def test_attention_goes_sample_by_sample_on_a_cpu_only():
    x = jnp.ones((3, 2, 8, 4))
    seen = jnp.ones((3, 1, 8), bool)

    def loss(x):
        return block_attention.attend(x, x, x, seen, True).sum()

    program = jax.jit(jax.grad(loss)).trace(x)
    loops = {
        platform: program.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert {p: "while" in text for p, text in loops.items()} == {
        "cpu": True,
        "cuda": False,
        "tpu": False,
    }


def test_padding_stays_in_the_products_elsewhere_than_on_a_cpu():
    """Leaving it out is a choice at run time, and gathers rows."""
    net = EncoderStack(layers=1, heads=2, dropout=0.1)
    given = jnp.ones((3, 9, 4)), jnp.ones((3, 9), bool)
    params = net.init(jax.random.key(0), *given, train=False)

    def loss(params):
        rngs = {"dropout": jax.random.key(1)}
        return net.apply(params, *given, train=True, rngs=rngs).sum()

    program = jax.jit(jax.grad(loss)).trace(params)
    gathers = {
        platform: "stablehlo.gather"
        in program.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert gathers == {"cpu": True, "cuda": False, "tpu": False}


def test_berts_layers_are_a_loop_elsewhere_than_on_a_cpu():
    """Compilers of accelerators take minutes a layer: they meet one, there and back.

    Dropout's bits are drawn before what reads them: of the embeddings, and three times
    in a layer.
    """
    tokens = jnp.ones((2, 3, 5), jnp.int32)
    products, drawn = {}, {}
    for layers in (2, 4):
        shape = bert.Shape(50, 8, layers, 2, 16, 8)
        net = bert.OwnBertEncoder(shape)
        start = partial(net.init, jax.random.key(0), tokens, train=False)
        params = jax.eval_shape(start)

        def loss(params, net=net):
            rngs = {"dropout": jax.random.key(1)}
            return net.apply(params, tokens, train=True, rngs=rngs).sum()

        program = jax.jit(jax.grad(loss)).trace(params)
        for platform in ("cpu", "cuda", "tpu"):
            text = program.lower(lowering_platforms=(platform,)).as_text()
            products[platform, layers] = text.count("dot_general")
            bits = re.findall(r"optimization_barrier .*xi1>", text)
            drawn[platform, layers] = len(bits)
    one = 8 + 16  # products of a layer, there and back
    assert products["tpu", 2] == products["tpu", 4] == products["cuda", 4] == one
    assert products["cpu", 2] == 2 * one and products["cpu", 4] == 4 * one
    assert drawn["tpu", 2] == drawn["tpu", 4] == drawn["cuda", 4] == 4
