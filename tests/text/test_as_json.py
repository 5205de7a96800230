"""A BERT written down as settings is the same BERT when read again."""

import json

import jax.numpy as jnp
import pytest
from transformers import BertConfig

from msa_jax.ground.errors import UserError
from msa_jax.text import as_json, bert, encoders

SHAPE = bert.Shape(
    *(50, 24, 2, 3, 96, 16, 2, "gelu_new", 0.15, 0.25, 1e-9, 0.4)  # no default but one
)
OWN = bert.OwnBertEncoder(SHAPE)
THEIRS = encoders.BertEncoder(BertConfig(**SHAPE.settings()))


def test_both_implementations_say_the_same():
    said = as_json.encoder_settings(OWN)
    assert said == as_json.encoder_settings(THEIRS)
    assert said and said["hidden_dropout_prob"] == 0.15
    assert as_json.encoder_settings(encoders.FeatureEncoder()) is None


@pytest.mark.parametrize("precision", ["highest", "bfloat16"])
def test_what_is_read_is_what_was_written(precision):
    said = json.loads(json.dumps(as_json.encoder_settings(THEIRS)))
    compute = jnp.bfloat16 if precision == "bfloat16" else None
    own = as_json.make_encoder(said, "own", precision)
    assert isinstance(own, bert.OwnBertEncoder)
    assert own.shape == SHAPE._replace(compute=compute)
    theirs = as_json.make_encoder(said, "transformers", precision)
    assert isinstance(theirs, encoders.BertEncoder) and theirs.compute is compute
    assert theirs.config.to_dict() == THEIRS.config.to_dict()


@pytest.mark.parametrize("implementation", ["own", "transformers"])
@pytest.mark.parametrize(
    "change, message",
    [
        ({"hidden_size": 2.5}, "hidden_size must be a whole number above 0, not 2.5"),
        ({"num_attention_heads": 0}, "num_attention_heads must be a whole number"),
        ({"vocab_size": True}, "vocab_size must be a whole number above 0, not True"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps must be a number from 0"),
        ({"hidden_act": ["gelu"]}, "hidden_act must be a name"),
        ({"hidden_size": 25}, "hidden_size 25 is no multiple"),
        ({"hidden_act": "shout"}, "shout"),
    ],
)
def test_settings_that_are_none_are_one_line(implementation, change, message):
    said = as_json.encoder_settings(OWN)
    assert said is not None
    said |= change
    with pytest.raises(UserError, match=message):
        as_json.make_encoder(said, implementation, "highest")


def test_a_missing_field_is_named():
    said = as_json.encoder_settings(OWN)
    assert said is not None and said.pop("hidden_act")
    with pytest.raises(UserError, match="hidden_act"):
        as_json.make_encoder(said, "own", "highest")


def test_our_bert_refuses_positions_that_it_does_not_compute():
    said = as_json.encoder_settings(OWN)
    assert said is not None
    said["position_embedding_type"] = "relative_key"
    with pytest.raises(UserError, match="relative_key"):
        as_json.make_encoder(said, "own", "highest")


def test_a_run_of_transformers_bert_needs_its_flax(monkeypatch):
    """transformers 5 has none: one line, where answers are asked for, too."""
    said = as_json.encoder_settings(THEIRS)
    assert said is not None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="no Flax BERT; install transformers<5"):
        as_json.make_encoder(said, "transformers", "highest")
