"""SUGRM's network, its switches and those that its tables put into Self-MM."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msa_jax import config, methods, optim, step
from msa_jax.batching import batches, gather
from msa_jax.layers.mrm import Recalibration
from msa_jax.methods import PAPERS, sugrm
from msa_jax.outputs import Writer
from msa_jax.text import FeatureEncoder
from msa_jax.train_state import init_variables, new_state
from msa_jax.types import TARGETS, Batch, HumanTables
from tests.tiny import make_split

SPLIT = make_split(24)
ORDER = batches(jnp.arange(24), 8)  # three batches


def settings(method: str, **changes):
    """Return a tiny configuration; a key `a__b` stands for the field a.b."""
    c = PAPERS["sugrm"].config() if method == "sugrm" else PAPERS["self_mm"].config()
    c.text.encoder = "features"
    c.optim.batch_size, c.optim.accumulate_batches = 8, 1
    c.spt.embed, c.spt.heads = 4, 2
    if method == "sugrm":
        c.model.width = 4
        c.model.sequence = "lstm"  # compiles in a fifth of SPT's time
    else:
        for name in c.model:
            if name.endswith(("_hidden", "_width", "_head")):
                c.model[name] = 4
    for path, value in changes.items():
        *sections, field = path.split("__")
        section = c
        for name in sections:
            section = section[name]
        section[field] = value
    methods.check(c)
    return c


def train(c, epochs: int = 1):
    """Train a method for three steps per epoch: (states, loss parts)."""
    method = methods.make(c, FeatureEncoder(), (-3.0, 3.0))
    optimizer = optim.make_optimizer(c.optim.groups, method.groups)
    key = jax.random.key(0)
    variables = init_variables(method, gather(SPLIT, jnp.arange(1)), key, None)
    state = new_state(method, optimizer, variables, SPLIT, key)
    rules = step.Rules(ORDER.shape[1], 1)
    run = jax.jit(
        lambda state: step.train_epoch(method, optimizer, state, SPLIT, ORDER, rules)
    )
    states, parts = [state], []
    for _ in range(epochs):
        state, losses, _ = run(state)
        states.append(state)
        parts.append(losses)
    return states, parts


def moved(before, after, name: str) -> bool:
    """Say whether any parameter under `name` changed."""
    pairs = zip(*map(jax.tree.leaves, (before[name], after[name])), strict=True)
    return any(bool(jnp.any(a != b)) for a, b in pairs)


SUGRM_ROWS = {  # Table 3, then Tables 4 and 8, then readings
    "M": {"loss__tasks": ("fusion",)},
    "M, V": {"loss__tasks": ("fusion", "vision")},
    "M, A": {"loss__tasks": ("fusion", "audio")},
    "M, T": {"loss__tasks": ("fusion", "text")},
    "M, A, V": {"loss__tasks": ("fusion", "audio", "vision")},
    "M, A, T": {"loss__tasks": ("fusion", "audio", "text")},
    "M, V, T": {"loss__tasks": ("fusion", "vision", "text")},
    "M, T, A, V": {},
    "MRM removed": {"model__recalibrate": "none"},
    "Self-MM's ULGM": {"ulgm__rule": "self_mm"},
    "SPT": {"model__sequence": "spt"},
    "transformer": {"model__sequence": "transformer"},
    "L2": {"loss__error": "l2"},
    "Huber": {"loss__error": "huber"},
    "masked mean": {"model__recalibrate": "masked"},
    "paper's head": {"model__feature_layers": 1},
    "true lengths, all letters": {
        "model__sequence": "spt",
        "spt__respect_lengths": True,
        "spt__input_letters": "SPR",
    },
    "dense": {
        "model__sequence": "spt",
        "spt__dense": True,
        "spt__attention_dropout": 0.1,
    },
}


@pytest.mark.parametrize("row", SUGRM_ROWS)
def test_every_row_of_sugrm_s_tables_trains(row):
    c = settings("sugrm", **SUGRM_ROWS[row])
    (start, end), (parts,) = train(c)
    assert set(parts) == {"loss"} | {f"loss_{t}" for t in c.loss.tasks}
    assert all(bool(jnp.isfinite(x).all()) and x.shape == (3,) for x in parts.values())
    used = ["fusion_head_net"]
    used += ["recalibration"] if c.model.recalibrate != "none" else []
    used += {"spt": ["spt"], "lstm": ["text_lstm"]}.get(c.model.sequence, [])
    assert all(moved(start.params, end.params, name) for name in used)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(end.params))


SELF_MM_ROWS = {
    "MRM added": {"model__recalibrate": "mean"},
    "SPT in place of the LSTMs": {"model__sequence": "spt"},
    "SUGRM's ULGM": {"ulgm__rule": "sugrm"},
    "Human-MM": {"ulgm__rule": "human", "loss__weighting": "equal"},
}


@pytest.mark.parametrize("row", SELF_MM_ROWS)
def test_every_row_about_self_mm_trains(row):
    (start, end), (parts,) = train(settings("self_mm", **SELF_MM_ROWS[row]))
    assert set(parts) == {"loss"} | {f"loss_{t}" for t in TARGETS}
    assert all(bool(jnp.isfinite(x).all()) for x in parts.values())
    assert moved(start.params, end.params, "fusion_head_net")
    expected = {"MRM added": "recalibration", "SPT in place of the LSTMs": "spt"}
    if row in expected:
        assert moved(start.params, end.params, expected[row])
    assert ("audio_lstm" in end.params) == ("SPT" not in row)
    if row == "Human-MM":
        assert isinstance(end.labels, HumanTables)
        assert bool(jnp.isnan(end.labels.value[1:]).all())  # the split has none
        assert float(parts["loss_text"].max()) == 0  # so they count nothing


def test_human_labels_train_their_heads():
    human = jnp.stack([SPLIT.label, -SPLIT.label, SPLIT.label * 0], axis=1)
    split = SPLIT.replace(unimodal_label=human)
    method = methods.make(
        settings("self_mm", ulgm__rule="human", loss__weighting="equal"),
        FeatureEncoder(),
        (-3.0, 3.0),
    )
    labels = method.init_labels(split, jax.random.key(0))
    np.testing.assert_array_equal(labels.value[0], split.label)
    np.testing.assert_array_equal(labels.value[1:], human.T)


@pytest.mark.parametrize("rule", ["sugrm", "self_mm"])
def test_labels_move_from_the_second_epoch_on(rule):
    states, parts = train(settings("sugrm", ulgm__rule=rule), epochs=3)
    first, second = states[1].labels.value, states[2].labels.value
    np.testing.assert_array_equal(first, jnp.broadcast_to(SPLIT.label, first.shape))
    assert bool(jnp.any(second[1:] != first[1:]))
    np.testing.assert_array_equal(second[0], SPLIT.label)
    unimodal = [float(p["loss_text"].max()) for p in parts]
    assert unimodal[:1] == [0.0] and unimodal[2] > 0


def test_the_first_pass_s_order_comes_from_the_seed():
    """Repeated extremes depend on it; so it is part of what a seed fixes."""
    c = settings("sugrm")
    split = SPLIT.replace(label=jnp.where(jnp.arange(24) < 12, 3.0, -3.0))
    method = methods.make(c, FeatureEncoder(), (-3.0, 3.0))
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
    x, lengths = jax.tree.map(jnp.asarray, (x, lengths))
    params = module.init(jax.random.key(1), x, lengths)
    return module.apply(params, x, lengths), params["params"]


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
