"""MMCL's losses: closed forms, loops over samples, ragged batches, many devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from tiny import quick

from msa_jax.methods import contrastive, contrastive_total
from msa_jax.methods.contrastive_total import Readings, Views, Weights
from msa_jax.methods.losses import masked_mean
from msa_jax.training.train_state import make_mesh

UNI = ("prose", "literal", "keys", "simclr")
UNIFORM = ("wang_isola", "literal", "union", "all_pairs")
SENTIMENT = ("log_outside_sum", "log_outside_mean", "log_inside")
E, SQUARE = np.e, jnp.eye(4)  # four vectors at right angles
ALL = jnp.ones(4, bool)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def batch(seed=0, rows=16, width=12):
    """Return views of audio and vision, labels of all three signs, all rows valid."""
    views = {
        m: Views(*(jnp.asarray(draw(seed * 10 + 4 * i + j, rows, width))
                   for j in range(4)))
        for i, m in enumerate(("audio", "vision"))
    }  # fmt: skip
    label = jnp.asarray(np.arange(rows) % 3 - 1.0, jnp.float32) * 1.4
    return views, label, jnp.ones(rows, bool)


def objective(views, label, valid, readings=Readings()):  # noqa: B008
    terms = contrastive_total.parts(views, label, valid, readings)
    return contrastive_total.total(jnp.float32(0.25), terms, Weights())


value_and_grad = quick(jax.value_and_grad(objective), static_argnums=3)


# q = k, unit vectors at right angles, temperature 1: a positive scores 1, others 0.
@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        ("prose", np.log(E + 3) - 1),
        ("literal", np.log(E + 3) - 1),  # q itself scores as the missing key
        ("keys", np.log(E + 3) - 1),
        ("simclr", np.log(E + 6) - 1),
    ],
)
def test_info_nce_at_right_angles(reading, expected):
    ours = contrastive.info_nce(SQUARE, SQUARE, ALL, 1.0, reading)
    np.testing.assert_allclose(ours, np.full(4, expected), rtol=1e-6)


def test_info_nce_readings_differ_where_the_key_is_another_vector():
    query, key = SQUARE, 0.5 * SQUARE
    found = [contrastive.info_nce(query, key, ALL, 1.0, r)[0] for r in UNI]
    half = np.sqrt(E)
    sums = (half + 3, E + 3, half + 3, half + 6)
    np.testing.assert_allclose(found, np.log(sums) - 0.5, rtol=1e-6)
    # Other queries and keys that are not at right angles to each other:
    query = SQUARE + 2 * jnp.roll(SQUARE, 1, 0)
    products, own = np.asarray(query @ query.T), np.asarray(query @ SQUARE.T)
    off = ~np.eye(4, dtype=bool)
    positive = np.exp(np.diag(own))
    prose = positive + np.where(off, np.exp(products), 0).sum(1)
    simclr = np.exp(own).sum(1) + np.where(off, np.exp(products), 0).sum(1)
    expected = (prose, np.exp(products).sum(1), np.exp(own).sum(1), simclr)
    for reading, total in zip(UNI, expected, strict=True):
        ours = contrastive.info_nce(query, SQUARE, ALL, 1.0, reading)
        np.testing.assert_allclose(ours, np.log(total) - np.diag(own), rtol=1e-5)


def test_cross_contrast_adds_three_pairings():
    turned = jnp.roll(SQUARE, 1, 0)  # every G is another sample's P
    alone, crossed = np.log(E + 3) - 1, np.log(E + 3)
    for reduce, share in (("sum", 1), ("mean", 3)):
        ours = contrastive.cross_contrast(SQUARE, turned, ALL, 1.0, reduce)
        expected = np.full(4, (2 * alone + crossed) / share)
        np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_cross_contrast_queries_are_targets():
    """Two predictions in one point: a target chooses between them in vain."""
    predicted = SQUARE[jnp.array([0, 0, 2, 3])]
    ours = contrastive.cross_contrast(predicted, SQUARE, ALL, 1.0, "sum")
    both = np.log(E + 3) - 1
    same = np.log([2 * E + 2, 2 * E + 2, E + 3, E + 3]) - 1
    cross = np.log([2 * E + 2, 4, E + 3, E + 3]) - [1, 0, 1, 1]
    np.testing.assert_allclose(ours, both + same + cross, rtol=1e-6)


@pytest.mark.parametrize(
    ("power", "norm", "expected"),
    [(2.0, "euclidean", 25.0), (1.0, "euclidean", 5.0), (1.0, "taxicab", 7.0)],
)
def test_alignment(power, norm, expected):
    gap = jnp.array([[3.0, -4.0], [0.0, 0.0]])

    def run(gap):
        zeros, valid = jnp.zeros((2, 2)), jnp.ones(2, bool)
        return contrastive.alignment(gap, zeros, valid, power, norm)

    np.testing.assert_allclose(run(gap), [expected, 0], rtol=1e-6)
    slopes = {25.0: [6, -8], 5.0: [0.6, -0.8], 7.0: [1, -1]}[expected]
    gradient = jax.grad(lambda gap: run(gap).sum())(gap)
    np.testing.assert_allclose(gradient, [slopes, [0, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        ("wang_isola", -6.0),  # all distances within a set are sqrt 2, kappa 3
        ("literal", 0.0),
        ("union", np.log((24 * np.exp(-6) + 4) / 28)),
        ("all_pairs", np.log((12 * np.exp(-6) + 4) / 16)),
    ],
)
def test_uniformity_at_right_angles(reading, expected):
    ours = contrastive.uniformity(SQUARE, SQUARE, ALL, 3.0, reading)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert contrastive.uniformity(SQUARE, -SQUARE, ALL, 3.0, "literal") == -12


# Classes +, +, +, - of vectors at right angles: A has 3 others, S 2 of them.
@pytest.mark.parametrize(
    ("reading", "with_self", "expected"),
    [
        ("log_outside_sum", False, np.log(3 / 2)),
        ("log_outside_mean", False, np.log(3)),
        ("log_inside", False, np.log(3)),
        ("log_outside_sum", True, np.log((E + 3) / (E + 2))),
        ("log_outside_mean", True, np.log((E + 3) / (E + 2) * 3)),
        ("log_inside", True, np.log(E + 3) - 1 / 3),
    ],
)
def test_sentiment_contrast_at_right_angles(reading, with_self, expected):
    label = jnp.array([0.2, 3.0, 1.0, -1.0])
    args = (SQUARE, label, ALL, 1.0, reading, with_self)
    ours, counted = contrastive.sentiment_contrast(*args)
    np.testing.assert_allclose(ours[:3], np.full(3, expected), rtol=1e-6)
    assert counted.tolist() == [True, True, True, with_self]
    assert with_self or ours[3] == 0


def test_zero_is_a_class_of_its_own():
    label = jnp.array([0.0, 0.0, 1.0, -1.0])
    _, counted = contrastive.sentiment_contrast(SQUARE, label, ALL, 1.0)
    assert counted.tolist() == [True, True, False, False]


def test_total_adds_five_weighted_terms_and_skips_weight_zero():
    terms = {name: jnp.float32(10**i) for i, name in enumerate(Weights._fields)}
    weights = Weights(1, 2, 3, 4, 5)
    assert contrastive_total.total(jnp.float32(0.5), terms, weights) == 54321.5
    terms["cross"] = jnp.float32(np.nan)
    without = weights._replace(cross=0)
    assert contrastive_total.total(jnp.float32(0.5), terms, without) == 54021.5


def test_parts_sum_over_modalities_and_normalise():
    views, label, valid = batch()
    both = contrastive_total.parts(views, label, valid, Readings())
    single = [
        contrastive_total.parts({m: v}, label, valid, Readings())
        for m, v in views.items()
    ]
    for name, value in both.items():
        np.testing.assert_allclose(value, single[0][name] + single[1][name], rtol=1e-6)
    longer = {m: Views(*(7 * x for x in v)) for m, v in views.items()}
    scaled = contrastive_total.parts(longer, label, valid, Readings())
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), both, scaled)
    raw = contrastive_total.parts(longer, label, valid, Readings(uni_normalise=False))
    assert abs(raw["uni"] - both["uni"]) > 1


def test_the_sentiment_pool_of_targets_alone():
    views, label, valid = batch()
    view = {"audio": views["audio"]}
    readings = Readings(sentiment_pool="target")
    ours = contrastive_total.parts(view, label, valid, readings)["sentiment"]
    target = contrastive.unit(views["audio"].target, valid)
    expected = masked_mean(*contrastive.sentiment_contrast(target, label, valid, 0.1))
    assert ours == expected
    both = contrastive_total.parts(view, label, valid, Readings())["sentiment"]
    assert abs(both - ours) > 0.01


ALL_READINGS = [
    Readings(0.05),
    Readings(0.05, "literal", uniformity="literal", sentiment="log_outside_mean"),
    Readings(0.05, "keys", uniformity="union", sentiment="log_inside", align_power=1.0),
    Readings(0.05, "simclr", uniformity="all_pairs", sentiment_self=True),
    Readings(0.05, uni_normalise=False, align_norm="taxicab", sentiment_pool="target"),
]


@pytest.mark.parametrize("readings", ALL_READINGS)
def test_rows_that_are_not_valid_reach_nothing(readings):
    views, label, _ = batch(rows=7)
    short = jax.tree.map(lambda x: x[:4], (views, label))
    expected = value_and_grad(*short, jnp.ones(4, bool), readings)
    valid = jnp.array([1, 0, 1, 1, 0, 1, 0], bool)
    place = np.flatnonzero(valid)
    spread = jax.tree.map(
        lambda x: jnp.full((7, *x.shape[1:]), jnp.nan).at[place].set(x[:4]), short
    )
    value, gradient = value_and_grad(*spread, valid, readings)
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    for ours, theirs in zip(
        jax.tree.leaves(gradient), jax.tree.leaves(expected[1]), strict=True
    ):
        np.testing.assert_allclose(ours[place], theirs, rtol=1e-3, atol=1e-5)
        assert not np.asarray(ours)[~np.asarray(valid)].any()


def edge(name):
    views, label, valid = batch(rows=4)
    match name:
        case "identical vectors":
            views = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), views)
            views = {m: Views(*[v.target] * 4) for m, v in views.items()}
        case "opposite vectors":
            views = {
                m: v._replace(predicted=-v.target, augmented=-v.feature)
                for m, v in views.items()
            }
        case "zero vectors":
            views = jax.tree.map(jnp.zeros_like, views)
        case "one row":
            valid = jnp.arange(4) == 2
        case "no row":
            valid = jnp.zeros(4, bool)
        case "no positive":
            label = jnp.array([1.0, 0.0, -1.0, jnp.nan])
            valid = jnp.arange(4) < 3
    return views, label, valid


@pytest.mark.parametrize("readings", ALL_READINGS)
@pytest.mark.parametrize(
    "name",
    [
        *("identical vectors", "opposite vectors", "zero vectors"),
        *("one row", "no row", "no positive"),
    ],
)
def test_values_and_gradients_are_finite(name, readings):
    value, gradient = value_and_grad(*edge(name), readings)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
    assert name != "no row" or value == 0.25


def test_a_batch_of_one_has_nothing_to_contrast():
    views, label, valid = batch(rows=1)
    terms = contrastive_total.parts(views, label, valid, Readings())
    assert terms["align"] > 0
    for name in ("uni", "sentiment", "cross", "uniform"):
        np.testing.assert_allclose(terms[name], 0, atol=1e-6)


def test_short_vectors_become_zero():
    x = jnp.array([[3.0, 4.0], [1e-13, 0.0], [np.nan, 1.0]])
    valid = jnp.array([True, True, False])
    unit = contrastive.unit(x, valid)
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0, 0], [0, 0]], rtol=1e-6)


@pytest.mark.long(60)
def test_negatives_span_all_devices():
    """A batch divided over 8 devices: value and gradient are those of one device."""
    views, label, valid = batch(rows=16)
    valid = valid.at[jnp.array([3, 12])].set(False)
    mesh = make_mesh(8, 8, 1)
    over_rows = NamedSharding(mesh, PartitionSpec("data"))
    expected = value_and_grad(views, label, valid, Readings())
    divided = jax.device_put((views, label, valid), over_rows)
    ours = value_and_grad(*divided, Readings())
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)

    # Were negatives those of a device's own two rows, both would be something else.
    apart = jax.tree.map(lambda x: x.reshape(8, 2, *x.shape[1:]), (views, label, valid))
    local = jax.vmap(jax.value_and_grad(objective))(*apart)
    assert abs(local[0].mean() - expected[0]) > 0.1
    gradient = local[1]["audio"].target.reshape(16, -1) / 8
    assert np.abs(gradient - expected[1]["audio"].target).max() > 1e-3


@pytest.mark.parametrize("readings", ALL_READINGS)
def test_gradients_are_the_slopes(readings):
    with jax.enable_x64(True):
        views, label, valid = jax.tree.map(
            lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x,
            batch(rows=4, width=3),
        )
        views = jax.tree.map(lambda x: x / 10, views)  # keeps raw scores small
        way = jax.tree.map(lambda x: jnp.asarray(draw(9, *x.shape), x.dtype), views)

        def run(step):
            moved = jax.tree.map(lambda x, d: x + step * d, views, way)
            return value_and_grad(moved, label, valid, readings)

        slope = (run(1e-6)[0] - run(-1e-6)[0]) / 2e-6
        along = jax.tree.map(lambda g, d: (g * d).sum(), run(0.0)[1], way)
        np.testing.assert_allclose(sum(jax.tree.leaves(along)), slope, rtol=1e-5)
