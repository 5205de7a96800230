"""SUGRM's network, its switches and those that its tables put into Self-MM."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import (
    assert_same,
    make_heads,
    make_optimizer,
    make_params,
    make_split,
    quick,
    small,
)

from msa_jax import config, methods
from msa_jax.data.batches import batches, gather
from msa_jax.ground.names import TARGETS
from msa_jax.ground.types import Batch, HumanTables, Outputs
from msa_jax.layers.mrm import Recalibration
from msa_jax.methods import PAPERS, label_rules, multitask, sugrm, ulgm
from msa_jax.runs.writer import Writer
from msa_jax.text.encoders import FeatureEncoder
from msa_jax.training import step
from msa_jax.training.train_state import new_state

SPLIT = make_split(24)
BATCH = gather(SPLIT, jnp.arange(8))


def make(name: str, **changes):
    c = small(PAPERS[name], **changes)
    return c, methods.make(c, FeatureEncoder(), (-3.0, 3.0))


def shapes_of(method):
    start = partial(method.model.init, train=False)
    return jax.eval_shape(start, jax.random.key(0), BATCH)["params"]


ROWS = {  # Table 4 of SUGRM, and readings: what is built, and what is not
    "M, T, A, V": ("sugrm", {}, "spt recalibration", "text_lstm transformer"),
    "MRM removed": ("sugrm", {"model__recalibrate": "none"}, "spt", "recalibration"),
    "LSTMs": ("sugrm", {"model__sequence": "lstm"}, "text_lstm recalibration", "spt"),
    "transformer": ("sugrm", {"model__sequence": "transformer"}, "transformer", "spt"),
    "Self-MM": ("self_mm", {}, "audio_lstm audio_projection", "spt recalibration"),
    "MRM added": ("self_mm", {"model__recalibrate": "mean"}, "recalibration", "spt"),
    "SPT": ("self_mm", {"model__sequence": "spt"}, "spt", "audio_lstm"),
}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_tables_has_its_parts(row):
    name, changes, built, left_out = ROWS[row]
    found = set(shapes_of(make(name, **changes)[1]))
    assert {*built.split(), *(f"{t}_head_net" for t in TARGETS)} <= found
    assert not found & set(left_out.split())


def test_the_paper_s_head_has_one_layer():
    heads = [shapes_of(make("sugrm", model__feature_layers=n)[1]) for n in (1, 2)]
    layers = [set(params["fusion_head_net"]) for params in heads]
    assert layers == [{"layer_1", "score"}, {"layer_1", "layer_2", "score"}]


def dummy(rows: int = 8) -> Outputs:
    """Return what networks put out: scores and features that all differ."""
    rng = np.random.default_rng(1)
    drawn = rng.normal(size=(4, rows, 5)).astype(np.float32)
    feature = {t: drawn[k, :, 1:] for k, t in enumerate(TARGETS)}
    return jax.tree.map(jnp.asarray, Outputs(drawn[:, :, 0], feature))


@pytest.mark.parametrize(
    "tasks", [("fusion",), ("fusion", "vision"), ("fusion", "text", "audio"), TARGETS]
)
@pytest.mark.parametrize("error", ["l1", "huber"])
def test_rows_about_tasks_and_errors_reach_the_loss(tasks, error):
    """Tables 3 and 8: what `multitask.loss` is told; its numbers are tested there."""
    _, method = make("sugrm", loss__tasks=tasks, loss__error=error)
    labels = method.init_labels(SPLIT, jax.random.key(0))
    labels = labels.replace(value=labels.value + jnp.array([[0.0], [1], [2], [-1]]))
    found = method.loss(dummy(), BATCH, labels)
    expected = multitask.loss(dummy(), BATCH, labels, tasks=tasks, error=error)
    assert_same(found, expected)
    assert set(found[1]) == {f"loss_{t}" for t in tasks}


def test_human_labels_train_their_heads():
    human = jnp.stack([SPLIT.label, -SPLIT.label, SPLIT.label * 0], axis=1)
    split = SPLIT.replace(unimodal_label=human)
    _, method = make("self_mm", ulgm__rule="human", loss__weighting="equal")
    labels = method.init_labels(split, jax.random.key(0))
    assert isinstance(labels, HumanTables)
    np.testing.assert_array_equal(labels.value[0], split.label)
    np.testing.assert_array_equal(labels.value[1:], human.T)
    assert method.update_labels(labels, dummy(), BATCH, 2) is labels
    _, parts = method.loss(dummy(), BATCH, labels)
    error = np.abs(dummy().prediction[1] - human[:8, 0]).mean()
    np.testing.assert_allclose(parts["loss_text"], error, rtol=1e-6)
    # A split without them: they count nothing.
    none = method.init_labels(SPLIT, jax.random.key(0))
    assert float(method.loss(dummy(), BATCH, none)[1]["loss_text"]) == 0


def distances(width: int):
    """Return small heads (no recurrence) with SUGRM's label rule."""
    rule = label_rules.distance(ulgm.Rules(rule="sugrm"), width, 8)
    return make_heads()._replace(
        init_labels=rule.init, update_labels=rule.update, label_values=rule.recorded
    )


