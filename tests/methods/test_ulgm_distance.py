"""SUGRM's ULGM: closed forms on a line and in a plane, a NumPy twin, invariances."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.sharding import NamedSharding, PartitionSpec

from msa_jax.ground.names import TARGETS
from msa_jax.methods import ulgm_distance as ulgm
from msa_jax.training.train_state import make_mesh

N, B, WIDTH = 12, 5, 4
LABEL = np.array([3, -3, 0, 1.5, -0.5, 3, -2, 0, 2.5, -1, 0.5, -3])
INDEX = np.array([7, 2, 11, 4, 0])
ORDER = np.array([5, 1, 0, 9, 8, 11, 2, 3, 10, 4, 7, 6])
ALL = np.ones(B, bool)


def init(label=LABEL, order=None, size=5, width=WIDTH, **rules):
    label = jnp.asarray(label, jnp.float32)
    order = np.arange(len(label)) if order is None else order
    order = jnp.asarray(order, jnp.int32)
    return ulgm.init_tables(label, width, order, size, ulgm.Rules(**rules))


def start(label=LABEL, seed=0, **rules):
    """Tables as after some epochs, and a batch's features."""
    rng = np.random.default_rng(seed)
    tables = init(label, ORDER, **rules)
    value = np.clip(label + rng.normal(size=(4, N)), -3, 3)
    value[0] = label
    tables = tables.replace(
        value=jnp.asarray(value, jnp.float32),
        feature=jnp.asarray(rng.normal(size=(N, WIDTH)), jnp.float32),
        center=jnp.asarray(rng.normal(size=(2, WIDTH)), jnp.float32),
    )
    feature = rng.normal(size=(4, B, WIDTH)).astype(np.float32)
    return tables, dict(zip(TARGETS, map(jnp.asarray, feature), strict=True))


@partial(tiny.quick, static_argnums=5)
def compiled(*arguments):
    return ulgm.update_tables(*arguments)


def update(tables, feature, index=INDEX, valid=ALL, epoch=3, **rules):
    index, valid = jnp.asarray(index, jnp.int32), jnp.asarray(valid)
    rules = ulgm.Rules(**rules)
    return compiled(tables, feature, index, valid, jnp.asarray(epoch), rules)


def generated(tables, found, epoch=3, index=INDEX):
    """Undo the momentum: the labels of this batch alone, [3, b]."""
    old, new = (np.asarray(t.value, float)[1:, index] for t in (tables, found))
    return ((epoch + 1) * new - (epoch - 1) * old) / 2


def twin(tables, feature, epoch, zero_is_positive, clip):
    """The paper's equations in NumPy, float64, one sample at a time."""
    value = np.array(tables.value, float)
    buffer, center = (np.array(x, float) for x in (tables.feature, tables.center))
    weight = np.array(tables.extreme_weight, float)
    top, bottom = (np.average(buffer, axis=0, weights=w) for w in weight)
    most = np.sqrt(((top - bottom) ** 2).sum())
    distance = {t: np.array(feature[t], float) for t in TARGETS}
    for row, i in enumerate(INDEX if epoch > 1 else []):
        fusion = distance["fusion"][row]
        for m, t in enumerate(TARGETS[1:], start=1):
            own = distance[t][row]
            ratio = [np.linalg.norm(own - c) for c in center]
            other = [np.linalg.norm(fusion - c) for c in center]
            sign = np.sign(other[0] / other[1] - ratio[0] / ratio[1])
            size = 6 * min(np.linalg.norm(own - fusion), most) / most
            new = value[0, i] + sign * size
            new = np.clip(new, -3, 3) if clip else new
            value[m, i] = ((epoch - 1) * value[m, i] + 2 * new) / (epoch + 1)
    buffer[INDEX] = feature["fusion"]
    positive = value[0] >= 0 if zero_is_positive else value[0] > 0
    center = np.stack([buffer[c].mean(0) for c in (positive, value[0] < 0)])
    return value, buffer, center


