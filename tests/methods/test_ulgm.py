"""ULGM against a NumPy twin written from Algorithm 1 and Eq. 1 to 9."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from msa_jax.ground.names import TARGETS
from msa_jax.methods import ulgm

N, B = 12, 5
WIDTHS = {"fusion": 6, "text": 5, "audio": 3, "vision": 4}
INDEX = np.array([7, 2, 11, 4, 0])
ALL = np.ones(B, bool)


def start(seed=0, label=None):
    """Tables as after some epochs, and a batch's features."""
    rng = np.random.default_rng(seed)
    if label is None:
        label = rng.uniform(-3, 3, N)
        label[[3, 4]] = 0
    value = np.clip(label + rng.normal(size=(4, N)), -3, 3)
    value[0] = label
    buffers = {t: rng.normal(size=(N, w)) for t, w in WIDTHS.items()}
    centers = {t: rng.normal(size=(2, w)) for t, w in WIDTHS.items()}
    feature = {t: rng.normal(size=(B, w)) for t, w in WIDTHS.items()}
    return as_tables(value, buffers, centers), as_features(feature)


def as_tables(value, buffers, centers):
    return ulgm.LabelTables(
        jnp.asarray(value, jnp.float32),
        as_features(buffers),
        as_features(centers),
        jnp.zeros((), jnp.int32),
    )


def as_features(feature):
    return {t: jnp.asarray(v, jnp.float32) for t, v in feature.items()}


@partial(tiny.quick, static_argnums=5)
def compiled(*arguments):
    return ulgm.update_tables(*arguments)


def update(tables, feature, index=INDEX, valid=ALL, epoch=3, rules=None):
    index, valid = jnp.asarray(index, jnp.int32), jnp.asarray(valid)
    rules = rules or ulgm.Rules()
    return compiled(tables, feature, index, valid, jnp.asarray(epoch), rules)


def twin(tables, feature, index, epoch, rules):
    """The same in NumPy, one sample at a time, float64."""
    e, high = 1e-8, rules.label_range[1]
    value = np.array(tables.value, float)
    buffers = {t: np.array(tables.feature[t], float) for t in TARGETS}
    centers = {t: np.array(tables.center[t], float) for t in TARGETS}
    for row, i in enumerate(index if epoch > 1 else []):
        alpha = {}
        for t in TARGETS:
            x = np.array(feature[t][row], float)
            d_pos, d_neg = (np.sqrt(((x - c) ** 2).sum()) for c in centers[t])
            alpha[t] = (d_neg - d_pos) / (d_pos + e)
        y, f = value[0, i], alpha["fusion"]
        for m, t in enumerate(TARGETS[1:], start=1):
            ratio = alpha[t] / (f + (e if rules.epsilon_in_ratio else 0))
            new = (y * ratio + y + alpha[t] - f) / 2
            if rules.clip_labels:
                new = min(max(new, -high), high)
            value[m, i] = ((epoch - 1) * value[m, i] + 2 * new) / (epoch + 1)
    for row, i in enumerate(index):
        for t in TARGETS:
            buffers[t][i] = feature[t][row]
    for m, t in enumerate(TARGETS):
        y = value[m]
        positive = y >= 0 if rules.zero_is_positive else y > 0
        centers[t] = np.stack([buffers[t][c].mean(0) for c in (positive, y < 0)])
    return value, buffers, centers


@pytest.mark.parametrize("epoch", [1, 2, 5])
@pytest.mark.parametrize("zero_is_positive", [True, False])
def test_one_update_equals_the_numpy_twin(epoch, zero_is_positive):
    tables, feature = start()
    rules = ulgm.Rules(zero_is_positive=zero_is_positive)
    found = update(tables, feature, epoch=epoch, rules=rules)
    value, buffers, centers = twin(tables, feature, INDEX, epoch, rules)
    # Labels are divided by small alpha_f: a few float32 roundings are magnified.
    np.testing.assert_allclose(found.value, value, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.value[0], tables.value[0])
    for t in TARGETS:
        np.testing.assert_array_equal(found.feature[t], np.float32(buffers[t]))
        np.testing.assert_allclose(found.center[t], centers[t], rtol=1e-5, atol=1e-6)
    changed = np.asarray(found.value != tables.value).any(0)
    assert set(np.flatnonzero(changed)) == (set(INDEX) if epoch > 1 else set())
    assert found.empty_classes == 0