def test_labels_move_from_the_second_epoch_on():
    """Self-MM's own rule: test_step_parallel.py."""
    method = distances(4)
    optimizer = make_optimizer(method)
    params = make_params(method, SPLIT)
    state = new_state(method, optimizer, {"params": params}, SPLIT, jax.random.key(0))
    order = batches(jnp.arange(24), 8)
    run = quick(
        lambda s: step.train_epoch(
            method, optimizer, s, SPLIT, order, step.Rules(order.shape[1], 1)
        )
    )
    values, unimodal = [], []
    for _ in range(3):
        state, parts, _ = run(state)
        values.append(state.labels.value)
        unimodal.append(float(parts["loss_text"].max()))
    np.testing.assert_array_equal(values[0], np.tile(SPLIT.label, (4, 1)))
    assert (values[1][1:] != values[0][1:]).any()
    np.testing.assert_array_equal(values[1][0], SPLIT.label)
    assert unimodal[0] == 0 and unimodal[2] > 0
    assert "extreme_label" in method.label_values(state.labels)


def test_the_first_pass_s_order_comes_from_the_seed():
    """Repeated extremes depend on it; so it is part of what a seed fixes."""
    split = SPLIT.replace(label=jnp.where(jnp.arange(24) < 12, 3.0, -3.0))
    _, method = make("sugrm")
    weight = [
        method.init_labels(split, jax.random.key(k)).extreme_weight for k in (0, 0, 1)
    ]
    np.testing.assert_array_equal(weight[0], weight[1])
    assert bool(jnp.any(weight[0] != weight[2]))
    assert set(np.unique(weight[0])) == {0.0, 1.0, 2.0, 3.0}  # three batches


@pytest.mark.parametrize(
    "data, steps, widths, heads, count",
    [
        ("mosi", (50, 375, 500), (768, 5, 20), 8, 486_721),
        ("mosei", (50, 500, 375), (768, 74, 35), 4, 562_468),
    ],
)
def test_parameter_counts_are_the_public_code_s(data, steps, widths, heads, count):
    c = PAPERS["sugrm"].config()
    c.spt.heads = heads
    method = methods.make(c, FeatureEncoder(), (-3.0, 3.0))
    sequences = [jnp.zeros((1, t, d)) for t, d in zip(steps, widths, strict=True)]
    one = jnp.ones(1, jnp.int32)
    batch = Batch(*(x for s in sequences for x in (s, one)), jnp.zeros(1), one, one > 0)
    shapes = jax.eval_shape(
        lambda: method.model.init(jax.random.key(0), batch, train=False)
    )
    sizes = jax.tree.map(lambda x: int(np.prod(x.shape)), shapes["params"])
    parts = {k: sum(jax.tree.leaves(v)) for k, v in sizes.items()}
    assert sum(parts.values()) == count
    heads_only = sum(v for k, v in parts.items() if k.endswith("head_net"))
    assert heads_only == 10_628
    expected = {"mosi": (315_019, 161_074), "mosei": (385_222, 166_618)}[data]
    assert (parts["recalibration"], parts["spt"]) == expected


