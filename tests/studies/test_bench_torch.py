"""The benchmark's formulations in PyTorch compute what ours do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from msa_jax import methods
from msa_jax.ground.names import MODALITIES, TARGETS
from msa_jax.methods import PAPERS
from msa_jax.methods import self_mm as ours_self_mm
from msa_jax.methods import ucrn as ours_ucrn
from msa_jax.methods.torch_names import to_torch
from msa_jax.studies.bench import against, measure, shapes
from msa_jax.text import bert
from msa_jax.text.encoders import FeatureEncoder
from tests import tiny
from tests.bench_small import LENGTHS, SMALL, drawn


def apply(module: nn.Module, params, batch):
    """Evaluate without the optimising compiler: it takes seconds."""
    function = tiny.quick(lambda p, b: module.apply({"params": p}, b, train=False))
    return function(params, batch)


@pytest.mark.parametrize("side", ["torch, original", "torch, fast"])
def test_spt_in_pytorch_is_the_same(side):
    """Loss and the text's gradient, without dropout."""
    pytest.importorskip("torch", reason="PyTorch is not installed ([bench])")
    from benchmarks.torch_sides import formulation, spt

    settings = PAPERS["spt"].config()
    settings.spt.update({"rounds": 3, "heads": 2, "embed": 8}, respect_lengths=False)
    method = methods.make(settings, FeatureEncoder(), SMALL.label_range)
    (batch,) = shapes.make_batches(SMALL, LENGTHS, 3, 1)
    params = drawn(method, batch)
    label = np.array(shapes.make_split(SMALL, [batch]).label)
    made = spt.formulations(settings, method, params, SMALL, label)[side]
    made.network.eval()
    x = formulation.tensors(batch)
    x["text"].requires_grad_(True)
    theirs, _ = made.loss(x)
    theirs.backward()
    batch = jax.device_put(batch)

    def loss(text):
        given = batch.replace(text=text)
        outputs = method.model.apply({"params": params}, given, train=False)
        return method.loss(outputs, given, ())[0]

    ours, grad = tiny.quick(jax.value_and_grad(loss))(batch.text)
    np.testing.assert_allclose(theirs.item(), ours, rtol=1e-5)
    np.testing.assert_allclose(x["text"].grad.numpy(), grad, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["sugrm", "self_mm"])
def test_the_methods_in_pytorch_are_the_same(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed ([bench])")
    from benchmarks.torch_sides import self_mm, sugrm

    settings = PAPERS[name].config()
    method = methods.make(settings, FeatureEncoder(), SMALL.label_range)
    model = method.model
    (batch,) = shapes.make_batches(SMALL, LENGTHS, 3, 1)
    params = drawn(method, batch)
    if name == "sugrm":
        sizes = model.readings, SMALL.widths, model.width, model.output_dropout
        networks = [
            sugrm.Sugrm(*sizes, original=original) for original in (True, False)
        ]
        for network in networks:
            sugrm.load(network, params)
    else:
        weights = {
            k: torch.tensor(np.array(v))
            for k, v in to_torch(ours_self_mm.TORCH, params).items()
        }
        networks = [
            self_mm.SelfMM(settings.model, SMALL.widths, packed=packed)
            for packed in (True, False)
        ]
        for network in networks:
            network.load_state_dict(weights)
    ours = apply(model, params, jax.device_put(batch))
    names = [n for m in MODALITIES for n in (m, f"{m}_length")]
    x = {n: torch.tensor(getattr(batch, n)) for n in names}
    for network in networks:
        score, feature = network.eval()(x)
        for row, t in enumerate(TARGETS):
            for theirs, mine in (
                (score[t], ours.prediction[row]),
                (feature[t], ours.feature[t]),
            ):
                np.testing.assert_allclose(
                    theirs.detach().numpy(), mine, rtol=1e-4, atol=1e-4
                )


FUSION = ("ef_lstm", "mfn", "graph_mfn", "mfm", "lf_dnn", "tfn", "lmf")
FUSION += ("mlf_dnn", "mtfn", "mlmf")


@pytest.mark.parametrize("name", FUSION)
def test_the_fusion_family_in_pytorch_is_the_same(name):
    """The scores, batch norm by its running statistics."""
    pytest.importorskip("torch", reason="PyTorch is not installed ([bench])")
    from benchmarks.torch_sides import formulation

    config = tiny.small(PAPERS[name])
    if "layers" in config.model:
        config.model.layers = 2
    if "unimodal_labels" in config.loss:
        config.loss.unimodal_labels = "multimodal"
    method = methods.make(config, FeatureEncoder(), SMALL.label_range)
    (batch,) = shapes.make_batches(SMALL, LENGTHS, 3, 1)
    params = drawn(method, batch)
    against.require_written(name, config)
    (side,) = (
        against._module(against._file(name))
        .formulations(config, method, params, SMALL, SMALL.label)
        .values()
    )
    variables = measure.draw_variables(method, batch) | {"params": params}
    run = tiny.quick(lambda v, b: method.model.apply(v, b, train=False))
    ours = run(variables, jax.device_put(batch)).prediction[0]
    theirs = side.network.eval()(formulation.tensors(batch)).detach().numpy()
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)