@pytest.mark.parametrize("epoch", [1, 2, 5])
@pytest.mark.parametrize("code", [True, False])
def test_one_update_equals_the_numpy_twin(epoch, code):
    rules = {"zero_is_positive": code, "repeat_extremes": code, "clip_labels": code}
    tables, feature = start(**rules)
    found = update(tables, feature, epoch=epoch, **rules)
    value, buffer, center = twin(tables, feature, epoch, code, code)
    np.testing.assert_allclose(found.value, value, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.feature, np.float32(buffer))
    np.testing.assert_allclose(found.center, center, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.value[0], tables.value[0])
    changed = np.asarray(found.value != tables.value).any(0)
    assert set(np.flatnonzero(changed)) == (set(INDEX) if epoch > 1 else set())
    assert (np.abs(value) > 3).any() == (epoch > 1 and not code)
    assert found.empty_classes == 0


def test_extremes_count_as_often_as_they_were_seen():
    """Batches of 5, 5 and 2: seen 3, 2 and 1 times; the labels +3 are 0 and 5."""
    found = init(order=ORDER).extreme_weight
    expected = np.zeros((2, N))
    expected[0, [5, 0]], expected[1, [1, 11]] = (3, 3), (3, 2)
    np.testing.assert_array_equal(found, expected)
    plain = init(order=ORDER, repeat_extremes=False)
    np.testing.assert_array_equal(plain.extreme_weight, expected > 0)
    np.testing.assert_array_equal(plain.extreme_label, [3, -3])


@pytest.mark.parametrize(
    "label, ends, high, low",
    [
        ([2.0, -1, 0, 2], [2, -1], {0, 3}, {1}),  # neither +3 nor -3
        ([3.0, -1, 0, 2], [3, -1], {0}, {1}),
        ([2.0, -3, -3, 1], [2, -3], {0}, {1, 2}),
        ([0.5, 1, 2.5, 1], [2.5, 0.5], {2}, {0}),  # positive labels only
        ([1.0, 1, 1, 1], [1, 1], {0, 1, 2, 3}, {0, 1, 2, 3}),
    ],
)
def test_farthest_labels_take_the_place_of_missing_ends(label, ends, high, low):
    found = init(np.array(label), repeat_extremes=False)
    np.testing.assert_array_equal(found.extreme_label, ends)
    members = [set(np.flatnonzero(w)) for w in found.extreme_weight]
    assert members == [high, low]


