"""TFN's blocks from plain formulations, its published sizes, its variants."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import make_split, quick

from msa_jax.batching import gather
from msa_jax.layers.subnets import OuterLinear, TextNet, outer, time_mean
from msa_jax.methods import PAPERS, check, make
from msa_jax.methods.tfn import group
from msa_jax.parity.replay import replay
from msa_jax.parity.schema import cases
from msa_jax.text import FeatureEncoder
from msa_jax.types import Batch

GOLDEN = Path(__file__).parent / "goldens" / "tfn.npz"
SHAPES = {
    "mosi": (50, 768, 5, 20),
    "mosei": (50, 768, 74, 35),
    "sims": (39, 768, 33, 709),
}


def network(words, **changes):
    """Build a tiny network of a variant, without dropout."""
    config = PAPERS["tfn"].config(words)
    sizes = dict.fromkeys(("text_hidden", "audio_hidden", "vision_hidden"), 4)
    still = {k: 0.0 for k in config.model if k.endswith("dropout")}
    config.model.update(
        {**still, **sizes, "text_width": 3, "fusion_head": 5, **changes}
    )
    return make(config, FeatureEncoder(), (-3.0, 3.0)).model


def drawn(module, *args):
    """Draw variables of a module: parameters around 0, statistics around 1."""
    init = partial(module.init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), *args)
    rng = np.random.default_rng(0)
    middle = {"params": 0.05, "batch_stats": 1}
    return {
        name: jax.tree.map(
            lambda s, m=middle[name]: jnp.asarray(
                rng.uniform(m - 0.5, m + 0.5, s.shape)
            ),
            tree,
        )
        for name, tree in shapes.items()
    }


@pytest.mark.parametrize("stages", ["out clean loss grad", "dropped steps"])
def test_the_public_network_its_training_and_its_dropout(stages):
    """The generic replay on arrays that MMSA's own classes and trainer computed."""
    with np.load(GOLDEN) as z:
        arrays = {key: z[key] for key in z}
    (case,) = cases(arrays)
    for key in case.expected():
        if not key.startswith(tuple(f"{stage}/" for stage in stages.split())):
            del arrays[f"main/{key}"]
    (table,) = replay(arrays, "tfn.npz", ("float64",))
    assert len(table.rows) > 35
    assert [row for row in table.rows if not row.passed] == []
    left = " ".join(table.notes).partition("compared: ")[2].split(", ")
    assert all(name.endswith("num_batches_tracked") for name in left)


def test_the_outer_product_holds_every_product():
    """Entry (i, j) of two vectors, each after a 1, is entry i (n + 1) + j."""
    a, b = jnp.array([[2.0, 3.0]]), jnp.array([[5.0, 7.0, 11.0]])
    expected = [1, 5, 7, 11, 2, 10, 14, 22, 3, 15, 21, 33]
    np.testing.assert_array_equal(outer(a, b)[0], expected)


def test_the_contraction_is_the_map_of_the_outer_product():
    """To the vectors' gradients, too; and nothing as large as the product is formed."""
    keys = jax.random.split(jax.random.key(0), 5)
    vectors = [
        jax.random.normal(k, (3, d)) for k, d in zip(keys, (4, 19, 6), strict=False)
    ]
    module = OuterLinear(2, 0.5)
    params = drawn(module, *vectors)
    kernel = params["params"]["kernel"]
    assert kernel.shape == (5 * 20 * 7, 2)
    weight = jax.random.normal(keys[4], (3, 2))

    def contracted(x):
        return (module.apply(params, *x, train=False) * weight).sum()

    def plain(x):
        return ((outer(*x) @ kernel + params["params"]["bias"][None]) * weight).sum()

    ours, theirs = (quick(jax.value_and_grad(f))(vectors) for f in (contracted, plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), ours, theirs)
    formed = jax.make_jaxpr(contracted)(vectors).eqns
    largest = max(out.aval.size for eqn in formed for out in eqn.outvars)
    assert largest == kernel.size < 3 * len(kernel)


def test_dropped_entries_are_the_products():
    """What is kept is doubled at rate .5; no vector is dropped as a whole."""
    x = [jnp.ones((1, 9)), jnp.ones((1, 9)), jnp.ones((1, 9))]
    module = OuterLinear(1, 0.5)
    params = {"params": {"kernel": jnp.ones((1000, 1)), "bias": jnp.zeros(1)}}
    rngs = {"dropout": jax.random.key(1)}
    (total,) = module.apply(params, *x, train=True, rngs=rngs)[0]
    assert total % 2 == 0 and abs(total - 1000) < 150 and total != 1000


