"""The standalone SP-Transformer: head, loss, and a loop without label tables."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from tiny import make_params, make_split, quick, small, used

from msa_jax import methods
from msa_jax.data.batches import gather
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch, Outputs
from msa_jax.layers import spt
from msa_jax.layers.dense import Linear
from msa_jax.methods import PAPERS
from msa_jax.text.encoders import FeatureEncoder
from msa_jax.training import optim, step
from msa_jax.training.train_state import drawing, make_mesh, new_state, seed_keys


def tiny(**changes):
    return small(PAPERS["spt"], **changes)


def make(c):
    return methods.make(c, FeatureEncoder(), (-3.0, 3.0))


@pytest.mark.parametrize(
    "widths, expected", [((300, 5, 20), 148_907), ((300, 74, 35), 154_451)]
)
def test_number_of_parameters_is_the_public_codes(widths, expected):
    """Counted there, text 300, audio and vision of MOSI and MOSEI."""
    one = jnp.ones(1, jnp.int32)

    def init(text, audio, vision):
        batch = Batch(text, one, audio, one, vision, one, one * 1.0, one, one > 0)
        network = make(PAPERS["spt"].config()).model
        return network.init(jax.random.key(0), batch, train=False)

    inputs = [jax.ShapeDtypeStruct((1, 1, w), jnp.float32) for w in widths]
    shapes = jax.eval_shape(init, *inputs)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == expected


def test_head_equals_numpy():
    """Linear-ReLU-Linear of the three states, and the states; then one score."""
    c, split = tiny(), make_split(5)
    method = make(c)
    params, batch = make_params(method, split), gather(split, jnp.arange(5))
    network = spt.SparsePhasedTransformer(spt.Readings(**c.spt))
    sequences = {m: getattr(batch, m) for m in MODALITIES}
    lengths = {m: getattr(batch, f"{m}_length") for m in MODALITIES}
    encode = quick(partial(network.apply, train=False))
    states = encode({"params": params["spt"]}, sequences, lengths)
    x = np.concatenate([states[m] for m in ("text", "audio", "vision")], axis=1)

    def linear(name, x):
        p = params[name]["linear"]
        return x @ np.asarray(p["kernel"]) + np.asarray(p["bias"])

    x = x + linear("layer_2", np.maximum(linear("layer_1", x), 0))
    evaluate = quick(partial(method.model.apply, train=False))
    found = evaluate({"params": params}, batch)
    assert found.prediction.shape == (1, 5) and found.feature == {}
    expected = linear("score", x).T
    np.testing.assert_allclose(found.prediction, expected, rtol=0, atol=1e-5)


def test_head_drops_out_only_while_training():
    still = {f"spt.{n}_dropout": 0.0 for n in ("relu", "residual", "embed")}
    split = make_split(5)
    batch = gather(split, jnp.arange(5))

    def follows(train, rate):
        """Say whether scores follow the key of dropout."""
        model: Any = make(tiny(**still, **{"model.output_dropout": rate})).model
        params = make_params(make(tiny()), split)

        def run(key):
            rngs = {"dropout": key}
            return model.apply({"params": params}, batch, train=train, rngs=rngs)

        key = jax.random.key(0)
        return used(jax.make_jaxpr(run)(key), key)[0]

    assert [follows(True, 0.5), follows(True, 0.0), follows(False, 0.5)] == [
        *(True, False, False),
    ]


@pytest.mark.parametrize("error, expected", [("l1", 1.25), ("l2", 2.125)])
def test_loss_is_the_mean_of_valid_samples(error, expected):
    split = make_split(3)
    batch = gather(split, jnp.array([0, 1, 3]))  # the last row is padding
    prediction = batch.label + jnp.array([2.0, -0.5, jnp.nan])
    method = make(tiny(**{"loss.error": error}))
    loss, parts = method.loss(Outputs(prediction[None], {}), batch, ())
    assert list(parts) == ["loss_fusion"] and parts["loss_fusion"] == loss
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_groups():
    group = make(PAPERS["spt"].config()).groups
    assert group("text_encoder/bert/kernel") == "bert"
    assert group("text_encoder/LayerNorm/scale") == "bert_no_decay"
    assert group("spt/input_text/query_kernel") == "spt"
    assert group("spt/self_text/context_norm_scale") == "frozen"
    assert group("layer_1/linear/kernel") == group("score/linear/bias") == "other"


class Mean(nn.Module):
    """In the network's place: it compiles in a hundredth of the time."""

    @nn.compact
    def __call__(self, batch, *, train):
        """Score the mean text vector."""
        return Outputs(Linear(1, name="score")(batch.text.mean(axis=1)).T, {})


def test_epochs_without_label_tables_under_a_plateau_schedule():
    """Nothing is learnt at a rate of almost 0, so rates fall after epochs 2 and 3."""
    method = make(tiny())._replace(model=Mean())
    split, valid = make_split(20), make_split(7, 1)
    optimizer = optim.make_optimizer(
        {"other": {"rate": 1e-12, "decay": 0.0}},
        method.groups,
        clip_norm=1.0,
        schedule=optim.scale_on_plateau(0, 0.5),
    )

    def start(key):
        variables = drawing(method)(split, key)
        return new_state(method, optimizer, variables, split, key)

    state = quick(jax.vmap(start))(seed_keys((1, 2)))
    rules = step.Rules(8, 1, early_stop=2)
    program = (method, optimizer, rules, make_mesh(1, 1, 2))
    run_epoch = step.make_epoch(*program, over_seeds="vmap")
    scales = []
    for _ in range(4):
        state, log = run_epoch(state, split, valid)
        assert set(log.parts) == {"loss", "loss_fusion"} and log.recorded == {}
        assert np.isfinite(log.parts["loss"]).all() and state.labels == ()
        is_plateau = partial(lambda kind, x: isinstance(x, kind), optim.Plateau)
        nodes = jax.tree.leaves(state.opt_state, is_leaf=is_plateau)
        scales += [n.scale.tolist() for n in nodes if is_plateau(n)]
    # A seed that early stopping has ended (after epoch 3) keeps its scale.
    assert scales == [[1, 1], [0.5, 0.5], [0.25, 0.25], [0.25, 0.25]]
