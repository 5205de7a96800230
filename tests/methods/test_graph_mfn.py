"""Graph-MFN's graph, one vertex after the other, and which of it learns."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import quick

from msa_jax.ground.names import MODALITIES
from msa_jax.methods.graph_mfn import FusionGraph, GraphMfn
from msa_jax.text.encoders import FeatureEncoder

WIDTHS = {"text": 3, "audio": 1, "vision": 2}


def given():
    rng = np.random.default_rng(0)
    return {m: rng.normal(size=(2, 3, width)) for m, width in WIDTHS.items()}


def affine(p, x):
    p = p.get("linear", p)
    return x @ np.asarray(p["kernel"]) + np.asarray(p["bias"])


@pytest.mark.parametrize("efficacy", ["linear", "sigmoid"])
def test_vertices_read_what_their_edges_let_through(efficacy):
    """Two, two, two, six and seven edges, numbered in this order."""
    x, graph = given(), FusionGraph(4, 5, efficacy)
    params = quick(graph.init)(jax.random.key(0), x)
    p = params["params"]
    e = np.concatenate(list(x.values()), axis=-1)
    for layer in (1, 2, 3):
        e = affine(p[f"efficacy_{layer}"], e)
    assert e.shape[-1] == 19
    e = 1 / (1 + np.exp(-e)) if efficacy == "sigmoid" else e

    def vertex(name, sources, first):
        read = [s * e[..., first + i, None] for i, s in enumerate(sources)]
        return affine(p[f"{name}_2"], affine(p[f"{name}_1"], np.concatenate(read, -1)))

    t, a, v = (x[m] for m in MODALITIES)
    ta, tv = vertex("text_audio", (t, a), 0), vertex("text_vision", (t, v), 2)
    av = vertex("audio_vision", (a, v), 4)
    tav = vertex("all", (t, a, v, ta, tv, av), 6)
    tau = vertex("tau", (t, a, v, ta, tv, av, tav), 12)
    np.testing.assert_allclose(quick(graph.apply)(params, x), tau, rtol=1e-4, atol=1e-5)


def test_second_maps_start_as_copies_and_first_ones_do_not():
    x = given()
    init = quick(partial(FusionGraph(4, 5, "linear").init))
    p = init(jax.random.key(0), x)["params"]
    second = [p[f"{name}_2"] for name in ("text_audio", "audio_vision", "all", "tau")]
    for each in second[1:]:
        jax.tree.map(np.testing.assert_array_equal, each, second[0])
    first = (p[f"text_{m}_1"]["linear"]["bias"] for m in ("audio", "vision"))
    assert (jnp.subtract(*first) != 0).all()
    other = init(jax.random.key(1), x)["params"]["tau_2"]["kernel"]
    assert (other != second[0]["kernel"]).all()


def test_vertices_of_several_modalities_are_frozen_where_asked():
    def group(graph_nodes, path):
        return GraphMfn(FeatureEncoder(), graph_nodes=graph_nodes).group(path)

    for name, frozen in (("all_1", True), ("tau_2", False), ("efficacy_1", False)):
        path = f"graph/{name}/kernel"
        assert group("frozen", path) == ("frozen" if frozen else "other")
        assert group("trained", path) == "other"
    assert group("frozen", "text_lstm/state_bias") == "other"
