"""MMCL's network, its loss, its switches; the layers: test_mmcl_layers.py."""

import itertools
import runpy
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import assert_same_shapes, make_params, make_split, quick, small, used

from msa_jax import methods
from msa_jax.data.batches import gather
from msa_jax.ground.errors import UserError
from msa_jax.layers import recurrence
from msa_jax.layers.resample import match_steps
from msa_jax.methods import PAPERS, mmcl
from msa_jax.methods.contrastive_total import Weights
from msa_jax.text.encoders import FeatureEncoder
from msa_jax.training import optim, step
from msa_jax.training.train_state import (
    make_mesh,
    new_state,
    split_sharding,
    state_sharding,
)

SPLIT = make_split(24)
CONFIGS = Path(__file__).parents[2] / "configs"
TERMS = Weights._fields
SEQUENCES = ("text", "audio", "vision")
STILL = {"model__dropout": 0.0, "model__cutoff": 0.0}


def settings(variant: str = "", **changes):
    """Return a tiny configuration; a key `a__b` stands for the field a.b."""
    return small(PAPERS["mmcl"], variant, **changes)


def make(variant: str = "", **changes):
    return methods.make(settings(variant, **changes), FeatureEncoder(), (-3.0, 3.0))


@cache
def start_params(axis: str = "feature"):
    return make_params(make(model__cnn_axis=axis), SPLIT)


@cache
def runner(variant: str, axis: str, train: bool):
    """Compile a variant's network; without dropout and cutoff in training."""
    method = make(variant, model__cnn_axis=axis, **STILL)

    def run(params, batch):
        rngs = {"dropout": jax.random.key(3)}
        return method.model.apply({"params": params}, batch, train=train, rngs=rngs)

    return quick(run)


def forward(batch, params=None, variant="aligned", axis="feature", train=False):
    """Run a network; parameters: `start_params`."""
    params = start_params(axis) if params is None else params
    return runner(variant, axis, train)(params, batch)


@cache
def trained_outputs():
    """Return a batch, and what the network makes of it in training."""
    batch = gather(SPLIT, jnp.arange(16))
    return batch, forward(batch, train=True)


def test_both_directions_of_both_modalities_are_run_by_one_call(monkeypatch):
    """The contexts of the two predictions follow, each alone."""
    runs, run = [], recurrence.run

    def recorded(sequences, weights):
        runs.append(len(sequences))
        return run(sequences, weights)

    monkeypatch.setattr(recurrence, "run", recorded)
    model, batch = make().model, gather(SPLIT, jnp.arange(4))
    jax.eval_shape(partial(model.init, train=False), jax.random.key(0), batch)
    assert runs == [4, 1, 1]


@pytest.mark.parametrize("row", PAPERS["mmcl"].variants)
def test_every_row_of_the_tables_has_its_losses(row):
    """Which parts there are and what they see; what they are: the next test."""
    c = settings(row)
    batch, outputs = trained_outputs()
    loss = methods.make(c, FeatureEncoder(), (-3.0, 3.0)).loss
    present = set(mmcl.PREDICTED) & set(c.model.modalities)
    weighted = {n for n in TERMS if c.weights[n]}
    _, parts = jax.eval_shape(lambda o: loss(o, batch, ()), outputs)
    assert set(parts) == {"loss_regression"} | {f"loss_{n}" for n in weighted}
    program = jax.make_jaxpr(lambda o: loss(o, batch, ())[0])(outputs)
    (reads,) = used(program, outputs)
    reached = {name for name, read in reads.feature.items() if read}
    views = {"feature", "augmented"} if "uni" in weighted else set()
    views |= {"predicted", "target"} if weighted - {"uni"} else set()
    assert reads.prediction and reached == {f"{m}_{v}" for m in present for v in views}


@pytest.mark.parametrize("row", ["aligned", "t"])
def test_the_loss_is_the_weighted_sum_of_its_parts(row):
    c = settings(row)
    batch, outputs = trained_outputs()
    loss = methods.make(c, FeatureEncoder(), (-3.0, 3.0)).loss
    total, parts = quick(lambda o: loss(o, batch, ()))(outputs)
    expected = parts["loss_regression"]
    for name in TERMS:
        expected += c.weights[name] * parts[f"loss_{name}"]
        assert (abs(float(parts[f"loss_{name}"])) > 0) == (row == "aligned")
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def run_network(method, params, batch, key=None):
    rngs = None if key is None else {"dropout": key}
    return method.model.apply(
        {"params": params}, batch, train=key is not None, rngs=rngs
    )


@pytest.mark.parametrize("word", ["t", "av"])
def test_an_absent_modality_is_not_read_over_time(word):
    """Along the features: tests/methods."""
    method = make(word, model__cnn_axis="time")
    absent = {"t": ("audio", "vision"), "av": ("text",)}[word]
    batch, params = gather(SPLIT, jnp.arange(8)), make_params(method, SPLIT)
    program = jax.make_jaxpr(partial(run_network, method))(params, batch)
    _, reads = used(program, params, batch)
    assert {m for m in SEQUENCES if not getattr(reads, m)} == set(absent)
    assert not any(getattr(reads, f"{m}_length") for m in absent)
    without = SPLIT.replace(**{m: jnp.zeros((24, 1, 1)) for m in absent})
    assert_same_shapes(make_params(method, without), params)


