"""Whole runs: determinism, seeds alone or together, one device or eight."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from ml_collections import FrozenConfigDict
from tiny_runs import VALID, data, settings, tiny_main

from configs import smoke as smoke_config
from msa_jax.data import load_dataset
from msa_jax.methods import network
from msa_jax.text import packing
from msa_jax.training import nonfinite, train
from msa_jax.training.splits import make_inputs
from msa_jax.training.train_state import devices_of, make_mesh

# Measured on CPU, predictions and u-labels of 5 epochs: a seed alone 0, vmapped 5e-7.
TOLERANCE = 1e-4


FIVE = {
    "seeds": (1, 2, 3, 4, 5),
    "optim.batch_size": 12,
    "selection.early_stop": 2,
    "selection.max_epochs": 5,
    "mesh.devices": 1,
}
TINY = FIVE | {"optim.batch_size": 8, "selection.max_epochs": 8}


def smoke(**changes):
    config = smoke_config.get_config()
    config.update_from_flattened_dict(FIVE | changes)
    return FrozenConfigDict(config)


def trained(config, dataset):
    """Return what a configuration finds and the log of every epoch."""
    epochs, layout = [], config.mesh
    inputs = make_inputs(dataset, config)
    mesh = make_mesh(layout.devices, layout.data, len(config.seeds))
    assert mesh.size == layout.devices
    seen = inputs.splits["train"], inputs.splits["valid"], inputs.encoder
    fitted = tiny.fit(config, *seen, mesh, (-3.0, 3.0), "mosi", epochs.append)
    return train.evaluate(config, fitted, inputs, devices_of(config, mesh)), epochs


@pytest.fixture(scope="module")
def run():
    """Train the tiny method with changes; the same changes are trained once."""

    @cache
    def once(**changes):
        with tiny_main():
            return trained(settings(**TINY | changes), data())

    return once


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset("synthetic_tiny", tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def smoke_run(dataset):
    """The same with Self-MM and a BERT."""
    return cache(lambda **changes: trained(smoke(**changes), dataset))


def differences(a, b, lanes=slice(None)):
    """Largest difference of predictions and u-labels of some seeds of run `a`."""
    u_labels = [x.fitted.recorded["u_labels"] for x in (a, b)]
    labels = np.abs(u_labels[0][lanes] - u_labels[1]).max()
    tests = np.abs(a.test_prediction[lanes] - b.test_prediction).max()
    return max(labels, tests)


def test_learns(run):
    _, epochs = run()
    first, third = epochs[0].train["loss_fusion"], epochs[2].train["loss_fusion"]
    assert third.mean() < first.mean() - 0.1


@pytest.mark.slow
def test_a_bert_learns(smoke_run):
    _, epochs = smoke_run()
    first, third = epochs[0].train["loss_fusion"], epochs[2].train["loss_fusion"]
    assert third.mean() < first.mean() - 0.005


def test_unimodal_losses_are_zero_for_two_epochs(run):
    """U-labels first move in epoch 2, so they first weigh in epoch 3."""
    _, epochs = run()
    for target in ("text", "audio", "vision"):
        losses = [epoch.train[f"loss_{target}"] for epoch in epochs]
        assert (losses[0] == 0).all() and (losses[1] == 0).all()
        assert (losses[2][epochs[2].active] > 0).all()


def test_leaves_every_target_of_train_and_test(run):
    trained, _ = run()
    for name, found in (
        ("train", trained.train_targets),
        ("test", trained.test_targets),
    ):
        assert found.shape == (5, 4, len(data().splits[name].label))
        assert np.isfinite(found).all()
    np.testing.assert_array_equal(trained.test_prediction, trained.test_targets[:, 0])


def test_keeps_every_batch_of_every_loss(run):
    """32 samples in batches of 8 make 4; an ended seed has none."""
    _, epochs = run()
    ended = 0
    for epoch in epochs:
        assert epoch.batches.keys() == epoch.train.keys()
        for name, values in epoch.batches.items():
            assert values.shape == (5, 4)
            np.testing.assert_allclose(
                values.mean(axis=1), epoch.train[name], rtol=1e-5
            )
            assert (np.isnan(values) == ~epoch.active[:, None]).all()
        ended += (~epoch.active).sum()
    assert ended  # else this test shows half


@pytest.mark.slow
def test_our_bert_trains_the_same_to_the_bit(smoke_run):
    """Dropout included: linen derives its random numbers from the modules' names."""
    expected, _ = smoke_run()
    own, _ = smoke_run(**{"text.implementation": "own"})
    tiny.assert_same(own.fitted.frozen.variables, expected.fitted.frozen.variables)
    assert differences(own, expected) == 0


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_packed_text_trains_the_same(smoke_run, monkeypatch, devices):
    """Dropout included; seeds in turn, and side by side with two devices per batch.

    Measured: predictions 8e-8, u-labels 1.0e-4 (ULGM's ratio magnifies rounding).
    """
    monkeypatch.setattr(packing, "choose_sizes", few_sizes)
    changes = {"text.implementation": "own", "text.packing": "tokens"}
    if devices > 1:
        changes |= {f"mesh.{n}": devices for n in ("devices", "data")}
        changes |= {"mesh.over_seeds": "vmap"}
    (expected, _), (packed, _) = smoke_run(), smoke_run(**changes)
    rows = "3 rows" if devices > 1 else "5 rows"
    assert packed.fitted.notes[0].startswith(
        f"Text packed: {rows} of 32 tokens per batch"
    )
    for read in (lambda r: r.fitted.valid_prediction, lambda r: r.test_prediction):
        found = read(packed) - read(expected)
        assert np.abs(found).max() < 1e-5
    assert differences(packed, expected) < 5 * TOLERANCE


