"""The epoch against a hand-computed one; predictions; selection."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from flax import linen as nn

from msa_jax.data.batches import batches
from msa_jax.ground.types import Method, Outputs, Selection
from msa_jax.methods import losses, tasks
from msa_jax.training import step
from msa_jax.training.train_state import (
    make_mesh,
    new_state,
    split_sharding,
    state_sharding,
)

# --- One seed: a linear model, gradients by hand -------------------------------------

TRAIN, VALID = tiny.make_split(23), tiny.make_split(11, seed=1)
RATE = 0.05


class Line(nn.Module):
    """A linear score of the first text step."""

    @nn.compact
    def __call__(self, batch, *, train):
        score = nn.Dense(1, name="dense")(batch.text[:, 0])[:, 0]
        return Outputs(jnp.stack([score] * 4), {})


class Dropped(nn.Module):
    """One parameter times a dropped-out one: shows the dropout masks."""

    @nn.compact
    def __call__(self, batch, *, train):
        ones = self.param("ones", nn.initializers.ones, (1,))
        score = nn.Dropout(0.5, deterministic=not train)(0 * batch.label + ones)
        return Outputs(jnp.stack([score] * 4), {})


def toy(model: nn.Module) -> Method:
    """L1 towards stored targets; each visit moves a target half way to the score."""

    def loss(outputs, batch, targets):
        target = targets[jnp.minimum(batch.index, len(targets) - 1)]
        error = losses.absolute_error(outputs.prediction[0], target)
        value = losses.masked_mean(error, batch.valid)
        return value, {"part": 2 * value}

    def update(targets, outputs, batch, epoch):
        old = targets[jnp.minimum(batch.index, len(targets) - 1)]
        new = (old + outputs.prediction[0]) / 2
        return targets.at[batch.index].set(new, mode="drop")

    return Method(
        task=tasks.SENTIMENT,
        model=model,
        loss=loss,
        init_labels=lambda split, key: jnp.array(split.label),
        update_labels=update,
        groups=lambda path: "other",
        label_values=lambda targets: {"u": targets},
    )


LINE, SGD = toy(Line()), optax.sgd(RATE)


def epoch_by_hand(kernel, bias, targets, rows, accumulate):
    """Return kernel, bias, targets and losses after an epoch; NumPy, float64."""
    x = np.array(TRAIN.text[:, 0], float)
    parts = []
    for start in range(0, len(rows), accumulate):
        group = rows[start : start + accumulate]
        gradient, shift = np.zeros_like(kernel), 0.0
        for row in group:
            i = row[row < len(x)]
            score = x[i] @ kernel + bias
            error = score - targets[i]
            parts.append(np.abs(error).mean())
            gradient = gradient + np.sign(error) @ x[i] / len(i)
            shift += np.sign(error).mean()
            targets[i] = (targets[i] + score) / 2
        if len(group) == accumulate:  # one step on the sum
            kernel, bias = kernel - RATE * gradient, bias - RATE * shift
    return kernel, bias, targets, parts


@pytest.mark.parametrize("accumulate", [1, 2, 3, 7])
def test_an_epoch_equals_the_hand_computed_one(accumulate):
    """5 batches, the last of 3 samples and 2 (or, of 8 columns, 5) padding rows.

    With 2, 3 and 7 batches per step, 1, 2 and all 5 belong to an incomplete group.
    """
    order = np.random.default_rng(5).permutation(23)
    params, rules = tiny.make_params(LINE, TRAIN), step.Rules(5, accumulate)
    state = new_state(LINE, SGD, {"params": params}, TRAIN, jax.random.key(0))
    run = jax.jit(partial(step.train_epoch, LINE, SGD, split=TRAIN, rules=rules))
    rows = batches(jnp.asarray(order), 5, columns=8)
    found, parts, _ = run(state, order=rows)
    found, more, _ = run(found, order=rows)
    dense = params["dense"]
    kernel, bias = np.array(dense["kernel"][:, 0], float), float(dense["bias"][0])
    targets, expected = np.array(TRAIN.label, float), []
    for _ in range(2):
        *result, some = epoch_by_hand(kernel, bias, targets, np.array(rows), accumulate)
        kernel, bias, targets = result
        expected += some
    assert (found.step, found.epoch) == (10, 2)
    close = partial(np.testing.assert_allclose, rtol=0, atol=2e-6)
    close(found.params["dense"]["kernel"][:, 0], kernel)
    close(found.params["dense"]["bias"][0], bias)
    close(found.labels, targets)
    close(np.r_[parts["loss"], more["loss"]], expected)
    close(parts["part"], 2 * parts["loss"])
    if accumulate == 7:
        tiny.assert_same(found.params, params)
    else:
        assert abs(kernel - dense["kernel"][:, 0]).max() > 0.01


def test_dropout_follows_seed_and_step():
    method = toy(Dropped())
    params = tiny.make_params(method, TRAIN)
    order = jnp.arange(20).reshape(2, 10)
    rules = step.Rules(10, 4)
    run = jax.jit(partial(step.train_epoch, method, SGD, split=TRAIN, rules=rules))
    masks = []
    for seed in (1, 2):
        zeros = jnp.zeros_like(TRAIN.label)
        state = new_state(
            method,
            SGD,
            {"params": params},
            TRAIN.replace(label=zeros),
            jax.random.key(seed),
        )
        first, *_ = run(state, order=order)
        again, *_ = run(state, order=order)
        np.testing.assert_array_equal(first.labels, again.labels)
        second, *_ = run(first.replace(labels=zeros), order=order)
        masks += [np.asarray(x.labels[:20] != 0) for x in (first, second)]
    different = {tuple(mask.tolist()) for row in masks for mask in row.reshape(2, 10)}
    assert len(different) == 8  # 2 seeds x 2 epochs x 2 batches


@pytest.mark.parametrize("size", [1, 7, 11])
def test_predictions_do_not_depend_on_the_batch_size(size):
    method = tiny.make_self_mm()
    params = tiny.make_params(method, VALID)
    predict = tiny.quick(
        lambda params: step.predict(method, {"params": params}, VALID, size)
    )
    found = predict(params)
    batch = step.gather(VALID, jnp.arange(11))
    apply = tiny.quick(lambda p: method.model.apply({"params": p}, batch, train=False))
    expected = apply(params).prediction[0]
    # measured: 6e-8
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def every_target(outputs):
    return outputs.prediction.T


@pytest.mark.parametrize("size", [4, 11])
def test_predictions_of_every_target(size):
    method = tiny.make_heads()
    params = tiny.make_params(method, VALID)
    predict = partial(step.predict, method, split=VALID, size=size)
    found = tiny.quick(partial(predict, read=every_target))({"params": params})
    batch = step.gather(VALID, jnp.arange(11))
    apply = tiny.quick(lambda p: method.model.apply({"params": p}, batch, train=False))
    assert found.shape == (11, 4)
    expected = apply(params).prediction.T
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [4, 11])
def test_features_of_every_sample(size):
    """A tree of arrays is read like one array: padding gone, samples in order."""
    method = tiny.make_heads()
    params = tiny.make_params(method, VALID)
    predict = partial(step.predict, method, split=VALID, size=size)
    found = tiny.quick(partial(predict, read=lambda outputs: outputs.feature))(
        {"params": params}
    )
    batch = step.gather(VALID, jnp.arange(11))
    apply = tiny.quick(lambda p: method.model.apply({"params": p}, batch, train=False))
    assert found.keys() == {"fusion", "text", "audio", "vision"}
    tiny.assert_close(found, apply(params).feature, 1e-6)


def test_splits_with_batches_alike_are_traced_once():
    method, calls = tiny.make_heads(), []

    def read(outputs):
        calls.append(outputs)
        return outputs.prediction.T

    run = step.make_predict(method, 4, make_mesh(1, 1, 1), over_seeds="map", read=read)
    params = jax.tree.map(lambda x: x[None], tiny.make_params(method, VALID))
    splits = {"train": TRAIN, "test": VALID}
    shapes = jax.eval_shape(run, {"params": params}, splits)
    assert len(calls) == 1
    assert {name: x.shape for name, x in shapes.items()} == {
        name: (1, len(split.label), 4) for name, split in splits.items()
    }


def test_selection_computes_fusion_only():
    """What no one asked for is no part of the compiled program."""
    method = tiny.make_heads()
    params = tiny.make_params(method, VALID)

    def flops(read):
        run = partial(step.predict, method, split=VALID, size=4, read=read)
        compiled = jax.jit(run).lower({"params": params}).compile()
        return (compiled.cost_analysis() or {})["flops"]

    assert flops(tasks.SENTIMENT.read) < flops(every_target)


@pytest.mark.parametrize(
    "drop_last, count, devices", [(False, 5, 1), (True, 4, 1), (False, 5, 8)]
)
def test_one_program_serves_all_epochs(drop_last, count, devices, caplog):
    mesh = make_mesh(devices, devices, 1)
    rules = step.Rules(batch_size=5, accumulate=2, drop_last=drop_last)
    epoch = step.make_epoch(LINE, SGD, rules, mesh, over_seeds="map")
    params = tiny.make_params(LINE, TRAIN)
    state = new_state(LINE, SGD, {"params": params}, TRAIN, jax.random.key(0))
    state = jax.tree.map(lambda x: x[None], state)
    state = jax.device_put(state, state_sharding(mesh))
    splits = jax.device_put((TRAIN, VALID), split_sharding(mesh))
    with jax.log_compiles():
        state, log = epoch(state, *splits)
        assert caplog.text.count("Compiling jit(") == 1
        for _ in range(2):
            state, log = epoch(state, *splits)
        assert caplog.text.count("Compiling jit(") == 1
    assert log.parts["loss"].shape == (1, count)
    assert (state.epoch[0], state.step[0]) == (3, 3 * count)
    np.testing.assert_array_equal(log.recorded["u"], state.labels)


# --- Selection -----------------------------------------------------------------------

RULES = step.Rules(batch_size=4, accumulate=1, min_delta=0.01, early_stop=3)


def selected(scores, rules=RULES):
    """Feed validation scores; return (selected epoch, its parameter) per epoch."""
    zero = jnp.zeros((), jnp.int32)
    chosen = Selection(jnp.zeros(()), jnp.asarray(jnp.inf), zero, jnp.ones((), bool))
    trace = []
    for epoch, score in enumerate(scores, start=1):
        params = jnp.asarray(10.0 * epoch)
        chosen = step.select(
            chosen, params, jnp.asarray(score), jnp.asarray(epoch), rules
        )
        assert chosen.params == 10 * chosen.epoch
        trace.append((int(chosen.epoch), bool(chosen.active)))
    return trace


def test_an_epoch_is_better_from_min_delta_on():
    found = selected([1.0, 0.995, 0.985, 0.98])
    assert [epoch for epoch, _ in found] == [1, 1, 3, 3]


def test_equal_scores_keep_the_earlier_epoch():
    rules = RULES._replace(min_delta=1e-6)
    assert [epoch for epoch, _ in selected([0.5, 0.5, 0.5], rules)] == [1, 1, 1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_never_better(bad):
    assert [epoch for epoch, _ in selected([bad, 1.0, bad, 0.9])] == [0, 2, 2, 4]


def test_a_seed_ends_after_early_stop_epochs_without_improvement():
    found = selected([1.0, 0.9, 0.9, 0.9, 0.9])
    assert found == [(1, True), (2, True), (2, True), (2, True), (2, False)]
    assert not selected([np.nan] * 3)[-1][1]


def test_validation_loss_averages_batches_or_samples():
    prediction = jnp.array([1.0, 2, 3, 4, 5.12345])
    label = jnp.zeros(5)
    rules = RULES._replace(batch_size=4)
    loss = partial(step.valid_loss, losses.absolute_error(prediction, label))
    by_batch = (2.5 + 5.12345) / 2
    np.testing.assert_allclose(loss(rules), by_batch, rtol=1e-6)
    samples = rules._replace(valid_mean="samples")
    np.testing.assert_allclose(loss(samples), 15.12345 / 5, rtol=1e-6)
    rounded = loss(rules._replace(round_decimals=2))
    assert rounded == np.float32(3.81)