@pytest.mark.parametrize("axis", ["feature", "time"])
def test_outside_training_no_targets_are_computed(axis):
    method = make(model__cnn_axis=axis)
    params, batch = start_params(axis), gather(SPLIT, jnp.arange(8))
    out = jax.eval_shape(partial(run_network, method), params, batch)
    assert set(out.feature) == {"fusion"} and out.prediction.shape == (1, 8)
    without = dict(params)
    for name in ("audio_prediction", "vision_prediction"):
        parts = params[name].items()
        without[name] = {k: v for k, v in parts if k != "target_cnn"}
    again = jax.eval_shape(partial(run_network, method), without, batch)
    assert_same_shapes(again, out)


def test_padding_and_other_samples_do_not_matter_over_time(axis="time"):
    """Along the features: tests/methods."""
    batch = gather(SPLIT, jnp.arange(8))
    whole = forward(batch, axis=axis).prediction

    def dirty(name):
        x, length = getattr(batch, name), getattr(batch, f"{name}_length")
        beyond = jnp.arange(x.shape[1])[None] >= length[:, None]
        return jnp.where(beyond[:, :, None], 9.0, x)

    padded = batch.replace(**{name: dirty(name) for name in SEQUENCES})
    found = forward(padded, axis=axis).prediction
    np.testing.assert_allclose(found, whole, atol=1e-5)
    turned = forward(gather(SPLIT, jnp.arange(8)[::-1]), axis=axis).prediction
    np.testing.assert_allclose(turned[:, ::-1], whole, atol=1e-5)


def test_without_dropout_and_cutoff_training_sees_what_testing_sees():
    batch, trained = trained_outputs()
    tested = forward(gather(SPLIT, jnp.arange(8)))
    np.testing.assert_allclose(trained.prediction[:, :8], tested.prediction, atol=1e-5)
    fields = ("feature", "augmented", "predicted", "target")
    pairs = itertools.product(mmcl.PREDICTED, fields)
    assert set(trained.feature) == {"fusion"} | {f"{m}_{f}" for m, f in pairs}
    for m in mmcl.PREDICTED:  # nothing cut off: both views are one
        both = (trained.feature[f"{m}_{f}"] for f in ("feature", "augmented"))
        np.testing.assert_allclose(*both, atol=1e-6)


def test_each_modality_is_predicted_from_the_others():
    batch, before = trained_outputs()
    for changed in SEQUENCES:
        x = getattr(batch, changed)
        after = forward(batch.replace(**{changed: x + 1}), train=True).feature
        for m in mmcl.PREDICTED:
            same = {
                view: bool(jnp.allclose(after[name], before.feature[name], atol=1e-6))
                for view in ("feature", "target", "predicted")
                for name in [f"{m}_{view}"]
            }
            own = changed == m
            assert same == {"feature": not own, "target": not own, "predicted": own}


def test_only_the_second_view_is_cut_off_and_each_time_anew():
    method = make(model__dropout=0.0, model__cutoff=0.5)
    batch, params = gather(SPLIT, jnp.arange(4)), start_params()
    run = quick(partial(run_network, method, params, batch))
    one, other = (run(jax.random.key(key)).feature for key in (0, 1))
    for m in mmcl.PREDICTED:
        for view in ("feature", "target", "predicted"):
            name = f"{m}_{view}"
            np.testing.assert_allclose(one[name], other[name], atol=1e-6)
        name = f"{m}_augmented"
        assert bool((jnp.abs(one[name] - other[name]).max(axis=1) > 1e-4).all())


@pytest.mark.slow  # the loss alone: test_contrastive.py
def test_eight_devices_give_one_device_s_losses():
    """Negatives are the global batch's: per device the loss would be another one."""
    c = settings(optim__batch_size=24, **STILL)
    method = methods.make(c, FeatureEncoder(), (-3.0, 3.0))
    batch = gather(SPLIT, jnp.arange(24))
    out = forward(batch, train=True)
    total, expected = method.loss(out, batch, ())

    optimizer = optim.make_optimizer(c.optim.groups, method.groups)
    start = {"params": start_params()}
    state = new_state(method, optimizer, start, SPLIT, jax.random.key(0))
    state = jax.tree.map(lambda x: x[None], state)
    mesh, rules = make_mesh(8, 8, 1), step.Rules(batch_size=24, accumulate=1)
    epoch = step.make_epoch(method, optimizer, rules, mesh, over_seeds="map")
    options = {"xla_backend_optimization_level": 0}
    program = epoch.lower(state, SPLIT, SPLIT).compile(compiler_options=options)
    state = jax.device_put(state, state_sharding(mesh))
    splits = jax.device_put((SPLIT, SPLIT), split_sharding(mesh))
    assert "num_partitions=8" in program.as_text()
    found = program(state, *splits)[1].parts  # one step, all 24 in some order
    np.testing.assert_allclose(found["loss"], [[total]], rtol=1e-5)
    for name in expected:
        np.testing.assert_allclose(
            found[name], [[expected[name]]], rtol=1e-5, atol=1e-6
        )

    # What a program with a device's own three rows as negatives would have given.
    def device(i):
        rows = slice(3 * i, 3 * i + 3)
        feature = {k: v[rows] for k, v in out.feature.items()}
        mine = type(out)(out.prediction[:, rows], feature)
        return method.loss(mine, jax.tree.map(lambda x: x[rows], batch), ())[1]

    pieces = [device(i) for i in range(8)]
    for name in ("loss_uni", "loss_cross", "loss_sentiment"):
        local = np.mean([piece[name] for piece in pieces])
        assert abs(local - expected[name]) > 0.1


