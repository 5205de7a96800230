import jax
import numpy as np
import pytest
import tiny

from msa_jax.methods import PAPERS, self_mm
from msa_jax.methods.torch_names import Names, from_torch, rows, to_torch
from msa_jax.text import encoders

TEXT = {"weights": "random", "random_width": 8, "random_layers": 2}


@pytest.fixture(scope="module")
def params():
    """Self-MM with a tiny BERT; every parameter drawn, biases too."""
    settings = PAPERS["self_mm"].config().text
    settings.update(TEXT)
    method = tiny.make_self_mm(encoders.load_encoder(settings, ["a b"]).module)
    split = tiny.make_split(3)
    tokens = np.ones((3, 3, 4), np.int32)
    return jax.device_get(tiny.make_params(method, split.replace(text=tokens)))


@pytest.fixture(scope="module")
def state(params):
    return to_torch(self_mm.TORCH, params)


def test_round_trip(params, state):
    like = jax.tree.map(np.zeros_like, params)
    tiny.assert_same(from_torch(self_mm.TORCH, state, like), params)
    assert len(state) == len(jax.tree.leaves(params))


def test_the_public_wrapper_and_unused_entries_do_not_matter(params, state):
    wrapped = {f"Model.{k}": v for k, v in state.items()}
    wrapped["Model.text_model.model.pooler.dense.weight"] = np.zeros((8, 8))
    tiny.assert_same(from_torch(self_mm.TORCH, wrapped, params), params)


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
        from_torch(self_mm.TORCH, rest, params)


def test_another_shape_is_named(params, state):
    name = "audio_model.rnn.weight_ih_l0"
    wrong = {**state, name: state[name].T}
    with pytest.raises(ValueError, match=rf"{name}.*\(16, 3\).*\(3, 16\)"):
        from_torch(self_mm.TORCH, wrong, params)


def test_a_parameter_without_a_name_in_torch_is_an_error():
    with pytest.raises(KeyError, match="no PyTorch name for parameter 'other/kernel'"):
        to_torch(self_mm.TORCH, {"other": {"kernel": np.ones(2)}})


def test_an_entry_that_nothing_asks_for_is_named(params, state):
    more = {**state, "audio_model.rnn.weight_ih_l1": np.zeros(3)}
    with pytest.raises(ValueError, match=r"asks for audio_model\.rnn\.weight_ih_l1"):
        from_torch(self_mm.TORCH, more, params)


KEPT = ("bias", "in_proj")
LAYERED = Names(
    {"stack/": "encoder.layers.{}.", "norm/": "norm_1.", "drop/": "dropout."},
    {("query", "key"): rows("in_proj", 2)},
)


def test_layers_side_by_side_and_leaves_that_are_one_array():
    """Layer i is entry i of our leaves; queries' rows stand above the keys'."""
    query = np.arange(12.0).reshape(2, 3, 2)  # [layers, in, out]
    tree = {"stack": {"query": query, "key": query + 100, "bias": np.ones((2, 2))}}
    state = to_torch(LAYERED, tree)
    assert sorted(state) == [f"encoder.layers.{i}.{k}" for i in (0, 1) for k in KEPT]
    found = state["encoder.layers.1.in_proj"]
    assert found.shape == (4, 3) and found[1, 2] == query[1, 2, 1]
    assert found[2, 0] == query[1, 0, 0] + 100
    like = jax.tree.map(np.zeros_like, tree)
    tiny.assert_same(from_torch(LAYERED, state, like), tree)


def test_variables_and_modules_have_names_too():
    """A batch norm's; its counter is nobody's. The two collections are one dict."""
    tree = {
        "params": {"norm": {"scale": np.ones(2), "bias": np.zeros(2)}},
        "batch_stats": {
            "norm": {"running_mean": np.full(2, 3.0), "running_var": np.full(2, 4.0)}
        },
    }
    state = to_torch(LAYERED, tree)
    assert state["norm_1.weight"][0] == 1 and state["norm_1.running_var"][0] == 4
    counted = state | {"norm_1.num_batches_tracked": np.array(7)}
    tiny.assert_same(from_torch(LAYERED, counted, tree), tree)
    assert LAYERED.module("norm/drop") == "norm_1.dropout"
    assert LAYERED.module("subnorm/unknown") == "subnorm.unknown"
