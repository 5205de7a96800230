import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from msa_jax.data.batches import shuffled
from msa_jax.ground.errors import UserError
from msa_jax.training import train_state

TRAIN = tiny.make_split(6)


@pytest.mark.parametrize(
    "devices, data, seeds, shape",
    [
        (0, 1, 5, (5, 1)),  # of all 8, as many as divide 5 seeds
        (0, 1, 10, (5, 1)),
        (0, 1, 11, (1, 1)),
        (0, 2, 9, (3, 2)),
        (0, 1, 4, (4, 1)),
        (0, 2, 4, (4, 2)),
        (0, 8, 3, (1, 8)),
        (0, 1, 16, (8, 1)),
        (1, 1, 3, (1, 1)),
        (6, 2, 3, (3, 2)),
    ],
)
def test_mesh_uses_the_devices_that_seeds_can_fill(devices, data, seeds, shape):
    mesh = train_state.make_mesh(devices, data, seeds)
    assert mesh.axis_names == ("seed", "data")
    assert mesh.devices.shape == shape


@pytest.mark.parametrize("devices, data, seeds", [(9, 1, 9), (8, 3, 8), (4, 1, 6)])
def test_mesh_that_does_not_divide_is_refused(devices, data, seeds):
    with pytest.raises(UserError, match="^config.mesh: .*--config.mesh.devices=N"):
        train_state.make_mesh(devices, data, seeds)


@pytest.mark.parametrize(
    "devices, data, seeds, line",
    [
        (0, 1, 8, "8 of 8, 1 seed on each"),
        (0, 8, 3, "8 of 8, 3 seeds on every 8"),
        (2, 1, 4, "2 of 8, 2 seeds on each"),  # asked for
        (
            *(0, 1, 5),
            "5 of 8, 1 seed on each; a multiple of 8 seeds, or --config.mesh.data=8, "
            "would use all",
        ),
        (
            *(0, 2, 3),
            "6 of 8, 1 seed on every 2; a multiple of 4 seeds, or "
            "--config.mesh.data=8, would use all",
        ),
    ],
)
def test_says_which_devices_work(devices, data, seeds, line):
    config = ConfigDict({"seeds": (0,) * seeds, "mesh": {"devices": devices}})
    mesh = train_state.make_mesh(devices, data, seeds)
    assert train_state.describe_mesh(mesh, config) == f"devices: {line}"


def test_one_device_goes_without_saying(monkeypatch):
    mesh = train_state.make_mesh(1, 1, 2)
    monkeypatch.setattr(jax, "devices", lambda: [mesh.devices[0, 0]])
    assert train_state.describe_mesh(mesh, ConfigDict()) is None


@pytest.mark.parametrize("devices, shape", [(5, (5, 1)), (8, (8, 1))])
def test_a_part_of_the_devices_may_leave_holes(monkeypatch, devices, shape):
    """As on TPUs, of whose chips jax.make_mesh takes cuboids alone."""
    whole, make = [], jax.make_mesh

    def cuboids(*given, devices, **named):
        assert len(devices) == 8
        whole.append(devices)
        return make(*given, devices=devices, **named)

    monkeypatch.setattr(jax, "make_mesh", cuboids)
    assert train_state.make_mesh(0, 1, devices).devices.shape == shape
    assert len(whole) == (devices == 8)


class Pair(nn.Module):
    """Two linear maps, the first where methods have their text encoder."""

    @nn.compact
    def __call__(self, batch, *, train):
        x = nn.Dense(2, name="text_encoder")(batch.text[:, 0])
        return nn.Dense(1, name="head")(x)


METHOD = tiny.make_heads()._replace(model=Pair())
ENCODER = {"kernel": jnp.full((6, 2), 3.0), "bias": jnp.ones(2)}


def start(seeds, mesh, encoder=None):
    optimizer = tiny.make_optimizer(METHOD)
    return train_state.make_start(METHOD, optimizer, TRAIN, encoder, mesh)(seeds)


@pytest.fixture(scope="module")
def states():
    """Four seeds on 4 x 2 devices."""
    return start((7, 8, 9, 10), train_state.make_mesh(8, 2, 4))


def test_states_are_born_sharded_over_seeds(states):
    declared = NamedSharding(train_state.make_mesh(8, 2, 4), PartitionSpec("seed"))
    for leaf in jax.tree.leaves(states):
        assert leaf.shape[0] == 4
        assert leaf.sharding.is_equivalent_to(declared, leaf.ndim)


def test_a_new_state_starts_at_zero_with_the_human_labels(states):
    for counter in (states.step, states.epoch, states.selection.epoch):
        np.testing.assert_array_equal(counter, np.zeros(4))
    assert np.isposinf(states.selection.score).all() and states.selection.active.all()
    tiny.assert_same(states.selection.params, states.params)
    labels = np.tile(TRAIN.label, (4, 4, 1))
    np.testing.assert_array_equal(states.labels.value, labels)
    for leaf in jax.tree.leaves((states.opt_state, states.labels.feature)):
        assert (np.asarray(leaf) == 0).all()


def test_the_seed_alone_decides_the_parameters(states):
    kernels = np.asarray(states.params["text_encoder"]["kernel"])
    assert len(np.unique(kernels)) == kernels.size
    alone = start((8,), train_state.make_mesh(1, 1, 1))
    second = jax.tree.map(lambda x: x[1:2], states)
    # measured: equal to the bit
    tiny.assert_close(second.params, alone.params, 1e-7)
    tiny.assert_same(second.key, alone.key)


def test_label_tables_see_the_split_and_their_own_seed():
    def first(split, key):
        return {"label": split.label, "order": shuffled(key, 0, len(split.label))}

    method = METHOD._replace(init_labels=first)
    mesh = train_state.make_mesh(1, 1, 2)
    sgd = optax.sgd(1.0)
    found = train_state.make_start(method, sgd, TRAIN, None, mesh)((7, 8)).labels
    for row, seed in enumerate((7, 8)):
        np.testing.assert_array_equal(found["label"][row], TRAIN.label)
        expected = shuffled(jax.random.key(seed), 0, len(TRAIN.label))
        np.testing.assert_array_equal(found["order"][row], expected)


def test_pretrained_parameters_take_their_place(states):
    found = start((7, 8, 9, 10), train_state.make_mesh(8, 2, 4), ENCODER)
    for params in (found.params, found.selection.params):
        for name, value in ENCODER.items():
            stacked = np.stack([value] * 4)
            np.testing.assert_array_equal(params["text_encoder"][name], stacked)
        tiny.assert_close(params["head"], states.params["head"], 1e-7)


def test_pretrained_parameters_that_do_not_fit_are_refused():
    wrong = {"kernel": ENCODER["kernel"]}
    with pytest.raises(ValueError, match="do not fit"):
        start((7,), train_state.make_mesh(1, 1, 1), wrong)


def test_a_network_is_traced_once_to_start():
    """An epoch's program asks for shapes, seeds for numbers."""
    calls = []

    class Counted(Pair):
        def __call__(self, batch, *, train):
            calls.append(batch)
            return super().__call__(batch, train=train)

    method = METHOD._replace(model=Counted())
    optimizer, mesh = tiny.make_optimizer(method), train_state.make_mesh(1, 1, 2)
    draw = train_state.drawing(method)
    one = train_state.start_shapes(method, optimizer, TRAIN, mesh, draw)
    start = train_state.make_start(method, optimizer, TRAIN, None, mesh, draw=draw)
    states = start((7, 8))
    assert len(calls) == 1
    tiny.assert_same_shapes(jax.tree.map(lambda x: x[0], states), one)
