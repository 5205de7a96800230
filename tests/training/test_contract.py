"""What methods may need of training, each with a method of one or two parameters."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from flax import linen as nn

from msa_jax.data.batches import batches, count, cut, video_index
from msa_jax.data.sealed_test import freeze, state_hash
from msa_jax.ground import hosts
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Method, Outputs, Phase
from msa_jax.layers import draws
from msa_jax.layers.norm import BatchNorm
from msa_jax.methods import PAPERS, network, tasks
from msa_jax.methods.losses import masked_mean
from msa_jax.runs import checkpoint
from msa_jax.training import epoch_program, phases, step
from msa_jax.training.train_state import make_mesh, new_state, seed_keys

TRAIN, VALID = tiny.make_split(10), tiny.make_split(6, seed=1)
X, Y = np.array(TRAIN.text[:, 0, :2], float), np.array(TRAIN.label, float)
ORDER = np.random.default_rng(3).permutation(10)
RATE = 0.1
SGD = optax.sgd(RATE)
close = partial(np.testing.assert_allclose, rtol=0, atol=3e-6)


class Line(nn.Module):
    """The first two text features times two parameters; rows 1, 2 and 3 lie above."""

    @nn.compact
    def __call__(self, batch, *, train):
        a, b = (self.param(name, nn.initializers.ones, (1,)) for name in "ab")
        x = batch.text[:, 0, :2]
        score = a * x[:, 0] + b * x[:, 1]
        return Outputs(
            jnp.stack([score + i for i in range(4)]),
            {"b": jnp.broadcast_to(b, score.shape)},
        )


def squared(outputs, batch, labels):
    del labels
    error = (outputs.prediction[0] - batch.label) ** 2 / 2
    return masked_mean(error, batch.valid), {}


def method(model: nn.Module, loss=squared, **fields) -> Method:
    return Method(tasks.SENTIMENT, model, loss, lambda path: path, **fields)


def start(of: Method, optimizer=SGD, seed: int = 0):
    batch = step.gather(TRAIN, jnp.arange(2))
    variables = network.start(of, jax.random.key(1), batch)
    return new_state(of, optimizer, variables, TRAIN, jax.random.key(seed))


def run(of: Method, rules, state=None, optimizer=SGD, order=ORDER, **given):
    """Train one epoch."""
    rows = batches(jnp.asarray(order), rules.batch_size)
    epoch = partial(step.train_epoch, of, optimizer, split=TRAIN, rules=rules)
    return tiny.quick(epoch)(state or start(of), order=rows, **given)


def weights(params) -> np.ndarray:
    return np.array([params[name][0] for name in sorted(params)], float)


def gradient(w, rows):
    """Of the mean squared error by both parameters."""
    return (X[rows] @ w - Y[rows]) @ X[rows] / len(rows)


# --- Accumulation --------------------------------------------------------------------


def plain_loop(accumulate, tail, every_batch, limit):
    """The rules as PyTorch's public trainers write them; returns weights, steps."""
    w, summed, steps = np.ones(2), np.zeros(2), 0
    rows = [ORDER[i : i + 2] for i in range(0, 10, 2)]
    for number, batch in enumerate(rows, start=1):
        summed = summed + gradient(w, batch)  # backward
        if limit:
            summed = summed.clip(-limit, limit)  # clip_grad_value_
        ends = number % accumulate == 0 or (tail == "stepped" and number == len(rows))
        for _ in range(every_batch + ends):  # optimizer.step
            w, steps = w - RATE * summed, steps + 1
        if ends:
            summed = np.zeros(2)  # zero_grad
    return w, steps


