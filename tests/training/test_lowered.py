"""What an epoch's program is on devices that are not here, read from its own text.

Each of these was found with the TPU's and the GPU's compilers; none of them can be seen
in the numbers that a CPU computes.
"""

import math
import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import jaxtyping
import pytest
import tiny

from msa_jax.ground import backend
from msa_jax.layers import block_attention
from msa_jax.layers.encoder_stack import EncoderStack
from msa_jax.methods import PAPERS
from msa_jax.text import bert
from msa_jax.text.encoders import Encoder, FeatureEncoder
from msa_jax.training import memory, step
from msa_jax.training.program import make_program
from msa_jax.training.train_state import devices_of, make_mesh

TRAIN, VALID = tiny.make_split(23), tiny.make_split(11, seed=1)
UNOPTIMISED = {"xla_backend_optimization_level": 0}
NAMES = [name for name in PAPERS if name != "linear"]
DATA = {f"{n}x" + "x".join(map(str, TRAIN.audio.shape[1:])) + "xf32" for n in (23, 11)}


class Epoch:
    """Stands for an epoch's program: keeps what it is compiled for, and is not."""

    def __init__(self, program):
        self.program = program

    def lower(self, *given):
        self.given = given
        return self

    def compile(self, compiler_options=None):
        return self

    def memory_analysis(self):
        return None


def epoch(name: str, seeds: int, devices: int = 1, data: int = 1) -> Epoch:
    """Return the program of an epoch as `program.make_program` asks for it."""
    c = tiny.small(PAPERS[name], optim__accumulate_batches=2)
    c.seeds, c.optim.batch_size = tuple(range(seeds)), 7
    c.mesh.over_seeds = "vmap"
    mesh = make_mesh(devices, data, seeds)
    encoder = Encoder(FeatureEncoder(), None, None, 0, 0, "features")
    found, make_epoch = [], step.make_epoch

    def keep(*given, **named):
        found.append(Epoch(make_epoch(*given, **named)))
        return found[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "make_epoch", keep)
        patch.setattr(memory, "estimate", lambda *_, **__: memory.Memory(0, 0, 0))
        devices = devices_of(c, mesh)
        make_program(c, TRAIN, VALID, encoder, devices, (-3.0, 3.0))
    return found[0]


@cache
def traced(name):
    """Return the program of an epoch of five seeds, traced, and what it is given."""
    found = epoch(name, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "device_kind", lambda: "tpu")
        # Signatures are checked where networks alone are traced: test_every_method.py.
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        return found.program.trace(*found.given), found.given


@cache
def shapes_on_a_tpu(name) -> set[str]:
    """Return the types of all its arrays, as "5x23x4xf32"."""
    text = traced(name)[0].lower(lowering_platforms=("tpu",)).as_text()
    return set(re.findall(r"tensor<([0-9a-z]+)>", text))


@pytest.mark.parametrize("name", PAPERS)
def test_an_epoch_keeps_the_shapes_of_its_state(name):
    """Lanes, traced fields, optimiser, label tables, selection; what it logs."""
    program, (before, *_) = traced(name)
    state, log = program.out_info
    tiny.assert_same_shapes(state, before)
    assert {x.shape for x in log.parts.values()} == {(5, 4)}  # of 7, 7, 7 and 2
    assert "loss" in log.parts
    assert all(part.startswith("loss") for part in log.parts)
    assert log.valid_prediction.shape[:2] == (5, 11)


def test_seeds_on_several_devices_step_at_once():
    """A device's own seeds are its own: nothing of them is gathered or sent."""
    found = epoch("self_mm", 8, devices=8)
    text = found.program.lower(*found.given).compile(UNOPTIMISED).as_text()
    sent = re.findall(r"(all-gather|all-to-all|collective-permute)\(", text)
    assert sent == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spt", "sugrm", "ucrn"])
def test_devices_that_share_a_batch_send_what_they_have_to(name):
    """Sums over the batch, and of its samples the answers and label tables.

    The other methods have LSTMs, and MMCL contrasts every sample with all.
    """
    found = epoch(name, 4, devices=8, data=2)
    text = found.program.lower(*found.given).compile(UNOPTIMISED).as_text()
    assert re.findall(r"(all-to-all|collective-permute)\(", text) == []
    # Where the batch goes into something that every device has.
    gathered = re.findall(r' all-gather\(.*op_name="[^"]*/(\w+)"', text)
    assert set(gathered) == {"reshape"} | ({"scatter"} if name == "sugrm" else set())
    # The gradients of a batch go together.
    sums = re.findall(r' all-reduce\(.*op_name="[^"]*transpose\(', text)
    assert len(sums) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_the_data_are_not_copied_for_every_seed(name):
    shapes = shapes_on_a_tpu(name)
    assert shapes >= DATA  # the data themselves are seen
    assert {f"5x{shape}" for shape in DATA} & shapes == set()


@pytest.mark.parametrize("name", NAMES)
def test_random_numbers_lie_in_no_pairs(name):
    """A last axis of 2 is padded to 128 lanes; pairs are the keys' alone."""
    shapes = shapes_on_a_tpu(name)
    if name in ("mmcl", "spt", "sugrm", "ucrn"):  # what `channels.dropping` draws
        assert any(shape.endswith("xui16") for shape in shapes)
    pairs = [shape for shape in shapes if re.search(r"x2xui(8|16|32)$", shape)]
    rows = [math.prod(map(int, shape.split("x")[:-2])) for shape in pairs]
    assert max(rows) <= 5 * 8  # of so many keys at most: five seeds, their rounds


@pytest.mark.parametrize("name", ["spt", "sugrm"])
def test_few_channels_are_never_the_last_axis_of_what_is_drawn(name):
    few = {TRAIN.audio.shape[2], TRAIN.vision.shape[2]}
    drawn = {x.split("x")[-2] for x in shapes_on_a_tpu(name) if x.endswith("xui16")}
    assert drawn and {str(n) for n in few} & drawn == set()


@pytest.mark.platforms
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


@pytest.mark.platforms
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


@pytest.mark.platforms
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