def test_means_over_time():
    x = jnp.array([[[1.0, -jnp.inf], [3.0, 4.0], [8.0, jnp.nan]]])
    length = jnp.array([2])
    np.testing.assert_array_equal(time_mean(x, length, "all"), [[4.0, 0.0]])
    np.testing.assert_array_equal(time_mean(x, length, "valid"), [[2.0, 2.0]])
    np.testing.assert_array_equal(time_mean(x[:, 1:2], length, "all"), [[3.0, 4.0]])


def test_the_text_state_is_at_the_end_that_is_asked_for():
    x = jax.random.normal(jax.random.key(0), (1, 4, 3))
    end, valid = (TextNet(2, 2, 0.0, state) for state in ("padded_end", "last_valid"))
    params = drawn(end, x, jnp.array([2]))

    def run(module, x):
        apply = quick(lambda x: module.apply(params, x, jnp.array([2]), train=False))
        return np.asarray(apply(x))

    np.testing.assert_allclose(run(valid, x), run(end, x[:, :2]), rtol=1e-6)
    assert np.abs(run(valid, x) - run(end, x)).max() > 1e-3


@pytest.mark.parametrize("words, read", [("mosi", True), ("mosi+method", False)])
def test_padding_is_read_or_not(words, read):
    """MMSA's reading takes padding for contents; "method" does not."""
    batch = gather(make_split(3), jnp.arange(3))
    model = network(words)
    variables = drawn(model, batch)
    run = quick(lambda b: model.apply(variables, b, train=False).prediction)
    for m in ("text", "audio", "vision"):
        length = jnp.full(3, 2)
        batch = replace(batch, **{f"{m}_length": length})
    before = run(batch)
    for m in ("text", "audio", "vision"):
        other = replace(batch, **{m: getattr(batch, m).at[:, 2:].add(1)})
        assert (np.abs(run(other) - before).max() > 1e-6) == read, m


@pytest.mark.parametrize(
    "words, count",
    [
        ("mosi", 9_497_043),
        ("mosi+v1", 9_566_515),
        ("mosei", 5_042_539),
        ("mosei+v1", 5_070_187),
        ("sims", 35_632_077),
    ],
)
def test_parameters_are_as_many_as_in_mmsa(words, count):
    """Counted in MMSA's networks; the two constants of the range are not trained."""
    config = PAPERS["tfn"].config(words)
    check(config)
    steps, text, audio, vision = SHAPES[words.split("+")[0]]
    one = jnp.ones(2, int)
    batch = Batch(
        *(jnp.zeros((2, steps, text)), one),
        *(jnp.zeros((2, 7, audio)), one),
        *(jnp.zeros((2, 9, vision)), one),
        *(jnp.zeros(2), one, jnp.ones(2, bool)),
    )
    model = make(config, FeatureEncoder(), (-3.0, 3.0)).model
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), batch, train=False)["params"]
    )
    named = jax.tree_util.tree_leaves_with_path(shapes)
    sizes = {jax.tree_util.keystr(k, simple=True, separator="/"): v for k, v in named}
    frozen = [k for k in sizes if group(k) == "frozen"]
    assert sorted(frozen) == ["output_range", "output_shift"]
    assert sum(v.size for k, v in sizes.items() if k not in frozen) == count


def test_scores_lie_in_the_range_and_its_constants_get_no_gradient():
    batch = gather(make_split(3), jnp.arange(3))
    model = network("mosi", output_range=2.0)
    variables = drawn(model, batch)

    def constants(key):
        params = model.init(key, batch, train=False)["params"]
        return {name: params[f"output_{name}"] for name in ("range", "shift")}

    start = quick(constants)(jax.random.key(0))
    assert (start["range"][0], start["shift"][0]) == (4, -2)

    def total(params):
        outputs = model.apply(variables | {"params": params}, batch, train=False)
        return outputs.prediction.sum(), outputs.prediction

    params = variables["params"] | {f"output_{k}": x for k, x in start.items()}
    params["fusion_3"] = jax.tree.map(lambda x: 100 * x, params["fusion_3"])
    (_, scores), grad = quick(jax.value_and_grad(total, has_aux=True))(params)
    assert 1.5 < np.abs(scores).max() <= 2
    assert grad["output_range"][0] == grad["output_shift"][0] == 0


def test_only_the_published_reading_reads_padding():
    """So that its text is packed where it may be."""
    paper = PAPERS["tfn"]
    read = {w: paper.reads_padding(paper.config(w)) for w in ("mosi", "mosi+method")}
    assert read == {"mosi": "model.text_state = 'padded_end'", "mosi+method": ""}
