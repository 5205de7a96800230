"""The benchmark's formulations in PyTorch compute what ours do."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from msa_jax import bert, methods
from msa_jax.bench import measure, shapes, spt_alone
from msa_jax.layers.spt import Readings
from msa_jax.methods import PAPERS, self_mm, ucrn
from msa_jax.methods.torch_names import to_torch
from msa_jax.text import FeatureEncoder
from msa_jax.types import MODALITIES, TARGETS
from tests import tiny
from tests.bench_small import LENGTHS, SMALL, drawn

NO_DROPOUT = {"relu_dropout": 0.0, "residual_dropout": 0.0, "embed_dropout": 0.0}


def apply(module: nn.Module, params, batch):
    """Evaluate without the optimising compiler: it takes seconds."""
    function = tiny.quick(lambda p, b: module.apply({"params": p}, b, train=False))
    return function(params, batch)


@pytest.mark.parametrize("original", [True, False])
def test_the_transformer_in_pytorch_is_the_same(original):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed ([bench])")
    from msa_jax.bench import torch_spt

    method = spt_alone.make(Readings(8, 2, 3, **NO_DROPOUT))
    (batch,) = shapes.make_batches(SMALL, LENGTHS, 3, 1)
    params = drawn(method, batch)
    network = torch_spt.SparsePhasedTransformer(
        method.model.readings, SMALL.widths, original=original
    )
    torch_spt.load(network, params["spt"])
    x = {m: torch.from_numpy(getattr(batch, m)) for m in MODALITIES}
    x["text"].requires_grad_(True)
    states = network(x)

    def loss(text):
        made = method.model.apply(
            {"params": params}, batch.replace(text=text), train=False
        )
        return method.loss(made, batch, ())[0], made.feature

    batch = jax.device_put(batch)
    grad, ours = tiny.quick(jax.grad(loss, has_aux=True))(batch.text)
    sum(h.square().mean() for h in states.values()).backward()
    for m in MODALITIES:
        error = np.abs(states[m].detach().numpy() - np.asarray(ours[m]))
        assert error.max() < 1e-5
    np.testing.assert_allclose(x["text"].grad.numpy(), grad, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["sugrm", "self_mm"])
def test_the_methods_in_pytorch_are_the_same(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed ([bench])")
    from msa_jax.bench import torch_self_mm, torch_sugrm

    settings = PAPERS[name].config()
    method = methods.make(settings, FeatureEncoder(), SMALL.label_range)
    model = method.model
    (batch,) = shapes.make_batches(SMALL, LENGTHS, 3, 1)
    params = drawn(method, batch)
    if name == "sugrm":
        sizes = model.readings, SMALL.widths, model.width, model.output_dropout
        networks = [
            torch_sugrm.Sugrm(*sizes, original=original) for original in (True, False)
        ]
        for network in networks:
            torch_sugrm.load(network, params)
    else:
        weights = {
            k: torch.tensor(np.array(v))
            for k, v in to_torch(self_mm.TORCH, params).items()
        }
        networks = [
            torch_self_mm.SelfMM(settings.model, SMALL.widths, packed=packed)
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


def test_sugrm_s_labels_are_the_same_made_one_by_one():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed ([bench])")
    from msa_jax.bench import torch_sugrm

    label = torch.from_numpy(SMALL.label)
    books = [
        torch_sugrm.Labels(label, 4, (-3.0, 3.0), original=original)
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
    from msa_jax.bench import torch_ucrn, torch_ucrn_paper

    settings = PAPERS["ucrn"].config(preset)
    settings.model.unimodal_layers = settings.model.crossmodal_layers = 2
    method = methods.make(settings, FeatureEncoder(), SMALL.label_range)
    (batch,) = shapes.make_batches(SMALL, LENGTHS, 3, 1)
    params = drawn(method, batch)
    if preset == "code":
        network = torch_ucrn.Ucrn(settings.model, SMALL.widths, SMALL.steps).eval()
        network.load_state_dict(
            {
                k: torch.from_numpy(np.array(v))
                for k, v in to_torch(ucrn.TORCH, params).items()
            }
        )
        torch_loss = torch_ucrn.loss
    else:
        # Without norms between layers large weights make sums that cancel.
        params = jax.tree.map(lambda x: 0.7 * x, params)
        network = torch_ucrn_paper.Ucrn(settings.model, SMALL.widths).eval()
        torch_ucrn_paper.load(network, params)
        torch_loss = torch_ucrn_paper.loss
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


@pytest.mark.parametrize("name", ["self_mm", "sugrm", "mmcl", "code", "paper", "spt"])
def test_every_formulation_steps_and_moves_all_parts(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed ([bench])")
    from msa_jax.bench import torch_sides

    encoder = bert.Shape(50, 12, 1, 2, 24, 16)
    if name == "spt":
        settings, method = None, spt_alone.make(Readings(8, 2, 2))
        batches, tokens = shapes.make_batches(SMALL, LENGTHS, 4, 2), None
    else:
        paper, words = (name, "") if name in PAPERS else ("ucrn", name)
        settings = PAPERS[paper].config(words)
        module = bert.OwnBertEncoder(encoder)
        method = methods.make(settings, module, SMALL.label_range)
        batches = shapes.make_batches(SMALL, LENGTHS, 4, 2)
        tokens = np.ones((4, 3, 11), np.int32)
        batches = [b.replace(text=tokens) for b in batches]
    params = measure.draw_params(method, batches[0])
    own = {k: v for k, v in params.items() if k != "text_encoder"}
    label = shapes.make_split(SMALL, batches).label
    kind = "ucrn" if name in ("code", "paper") else name
    written = torch_sides.formulations(
        kind, settings, method, own, SMALL, np.asarray(label)
    )
    names = {"packed", "padded"} if kind in ("self_mm", "mmcl") else {"torch"}
    names = {"original", "fast"} if kind in ("sugrm", "spt") else names
    assert {side.removeprefix("torch, ") for side in written} == names
    inputs = [torch_sides.tensors(batch) for batch in batches]
    for made in written.values():
        parts = [made]
        if settings is not None:
            parts.append(torch_sides.bert(encoder, params, settings.optim.groups))
        before = [[p.clone() for p in part.network.parameters()] for part in parts]
        side = torch_sides.side(made, inputs, *parts[1:])
        side.step(0)
        side.step(1)
        side.evaluate(0)
        for part, old in zip(parts, before, strict=True):
            new = list(part.network.parameters())
            assert all(bool(p.isfinite().all()) for p in new)
            moved = [not torch.equal(p, q) for p, q in zip(new, old, strict=True)]
            # Not: norms never read, biases of keys and of heads without a loss.
            assert sum(moved) > 0.7 * len(moved)
