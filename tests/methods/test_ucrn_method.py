"""UCRN as a method: tasks, losses, variants; its network: test_ucrn.py."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import make_split, small

from msa_jax import methods
from msa_jax.data.batches import gather
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Outputs
from msa_jax.methods import PAPERS, divergence, losses, tasks, ucrn
from msa_jax.text.encoders import FeatureEncoder

EMOTION = jnp.asarray(np.random.default_rng(0).integers(-2, 3, (24, 6)).clip(0) / 1.0)
SPLIT = dataclasses.replace(make_split(24), emotion=EMOTION)
TASKS = {
    "sentiment": 1,
    "two_class": 2,
    "seven_class": 7,
    "seven_class_sdk": 7,
    "emotion": 6,
}


def settings(variant: str = "", task: str = "sentiment"):
    return small(PAPERS["ucrn"], variant, task=task)


def outputs_for(task: str) -> Outputs:
    """Return what a network puts out: logits or scores, features that differ."""
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(TASKS[task], 6)).astype(np.float32)
    drawn = rng.normal(size=(3, 6, 5)).astype(np.float32)
    feature = dict(zip(MODALITIES, drawn, strict=True))
    return jax.tree.map(jnp.asarray, Outputs(logits, feature))


BATCH = gather(SPLIT, jnp.array([0, 5, 7, 24, 24, 11]))  # two rows of padding


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_outputs_and_its_loss(task):
    method = methods.make(settings("", task), FeatureEncoder(), (-3.0, 3.0))
    batch, outputs = BATCH, outputs_for(task)
    start = partial(method.model.init_with_output, train=False)
    made, _ = jax.eval_shape(start, jax.random.key(0), batch)
    assert made.prediction.shape == (TASKS[task], 6)
    answer = method.task.read(outputs)
    assert answer.shape == ((6,) if task == "sentiment" else (6, TASKS[task]))
    total, parts = method.loss(outputs, batch, ())
    kept = np.asarray(batch.valid)
    error = np.asarray(method.task.error(answer, batch))
    assert error.shape == (6,)
    np.testing.assert_allclose(parts["loss_task"], error[kept].mean(), rtol=1e-5)
    rows = {m: outputs.feature[m][kept] for m in ("text", "audio", "vision")}
    apart = divergence.multimodal(rows, jnp.ones(4, bool))
    np.testing.assert_allclose(parts["loss_divergence"], apart.mean(), rtol=1e-5)
    np.testing.assert_allclose(total, sum(parts.values()), rtol=1e-6)


def test_losses_of_tasks_are_their_formulas():
    batch = gather(SPLIT, jnp.arange(12))
    batch = dataclasses.replace(batch, label=batch.label.at[0].set(0))  # positive
    label = np.asarray(batch.label)
    assert (label > 0).any() and (label < 0).any()
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(12, 7)).astype(np.float32)

    def entropy(x, k):
        chance = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
        return -np.log(chance[np.arange(12), k])

    two = tasks.make("two_class").error(jnp.asarray(logits[:, :2]), batch)
    np.testing.assert_allclose(
        two, entropy(logits[:, :2], (label >= 0).astype(int)), rtol=1e-5
    )
    rounded = np.clip(np.round(label), -3, 3).astype(int) + 3
    seven = tasks.make("seven_class").error(jnp.asarray(logits), batch)
    np.testing.assert_allclose(seven, entropy(logits, rounded), rtol=1e-5)
    up = np.clip(np.sign(label) * np.ceil(np.abs(label)), -3, 3).astype(int) + 3
    sdk = tasks.make("seven_class_sdk").error(jnp.asarray(logits), batch)
    np.testing.assert_allclose(sdk, entropy(logits, up), rtol=1e-5)
    six = tasks.make("emotion").error(jnp.asarray(logits[:, :6]), batch)
    present = np.asarray(batch.emotion) > 0
    chance = 1 / (1 + np.exp(-logits[:, :6]))
    expected = -np.log(np.where(present, chance, 1 - chance)).mean(axis=1)
    np.testing.assert_allclose(six, expected, rtol=1e-5)


@pytest.mark.parametrize("label", [-3.4, -3, -2.5, -0.5, -0.2, 0, 0.5, 1.5, 2.5, 3])
def test_classes_of_labels(label):
    """What trains is what is scored: `metrics` bins in NumPy."""
    from msa_jax.evaluation.metrics import rounded_class, sdk_class

    for rule, bins in (("rounded", rounded_class), ("sdk", sdk_class)):
        found = tasks.seven_classes(jnp.asarray([label], jnp.float32), rule)
        assert int(found[0]) - 3 == int(bins(np.asarray([label], np.float32))[0])


@pytest.mark.parametrize("row", ["", *PAPERS["ucrn"].variants])
def test_every_row_builds_its_network_and_losses(row):
    c = settings(row)
    method = methods.make(c, FeatureEncoder(), (-3.0, 3.0))
    batch = gather(SPLIT, jnp.arange(4))
    shapes = jax.eval_shape(
        lambda: method.model.init(jax.random.key(0), batch, train=False)
    )["params"]
    present = set(c.model.modalities)
    built = {m for m in ("text", "audio", "vision") if f"{m}_stack" in shapes}
    assert built == (set() if row == "no_urm" else present)
    assert ("crossmodal_stack" in shapes) == (row != "no_crm")
    gates = {name for name in shapes if "_gate_" in name}
    assert gates == (set() if row == "no_sqil" else {f"{m}_gate_1" for m in present})
    outputs = jax.eval_shape(
        lambda p: method.model.apply({"params": p}, batch, train=False), shapes
    )
    _, parts = jax.eval_shape(lambda o: method.loss(o, batch, ()), outputs)
    apart = row != "no_mjs" and len(present) > 1
    assert set(parts) == {"loss_task"} | ({"loss_divergence"} if apart else set())
    assert set(outputs.feature) == present | {"fusion"}


def test_weights_of_the_losses():
    batch, outputs = BATCH, outputs_for("sentiment")
    task = tasks.make("sentiment")
    total, parts = ucrn.loss(
        outputs, batch, (), task=task, divergence_weight=0.5, task_weight=2.0
    )
    expected = 2 * parts["loss_task"] + 0.5 * parts["loss_divergence"]
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    rows = (outputs.prediction[0], batch.label)
    mean = losses.masked_mean(losses.absolute_error(*rows), batch.valid)
    np.testing.assert_allclose(parts["loss_task"], mean, rtol=1e-6)


def test_presets_and_refusals():
    paper, code = PAPERS["ucrn"].config(), PAPERS["ucrn"].config("code")
    assert (paper.model.width, paper.optim.batch_size) == (24, 16)
    assert {name: code.model[name] for name in ucrn.CODE} == dict(ucrn.CODE)
    assert len(paper.seeds) == 10
    with pytest.raises(UserError, match="'no_tea' is no data set .* and no variant"):
        PAPERS["ucrn"].config("code+no_tea")
    c = PAPERS["mmcl"].config()
    c.task = "emotion"
    with pytest.raises(UserError, match="mmcl answers 'sentiment' only"):
        methods.check(c)
    c = PAPERS["ucrn"].config()
    c.model.heads = 5
    with pytest.raises(UserError, match="width = 24: must be a multiple of"):
        methods.check(c)
    c = PAPERS["ucrn"].config()
    c.model.unimodal_layers = -1
    with pytest.raises(UserError, match="unimodal_layers = -1: must be at least 0"):
        methods.check(c)
