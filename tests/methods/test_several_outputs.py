"""LMF where a task has several outputs: each of them sums ranks of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from msa_jax.data.batches import gather
from msa_jax.methods.lmf import Lmf
from msa_jax.text.encoders import FeatureEncoder

BATCH = gather(tiny.make_split(5), jnp.arange(5))
WEIGHTS, BIAS = jnp.array([[2.0, -3.0]]), jnp.array([[0.5, -1.0, 2.0]])


@pytest.mark.parametrize("scalars", ["trained", "none"])
def test_an_output_sums_ranks_of_its_own_by_weights_of_all(scalars):
    network = Lmf(FeatureEncoder(), outputs=3, rank=2, fusion_scalars=scalars)
    variables = jax.jit(network.init, static_argnames="train")(
        jax.random.key(0), BATCH, train=False
    )
    if scalars == "trained":
        drawn = variables["params"]
        assert drawn["fusion_weights"].shape == WEIGHTS.shape
        assert drawn["fusion_bias"].shape == BIAS.shape
        own = {"fusion_weights": WEIGHTS, "fusion_bias": BIAS}
        variables = {**variables, "params": drawn | own}
    outputs = network.apply(variables, BATCH, train=False)
    ranks = np.asarray(outputs.feature["fusion"])
    for k, bias in enumerate(BIAS[0]):
        first, second = ranks[:, 2 * k], ranks[:, 2 * k + 1]
        expected = first + second
        if scalars == "trained":
            expected = 2 * first - 3 * second + bias
        np.testing.assert_allclose(outputs.prediction[k], expected, rtol=1e-5)