@pytest.mark.parametrize(
    "accumulate, tail, every_batch, limit",
    [
        (2, "dropped", False, 0.0),
        (2, "stepped", False, 0.4),
        (2, "dropped", True, 0.4),
        (3, "stepped", True, 0.0),
        (5, "stepped", True, 0.0),
    ],
)
def test_accumulation_is_that_of_a_plain_loop(accumulate, tail, every_batch, limit):
    """5 batches: with 2 and 3 a step the last group has 1 and 2 of them."""
    optimizer = optax.chain(optax.scale(-RATE), optax.scale_by_schedule(lambda k: 1.0))
    rules = step.Rules(
        2, accumulate, tail=tail, step_every_batch=every_batch, clip_value=limit
    )
    state = start(of := method(Line()), optimizer)
    found = run(of, rules, state, optimizer).state
    expected, steps = plain_loop(accumulate, tail, every_batch, limit)
    close(weights(found.params), expected)
    assert found.opt_state[""][1].count == steps
    c = PAPERS["self_mm"].config()
    c.optim.update(
        batch_size=2,
        accumulate_batches=accumulate,
        tail=tail,
        step_every_batch=every_batch,
        clip_value=limit,
    )
    assert epoch_program.steps_per_epoch(c, TRAIN) == steps
    asked, given = epoch_program.rules(c), rules._asdict()
    assert {
        k: getattr(asked, k) for k in ("tail", "step_every_batch", "clip_value")
    } == {k: given[k] for k in ("tail", "step_every_batch", "clip_value")}


def test_a_tail_that_steps_is_a_step():
    c = PAPERS["self_mm"].config()
    c.optim.update(batch_size=8, accumulate_batches=4, tail="stepped")
    assert epoch_program.steps_per_epoch(c, TRAIN) == 1
    c.optim.tail = "dropped"
    with pytest.raises(UserError, match="10 training samples make 2 batch"):
        epoch_program.steps_per_epoch(c, TRAIN)


# --- Statistics ----------------------------------------------------------------------


class Counted(nn.Module):
    """A line that keeps a running mean of its input, and answers relative to it."""

    @nn.compact
    def __call__(self, batch, *, train):
        out = Line()(batch, train=train)
        mean = self.variable("batch_stats", "mean", jnp.zeros, ())
        if train:
            own = masked_mean(batch.text[:, 0, 0], batch.valid)
            mean.value = 0.5 * mean.value + 0.5 * own
        return Outputs(out.prediction - mean.value, {})


COUNTED = method(Counted())


def running_mean(rows, mean=0.0):
    for batch in rows:
        mean = 0.5 * mean + 0.5 * X[batch, 0].mean()
    return mean


def test_batch_norm_is_of_the_whole_batch_where_devices_share_it():
    """Three samples on two devices, then one: statistics and steps as on one device."""
    of, states = method(Normed()), []
    for devices in (1, 2):
        mesh = make_mesh(devices, devices, 1)
        rules = step.Rules(3, 1, early_stop=9)
        epoch = step.make_epoch(of, SGD, rules, mesh, over_seeds="vmap")
        state = jax.tree.map(lambda x: x[None], start(of))
        states.append(hosts.on_host(epoch(state, TRAIN, VALID)[0]))
    alone, shared = states
    assert abs(alone["statistics/batch_stats/norm/running_mean"]).min() > 0
    for name, expected in alone.items():
        np.testing.assert_allclose(shared[name], expected, 1e-6, 1e-6, err_msg=name)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_statistics_follow_every_batch_also_without_a_step(accumulate):
    """4 batches of 3, the last ragged; with 2 a step none is left over, with 3 one."""
    rows = [ORDER[i : i + 3] for i in range(0, 10, 3)]
    found = run(COUNTED, step.Rules(3, accumulate)).state
    close(found.statistics["batch_stats"]["mean"], running_mean(rows))
    left = run(COUNTED, step.Rules(3, 3)).state
    close(left.statistics["batch_stats"]["mean"], running_mean(rows))


class Normed(nn.Module):
    """Batch norm of two features, and their sum."""

    @nn.compact
    def __call__(self, batch, *, train):
        x = BatchNorm(name="norm")(batch.text[:, 0, :2], batch.valid, train=train)
        return Outputs(x.sum(axis=1)[None], {})


