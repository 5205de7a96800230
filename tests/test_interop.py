import jax
import numpy as np
import pytest
import tiny

from msa_jax import interop, text
from msa_jax.methods import PAPERS

TEXT = {"weights": "random", "random_width": 8, "random_layers": 2}


@pytest.fixture(scope="module")
def params():
    """Self-MM with a tiny BERT; every parameter drawn, biases too."""
    settings = PAPERS["self_mm"].config().text
    settings.update(TEXT)
    method = tiny.make_self_mm(text.load_encoder(settings, ["a b"]).module)
    split = tiny.make_split(3)
    tokens = np.ones((3, 3, 4), np.int32)
    return jax.device_get(tiny.make_params(method, split.replace(text=tokens)))


@pytest.fixture(scope="module")
def state(params):
    return interop.to_torch(params)


def test_round_trip(params, state):
    like = jax.tree.map(np.zeros_like, params)
    tiny.assert_same(interop.from_torch(state, like), params)
    assert len(state) == len(jax.tree.leaves(params))


def test_the_public_wrapper_and_unused_entries_do_not_matter(params, state):
    wrapped = {f"Model.{k}": v for k, v in state.items()}
    wrapped["Model.text_model.model.pooler.dense.weight"] = np.zeros((8, 8))
    tiny.assert_same(interop.from_torch(wrapped, params), params)


def test_names_and_shapes_are_those_of_the_public_code(state):
    """Names as in thuiar/Self-MM, shapes as torch has them: outputs first."""
    layer = "text_model.model.encoder.layer.1."
    expected = {
        "text_model.model.embeddings.word_embeddings.weight": (64, 8),
        "text_model.model.embeddings.LayerNorm.weight": (8,),
        "text_model.model.encoder.layer.0.attention.self.query.weight": (8, 8),
        layer + "attention.output.LayerNorm.bias": (8,),
        layer + "intermediate.dense.weight": (32, 8),
        layer + "output.dense.weight": (8, 32),
    }
    for name, hidden, inputs, width in (("audio", 4, 3, 3), ("video", 5, 4, 4)):
        expected |= {
            f"{name}_model.rnn.weight_ih_l0": (4 * hidden, inputs),
            f"{name}_model.rnn.weight_hh_l0": (4 * hidden, hidden),
            f"{name}_model.rnn.bias_ih_l0": (4 * hidden,),
            f"{name}_model.rnn.bias_hh_l0": (4 * hidden,),
            f"{name}_model.linear_1.weight": (width, hidden),
            f"{name}_model.linear_1.bias": (width,),
        }
    for name, inputs, width in (
        ("fusion", 15, 8),
        ("text", 8, 6),
        ("audio", 3, 4),
        ("video", 4, 5),
    ):
        sizes = ((width, inputs), (width, width), (1, width))
        for i, size in enumerate(sizes, start=1):
            expected[f"post_{name}_layer_{i}.weight"] = size
            expected[f"post_{name}_layer_{i}.bias"] = size[:1]
    assert {k: state[k].shape for k in expected if k in state} == expected
    rest = state.keys() - expected.keys()
    assert all(name.startswith("text_model.model.") for name in rest)


def test_values_keep_their_places(params, state):
    """y = W x in torch and y = x K here: W is K transposed, vectors stay."""
    lstm = params["vision_lstm"]
    assert state["video_model.rnn.weight_hh_l0"][7, 2] == lstm["state_kernel"][2, 7]
    assert state["video_model.rnn.bias_ih_l0"][3] == lstm["input_bias"][3]
    assert state["video_model.rnn.bias_hh_l0"][3] == lstm["state_bias"][3]
    head = params["vision_head_net"]
    found = state["post_video_layer_2.weight"]
    assert found[1, 3] == head["layer_2"]["linear"]["kernel"][3, 1]
    words = params["text_encoder"]["bert"]["embeddings"]["word_embeddings"]
    found = state["text_model.model.embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(found, words["embedding"])


def test_a_missing_entry_is_named(params, state):
    name = "audio_model.rnn.weight_ih_l0"
    rest = {k: v for k, v in state.items() if k != name}
    with pytest.raises(KeyError, match=f"{name}.*audio_lstm/input_kernel"):
        interop.from_torch(rest, params)


def test_another_shape_is_named(params, state):
    name = "audio_model.rnn.weight_ih_l0"
    wrong = {**state, name: state[name].T}
    with pytest.raises(ValueError, match=rf"{name}.*\(16, 3\).*\(3, 16\)"):
        interop.from_torch(wrong, params)


def test_a_parameter_without_a_name_in_torch_is_an_error():
    with pytest.raises(KeyError, match="no PyTorch name for parameter 'other/kernel'"):
        interop.to_torch({"other": {"kernel": np.ones(2)}})
