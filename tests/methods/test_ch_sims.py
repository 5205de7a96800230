"""CH-SIMS' loss of four weighted tasks, and what of its networks learns."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from msa_jax import methods
from msa_jax.data.batches import gather
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import TARGETS
from msa_jax.ground.types import Outputs
from msa_jax.methods import network
from msa_jax.methods.ch_sims import FourTasks
from msa_jax.text.encoders import FeatureEncoder

LABEL = np.array([1.0, -1, 0.5, 0.25])
UNIMODAL = np.array([[0.5, 1, 0], [1, np.nan, -1], [0, 0, 0], [np.nan] * 3])
PREDICTION = np.array([[2.0, 1, 9], [0, 0, 9], [3, 2, 9], [1, -1, 9]])
WEIGHTS = {"fusion": 0.5, "text": 2.0, "audio": 0.0, "vision": 1.0}
FOUR = FourTasks(**{f"{t}_weight": w for t, w in WEIGHTS.items()})
SPLIT = tiny.make_split(4).replace(
    label=jnp.asarray(LABEL), unimodal_label=jnp.asarray(UNIMODAL)
)
BATCH = gather(SPLIT, jnp.array([1, 0, 4]))  # the third is padding
OUTPUTS = Outputs(jnp.asarray(PREDICTION), {})
MEANS = {  # of |prediction - label| of samples 1 and 0; none for audio of 1
    "fusion": (3 + 0) / 2,
    "text": (1 + 0.5) / 2,
    "audio": (0 + 1) / 2,
    "vision": (2 + 1) / 2,
}


def test_the_loss_is_the_weighted_sum_of_batch_means():
    total, parts = FOUR.loss(OUTPUTS, BATCH, FOUR.labels(SPLIT))
    assert parts.keys() == {f"loss_{t}" for t in TARGETS}
    for target, mean in MEANS.items():
        np.testing.assert_allclose(parts[f"loss_{target}"], mean, rtol=1e-6)
    expected = sum(WEIGHTS[t] * MEANS[t] for t in TARGETS)
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_no_gradient_where_people_gave_no_label_nor_in_padding():
    labels = FOUR.labels(SPLIT)
    slope = jax.grad(lambda p: FOUR.loss(Outputs(p, {}), BATCH, labels)[0])
    expected = np.array([[0.5, 0, 0], [-2, -2, 0], [0, 0, 0], [1, -1, 0]]) / 2
    np.testing.assert_allclose(slope(OUTPUTS.prediction), expected, rtol=1e-6)


def test_epochs_are_chosen_by_the_same_sum():
    """The mean over samples 0 and 1 is the loss of their batch."""
    turned = jnp.asarray(PREDICTION[:, [1, 0, 2, 2]])
    error = FOUR.valid_error(Outputs(turned, {}), SPLIT)
    total, _ = FOUR.loss(OUTPUTS, BATCH, FOUR.labels(SPLIT))
    np.testing.assert_allclose(error[:2].mean(), total, rtol=1e-6)
    np.testing.assert_allclose(error[3], 0.5 * (9 - 0.25), rtol=1e-6)


def test_the_multimodal_label_may_stand_for_all():
    labels = FOUR._replace(unimodal_labels="multimodal").labels(SPLIT)
    np.testing.assert_array_equal(labels.value, np.tile(LABEL, (4, 1)))


@pytest.mark.parametrize("name", ["mlf_dnn", "mtfn", "mlmf"])
def test_frozen_heads_leave_the_modalities_networks(name):
    """And LMF's factors, as MMSA's optimisers had it until March 2022."""
    c = tiny.small(methods.PAPERS[name], "v1")
    method = methods.make(c, FeatureEncoder(), (-1, 1))
    init = partial(network.start, method, batch=BATCH)
    params = jax.eval_shape(init, jax.random.key(0))["params"]
    groups = {
        path[0].key: method.groups("/".join(part.key for part in path))
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    }
    moved = {top: group for top, group in groups.items() if group != "frozen"}
    expected = {f"{m}_net": m for m in TARGETS[1:]}
    assert moved == expected | ({"low_rank": "factor"} if name == "mlmf" else {})


def test_data_without_unimodal_labels_are_refused_in_one_line():
    there = ("text", "audio", "vision")
    c = methods.PAPERS["mlmf"].config()
    with pytest.raises(UserError, match="--config.loss.unimodal_labels=multimodal$"):
        methods.require(c, "mosi", there)
    c.loss.unimodal_labels = "multimodal"
    methods.require(c, "mosi", there)