def test_batch_norm_of_padded_batches_and_of_one_sample_left_over():
    """Two seeds in a program; 10 samples in batches of 3: the last has one."""
    of = method(Normed())
    orders = np.stack([ORDER, ORDER[::-1]])
    rows = jnp.stack([batches(jnp.asarray(order), 3) for order in orders])
    states = jax.tree.map(lambda *x: jnp.stack(x), start(of), start(of, seed=1))
    rules = step.Rules(3, 1)
    epoch = partial(step.train_epoch, of, SGD, split=TRAIN, rules=rules)
    over_seeds = jax.vmap(lambda state, order: epoch(state, order=order).state)
    found = tiny.quick(over_seeds)(states, rows).statistics["batch_stats"]["norm"]
    for seed, order in enumerate(orders):
        mean, variance = np.zeros(2), np.ones(2)
        for x in (X[order[i : i + 3]] for i in (0, 3, 6)):  # one sample has none
            mean = 0.9 * mean + 0.1 * x.mean(axis=0)
            variance = 0.9 * variance + 0.1 * x.var(axis=0, ddof=1)
        close(found["running_mean"][seed], mean)
        close(found["running_var"][seed], variance)


def test_statistics_stay_where_nothing_goes_on():
    state = run(COUNTED, step.Rules(3, 2)).state
    ended = run(COUNTED, step.Rules(3, 2), state, going=jnp.asarray(False)).state
    tiny.assert_same(ended, state)

    def loss(outputs, batch, labels):
        value, parts = squared(outputs, batch, labels)
        broken = (batch.index == ORDER[-1]).any()  # in the last group alone
        return jnp.where(broken, jnp.nan, value), parts

    for accumulate, kept in ((2, 2), (3, 3)):  # a group is left out; a leftover batch
        rules = step.Rules(3, accumulate, on_nonfinite="skip")
        found = run(COUNTED._replace(loss=loss), rules).state
        rows = [ORDER[i : i + 3] for i in range(0, 3 * kept, 3)]
        close(found.statistics["batch_stats"]["mean"], running_mean(rows))


def test_selection_keeps_the_statistics_of_the_best_epoch():
    rules = step.Rules(3, 1, early_stop=9)
    mesh = make_mesh(1, 1, 2)
    epoch = step.make_epoch(COUNTED, SGD, rules, mesh, over_seeds="vmap")
    state = jax.tree.map(
        lambda *x: jnp.stack(x), start(COUNTED), start(COUNTED, seed=1)
    )
    # A validation loss that can only grow: the first epoch is the best.
    kept = []
    for scale in (1.0, 9.0):
        valid = VALID.replace(label=jnp.full(6, 100.0 * scale))
        state, log = epoch(state, TRAIN, valid)
        kept.append(np.array(state.statistics["batch_stats"]["mean"]))
    chosen = state.selection
    assert chosen.epoch.tolist() == [1, 1] and kept[0][0] != kept[0][1]
    np.testing.assert_array_equal(chosen.statistics["batch_stats"]["mean"], kept[0])
    assert (kept[0] != kept[1]).all()
    frozen = freeze(state, None, 2)
    tiny.assert_same(frozen.values, network.variables(chosen))
    # Answers are those of the selected statistics; the hash has them.
    predict = step.make_predict(COUNTED, 4, mesh, over_seeds="vmap")
    answers = predict(frozen.variables, VALID)
    line = np.array(VALID.text[:, 0, :2]) @ weights(
        jax.tree.map(lambda x: x[0], chosen.params["Line_0"])
    )
    close(answers[0], line - kept[0][0])
    own = jax.tree.map(lambda x: x[0], frozen.values)
    assert frozen.sha256[0] != state_hash(own["params"], None)
    alone = dataclasses.replace(state, selection=chosen.replace(statistics={}))
    assert freeze(alone, None, 2).sha256[0] == state_hash(own["params"], None)


def test_a_method_may_select_on_more_than_its_answers():
    """On every target's score of a sample; what is answered stays the task's."""
    seen = []

    def valid_error(outputs, split):
        seen.append(outputs.prediction.shape)
        return outputs.prediction[3] * 2 + split.label

    of = method(Line(), valid_error=valid_error)
    variables = {"params": {"a": jnp.ones(1), "b": jnp.full(1, 2.0)}}
    answers, error = step.judged(of, variables, VALID, 4)
    line = np.array(VALID.text[:, 0, :2]) @ [1, 2]
    close(answers, line)
    close(error, 2 * (line + 3) + VALID.label)
    assert seen == [(4, 6)]
    rules, mesh = step.Rules(4, 1), make_mesh(1, 1, 1)
    epoch = step.make_epoch(of, SGD, rules, mesh, over_seeds="vmap")
    state, log = epoch(jax.tree.map(lambda x: x[None], start(of)), TRAIN, VALID)
    error = 2 * (log.valid_prediction[0] + 3) + VALID.label
    score = step.valid_loss(error, rules)
    close(log.valid_loss[0], score)
    close(state.selection.score[0], score)