def test_groups_are_the_paper_s_two_rates():
    names = {
        "text_encoder/bert/layer/kernel": "bert",
        "text_encoder/bert/layer/bias": "bert_no_decay",
        "audio_coding/lstm/forward/input_kernel": "other",
        "vision_prediction/target_cnn/stack/layer_1/kernel": "other",
    }
    assert {path: mmcl.group(path) for path in names} == names


def test_sizes_are_the_paper_s():
    c = PAPERS["mmcl"].config()
    method = methods.make(c, FeatureEncoder(), (-3.0, 3.0))
    batch = gather(SPLIT, jnp.arange(1)).replace(text=jnp.zeros((1, 4, 768)))
    shapes = jax.eval_shape(
        lambda: method.model.init(jax.random.key(0), batch, train=False)
    )["params"]

    def count(tree):
        return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))

    for m in mmcl.PREDICTED:
        for cnn in ("cnn", "target_cnn"):
            assert count(shapes[f"{m}_prediction"][cnn]) == 1_314_560
        assert shapes[f"{m}_prediction"]["context"]["state_kernel"].shape == (128, 512)
        assert shapes[f"{m}_coding"]["transformer"]["attend_kernel"].shape[0] == 3
    assert shapes["fusion"]["linear"]["kernel"].shape == (768 + 256 + 256, 256)


def test_variants_and_data_sets():
    aligned = {d: PAPERS["mmcl"].config(d).data.aligned for d in ("mosi", "mosi_real")}
    assert aligned == {"mosi": None, "mosi_real": False}
    c = PAPERS["mmcl"].config("unaligned+no_contrast+t")
    assert c.data.aligned is False and not any(c.weights.values())
    assert c.model.modalities == ("text",)
    with pytest.raises(UserError, match="'no_sugar' is no data set .* no variant"):
        PAPERS["mmcl"].config("aligned+no_sugar")


def test_every_point_of_the_sweep_is_a_configuration():
    grid = runpy.run_path(str(CONFIGS / "sweeps" / "mmcl.py"))["get_sweep"]()
    for values in itertools.product(*grid.values()):
        c = PAPERS["mmcl"].config()
        for path, value in zip(grid, values, strict=True):
            section, field = path.split(".")
            assert field in c[section]
            c[section][field] = value
        methods.check(c)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model__width": 100}, "need at least 159 features; or let them run over"),
        (
            {"model__sequence_width": 4, "model__heads": 3},
            "x 2 = 8: must be a multiple of config.model.heads = 3",
        ),
        ({"model__modalities": ("smell",)}, "list any of text, audio, vision"),
        ({"model__modalities": ()}, "list any of text, audio, vision"),
        ({"model__cutoff": 1.0}, r"config.model.cutoff = 1.0: must be in \[0, 1\)"),
        ({"contrast__temperature": 0.0}, "temperature = 0.0: must be above 0"),
        ({"contrast__uni": "moco"}, "must be one of prose, literal, keys, simclr"),
        ({"weights__align": -1.0}, "config.weights.align = -1.0: must be at least 0"),
        ({"model__encoder": "lstm"}, "must be one of transformer, linear"),
    ],
)
def test_values_that_no_run_can_use_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        settings(**change)


def test_matched_steps_are_adaptive_averages():
    x = np.arange(12, dtype=np.float32).reshape(1, 6, 2)
    x[0, 5] = np.nan  # beyond the length
    out = match_steps(jnp.asarray(x), jnp.array([5]), 4, jnp.array([3]))
    # torch.nn.functional.adaptive_avg_pool1d of 5 to 3: steps 0-1, 1-3, 3-4.
    rows = [x[0, 0:2].mean(0), x[0, 1:4].mean(0), x[0, 3:5].mean(0), [0, 0]]
    np.testing.assert_allclose(out[0], rows, rtol=1e-6)
    up = match_steps(jnp.asarray(x[:, :2]), jnp.array([2]), 5, jnp.array([5]))
    # 2 to 5: steps 0, 0, 0-1, 1, 1.
    rows = [x[0, 0], x[0, 0], x[0, :2].mean(0), x[0, 1], x[0, 1]]
    np.testing.assert_allclose(up[0], rows, rtol=1e-6)
    same = match_steps(jnp.asarray(x), jnp.array([5]), 6, jnp.array([5]))
    np.testing.assert_array_equal(same[0, :5], x[0, :5])
