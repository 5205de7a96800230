"""Networks of one score, where a task has several outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from msa_jax.data.batches import gather
from msa_jax.methods.lmf import Lmf
from msa_jax.methods.tfn import Tfn
from msa_jax.text.encoders import FeatureEncoder

BATCH = gather(tiny.make_split(5), jnp.arange(5))
WEIGHTS, BIAS = jnp.array([[2.0, -3.0]]), jnp.array([[0.5, -1.0, 2.0]])


def drawn(network):
    init = jax.jit(network.init, static_argnames="train")
    return init(jax.random.key(0), BATCH, train=False)


def test_logits_of_tfn_are_not_bounded_as_its_score_is():
    for outputs, bounded in ((1, True), (3, False)):
        network = Tfn(FeatureEncoder(), outputs=outputs)
        variables = drawn(network)
        last = variables["params"]["fusion_3"]["linear"]
        last["bias"] = jnp.full(outputs, 50.0)
        answer = network.apply(variables, BATCH, train=False).prediction
        assert answer.shape == (outputs, 5)
        assert (answer <= 3).all() if bounded else (answer > 40).all()
        assert ("output_range" in variables["params"]) == bounded


@pytest.mark.parametrize("scalars", ["trained", "none"])
def test_an_output_of_lmf_sums_ranks_of_its_own_by_weights_of_all(scalars):
    network = Lmf(FeatureEncoder(), outputs=3, rank=2, fusion_scalars=scalars)
    variables = drawn(network)
    if scalars == "trained":
        params = variables["params"]
        assert params["fusion_weights"].shape == WEIGHTS.shape
        assert params["fusion_bias"].shape == BIAS.shape
        own = {"fusion_weights": WEIGHTS, "fusion_bias": BIAS}
        variables = {**variables, "params": params | own}
    outputs = network.apply(variables, BATCH, train=False)
    ranks = np.asarray(outputs.feature["fusion"])
    for k, bias in enumerate(BIAS[0]):
        first, second = ranks[:, 2 * k], ranks[:, 2 * k + 1]
        expected = first + second
        if scalars == "trained":
            expected = 2 * first - 3 * second + bias
        np.testing.assert_allclose(outputs.prediction[k], expected, rtol=1e-5)
