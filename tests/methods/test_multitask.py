"""The multitask loss from hand-computed batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jaxtyping import TypeCheckError

from msa_jax.data.batches import gather
from msa_jax.ground.names import TARGETS
from msa_jax.ground.types import Outputs
from msa_jax.methods import multitask, ulgm

LABEL = jnp.array([1.0, -2, 0.5, 3])
INDEX = jnp.array([2, 0, 4])  # the third is padding
# fusion, text, audio, vision; of the batch: samples 2 and 0
VALUE = jnp.array([LABEL, LABEL + 1, LABEL, LABEL - 2])
PREDICTION = jnp.array([[0.0, 0, 99], [2.5, 2, 99], [7, 7, 99], [0, 0, 99]])
ERROR = {"fusion": (0.5, 1), "text": (1, 0), "audio": (6.5, 6), "vision": (1.5, 1)}
WEIGHT = {"fusion": 1, "text": np.tanh(1), "audio": 0, "vision": np.tanh(2)}


def batch():
    split = tiny.make_split(4).replace(label=LABEL)
    return gather(split, INDEX)


def tables(value=VALUE):
    return ulgm.init_tables(LABEL, dict.fromkeys(TARGETS, 1)).replace(value=value)


def compute(labels, prediction=PREDICTION, **options):
    return multitask.loss(Outputs(prediction, {}), batch(), labels, **options)


def compare(found, expected):
    total, parts = found
    assert parts.keys() == {f"loss_{t}" for t in expected}
    for t, number in expected.items():
        np.testing.assert_allclose(parts[f"loss_{t}"], number, rtol=1e-6)
    np.testing.assert_allclose(total, sum(expected.values()), rtol=1e-6)


def test_loss_is_the_sum_of_weighted_batch_means():
    compare(compute(tables()), {t: WEIGHT[t] * np.mean(ERROR[t]) for t in TARGETS})


def test_equal_weights():
    expected = {t: np.mean(ERROR[t]) for t in TARGETS}
    compare(compute(tables(), weighting="equal"), expected)


@pytest.mark.parametrize(
    "tasks", [(), ("fusion",), ("vision",), ("audio", "text"), TARGETS]
)
def test_only_the_chosen_tasks_count(tasks):
    """Table rows M; M,V; M,A,T and so on: fusion is always there."""
    chosen = [t for t in TARGETS if t in (*tasks, "fusion")]
    expected = {t: WEIGHT[t] * np.mean(ERROR[t]) for t in chosen}
    compare(compute(tables(), tasks=tasks), expected)


@pytest.mark.parametrize("error", ["l1", "l2", "huber"])
def test_errors(error):
    shape = {
        "l1": lambda e: e,
        "l2": lambda e: e**2,
        "huber": lambda e: e**2 / 2 if e < 1 else e - 0.5,
    }[error]
    expected = {t: WEIGHT[t] * np.mean([*map(shape, ERROR[t])]) for t in TARGETS}
    compare(compute(tables(), error=error), expected)


@pytest.mark.parametrize(
    "options", [{"tasks": ("texts",)}, {"weighting": "none"}, {"error": "mse"}]
)
def test_unknown_choices_are_refused(options):
    with pytest.raises((ValueError, TypeCheckError)):
        compute(tables(), **options)


@pytest.mark.parametrize("weighting", ["disagreement", "equal"])
def test_a_sample_without_human_unimodal_label_contributes_nothing(weighting):
    """Sample 0 has no text label, sample 3 (whose row padding reads) none at all."""
    unimodal = jnp.asarray(VALUE[1:].T).at[0, 0].set(jnp.nan).at[3].set(jnp.nan)
    labels = multitask.human_tables(LABEL, unimodal)

    def total(prediction):
        return compute(labels, prediction, weighting=weighting)

    gradient, parts = jax.grad(total, has_aux=True)(PREDICTION)
    weight = WEIGHT if weighting == "disagreement" else dict.fromkeys(TARGETS, 1)
    error = ERROR | {"text": (1, 0)}
    expected = {t: weight[t] * np.mean(error[t]) for t in TARGETS}
    for t in TARGETS:
        np.testing.assert_allclose(parts[f"loss_{t}"], expected[t], rtol=1e-6)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[:, 2], np.zeros(4))
    assert gradient[1, 1] == 0 and gradient[1, 0] != 0
    # Sample 0's error would count, had it a label.
    wrong = PREDICTION.at[1, 1].set(-50)
    assert total(wrong)[0] == total(PREDICTION)[0]


def test_a_generated_label_that_is_nan_is_seen():
    """The originals' NaN labels make the loss NaN; hiding them would be no replay."""
    lost = tables(VALUE.at[1, 2].set(jnp.nan))
    total, parts = compute(lost)
    assert np.isnan(total) and np.isnan(parts["loss_text"])
    assert np.isfinite(parts["loss_audio"])


def test_human_tables_hold_the_labels_in_the_order_of_targets():
    unimodal = jnp.arange(12.0).reshape(4, 3)
    found = multitask.human_tables(LABEL, unimodal)
    np.testing.assert_array_equal(found.value[0], LABEL)
    np.testing.assert_array_equal(found.value[1:], unimodal.T)
    assert len(jax.tree.leaves(found)) == 1