def test_groups_are_the_public_trainer_s():
    names = {
        "text_encoder/bert/layer/kernel": "bert",
        "text_encoder/bert/LayerNorm/scale": "bert_no_decay",
        "text_encoder/bert/layer/bias": "bert_no_decay",
        "spt/input_text/query_kernel": "spt",
        "spt/self_text/context_norm_scale": "frozen",
        "spt/self_text/query_norm_scale": "spt",
        "spt/cross_text_vision/context_norm_bias": "spt",
        "recalibration/squeeze_map/linear/kernel": "other",
        "fusion_head_net/score/linear/bias": "other",
    }
    assert {path: sugrm.group(path) for path in names} == names


def test_equal_features_are_asked_for_where_distances_need_them():
    c = PAPERS["self_mm"].config()
    c.ulgm.rule = "sugrm"
    with pytest.raises(config.checks.UserError, match="must be equal; they are"):
        methods.check(c)


def recalibrated(x, lengths, masked):
    module = Recalibration(masked=masked)
    start = partial(module.init, jax.random.key(1))
    out, params = quick(lambda *x: (module.apply(p := start(*x), *x), p))(x, lengths)
    return out, params["params"]


@pytest.mark.parametrize("masked", [False, True])
def test_recalibration_is_the_paper_s_formula(masked):
    rng = np.random.default_rng(0)
    x = {
        m: rng.normal(size=(2, t, d)).astype(np.float32)
        for m, t, d in (("text", 4, 6), ("audio", 5, 3), ("vision", 6, 4))
    }
    lengths = {m: np.array([2, v.shape[1]]) for m, v in x.items()}
    out, p = recalibrated(x, lengths, masked)
    for b in range(2):
        ends = {m: lengths[m][b] if masked else x[m].shape[1] for m in x}
        s = {m: x[m][b, : ends[m]].mean(axis=0) for m in x}
        s = np.concatenate([s["audio"], s["vision"], s["text"]])
        w = p["squeeze_map"]["linear"]
        assert w["kernel"].shape == (13, 3)
        z = np.maximum(s @ w["kernel"] + w["bias"], 0)
        for m in x:
            w = p[f"{m}_map"]["linear"]
            gate = 2 / (1 + np.exp(-(z @ w["kernel"] + w["bias"])))
            np.testing.assert_allclose(out[m][b], x[m][b] * gate, rtol=2e-5, atol=1e-6)


def test_masked_means_do_not_see_padding():
    x = {m: np.ones((1, 5, 2), np.float32) for m in ("text", "audio", "vision")}
    lengths = {m: np.array([3]) for m in x}
    first, _ = recalibrated(x, lengths, True)
    other = {m: np.where(np.arange(5)[None, :, None] < 3, v, 7) for m, v in x.items()}
    second, _ = recalibrated(other, lengths, True)
    for m in x:
        np.testing.assert_array_equal(first[m][:, :3], second[m][:, :3])


@pytest.mark.parametrize(
    "found, said",
    [((3.0, -3.0), ""), ((2.4, -3.0), "took 2.4 and -3,"), (None, "")],
)
def test_missing_extremes_are_said_in_the_results(found, said):
    card = {"label_range": [-3.0, 3.0]}
    writer = SimpleNamespace(_card=card)
    recorded = {} if found is None else {"extreme_label": np.array([found, found])}
    trained = SimpleNamespace(recorded=recorded)
    notes = Writer._missing_extremes(writer, trained)  # type: ignore[arg-type]
    assert [said in note for note in notes] == [True] * bool(said)
