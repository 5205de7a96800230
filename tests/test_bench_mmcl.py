"""What the benchmark counts of MMCL, and its side in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msa_jax import config, methods
from msa_jax.bench import measure, shapes
from msa_jax.text import FeatureEncoder
from msa_jax.types import MODALITIES
from tests import tiny
from tests.test_bench import LENGTHS, SMALL, drawn

WIDTH = 320  # the least that five convolutions read is 159


def small(**changes):
    """Return a small network's configuration, without dropout."""
    c = config.mmcl()
    c.text.encoder = "features"
    c.model.update(
        {"sequence_width": 8, "heads": 2, "layers": 2, "width": WIDTH, "channels": 6}
        | {"context_width": 5, "fusion_width": 7, "dropout": 0.0, "cutoff": 0.3}
        | changes
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
    from msa_jax.bench import torch_mmcl
    from msa_jax.layers import cutoff

    monkeypatch.setattr(
        cutoff, "kept_channels", lambda key, *sizes: jnp.asarray(cut(*sizes))
    )
    monkeypatch.setattr(
        torch_mmcl, "kept_channels", lambda *sizes: torch.from_numpy(cut(*sizes))
    )
    settings = small()
    method = methods.make(settings, FeatureEncoder(), SMALL.label_range)
    (batch,) = shapes.make_batches(SMALL, LENGTHS, 6, 1)
    params = drawn(method, batch)
    network = torch_mmcl.Mmcl(settings.model, SMALL.widths, packed=packed)
    torch_mmcl.load(network, params)
    names = [n for m in MODALITIES for n in (m, f"{m}_length")]
    x = {n: torch.from_numpy(np.array(getattr(batch, n))) for n in names}
    x["text"].requires_grad_(True)
    label = torch.from_numpy(batch.label)
    theirs = torch_mmcl.loss(*network(x), label, settings.weights, settings.contrast)
    theirs.backward()
    batch = jax.device_put(batch)

    def loss(params, text):
        given = batch.replace(text=text)
        outputs = method.model.apply(
            {"params": params}, given, train=True, rngs={"dropout": jax.random.key(0)}
        )
        return method.loss(outputs, given, ())[0]

    ours, (by_params, by_text) = tiny.quick(
        jax.value_and_grad(loss, argnums=(0, 1))
    )(params, batch.text)
    np.testing.assert_allclose(theirs.item(), ours, rtol=1e-5)
    np.testing.assert_allclose(x["text"].grad.numpy(), by_text, rtol=1e-3, atol=1e-5)
    expected = torch_mmcl.Mmcl(settings.model, SMALL.widths, packed=packed)
    torch_mmcl.load(expected, by_params)
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