def test_maximum_distance_is_between_weighted_means():
    tables = init(np.array([3.0, 3, -3, 0]), size=1, width=2)
    feature = jnp.array([[4.0, 0], [0, 8], [1, 1], [99, 99]])
    found = ulgm.maximum_distance(tables.replace(feature=feature))
    top = np.array([4 * 4 + 0, 3 * 8]) / 7  # seen 4 and 3 times
    np.testing.assert_allclose(found, np.linalg.norm(top - 1), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_extremes_in_one_point_have_no_distance_at_all(seed):
    """Not 1e-8 either, from a division by 5 and 7: labels would all be +-H."""
    point = np.random.default_rng(seed).normal(size=WIDTH)
    tables = init(np.array([3.0, 3, -3, 0, -3, -3]), size=1)
    feature = jnp.broadcast_to(jnp.asarray(point, jnp.float32), (6, WIDTH))
    tables = tables.replace(feature=feature.at[3].set(99))
    assert tiny.quick(ulgm.maximum_distance)(tables) == 0


def on_a_line(high=3.0, **rules):
    """Extremes at +-2 (D_max 4), centres at +-1, fusion at 0; labels in thirds of H."""
    label = high * np.array([1.0, -1, 1 / 3, 0])
    rules["label_range"] = (-high, high)
    tables = init(label, width=1, repeat_extremes=False, **rules)
    feature = jnp.array([[2.0], [-2], [0], [0]])
    return tables.replace(feature=feature, center=jnp.array([[1.0], [-1]])), rules


@pytest.mark.parametrize("high", [1.0, 3.0])
@pytest.mark.parametrize(
    "place, thirds",
    [
        (0.5, 1 + 6 * 0.5 / 4),  # towards the positive centre
        (-0.5, 1 - 6 * 0.5 / 4),
        (0.0, 1.0),  # no distance
        (9.0, 1 + 6.0),  # farther than D_max
        (-9.0, 1 - 6.0),
        (1.0, 1 + 6 / 4),  # on the positive centre: ratio 0
        (-1.0, 1 - 6 / 4),  # on the negative centre: ratio infinite
    ],
)
def test_closed_form_on_a_line(place, thirds, high):
    """SIMS ([-1, 1]) is MOSI ([-3, 3]) in other units: features have none."""
    tables, rules = on_a_line(high, clip_labels=False)
    feature = {t: jnp.array([[0.0]]) for t in TARGETS} | {"audio": jnp.array([[place]])}
    found = update(tables, feature, [2], [True], **rules)
    new = generated(tables, found, index=[2])[:, 0]
    expected = high / 3 * np.array([1, thirds, 1])
    np.testing.assert_allclose(new, expected, rtol=1e-6, atol=1e-6)
    found = update(tables, feature, [2], [True], label_range=(-high, high))
    new = generated(tables, found, index=[2])[:, 0]
    np.testing.assert_allclose(new, np.clip(expected, -high, high), atol=1e-6)


@pytest.mark.parametrize(
    "fusion, modality, sign",
    [
        ((0.0, 0), (0.0, 5), 0),  # equal ratios, whatever the distance
        ((0.5, 0), (0.5, 0), 0),
        ((-1.0, 0), (-1.0, 0), 0),  # both on the negative centre: infinities
        ((1.0, 0), (1.0, 0), 0),
        ((-1.0, 0), (0.3, 0), 1),  # fusion's ratio alone is infinite
        ((0.3, 0), (-1.0, 0), -1),
        ((1.0, 0), (0.9, 0), -1),
        ((0.9, 0), (1.0, 0), 1),
        ((2.0, 0), (1.5, 0), 1),  # beyond the centre the ratio rises again
        ((np.nan, 0), (0.5, 0), 0),
        ((0.5, 0), (np.nan, 0), 0),
    ],
)
def test_direction(fusion, modality, sign):
    center = jnp.array([[1.0, 0], [-1, 0]])
    place = [ulgm.position(jnp.array([x]), center) for x in (fusion, modality)]
    np.testing.assert_array_equal(ulgm.direction(*place), [sign])


def test_position_at_the_marks():
    center = jnp.array([[1.0, 0], [-1, 0]])
    feature = jnp.array([[1.0, 0], [-1, 0], [0, 7], [0.5, 0], [-0.5, 0]])
    found = ulgm.position(feature, center)
    np.testing.assert_allclose(found, [1, -1, 0, 0.5, -0.5], rtol=1e-6)
    same = jnp.array([[2.0, 3], [2, 3]])
    np.testing.assert_array_equal(ulgm.position(feature, same), np.zeros(5))
    assert ulgm.position(same[:1], same) == 0  # the ratio would be 0 / 0


def test_position_of_close_centres_is_accurate():
    """Centres 1e-4 apart, 10 away: float32 ratios are 1 and tell nothing."""
    rng = np.random.default_rng(6)
    center = rng.normal(size=(2, 30)) * [[1e-5]] + rng.normal(size=30)
    feature = 2 * rng.normal(size=(50, 30))
    center, feature = np.float32(center), np.float32(feature)
    d_pos, d_neg = (
        np.linalg.norm(np.float64(feature) - np.float64(c), axis=1) for c in center
    )
    found = ulgm.position(jnp.asarray(feature), jnp.asarray(center))
    expected = (d_neg - d_pos) / (d_neg + d_pos)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("rule", ["keep", "nan"])
def test_no_maximum_distance(rule):
    """Extremes in one point: no offset, or the original's 0 / 0 where one is due."""
    tables, feature = start()
    tables = tables.replace(feature=jnp.ones_like(tables.feature))
    feature["vision"] = feature["fusion"]  # no direction: the human label even so
    found = update(tables, feature, undefined=rule)
    new = generated(tables, found)
    human = np.stack([LABEL[INDEX]] * 3)
    expected = human if rule == "keep" else [[np.nan] * B, [np.nan] * B, human[2]]
    np.testing.assert_allclose(new, expected, rtol=0, atol=1e-5)
    assert np.isfinite(found.value[0]).all()


@pytest.mark.parametrize("rule", ["keep", "nan"])
@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_features_that_are_not_finite(rule, lost):
    tables, feature = start()
    feature["text"] = feature["text"].at[1].set(lost)
    found = update(tables, feature, undefined=rule, clip_labels=False)
    plain = update(tables, start()[1], undefined=rule, clip_labels=False)
    others = np.ones((4, N), bool)
    others[1, INDEX[1]] = False
    np.testing.assert_array_equal(found.value[others], plain.value[others])
    # Nothing has a direction at a place that is NaN: the human label, mixed in.
    new = generated(tables, found)[0, 1]
    np.testing.assert_allclose(new, LABEL[INDEX[1]], atol=1e-5)


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_a_label_that_is_not_finite_keeps_its_old_value(lost):
    tables, feature = start()
    tables = tables.replace(extreme_label=jnp.array([lost, -3]))
    found = update(tables, feature, clip_labels=False)
    np.testing.assert_array_equal(found.value, tables.value)
    found = update(tables, feature, clip_labels=False, undefined="nan")
    assert not np.isfinite(found.value[1:, INDEX]).any()


@pytest.mark.parametrize("rule", ["keep", "nan"])
@pytest.mark.parametrize(
    "label", [np.linspace(0.5, 3, N), np.linspace(-3, -1, N), np.full(N, 2.0)]
)
def test_one_sided_labels_never_move(rule, label):
    tables, feature = start(label)
    found = update(tables, feature, epoch=1, undefined=rule)
    assert found.empty_classes == 1
    empty = int(label[0] > 0)
    centre = tables.center[empty] if rule == "keep" else np.full(WIDTH, np.nan)
    np.testing.assert_array_equal(found.center[empty], centre)
    found = found.replace(value=jnp.broadcast_to(found.value[:1], (4, N)))
    again = update(found, feature, epoch=2, undefined=rule)
    np.testing.assert_allclose(again.value, found.value, rtol=1e-6)


@pytest.mark.parametrize("zero_is_positive, empty", [(True, 0), (False, 1)])
def test_zero_labels(zero_is_positive, empty):
    label = np.r_[np.zeros(6), -np.ones(6)]
    tables, feature = start(label)
    found = update(tables, feature, epoch=1, zero_is_positive=zero_is_positive)
    assert found.empty_classes == empty
    again = update(found, feature, epoch=2, zero_is_positive=zero_is_positive)
    moved = np.abs(generated(found, again, 2) - label[INDEX]).max() > 0.1
    assert moved == zero_is_positive


@pytest.mark.parametrize("contents", [0.0, 1e6, np.nan])
def test_padding_rows_change_nothing(contents):
    tables, feature = start()
    plain = update(tables, feature)
    padded = {
        t: jnp.pad(v, ((0, 3), (0, 0)), constant_values=contents)
        for t, v in feature.items()
    }
    valid = np.arange(B + 3) < B
    as_specified = update(tables, padded, np.append(INDEX, [N, N, N]), valid)
    # Rows marked as padding stay out even where their index names a sample.
    aliased = update(tables, padded, np.append(INDEX, [1, 2, N - 1]), valid)
    for found in (as_specified, aliased):
        # a wider batch may be added up in another order
        tiny.assert_close(found, plain, 1e-5)


def test_order_within_a_batch_does_not_matter():
    tables, feature = start()
    order = np.array([3, 0, 4, 2, 1])
    turned = {t: v[order] for t, v in feature.items()}
    plain = update(tables, feature)
    tiny.assert_close(update(tables, turned, INDEX[order]), plain, 1e-6)


def test_units_of_features_do_not_matter():
    """All of features in millionths or millions: the same labels."""
    tables, feature = start()
    plain = update(tables, feature).value
    for unit in (1e-6, 1e6):
        scaled = tables.replace(
            feature=unit * tables.feature, center=unit * tables.center
        )
        found = update(scaled, {t: unit * v for t, v in feature.items()})
        np.testing.assert_allclose(found.value, plain, rtol=0, atol=2e-5)


def test_mirrored_labels_and_features_give_mirrored_u_labels():
    """Turn all labels round, and space with them: u-labels turn round."""
    label = np.where(LABEL == 0, 0.7, LABEL)
    tables, feature = start(label)
    turned, _ = start(-label)
    turned = turned.replace(
        value=-tables.value, feature=-tables.feature, center=-tables.center[::-1]
    )
    found = update(turned, {t: -v for t, v in feature.items()})
    plain = update(tables, feature)
    np.testing.assert_allclose(found.value, -plain.value, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.center, -plain.center[::-1], atol=1e-6)


def test_seeds_are_an_array_axis():
    seeds = [start(seed=s) for s in (0, 1)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *seeds)
    rest = (jnp.asarray(INDEX, jnp.int32), jnp.asarray(ALL), jnp.asarray(3))

    def one(tables, feature):
        return ulgm.update_tables(tables, feature, *rest, ulgm.Rules())

    found = tiny.quick(jax.vmap(one))(*stacked)
    for row, arguments in enumerate(seeds):
        alone = update(*arguments)
        tiny.assert_close(jax.tree.map(lambda x, i=row: x[i], found), alone, 1e-6)


def test_tables_are_the_carry_of_a_scan():
    """Three batches in one program equal three updates; nothing changes its type."""
    _, feature = start()
    rows = np.array([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, N, N, N]])
    tables = init(order=ORDER)

    def one(tables, index):
        epoch = jnp.asarray(2)
        args = (feature, index, index < N, epoch, ulgm.Rules())
        return ulgm.update_tables(tables, *args), ulgm.maximum_distance(tables)

    epoch_of = tiny.quick(lambda t: jax.lax.scan(one, t, jnp.asarray(rows)))
    found, distances = epoch_of(tables)
    for index in rows:
        tables = update(tables, feature, index, index < N, epoch=2)
    tiny.assert_close(found, tables, 1e-5)
    assert distances[0] == 0 and (distances[1:] > 0).all()


def test_a_batch_divided_over_devices_moves_the_same_tables():
    """Eight devices, a row each; the last row is padding."""
    tables, feature = start()
    index = jnp.asarray([*INDEX, 8, 9, N], jnp.int32)
    more = jnp.asarray(np.random.default_rng(1).normal(size=(3, WIDTH)), jnp.float32)
    feature = {m: jnp.concatenate([x, more]) for m, x in feature.items()}
    given = (feature, index, index < N)
    expected = compiled(tables, *given, jnp.asarray(3), ulgm.Rules())
    mesh = make_mesh(8, 8, 1)
    given = jax.device_put(given, NamedSharding(mesh, PartitionSpec("data")))
    tables = jax.device_put(tables, NamedSharding(mesh, PartitionSpec()))
    divided = jax.jit(partial(ulgm.update_tables, rules=ulgm.Rules()))
    program = divided.lower(tables, *given, jnp.asarray(3)).compile()
    for sign in ("num_partitions=8", "all-"):  # rows have to be exchanged
        assert sign in program.as_text()
    found = program(tables, *given, jnp.asarray(3))
    assert not np.array_equal(expected.value, start()[0].value)
    tiny.assert_close(found, expected, 1e-6)
