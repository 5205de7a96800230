"""Every method's forward pass is a program for any batch and machine, without calls."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import FrozenConfigDict
from safetensors.numpy import load, save

from msa_jax import methods
from msa_jax.data.batches import gather
from msa_jax.methods import PAPERS
from msa_jax.predict import export, exported, model
from msa_jax.predict.model import Live
from msa_jax.predict.samples import blank
from msa_jax.text import encoders
from tests.preparations import FEATURES

LONG = FEATURES._replace(steps={"text": 16, "audio": 20, "vision": 18})


def self_mm():
    return PAPERS["self_mm"].config()


def self_mm_with_spt():
    config = PAPERS["self_mm"].config()
    config.model.sequence, config.model.recalibrate = "spt", "mean"
    return config


def sugrm():
    """With random shifts, which are drawn in evaluation, too."""
    config = PAPERS["sugrm"].config()
    config.spt.input_letters, config.spt.respect_lengths = "SPR", True
    return config


def ucrn():
    config = PAPERS["ucrn"].config()
    config.model.unimodal_layers = config.model.crossmodal_layers = 1
    return config


def emotions():
    config = ucrn()
    config.task = "emotion"
    return config


CONFIGS = (self_mm, self_mm_with_spt, sugrm, ucrn, emotions)
CONFIGS += (PAPERS["spt"].config, PAPERS["mmcl"].config)


@pytest.mark.parametrize("make", CONFIGS)
def test_every_method_is_exported_for_any_batch(make):
    config = make()
    config.text.encoder = "features"
    method = methods.make(FrozenConfigDict(config), encoders.FeatureEncoder(), (-3, 3))
    live = Live(LONG, config, method, (1,), None, None)
    arrays = blank(LONG)

    def init(arrays):
        batch = gather(model.split_of(arrays), jnp.zeros((1,), jnp.int32))
        return method.model.init(jax.random.key(0), batch, train=False)

    params = model.flat(jax.eval_shape(init, arrays))
    made = export.program(live, params, arrays)
    assert made.platforms == ("cpu", "cuda", "tpu")
    assert exported.forbidden(made.mlir_module_serialized) == []
    called = set(re.findall(r"custom_call @(\w+)", made.mlir_module()))
    assert called <= set(exported.CALLS)
    (answer,) = made.out_avals
    assert answer.shape[1:] == ((6,) if make is emotions else ())
    assert not isinstance(answer.shape[0], int)


def test_transposed_parameters_come_back_as_they_are():
    """Weights that PyTorch wrote are; those of an untrained encoder stay so."""
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    params = {"a": {"b": x.T, "c": x[:, ::2]}, "d": np.asarray(np.float32(4))}
    found = load(save(export.storable(params)))
    expected = {"a/b": x.T, "a/c": x[:, ::2], "d": np.float32(4)}
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape
