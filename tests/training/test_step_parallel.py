"""Seeds and devices: the same numbers however a program is spread.

Differences come from the order of additions alone. Measured on 8 fake CPU devices
after four epochs, over parameters, moments, label tables, predictions and losses:
vmap against map 7e-6; 1 against 7 or 8 devices 6e-6; a seed alone against the same seed
among five, side by side, 0 (4e-9 in optimised programs) on the first machines and 1e-6
on a later one, whose processor has AVX2 only; in turn 0. Twice the same program: 0.
"""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.sharding import NamedSharding, PartitionSpec

from msa_jax.training import step
from msa_jax.training.train_state import make_mesh, split_sharding, state_sharding

TRAIN, VALID = tiny.make_split(23), tiny.make_split(11, seed=1)
SEEDS = (11, 12, 13, 14, 15)
EPOCHS = 4  # generated labels enter the loss in the third
TOLERANCE = 5e-5


@cache
def beginning():
    """Return the method and the start states of all five seeds."""
    method = tiny.make_heads()
    return method, tiny.make_states(method, TRAIN, SEEDS)


@cache
def program(seeds, devices=1, data=1, how="vmap", dtype=np.float32):
    """Return the start states of `seeds` (first, end), the epoch and its code.

    Unoptimised: that halves the compile time, and these programs hardly run.
    """
    method, states = beginning()
    states = of_seeds(states, slice(*seeds))
    mesh = make_mesh(devices, data, len(states.step))
    rules = step.Rules(batch_size=7, accumulate=2)
    optimizer = tiny.make_optimizer(method)
    epoch = step.make_epoch(method, optimizer, rules, mesh, over_seeds=how)
    states, splits = (in_precision(x, dtype) for x in (states, (TRAIN, VALID)))
    start = jax.device_put(states, state_sharding(mesh))
    splits = jax.device_put(splits, split_sharding(mesh))
    options = {"xla_backend_optimization_level": 0}
    compiled = epoch.lower(start, *splits).compile(compiler_options=options)
    return start, lambda state: compiled(state, *splits), compiled.as_text()


def in_precision(tree, dtype):
    def cast(x):
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(cast, tree)


def train(seeds=(0, 5), stopped=None, **options):
    """Train; return the last state and every epoch's log, on the devices."""
    start, epoch, _ = program(seeds, **options)
    state, logs = jax.tree.map(jnp.copy, start), []  # an epoch consumes its state
    if stopped is not None:
        active = state.selection.active.at[stopped].set(False)
        state = replace(state, selection=replace(state.selection, active=active))
    for _ in range(EPOCHS):
        state, log = epoch(state)
        logs.append(log)
    return state, logs


def of_seeds(result, seeds):
    return jax.tree.map(lambda x: x[seeds], result)


@pytest.fixture(scope="module")
def five():
    """Five seeds at once on one device: what the others are compared with."""
    return jax.device_get(train())


def test_training_does_something(five):
    state, logs = five
    assert not np.array_equal(logs[0].valid_loss, logs[1].valid_loss)
    label = np.asarray(TRAIN.label)
    moved = [np.abs(log.recorded["u_labels"] - label).max() for log in logs]
    assert moved[0] == 0 and moved[1] > 1
    unimodal = [log.parts["loss_text"] for log in logs]
    assert (unimodal[1] == 0).all() and (unimodal[2] > 0).any()
    assert len(set(state.selection.epoch.tolist())) > 1  # seeds choose for themselves
    assert [log.parts["loss"].shape for log in logs] == [(5, 4)] * EPOCHS


def test_twice_the_same_bits(five):
    program.cache_clear()  # traced and compiled anew, as in a second process
    tiny.assert_same(train(), five)


def test_seeds_in_turn_equal_seeds_at_once(five):
    tiny.assert_close(train(how="map"), five, TOLERANCE)