# --- Draws ---------------------------------------------------------------------------


class Noisy(nn.Module):
    """A line, a draw of a stream of its own, and dropout."""

    @nn.compact
    def __call__(self, batch, *, train):
        out = Line()(batch, train=train)
        rows = batch.label.shape
        feature = {
            "z": draws.normal(self, "noise", "z", rows),
            "u": draws.normal(self, "other", "u", rows),
            "kept": nn.Dropout(0.5, deterministic=not train)(jnp.ones(rows)),
        }
        return Outputs(out.prediction, feature)


NOISY = method(Noisy(), streams=("noise", "other"))


def test_draws_have_streams_of_their_own_and_may_be_given():
    batch = step.gather(TRAIN, jnp.arange(8))
    variables = network.start(NOISY, jax.random.key(1), batch)
    assert variables.keys() == {"params"}
    learn = partial(network.learn, NOISY, batch=batch)
    first, second = (learn(variables, key=jax.random.key(k))[0] for k in (1, 2))
    assert (first.feature["z"] != second.feature["z"]).all()
    assert len({*first.feature["z"].tolist(), *first.feature["u"].tolist()}) == 16
    # Dropout is that of a network without further streams.
    plain = method(Noisy())._replace(streams=())
    fed = variables | {"draws": {"z": jnp.arange(8.0), "u": jnp.zeros(8)}}
    given, moved = network.learn(plain, fed, batch, jax.random.key(1))
    np.testing.assert_array_equal(given.feature["kept"], first.feature["kept"])
    np.testing.assert_array_equal(given.feature["z"], jnp.arange(8.0))
    assert moved == {}
    # Outside training every call draws the same.
    answers = [network.answer(NOISY, variables, batch).feature["z"] for _ in range(2)]
    np.testing.assert_array_equal(*answers)
    np.testing.assert_array_equal(
        network.answer(NOISY, fed, batch).feature["z"], jnp.arange(8.0)
    )
    with pytest.raises(ValueError, match=r"z: given draws have shape \(3,\)"):
        network.answer(NOISY, fed | {"draws": {"z": jnp.zeros(3)}}, batch)


# --- Phases --------------------------------------------------------------------------


@jax.custom_vjp
def constant(x):
    return x


def refuse(saved, gradient):
    raise AssertionError("its gradient is computed")


constant.defvjp(lambda x: (x, None), refuse)


def of_b(outputs, batch, labels):
    """Pulls b to 3; has no gradient by a."""
    del labels
    value = masked_mean((outputs.feature["b"] - 3) ** 2 / 2, batch.valid)
    return value, {"distance": value}


PHASED = method(
    Line(),
    phases=(
        Phase("main", squared, ("a",)),
        Phase("first", of_b, ("b",), whole_epoch=True),
        Phase("both", squared, ("a", "b")),
    ),
)


def test_phases_move_their_own_parameters_in_order():
    """A pass for b alone; then in every batch a by one gradient, a and b by another."""
    rows = [ORDER[i : i + 2] for i in range(0, 10, 2)]
    w, losses = np.ones(2), {"first": [], "main": []}
    for _ in rows:
        losses["first"].append((w[1] - 3) ** 2 / 2)
        w = w - RATE * np.array([0, w[1] - 3])
    for batch in rows:
        slope = gradient(w, batch)
        losses["main"].append(((X[batch] @ w - Y[batch]) ** 2 / 2).mean())
        w = w - RATE * slope * [2, 1]  # both gradients are at the weights before
    found = run(PHASED, step.Rules(2, 1))
    close(weights(found.state.params), w)
    close(found.parts["loss_first"], losses["first"])
    close(found.parts["distance"], losses["first"])
    for name in ("main", "both"):
        close(found.parts[f"loss_{name}"], losses["main"])
    close(found.parts["loss"], np.array(losses["first"]) + 2 * np.array(losses["main"]))
    assert found.state.step == 10 and found.state.epoch == 1
    assert found.bad_steps.shape == (5,) and not found.bad_steps.any()


