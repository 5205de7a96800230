import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.sharding import NamedSharding, PartitionSpec

from msa_jax.data.batches import gather
from msa_jax.ground.names import TARGETS
from msa_jax.methods import self_mm
from msa_jax.text.encoders import FeatureEncoder
from msa_jax.training.train_state import make_mesh

N = 9
SPLIT = tiny.make_split(N)
METHOD = tiny.make_self_mm()
PARAMS = tiny.make_params(METHOD, SPLIT)
REAL = jnp.array([4, 0, 7])
PADDED = jnp.array([4, 0, 7, N, N, N, N, N])


@pytest.fixture(scope="module")
def labels():
    """Label tables whose unimodal labels differ from the human ones."""
    tables = METHOD.init_labels(SPLIT, jax.random.key(0))
    noise = np.random.default_rng(2).normal(size=(3, N)).astype(np.float32)
    return tables.replace(value=tables.value.at[1:].add(noise))


def forward(batch, params=PARAMS):
    return METHOD.model.apply({"params": params}, batch, train=False)


def loss(params, batch, labels):
    return METHOD.loss(forward(batch, params), batch, labels)[0]


evaluate = tiny.quick(forward)
value_and_gradient = tiny.quick(jax.value_and_grad(loss))


def test_a_lost_label_of_the_last_sample_stays_out_of_other_batches(labels):
    """A padding row reads sample n - 1; that label may be NaN (`undefined`)."""
    lost = labels.replace(value=labels.value.at[1:, N - 1].set(jnp.nan))
    batch = gather(SPLIT, PADDED)
    found = value_and_gradient(PARAMS, batch, lost)
    tiny.assert_same(found, value_and_gradient(PARAMS, batch, labels))


def test_a_batch_divides_over_eight_devices(labels):
    batch = gather(SPLIT, PADDED)
    over = NamedSharding(make_mesh(8, 8, 1), PartitionSpec("data"))
    found = value_and_gradient(PARAMS, jax.device_put(batch, over), labels)
    # measured: 6e-8
    expected = value_and_gradient(PARAMS, batch, labels)
    tiny.assert_close(found, expected, 1e-6)


def test_each_dropout_rate_reaches_its_own_targets():
    batch = gather(SPLIT, PADDED)
    expected = evaluate(batch).prediction
    reach = {
        "fusion_head_dropout": {"fusion"},
        "text_head_dropout": {"text"},
        "audio_head_dropout": {"audio"},
        "vision_head_dropout": {"vision"},
        "audio_dropout": {"fusion", "audio"},
        "vision_dropout": {"fusion", "vision"},
    }
    none = dict.fromkeys(reach, 0.0)

    def scores(name):
        options = {**tiny.MODEL, **none, name: 0.9}
        model = self_mm.SelfMM(FeatureEncoder(), "mean", **options)
        variables, rngs = {"params": PARAMS}, {"dropout": jax.random.key(0)}
        return model.apply(variables, batch, train=True, rngs=rngs).prediction

    found = tiny.quick(lambda: {name: scores(name) for name in reach})()
    for name, targets in reach.items():
        changed = (np.abs(found[name] - expected) > 1e-6).any(axis=1)
        assert {t for t, c in zip(TARGETS, changed, strict=True) if c} == targets, name


def shapes(**changes):
    model = self_mm.SelfMM(FeatureEncoder(), "mean", **{**tiny.MODEL, **changes})

    def init():
        return model.init(jax.random.key(0), gather(SPLIT, REAL), train=False)

    return jax.tree.map(lambda s: s.shape, jax.eval_shape(init)["params"])


def test_the_papers_network_has_one_hidden_layer_and_no_projection():
    code, paper = shapes(), shapes(head_layers=1, project_lstm=False)
    assert code.keys() - paper.keys() == {"audio_projection", "vision_projection"}
    for t in TARGETS:
        assert set(code[f"{t}_head_net"]) == {"layer_1", "layer_2", "score"}
        assert set(paper[f"{t}_head_net"]) == {"layer_1", "score"}
    # text 6, then audio and vision: projected 3 + 4, hidden 4 + 5
    inputs = [
        s["fusion_head_net"]["layer_1"]["linear"]["kernel"] for s in (code, paper)
    ]
    assert inputs == [(6 + 3 + 4, 8), (6 + 4 + 5, 8)]


BERT = "text_encoder/bert/encoder/layer/0/"


@pytest.mark.parametrize(
    "path, group",
    [
        (BERT + "attention/self/query/kernel", "bert"),
        (BERT + "attention/self/query/bias", "bert_no_decay"),
        (BERT + "output/LayerNorm/scale", "bert_no_decay"),
        (BERT + "output/LayerNorm/bias", "bert_no_decay"),
        ("text_encoder/bert/embeddings/word_embeddings/embedding", "bert"),
        ("audio_lstm/input_kernel", "audio"),
        ("audio_lstm/state_bias", "audio"),
        ("audio_projection/linear/bias", "audio"),
        ("vision_lstm/state_kernel", "vision"),
        ("vision_projection/linear/kernel", "vision"),
        ("audio_head_net/layer_1/linear/kernel", "other"),
        ("vision_head_net/score/linear/bias", "other"),
        ("text_head_net/layer_2/linear/bias", "other"),
        ("fusion_head_net/layer_1/linear/kernel", "other"),
    ],
)
def test_parameter_groups(path, group):
    assert self_mm.group(path) == group


def test_the_method_updates_labels_from_its_own_features(labels):
    batch = gather(SPLIT, PADDED)
    outputs = evaluate(batch)
    found = METHOD.update_labels(labels, outputs, batch, jnp.asarray(2))
    for t in TARGETS:
        rows = np.array(labels.feature[t])
        rows[np.asarray(REAL)] = outputs.feature[t][:3]
        np.testing.assert_array_equal(found.feature[t], rows)
    recorded = METHOD.label_values(found)
    assert recorded.keys() == {"u_labels", "empty_classes"}
    np.testing.assert_array_equal(recorded["u_labels"], found.value)
    changed = np.asarray(found.value != labels.value).any(axis=0)
    assert set(np.flatnonzero(changed)) <= set(REAL.tolist())