def few_sizes(splits, size, *, shards, together):
    """Choose one size: alone, batches fill 5 rows of 32, or 6 and stay padded."""
    assert (size, together) == (12, 1 if shards == 1 else 5)
    return packing.Sizes(32, (5,) if shards == 1 else (3,), shards)


@pytest.fixture(scope="module")
def alone(run):
    """The third seed without the others, and with the features of 20 samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "FEATURE_SAMPLES", 20)
        return run(seeds=(3,))[0]


def test_features_are_those_of_evenly_spaced_samples(run, alone):
    every, _ = run()
    widths = dict.fromkeys(("fusion", "text", "audio", "vision"), 4)
    for split, n in (("train", 32), ("test", 12)):
        all_of, few = every.features[split], alone.features[split]
        np.testing.assert_array_equal(all_of.index, np.arange(n))
        assert few.index.tolist() == train.spread_out(n, 20).tolist()
        for name, width in widths.items():
            assert all_of.value[name].shape == (5, n, width)
            expected = all_of.value[name][2:3, few.index]
            np.testing.assert_allclose(few.value[name], expected, rtol=0, atol=1e-6)


def test_a_method_without_features_leaves_none(run, monkeypatch):
    def make_predict(*given, **how):
        def nothing(split):
            return np.zeros((5, len(split.label), 4)), {}

        return lambda params, splits: {k: nothing(x) for k, x in splits.items()}

    (done, _), config = run(), settings(**TINY)
    inputs = make_inputs(data(), config)
    monkeypatch.setattr(train.step, "make_predict", make_predict)
    devices = devices_of(config, make_mesh(1, 1, 5))
    found = train.evaluate(config, done.fitted, inputs, devices)
    assert found.features == {} and found.test_targets.shape == (5, 4, VALID)


def test_evenly_spaced():
    assert train.spread_out(7, 3).tolist() == [0, 2, 4]
    assert train.spread_out(3, 7).tolist() == [0, 1, 2]
    for n in (2000, 2001, 3999, 4000, 16326):
        places = train.spread_out(n, 2000)
        assert len(places) == 2000 and places[0] == 0 and places[-1] < n
        assert np.diff(places).min() >= n // 2000
        assert np.ptp(np.diff(places)) <= 1


def test_a_seed_alone_agrees_with_the_seed_among_five(run, alone):
    together, _ = run()
    assert differences(together, alone, slice(2, 3)) <= TOLERANCE


@pytest.mark.slow
def test_a_seed_alone_is_the_seed_among_five(run, alone):
    """To the bit, in the code that users run; of steps: test_step_parallel.py."""
    together, _ = run()
    assert differences(together, alone, slice(2, 3)) == 0


def test_vmap_agrees_with_seeds_in_turn(run):
    in_turn, _ = run()
    parallel, _ = run(**{"mesh.over_seeds": "vmap"})
    assert differences(in_turn, parallel) <= TOLERANCE


def in_float64(tree):
    def cast(x):
        return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(cast, tree)


@pytest.mark.slow
def test_eight_devices_agree_with_one(dataset, monkeypatch):
    """Batches of 12 do not divide by 8: they are padded and masked.

    In float64, where only the order of sums differs: u-labels by 3e-13. In float32
    ULGM's ratio magnifies rounding, which processor and compiler change, to 1e-4.
    """
    start = network.start
    monkeypatch.setattr(network, "start", lambda *a: in_float64(start(*a)))

    def fit(devices, data_devices):
        config = smoke(**{"mesh.devices": devices, "seeds": (1, 2)})
        inputs = make_inputs(dataset, config)
        seen = (in_float64(inputs.splits[name]) for name in ("train", "valid"))
        mesh = make_mesh(devices, data_devices, 2)
        how = mesh, (-3.0, 3.0), "mosi", lambda epoch: None
        return tiny.fit(config, *seen, inputs.encoder, *how)

    with jax.enable_x64(True):
        one = fit(1, 1)
        assert one.valid_prediction.dtype == np.float64
        for data_devices in (8, 4):
            eight = fit(8, data_devices)
            assert np.abs(eight.recorded["u_labels"]).max() > 0.1
            for a, b in (
                (one.recorded["u_labels"], eight.recorded["u_labels"]),
                (one.valid_prediction, eight.valid_prediction),
            ):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


def test_training_ends_with_its_last_seed(run):
    trained, epochs = run(seeds=(4, 5), **{"selection.early_stop": 1})
    assert len(epochs) == trained.fitted.epochs_run.max() < 8


def test_early_stopping_ends_each_seed_on_its_own(run):
    trained, epochs = run()
    assert len(set(trained.fitted.epochs_run)) > 1  # else this test shows nothing
    for lane in range(5):
        ran = sum(bool(epoch.active[lane]) for epoch in epochs)
        assert trained.fitted.epochs_run[lane] == ran
        assert ran == min(trained.fitted.selected_epoch[lane] + 2, 8)
    stopped = [epoch.recorded["u_labels"] for epoch in epochs]
    for before, after, epoch in zip(stopped, stopped[1:], epochs[1:], strict=False):
        still = ~epoch.active
        np.testing.assert_array_equal(before[still], after[still])


def test_selected_parameters_are_the_best_epochs(run):
    trained, epochs = run()
    losses = np.array([np.where(e.active, e.valid["loss"], np.inf) for e in epochs])
    np.testing.assert_array_equal(
        trained.fitted.selected_epoch, losses.argmin(axis=0) + 1
    )


def test_a_seed_that_is_not_finite_ends_alone(run, monkeypatch):
    """One lane's NaN stops that lane, is noted, and leaves the others as they were."""
    good, _ = run()
    right = nonfinite.find

    def poisoned(log, active, number, *rest):
        if number == 2:
            loss = np.array(log.valid_loss)
            loss[0] = np.nan
            log = log._replace(valid_loss=loss)
        return right(log, active, number, *rest)

    monkeypatch.setattr(nonfinite, "find", poisoned)
    bad, _ = run(**{"mesh.over_seeds": "map"})
    assert bad.fitted.epochs_run[0] == 2
    np.testing.assert_array_equal(bad.fitted.epochs_run[1:], good.fitted.epochs_run[1:])
    assert len(bad.fitted.notes) == 1 and "Seed 1" in bad.fitted.notes[0]
    np.testing.assert_array_equal(bad.test_prediction[1:], good.test_prediction[1:])