def test_sugrm_s_labels_are_the_same_made_one_by_one():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed ([bench])")
    from benchmarks.torch_sides import sugrm

    label = torch.from_numpy(SMALL.label)
    books = [
        sugrm.Labels(label, 4, (-3.0, 3.0), original=original)
        for original in (True, False)
    ]
    rng = np.random.default_rng(0)
    seen = torch.from_numpy(rng.random((31, 4))).float()  # in the first epoch
    for book in books:
        book.buffer.copy_(seen)
    for epoch in (2, 3):
        for rows in torch.from_numpy(rng.permutation(31)).split(8):
            shape = len(rows), 4
            feature = {t: torch.from_numpy(rng.random(shape)).float() for t in TARGETS}
            for book in books:
                book.visit(feature, rows, epoch)
    original, fast = books
    assert not torch.equal(fast.label["text"], label)
    for t in TARGETS:
        torch.testing.assert_close(original.label[t], fast.label[t])
    for one, other in zip(original.center, fast.center, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("preset", ["code", "paper"])
def test_ucrn_in_pytorch_is_the_same(preset):
    """Loss and the text's gradient, without dropout."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed ([bench])")
    from benchmarks.torch_sides import ucrn, ucrn_paper

    settings = PAPERS["ucrn"].config(preset)
    settings.model.unimodal_layers = settings.model.crossmodal_layers = 2
    method = methods.make(settings, FeatureEncoder(), SMALL.label_range)
    (batch,) = shapes.make_batches(SMALL, LENGTHS, 3, 1)
    params = drawn(method, batch)
    if preset == "code":
        network = ucrn.Ucrn(settings.model, SMALL.widths, SMALL.steps).eval()
        network.load_state_dict(
            {
                k: torch.from_numpy(np.array(v))
                for k, v in to_torch(ours_ucrn.TORCH, params).items()
            }
        )
        torch_loss = ucrn.loss
    else:
        # Without norms between layers large weights make sums that cancel.
        params = jax.tree.map(lambda x: 0.7 * x, params)
        network = ucrn_paper.Ucrn(settings.model, SMALL.widths).eval()
        ucrn_paper.load(network, params)
        torch_loss = ucrn_paper.loss
    names = [n for m in MODALITIES for n in (m, f"{m}_length")]
    x = {n: torch.from_numpy(np.array(getattr(batch, n))) for n in names}
    x["text"].requires_grad_(True)
    label = torch.from_numpy(batch.label)
    theirs = torch_loss(*network(x), label, settings.loss)
    theirs.backward()
    batch = jax.device_put(batch)

    def loss(text):
        given = batch.replace(text=text)
        outputs = method.model.apply({"params": params}, given, train=False)
        return method.loss(outputs, given, ())[0]

    ours, grad = tiny.quick(jax.value_and_grad(loss))(batch.text)
    np.testing.assert_allclose(theirs.item(), ours, rtol=1e-5)
    np.testing.assert_allclose(x["text"].grad.numpy(), grad, rtol=1e-3, atol=1e-5)


WIDTH = 320  # the least that five convolutions read is 159


def small_mmcl():
    """Return a small network's configuration, without dropout."""
    c = PAPERS["mmcl"].config()
    c.text.encoder = "features"
    c.model.update(
        {"sequence_width": 8, "heads": 2, "layers": 2, "width": WIDTH, "channels": 6}
        | {"context_width": 5, "fusion_width": 7, "dropout": 0.0, "cutoff": 0.3}
    )
    return c


def cut(batch, width, ratio):
    """Keep other channels of every sample, the same whatever draws them."""
    places = np.random.default_rng(width).random((batch, width)).argsort(1)
    return places >= int(ratio * width)


@pytest.mark.parametrize("packed", [True, False])
def test_mmcl_in_pytorch_is_the_same(packed, monkeypatch):
    """Loss and all gradients, the text's too, without dropout; answers."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed ([bench])")
    from benchmarks.torch_sides import mmcl
    from msa_jax.layers import cutoff

    monkeypatch.setattr(
        cutoff, "kept_channels", lambda key, *sizes: jnp.asarray(cut(*sizes))
    )
    monkeypatch.setattr(
        mmcl, "kept_channels", lambda *sizes: torch.from_numpy(cut(*sizes))
    )
    settings = small_mmcl()
    method = methods.make(settings, FeatureEncoder(), SMALL.label_range)
    (batch,) = shapes.make_batches(SMALL, LENGTHS, 6, 1)
    params = drawn(method, batch)
    network = mmcl.Mmcl(settings.model, SMALL.widths, packed=packed)
    mmcl.load(network, params)
    names = [n for m in MODALITIES for n in (m, f"{m}_length")]
    x = {n: torch.from_numpy(np.array(getattr(batch, n))) for n in names}
    x["text"].requires_grad_(True)
    label = torch.from_numpy(batch.label)
    theirs = mmcl.loss(*network(x), label, settings.weights, settings.contrast)
    theirs.backward()
    batch = jax.device_put(batch)

    def loss(params, text):
        given = batch.replace(text=text)
        outputs = method.model.apply(
            {"params": params}, given, train=True, rngs={"dropout": jax.random.key(0)}
        )
        return method.loss(outputs, given, ())[0]

    ours, (by_params, by_text) = tiny.quick(jax.value_and_grad(loss, argnums=(0, 1)))(
        params, batch.text
    )
    np.testing.assert_allclose(theirs.item(), ours, rtol=1e-5)
    np.testing.assert_allclose(x["text"].grad.numpy(), by_text, rtol=1e-3, atol=1e-5)
    expected = mmcl.Mmcl(settings.model, SMALL.widths, packed=packed)
    mmcl.load(expected, by_params)
    for (name, found), wanted in zip(
        network.named_parameters(), expected.parameters(), strict=True
    ):
        np.testing.assert_allclose(
            found.grad.numpy(), wanted.detach().numpy(), 1e-3, 1e-5, err_msg=name
        )
    answer = tiny.quick(lambda p: method.model.apply({"params": p}, batch, train=False))
    np.testing.assert_allclose(
        network.eval()(x)[0].detach().numpy(),
        answer(params).prediction[0],
        rtol=1e-4,
        atol=1e-5,
    )


SIDES = {
    "self_mm": ("self_mm", "", {"packed", "padded"}),
    "self_mm, encoded": ("self_mm", "", {"packed", "padded"}),
    "sugrm": ("sugrm", "", {"original", "fast"}),
    "mmcl": ("mmcl", "", {"packed", "padded"}),
    "ucrn, code": ("ucrn", "code", {"torch"}),
    "ucrn, paper": ("ucrn", "paper", {"torch"}),
    "spt": ("spt", "", {"original", "fast"}),
}


@pytest.mark.parametrize("case", SIDES)
def test_every_formulation_steps_and_moves_all_parts(case):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed ([bench])")
    (name, words, sides), encoded = SIDES[case], "encoded" in case
    against.require([name], 1)
    settings = PAPERS[name].config(words)
    if name == "spt":
        settings.spt.respect_lengths = False
    against.require_written(name, settings)
    shape = bert.Shape(50, 12, 1, 2, 24, 16) if encoded else None
    encoder = bert.OwnBertEncoder(shape) if shape else FeatureEncoder()
    method = methods.make(settings, encoder, SMALL.label_range)
    batches = shapes.make_batches(SMALL, LENGTHS, 4, 2)
    if encoded:
        batches = [b.replace(text=np.ones((4, 3, 11), np.int32)) for b in batches]
    params = measure.draw_variables(method, batches[0])["params"]
    label = shapes.make_split(SMALL, batches).label
    seen = []
    adam = torch.optim.Adam
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "Adam", lambda g: seen.append(adam(g)) or seen[-1])
        found = against.sides(
            name, settings, method, params, SMALL, label, batches, shape
        )
    assert {side.removeprefix("torch, ") for side in found} == sides
    for side, optimizer in zip(found.values(), seen, strict=True):
        new = [p for group in optimizer.param_groups for p in group["params"]]
        old = [p.clone() for p in new]
        side.step(0)
        side.evaluate(0)
        assert all(bool(p.isfinite().all()) for p in new)
        moved = [not torch.equal(p, q) for p, q in zip(new, old, strict=True)]
        # Not: norms never read, biases of keys and of heads without a loss.
        assert sum(moved) > 0.7 * len(moved)