@pytest.mark.exact
def test_a_seed_alone_in_turn_is_the_same_seed_among_five():
    in_turn = jax.device_get(train(how="map"))
    tiny.assert_same(train((1, 2), how="map"), of_seeds(in_turn, slice(1, 2)))


def test_a_seed_alone_equals_the_same_seed_among_five():
    """Side by side in float64, free of the processor's rounding.

    Products of five seeds are other programs than those of one: in float32 u-labels
    differ by 1e-6 where there is AVX2 only.
    """
    with jax.enable_x64(True):
        alone = jax.device_get(train((1, 2), dtype=np.float64))
        among = jax.device_get(train(dtype=np.float64))
        assert among[0].params["audio"]["layer_1"]["linear"]["bias"].dtype == np.float64
        tiny.assert_close(alone, of_seeds(among, slice(1, 2)), 1e-6)


def test_eight_devices_on_the_data_axis(five):
    """Batches of 7: every device has one row, the last one a padding row."""
    found = train((0, 1), devices=8, data=8)
    tiny.assert_close(found, of_seeds(five, slice(0, 1)), TOLERANCE)


def test_seven_devices_and_batches_that_divide(five):
    found = train((0, 1), devices=7, data=7)
    tiny.assert_close(found, of_seeds(five, slice(0, 1)), TOLERANCE)


def test_five_of_eight_devices_have_a_seed_each(five):
    """As many as divide the seeds: `train_state.make_mesh` lets three stand idle."""
    state, _ = found = train(devices=0)
    assert len(state.step.sharding.device_set) == 5
    tiny.assert_close(found, five, TOLERANCE)


def test_devices_share_the_work():
    """Sums over a divided batch need an all-reduce; copies of one would not."""
    assert "all-reduce" in program((0, 1), devices=8, data=8)[2]
    assert "all-reduce" not in program((0, 5))[2]


def test_four_times_two_devices(five):
    state, logs = found = train((0, 4), devices=8, data=2)
    tiny.assert_close(found, of_seeds(five, slice(0, 4)), TOLERANCE)
    declared = NamedSharding(make_mesh(8, 2, 4), PartitionSpec("seed"))
    for leaf in jax.tree.leaves((state, logs)):
        assert leaf.sharding.is_equivalent_to(declared, leaf.ndim)


@pytest.mark.parametrize("how", ["vmap", "map"])
def test_a_stopped_seed_keeps_its_state_to_the_bit(five, how):
    start = program((0, 5), how=how)[0]
    state, logs = train(stopped=2, how=how)
    stopped, began = of_seeds((state, start), 2)
    selection = replace(began.selection, active=jnp.zeros((), bool))
    tiny.assert_same(stopped, replace(began, selection=selection))
    if how == "vmap":  # the others do not notice
        for seed in (0, 1, 3, 4):
            tiny.assert_same(*of_seeds(((state, logs), five), seed))
    # The log still tells the labels it stands at.
    labels = logs[-1].recorded["u_labels"][2]
    np.testing.assert_array_equal(labels, state.labels.value[2])


def test_predict_program_equals_prediction_of_the_epoch(five):
    """The selected epoch's parameters give what that epoch's log holds."""
    state, logs = five
    mesh = make_mesh(1, 1, len(SEEDS))
    run = step.make_predict(tiny.make_heads(), 7, mesh, over_seeds="vmap")
    found = run({"params": state.selection.params}, VALID)
    for seed, epoch in enumerate(state.selection.epoch):
        expected = logs[epoch - 1].valid_prediction[seed]
        np.testing.assert_allclose(found[seed], expected, rtol=0, atol=1e-6)
    run = step.make_predict(
        tiny.make_heads(), 7, mesh, over_seeds="map", read=lambda o: o.prediction.T
    )
    every = run({"params": state.selection.params}, VALID)
    assert every.shape == (len(SEEDS), VALID.label.shape[0], 4)
    np.testing.assert_allclose(every[..., 0], found, rtol=0, atol=1e-6)
