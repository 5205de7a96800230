"""UCRN's network: reference arrays, published sizes, every combination, switches."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from tiny import make_split, quick

from msa_jax.data.batches import gather
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch
from msa_jax.layers import crossmodal, refinement
from msa_jax.methods import ucrn
from msa_jax.methods.torch_names import from_torch, to_torch
from msa_jax.methods.ucrn import CODE, Ucrn
from msa_jax.parity import replay_file
from msa_jax.studies.parity.replays import ucrn_network
from msa_jax.studies.parity.replays.compare import Comparison
from msa_jax.text.encoders import FeatureEncoder

GOLDENS = Path(__file__).parents[1] / "goldens"
TINY = {"unimodal_layers": 1, "crossmodal_layers": 1, "width": 6}
PRESETS = {"paper": TINY, "code": {**CODE, **TINY}}
COMBINATIONS = (
    *((m,) for m in MODALITIES),
    *(("text", "audio"), ("text", "vision"), ("audio", "vision"), MODALITIES),
)


@pytest.mark.slow
def test_full_size_passes():
    """One pair of modalities in float32; `parity` replays all four."""
    with np.load(GOLDENS / "ucrn_peer_fullsize.npz") as file:
        kept = {k: file[k] for k in file if k.startswith("la/") or "/" not in k}
    table = Comparison("ucrn_peer_fullsize.npz", "all", "float32")
    ucrn_network.full_size(kept, table, np.float32, 1e-4)
    assert len(table.rows) == 6 and all(row.passed for row in table.rows)


def test_a_wrong_network_fails(monkeypatch):
    """The replay is no formality: key and value trade places."""
    monkeypatch.setattr(jax, "jit", quick)
    right = crossmodal.encode

    def swapped(x, context, weights, *args, **named):
        key, value = weights.value, weights.key
        weights = weights._replace(key=key, value=value)
        return right(x, context, weights, *args)

    monkeypatch.setattr(crossmodal, "encode", swapped)
    done = replay_file(GOLDENS / "ucrn_peer_encoder.npz", ("float64",))
    assert done is not None and any(not row.passed for row in done.rows)


def published_batch(batch: int = 2) -> Batch:
    """Return zeros of MulT's unaligned MOSEI."""
    parts = []
    for steps, width in ((50, 300), (500, 74), (500, 35)):
        parts += [jnp.zeros((batch, steps, width)), jnp.full(batch, steps)]
    return Batch(*parts, jnp.zeros(batch), jnp.arange(batch), jnp.ones(batch, bool))


def count(**changes) -> int:
    network = Ucrn(FeatureEncoder(), **changes)
    start = partial(network.init, train=False)
    shapes = jax.eval_shape(start, jax.random.key(0), published_batch())
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def test_published_sizes_of_the_code():
    assert count(**CODE) == 690_031
    assert count(**CODE, modalities=("text",)) == 127_291
    for pair in COMBINATIONS[3:6]:
        assert count(**CODE, modalities=pair) == 352_861
    # Without the idle projections and mixes of the modality that is not read.
    lean = {**CODE, "absent_maps": False}
    assert count(**lean, modalities=("text", "audio")) == 352_861 - 35 * 30 - 500


def test_size_of_the_paper_preset():
    """About the size that Table 7 prints (422 401 and 211 681), but not that."""
    assert count() == 370_465
    assert count(modalities=("text", "vision")) == 189_721


def tiny_batch(n=5):
    return gather(make_split(8), jnp.array([0, 3, 5, 6, 8][:n]))


def make(preset, **changes):
    network = Ucrn(FeatureEncoder(), **{**PRESETS[preset], **changes})
    rng = np.random.default_rng(0)
    start = partial(network.init, train=False)
    shapes = jax.eval_shape(start, jax.random.key(0), tiny_batch())["params"]
    params = jax.tree.map(
        lambda s: jnp.asarray(rng.uniform(-0.5, 0.5, s.shape), jnp.float32), shapes
    )
    return network, params


@pytest.mark.parametrize(
    ("preset", "read"),
    [
        *(("code", read) for read in COMBINATIONS),
        *(("paper", read) for read in COMBINATIONS[-2:]),
    ],
)
def test_combinations_are_built_not_masked(preset, read):
    network, params = make(preset, modalities=read[::-1], outputs=len(read))
    run = partial(network.apply, {"params": params}, train=False)
    out = jax.eval_shape(run, tiny_batch())
    assert out.prediction.shape == (len(read), 5)
    assert set(out.feature) == {*read, "fusion"}
    assert out.feature["fusion"].shape == (5, 6 * len(read))
    absent = [m for m in MODALITIES if m not in read]
    assert not any(f"{m}_stack" in params or f"{m}_gate_1" in params for m in absent)
    assert all((f"{m}_kernel" in params) == (preset == "code") for m in absent)


def test_what_is_not_read_does_not_count_and_order_neither():
    network, params = make("code", modalities=("vision", "text"))
    run = quick(lambda batch: network.apply({"params": params}, batch, train=False))
    batch, torn = tiny_batch(), replace(tiny_batch(), audio=tiny_batch().audio * np.nan)
    np.testing.assert_array_equal(run(torn).prediction, run(batch).prediction)
    other = replace(tiny_batch(), vision=tiny_batch().vision + 1)
    assert (run(other).prediction != run(batch).prediction).all()
    assert (run(other).feature["text"] == run(batch).feature["text"]).all()