def test_phases_have_optimisers_of_their_own():
    adam = optax.adam(RATE)
    state = run(PHASED, step.Rules(2, 1), start(PHASED, adam), adam).state
    assert state.opt_state.keys() == {"main", "first", "both"}
    for name, group in (("main", {"a"}), ("first", {"b"}), ("both", {"a", "b"})):
        of_phase = state.opt_state[name][0]
        assert of_phase.mu.keys() == group and of_phase.count == 5


def test_gradients_by_other_groups_are_not_computed():
    class Walled(nn.Module):
        @nn.compact
        def __call__(self, batch, *, train):
            a, b = (self.param(name, nn.initializers.ones, (1,)) for name in "ab")
            score = a * batch.text[:, 0, 0] + constant(b)
            return Outputs(jnp.stack([score] * 4), {})

    alone = method(Walled(), phases=(Phase("a", squared, ("a",)),))
    run(alone, step.Rules(5, 1))
    with pytest.raises(AssertionError, match="its gradient is computed"):
        run(method(Walled()), step.Rules(5, 1))
    unknown = method(Line(), phases=(Phase("c", squared, ("c",)),))
    with pytest.raises(ValueError, match="phase c: no parameter"):
        start(unknown)


@pytest.mark.parametrize("name", ["main", "first"])
def test_a_gradient_of_any_phase_is_checked(name):
    def broken(outputs, batch, labels):
        del labels
        at = (batch.index == ORDER[0]).any()
        value = (outputs.prediction[0] * 0 + outputs.feature["b"]).sum()
        return jnp.where(at, jnp.inf, 0.0) * value, {}

    wrong = [
        p._replace(loss=broken, groups=None) if p.name == name else p
        for p in PHASED.phases
    ]
    rules = step.Rules(2, 1, on_nonfinite="skip")
    found = run(PHASED._replace(phases=tuple(wrong)), rules)
    assert found.bad_steps.tolist() == [True] + [False] * 4
    assert np.isfinite(found.parts["loss"]).tolist() == [False] + [True] * 4


# --- Memories ------------------------------------------------------------------------

SIZE = 3  # entries of the queue


def with_queue() -> Method:
    """The loss pulls the score to the mean of the last scores, which it remembers."""

    def loss(outputs, batch, queue):
        value, _ = squared(outputs, batch, ())
        mean = jnp.where(queue["count"] > 0, queue["last"].mean(), 0.0)
        return value + (outputs.prediction[0].mean() - mean) ** 2, {"remembered": mean}

    def update(queue, outputs, batch, epoch):
        own = masked_mean(outputs.prediction[0], batch.valid)
        last = jnp.roll(queue["last"], 1).at[0].set(own)
        return {"last": last, "count": queue["count"] + 1}

    return method(
        Counted(),
        loss,
        init_labels=lambda split, key: {
            "last": jnp.zeros(SIZE),
            "count": 0 * key_of(key),
        },
        begin_labels=lambda queue, epoch: {
            "last": queue["last"] * 0,
            "count": 0 * epoch,
        },
        update_labels=update,
        label_values=lambda queue: {"last": queue["last"]},
        phases=(
            Phase("ahead", squared, ("Line_0/b",), whole_epoch=True),
            Phase("main", loss),
        ),
    )


def key_of(key):
    return jax.random.key_data(key)[0].astype(jnp.int32)


