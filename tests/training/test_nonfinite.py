"""What is not finite ends its seed, is left out with its step, or ends the run."""

import json
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from stopped_runs import compared, stop, train
from tiny_runs import data, settings

from msa_jax.data.batches import batches, shuffled
from msa_jax.ground.errors import UserError
from msa_jax.training import step

SAMPLES, SIZE = 32, 8  # of the made-up data; config's batches


def poisoned(pair, what="loss"):
    """Return a maker of `Heads` whose loss breaks where both samples are in a batch."""

    def make():
        method = tiny.make_heads()

        def loss(outputs, batch, labels):
            total, parts = method.loss(outputs, batch, labels)
            there = [(batch.index == sample).any() for sample in pair]
            bad = jnp.stack(there).all()
            if what == "loss":
                return jnp.where(bad, jnp.inf, total), parts
            # The root of 0 is 0, its derivative is not finite.
            zero = jnp.where(bad, 0 * outputs.prediction.sum(), 1.0)
            return total + jnp.sqrt(zero) - jnp.where(bad, 0.0, 1.0), parts

        return method._replace(loss=loss)

    return make


def meetings(seed, pair, epochs=6):
    """List the steps, from 1, in which a seed has both samples in a batch."""
    found = []
    for epoch in range(1, epochs + 1):
        order = shuffled(jax.random.key(seed), jnp.asarray(epoch), SAMPLES)
        for i, row in enumerate(np.asarray(batches(order, SIZE))):
            if set(pair) <= set(row.tolist()):
                found.append((epoch - 1) * (SAMPLES // SIZE) + i + 1)
    return found


@pytest.fixture(scope="module")
def pair():
    """Two samples that seed 3 has in one batch in epoch 3 first, seed 4 never."""
    for a in range(SAMPLES):
        for b in range(a):
            met = meetings(3, (a, b))
            if met and 8 < met[0] <= 12 and not meetings(4, (a, b)):
                return a, b
    raise AssertionError("no such pair")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return train(tmp_path_factory.mktemp("sound") / "run", settings(**PATIENT))


PATIENT = {"selection.early_stop": 6}


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_stop_ends_the_seed_and_names_step_and_samples(
    tmp_path, capsys, pair, what, sound
):
    folder = tmp_path / "run"
    made = train(folder, settings(**PATIENT), method=poisoned(pair, what))
    at = meetings(3, pair)[0]
    assert made["epochs_run"] == {"3": 3, "4": 6}
    (note,) = [note for note in made["notes"] if "not finite" in note]
    assert note.startswith("Seed 3: ") and "training of this seed ended there" in note
    said = capsys.readouterr().out
    assert f"seed 3: the {what} of training step {at} (epoch 3) is not finite" in said
    with np.load(folder / "nonfinite_seed_3.npz") as z:
        assert set(pair) <= set(z["index"].tolist()) and len(z["index"]) == SIZE
        train_split = data(11).splits["train"]
        assert z["id"].tolist() == [str(train_split.id[i]) for i in z["index"]]
        np.testing.assert_array_equal(z["label"], train_split.label[z["index"]])
        assert z["audio"].shape[0] == SIZE and str(z["split"]) == "train"
        assert all(name in said for name in z["id"][:5])
    for key in ("test", "valid"):  # the other one is as it was
        per_seed = made[key]["mae"]["per_seed"][1], sound[key]["mae"]["per_seed"][1]
        assert per_seed[0] == pytest.approx(per_seed[1], abs=1e-5)


def test_skip_leaves_the_step_out_and_counts(tmp_path, pair, capsys):
    asked = settings(on_nonfinite="skip", **PATIENT)
    method, known = poisoned(pair), {}
    made = train(tmp_path / "a", asked, method=method, known=known)
    assert made["epochs_run"] == {"3": 6, "4": 6}
    (note,) = [note for note in made["notes"] if "not finite" in note]
    count = len(meetings(3, pair))
    assert note.startswith(f"Seed 3: {count} training step(s)")
    assert note.endswith("were left out, the first in epoch 3.")
    assert np.isfinite(made["test"]["mae"]["per_seed"]).all()
    with np.load(tmp_path / "a" / "losses.npz") as z:
        bad = np.flatnonzero(~np.isfinite(z["loss"][:, 0])) + 1
    assert bad.tolist() == meetings(3, pair)
    # And after a kill: the same, notes included.
    stop(tmp_path / "b", 5, asked=asked, method=method, known=known)
    train(tmp_path / "b", asked, method=method, known=known)
    assert compared(tmp_path / "b") == compared(tmp_path / "a")


def test_a_seed_that_stopped_is_named_again_after_a_kill(tmp_path, pair):
    asked, method, known = settings(**PATIENT), poisoned(pair), {}
    train(tmp_path / "a", asked, method=method, known=known)
    stop(tmp_path / "b", 5, asked=asked, method=method, known=known)
    (tmp_path / "b" / "nonfinite_seed_3.npz").unlink()
    train(tmp_path / "b", asked, method=method, known=known)
    assert "nonfinite_seed_3.npz" in compared(tmp_path / "b")
    assert compared(tmp_path / "b") == compared(tmp_path / "a")


def test_abort_ends_the_run(tmp_path, pair):
    asked = settings(on_nonfinite="abort", **PATIENT)
    with pytest.raises(UserError) as refused:
        train(tmp_path / "run", asked, method=poisoned(pair, "gradient"))
    at = meetings(3, pair)[0]
    said = f"seed 3: the gradient of training step {at} (epoch 3) is not finite"
    assert str(refused.value).startswith(said) and "\n" not in str(refused.value)
    assert (tmp_path / "run" / "nonfinite_seed_3.npz").exists()
    assert not (tmp_path / "run" / "results.json").exists()
    history = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in history] == [1, 2, 3]


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_is_left_out_changes_the_counter_only(what):
    """The last of three steps breaks: the rest is what two steps leave."""
    split, method = tiny.make_split(24), tiny.make_heads()
    order = jnp.arange(24).reshape(6, 4)
    state = jax.tree.map(lambda x: x[0], tiny.make_states(method, split, (1,)))
    bad = poisoned((17, 18), what)()
    optimizer = tiny.make_optimizer(method)
    rules = step.Rules(4, 2, on_nonfinite="skip")

    @jax.jit
    def two(state):
        return step.train_epoch(method, optimizer, state, split, order[:4], rules)

    @jax.jit
    def three(state):
        return step.train_epoch(bad, optimizer, state, split, order, rules)

    short, whole = two(state), three(state)
    assert whole.state.step == 6 and short.state.step == 4
    for name in ("params", "opt_state", "labels"):
        tiny.assert_close(getattr(whole.state, name), getattr(short.state, name), 1e-6)
    # A loss that is infinite anyway has gradient 0.
    assert whole.bad_steps.tolist() == [False, False, what == "gradient"]
    assert Counter(np.isfinite(whole.parts["loss"]).tolist()) == (
        {True: 5, False: 1} if what == "loss" else {True: 6}
    )


def test_an_infinite_loss_is_no_best_epoch():
    rules = step.Rules(8, 1)
    chosen = step.Selection(
        params=jnp.zeros(2),
        score=jnp.float32(1.0),
        epoch=jnp.int32(1),
        active=jnp.ones((), bool),
    )
    for score in (jnp.nan, -jnp.inf, jnp.inf):
        found = step.select(
            chosen, jnp.ones(2), jnp.float32(score), jnp.int32(2), rules
        )
        assert found.epoch == 1 and found.score == 1 and not found.params.any()