def test_padding_counts_in_the_code_preset():
    """In the paper's it does not: tests/methods."""
    network, params = make("code")
    run = quick(lambda batch: network.apply({"params": params}, batch, train=False))
    batch = tiny_batch()
    full = batch.audio_length == batch.audio.shape[1]
    assert not full.all()
    inside = jnp.arange(batch.audio.shape[1])[None] < batch.audio_length[:, None]
    loud = replace(batch, audio=jnp.where(inside[:, :, None], batch.audio, 9.0))
    same = np.asarray(run(batch).prediction[0] == run(loud).prediction[0])
    np.testing.assert_array_equal(same, full)


@pytest.mark.parametrize(
    ("block", "collapse"),
    [
        ("code", "mix"),
        pytest.param("code", "last", marks=pytest.mark.slow),
        pytest.param("paper", "mix", marks=pytest.mark.slow),
        pytest.param("paper", "last", marks=pytest.mark.slow),
    ],
)
def test_lengths_are_respected_with_every_block_and_collapse(block, collapse):
    changes = {"block": block, "collapse": collapse}
    network, params = make("paper", modalities=("audio",), **changes)

    @quick
    def run(audio):
        def total(audio):
            batch = replace(tiny_batch(), audio=audio)
            return network.apply(
                {"params": params}, batch, train=False
            ).prediction.sum()

        return jax.value_and_grad(total)(audio)

    batch = tiny_batch()
    inside = jnp.arange(batch.audio.shape[1])[None] < batch.audio_length[:, None]
    torn = jnp.where(inside[:, :, None], batch.audio, jnp.nan)
    (ours, gradient), (expected, _) = run(torn), run(batch.audio)
    assert ours == expected and np.isfinite(gradient).all()
    assert not np.asarray(gradient)[~np.asarray(inside)].any()


def test_parts_can_be_left_out():
    """Table 6: without URM, SQIL, CRM."""
    for without, gone in (
        ({"unimodal_layers": 0}, "audio_stack"),
        ({"crossmodal_layers": 0}, "crossmodal_stack"),
        ({"gate_layers": 0}, "audio_gate_1"),
    ):
        assert gone in make("paper")[1]
        network, params = make("paper", **without)
        assert gone not in params
    bare = {"unimodal_layers": 0, "crossmodal_layers": 0, "gate_layers": 0}
    network, params = make("paper", **bare)
    batch = tiny_batch()
    run = quick(partial(network.apply, train=False))
    feature = run({"params": params}, batch).feature
    last = jnp.take_along_axis(
        batch.audio, batch.audio_length[:, None, None] - 1, axis=1
    )[:, 0]
    expected = last @ params["audio_kernel"]
    np.testing.assert_allclose(feature["audio"], expected, rtol=1e-5)
    both = np.concatenate([feature[m] for m in MODALITIES], axis=1)
    np.testing.assert_array_equal(feature["fusion"], both)
    two = make("paper", gate_layers=2)[1]
    assert {"audio_gate_1", "audio_gate_2"} <= set(two)


def test_each_dropout_goes_where_it_is_named():
    names = [k for k in Ucrn.__dataclass_fields__ if k.endswith("_dropout")]
    rates = {name: (i + 1) / 100 for i, name in enumerate(names)}
    network, found = Ucrn(FeatureEncoder(), **TINY, **rates), {}

    def watch(call, args, kwargs, context):
        if isinstance(context.module, refinement.RefinementStack | nn.Dropout):
            found["/".join(context.module.path)] = context.module
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        start = partial(network.init, train=False)
        jax.eval_shape(start, jax.random.key(0), tiny_batch())
    for name, module in found.items():
        if isinstance(module, nn.Dropout):
            place = "output" if name.startswith("head") else "text"
            assert module.rate == rates[f"{place}_dropout"]
            continue
        modality = name.removesuffix("_stack")
        own = rates.get(f"{modality}_attention_dropout", rates["attention_dropout"])
        kept = ("attention_dropout", "relu_dropout", "residual_dropout")
        expected = {**rates, "attention_dropout": own}
        for kind in (*kept, "embed_dropout"):
            assert getattr(module.readings, kind) == expected[kind], (name, kind)
    assert len(found) == 6


def test_token_text_of_a_bimodal_network_is_not_encoded():
    batch = replace(tiny_batch(), text=jnp.ones((5, 3, 4), jnp.int32))
    network = Ucrn(FeatureEncoder(), **PRESETS["code"], modalities=("audio", "vision"))
    start = partial(network.init, train=False)
    params = jax.eval_shape(start, jax.random.key(0), batch)["params"]
    assert "text_kernel" not in params and "audio_kernel" in params


@pytest.mark.parametrize("read", [(), ("text", "video"), ("text", "text")])
def test_unknown_modalities_are_refused(read):
    with pytest.raises(ValueError, match="modalities"):
        make("paper", modalities=read)


@pytest.mark.parametrize("read", COMBINATIONS, ids="+".join)
def test_state_dicts_there_and_back(read):
    _, params = make("code", modalities=read, unimodal_layers=2, crossmodal_layers=3)
    state = to_torch(ucrn.TORCH, params)
    back = from_torch(ucrn.TORCH, state, params)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    assert state["temp_proj_a.weight"].shape == (1, 6, 1)
    assert (
        state["l_refine.layers.1.fc1.weight"].shape == (24, 6)
        if ("text" in read)
        else not any(k.startswith("l_refine") for k in state)
    )