def test_a_memory_goes_through_epochs_lanes_and_resume(tmp_path):
    """Begun anew each epoch, of the last batches alone; resumed to the bit."""
    of, adam = with_queue(), optax.adam(RATE)
    mesh, rules = make_mesh(1, 1, 2), step.Rules(4, 1, early_stop=9)
    epoch = step.make_epoch(of, adam, rules, mesh, over_seeds="vmap")
    states = [start(of, adam, seed) for seed in (1, 2)]
    state = jax.tree.map(lambda *x: jnp.stack(x), *states)
    assert (state.key == seed_keys((1, 2))).all()
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    state, log = epoch(state, TRAIN, VALID)
    assert state.labels["count"].tolist() == [3, 3]  # the pass ahead is none
    assert log.parts["remembered"][:, 0].tolist() == [0, 0]
    assert len(np.unique(state.labels["last"])) == 6  # each lane its own
    np.testing.assert_array_equal(log.recorded["last"], state.labels["last"])
    checkpoint.write_state(tmp_path / "s", hosts.on_host(state), {})
    arrays = checkpoint.read_state(tmp_path / "s").arrays
    assert {"statistics/batch_stats/mean", "selection/statistics/batch_stats/mean"} < {
        *arrays
    }
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    resumed = hosts.on_devices(arrays, like, sharding)
    tiny.assert_same(resumed, state)
    after, _ = epoch(resumed, TRAIN, VALID)
    tiny.assert_same(after, epoch(state, TRAIN, VALID)[0])
    assert after.labels["count"].tolist() == [3, 3]


# --- Videos --------------------------------------------------------------------------

IDS = ("b$_$2", "a$_$10", "b$_$1", "a$_$9", "alone", "v_0[7]", "v_0[3]", "b$_$3")
TABLE = [[2, 0, 7], [3, 1, 8], [4, 8, 8], [6, 5, 8]]


def test_samples_are_grouped_by_video_in_the_order_of_clips():
    np.testing.assert_array_equal(video_index(IDS), TABLE)
    assert video_index(IDS).dtype == np.int32
    np.testing.assert_array_equal(video_index(["x_1", "y_1"]), [[0], [1]])
    np.testing.assert_array_equal(video_index(["train3", "train3"]), [[0], [1]])


class Context(nn.Module):
    """A line plus the sum of its neighbours' first features."""

    @nn.compact
    def __call__(self, batch, *, train):
        score = Line()(batch, train=train).prediction[0]
        x = jnp.where(batch.valid, batch.text[:, 0, 0], 0)
        of_video = x.reshape(-1, batch.utterances).sum(axis=1)
        score = score + jnp.repeat(of_video, batch.utterances)
        return Outputs(jnp.stack([score] * 4), {"score": score[:, None]})


IN_VIDEOS = method(Context(), videos=True)
SPLIT = jax.tree.map(lambda x: x[:8], TRAIN).replace(videos=jnp.asarray(TABLE))


def test_batches_are_whole_videos():
    assert count(SPLIT, True) == 4 and count(SPLIT, False) == 8
    rows = cut(SPLIT, jnp.array([3, 1, 0, 2]), 3, True, columns=4)
    first, last = [6, 5, 8, 3, 1, 8, 2, 0, 7], [4, 8, 8]
    np.testing.assert_array_equal(rows, [first + [8] * 3, last + [8] * 9])
    assert cut(SPLIT, jnp.arange(4), 3, True, drop_last=True).shape == (1, 9)


@pytest.mark.parametrize("size", [1, 3])
def test_answers_come_in_the_splits_order_with_their_video(size):
    variables = {"params": {"Line_0": {"a": jnp.ones(1), "b": jnp.ones(1)}}}
    found = step.predict(IN_VIDEOS, variables, SPLIT, size)
    x = X[:8]
    expected = x.sum(axis=1)
    for video in TABLE:
        own = [row for row in video if row < 8]
        expected[own] += x[own, 0].sum()
    close(found, expected)
    # Without an index every sample is a video of its own.
    lone = step.predict(IN_VIDEOS, variables, SPLIT.replace(videos=None), size)
    close(lone, x.sum(axis=1) + x[:, 0])


def test_an_epoch_shuffles_videos_and_selects_over_them():
    """Batch means of validation are over videos, too."""
    rules = step.Rules(2, 1)
    epoch = step.make_epoch(IN_VIDEOS, SGD, rules, make_mesh(1, 1, 1), over_seeds="map")
    state = jax.tree.map(lambda x: x[None], start(IN_VIDEOS))
    state, log = epoch(state, SPLIT, SPLIT)
    assert log.parts["loss"].shape == (1, 2)
    error = np.abs(np.array(log.valid_prediction[0]) - Y[:8])
    means = error[[0, 1, 2, 3, 7]].mean(), error[[4, 5, 6]].mean()
    close(log.valid_loss[0], np.mean(means))
    assert phases.passes(IN_VIDEOS) == ((Phase("", squared),),)