def test_first_update_sees_zeros_for_samples_not_visited():
    label = jnp.asarray(np.linspace(-3, 3, N), jnp.float32)
    tables = ulgm.init_tables(label, WIDTHS)
    np.testing.assert_array_equal(tables.value, np.tile(label, (4, 1)))
    _, feature = start()
    found = update(tables, feature, epoch=1)
    for t, w in WIDTHS.items():
        rows = np.zeros((N, w), np.float32)
        rows[INDEX] = feature[t]
        np.testing.assert_array_equal(found.feature[t], rows)
        halves = [rows[N // 2 :].mean(0), rows[: N // 2].mean(0)]
        np.testing.assert_allclose(found.center[t], halves, rtol=1e-6, atol=1e-7)


def test_momentum_weighs_epoch_k_by_2k_over_n_n_plus_1():
    new = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    label = jnp.full(4, 77.0)  # what stood there before epoch 1 is forgotten
    for n in range(1, 10):
        label = ulgm.momentum(label, jnp.asarray(new[n - 1]), jnp.asarray(n))
        weight = 2 * np.arange(1, n + 1) / (n * (n + 1))
        np.testing.assert_allclose(label, weight @ new[:n], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("contents", [0.0, 1e6, np.nan])
def test_padding_rows_change_nothing(contents):
    tables, feature = start()
    plain = update(tables, feature)
    padded = {
        t: jnp.pad(v, ((0, 3), (0, 0)), constant_values=contents)
        for t, v in feature.items()
    }
    index, valid = np.append(INDEX, [N, N, N]), np.arange(B + 3) < B
    as_specified = update(tables, padded, index, valid)
    # Rows marked as padding stay out even where their index names a sample.
    aliased = update(tables, padded, np.append(INDEX, [1, 2, N - 1]), valid)
    for found in (as_specified, aliased):
        # a wider batch may be added up in another order: roundings, magnified
        np.testing.assert_allclose(found.value, plain.value, rtol=0, atol=1e-4)
        for t in TARGETS:
            np.testing.assert_array_equal(found.feature[t], plain.feature[t])
            np.testing.assert_allclose(found.center[t], plain.center[t], atol=1e-6)


def test_order_within_a_batch_does_not_matter():
    tables, feature = start()
    order = np.array([3, 0, 4, 2, 1])
    turned = {t: v[order] for t, v in feature.items()}
    found, plain = update(tables, turned, INDEX[order]), update(tables, feature)
    np.testing.assert_allclose(found.value, plain.value, rtol=0, atol=1e-4)
    for t in TARGETS:
        np.testing.assert_allclose(found.center[t], plain.center[t], atol=1e-6)


@pytest.mark.parametrize("rule", ["keep", "nan"])
def test_empty_class_keeps_its_centre_or_turns_nan(rule):
    label = np.linspace(0.5, 3, N)
    tables, feature = start(label=label)
    tables = tables.replace(value=jnp.abs(tables.value))
    found = update(tables, feature, epoch=1, rules=ulgm.Rules(undefined=rule))
    assert found.empty_classes == 4  # the negative class of all four targets
    for t in TARGETS:
        positive = found.feature[t].mean(axis=0)
        np.testing.assert_allclose(found.center[t][0], positive, rtol=1e-5, atol=1e-6)
        kept = tables.center[t][1] if rule == "keep" else np.full(WIDTHS[t], np.nan)
        np.testing.assert_array_equal(found.center[t][1], kept)
    again = update(found, feature, epoch=2, rules=ulgm.Rules(undefined=rule))
    assert again.empty_classes >= 5  # it is a running count
    lost = np.isnan(again.value)
    assert lost[1:, INDEX].all() == lost.any() == (rule == "nan")
    assert not np.delete(lost, INDEX, axis=1).any() and not lost[0].any()


def test_labels_of_no_class_enter_no_centre():
    label = jnp.array([1.0, jnp.nan, -1, 2])
    feature = jnp.array([[1.0], [100], [3], [5]])
    old = jnp.full((2, 1), 9.0)
    found, empty = ulgm.class_centers(feature, label, old, ulgm.Rules())
    np.testing.assert_array_equal(found, [[3], [3]])
    assert empty == 0


@pytest.mark.parametrize("zero_is_positive, center", [(True, 4.0), (False, 7.0)])
def test_zero_labels(zero_is_positive, center):
    label, feature = jnp.array([0.0, 2, -1]), jnp.array([[1.0], [7], [-5]])
    rules = ulgm.Rules(zero_is_positive=zero_is_positive)
    found, _ = ulgm.class_centers(feature, label, jnp.zeros((2, 1)), rules)
    np.testing.assert_array_equal(found, [[center], [-5]])


def test_relative_distance_at_the_marks():
    center = jnp.array([[1.0, 0], [-1, 0]])
    feature = jnp.array([[0.0, 5], [-1, 0], [1, 0], [0.5, 0]])
    found = ulgm.relative_distance(feature, center, ulgm.Rules())
    np.testing.assert_allclose(found, [0, -1, 2e8, 2], rtol=1e-6)
    same = ulgm.relative_distance(feature[:1], feature[:1].repeat(2, 0), ulgm.Rules())
    assert same == 0  # both centres and the feature in one point


def test_relative_distance_of_close_centres_is_accurate():
    """Centres 1e-4 apart, 10 away: subtracting float32 distances is off by 1 %."""
    rng = np.random.default_rng(6)
    center = rng.normal(size=(2, 30)) * [[1e-5]] + rng.normal(size=30)
    feature = 2 * rng.normal(size=(50, 30))
    center, feature = np.float32(center), np.float32(feature)
    d_pos, d_neg = (
        np.linalg.norm(np.float64(feature) - np.float64(c), axis=1) for c in center
    )
    expected = (d_neg - d_pos) / d_pos
    found = ulgm.relative_distance(
        jnp.asarray(feature), jnp.asarray(center), ulgm.Rules()
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("target, sign", [("text", 1), ("fusion", -1)])
def test_feature_on_the_positive_centre_saturates(target, sign):
    """alpha_s of 1e8 drives labels up to H, alpha_f of 1e8 down to -H."""
    tables, feature = start()
    tables = tables.replace(value=tables.value.at[0].set(1.0))
    feature[target] = jnp.broadcast_to(tables.center[target][0], (B, WIDTHS[target]))
    # Other targets nearer to the positive centre: every alpha is above 0.
    for t in set(TARGETS) - {target}:
        near = 0.8 * tables.center[t][0] + 0.2 * tables.center[t][1]
        feature[t] = jnp.broadcast_to(near, feature[t].shape)
    found = update(tables, feature, epoch=2)
    new = (3 * found.value[1, INDEX] - tables.value[1, INDEX]) / 2
    np.testing.assert_allclose(new, np.full(B, 3.0 * sign), rtol=1e-5)


@pytest.mark.parametrize("high", [1.0, 3.0])
def test_clipping_follows_the_label_range_or_is_off(high):
    label, alpha_f = jnp.array([3.0, -3, 0.5]), jnp.array([0.5, 0.5, 1.0])
    alpha = jnp.array([5.0, 5, 1])
    raw = np.array([0.5 * 30 + 0.5 * 7.5, -0.5 * 30 + 0.5 * 1.5, 0.5])
    rules = ulgm.Rules(label_range=(-high, high))
    found = ulgm.generate(label, alpha_f, alpha, rules)
    np.testing.assert_allclose(found, np.clip(raw, -high, high), rtol=1e-5)
    off = rules._replace(clip_labels=False)
    found = ulgm.generate(label, alpha_f, alpha, off)
    np.testing.assert_allclose(found, raw, rtol=1e-5)


def test_epsilon_in_the_ratio_matters_only_near_zero():
    label, alpha = jnp.array([1.0, 1.0]), jnp.array([2e-8, 2.0])
    alpha_f = jnp.array([1e-8, 0.5])
    rules = ulgm.Rules(clip_labels=False)
    code = ulgm.generate(label, alpha_f, alpha, rules)
    paper = ulgm.generate(label, alpha_f, alpha, rules._replace(epsilon_in_ratio=False))
    np.testing.assert_allclose(code, [1.0, 3.25], rtol=1e-5)
    np.testing.assert_allclose(paper, [1.5, 3.25], rtol=1e-5)


def test_scaled_distances_change_labels_through_epsilon_only():
    plain, scaled = ulgm.Rules(), ulgm.Rules(scale_distance=True)
    tables, feature = start()
    for t in TARGETS:
        found = ulgm.relative_distance(feature[t], tables.center[t], scaled)
        other = ulgm.relative_distance(feature[t], tables.center[t], plain)
        np.testing.assert_allclose(found, other, rtol=1e-5, atol=1e-6)
    # Where the distance is as small as EPSILON the width does count.
    center = jnp.array([[0.0] * 4, [1.0] * 4])
    close = jnp.array([[1e-8, 0.0, 0.0, 0.0]])
    found = ulgm.relative_distance(close, center, scaled)
    np.testing.assert_allclose(found, [1 / 1.5e-8], rtol=1e-5)
    other = ulgm.relative_distance(close, center, plain)
    np.testing.assert_allclose(other, [2 / 2e-8], rtol=1e-5)


@pytest.mark.parametrize("rule", ["keep", "nan"])
def test_labels_that_come_out_not_finite(rule):
    """alpha_f = 0 without epsilon: 1/0 and, for a human label 0, 0 * inf."""
    tables, feature = start(label=np.r_[np.zeros(N // 2), np.ones(N // 2)])
    center = jnp.array([[1.0], [-1.0]]).repeat(WIDTHS["fusion"], axis=1)
    tables = tables.replace(center={**tables.center, "fusion": center})
    feature["fusion"] = jnp.zeros((B, WIDTHS["fusion"]))  # as far from both
    rules = ulgm.Rules(epsilon_in_ratio=False, clip_labels=False, undefined=rule)
    found = update(tables, feature, epoch=2, rules=rules)
    if rule == "keep":
        np.testing.assert_array_equal(found.value, tables.value)
    else:
        assert not np.isfinite(found.value[1:, INDEX]).any()
