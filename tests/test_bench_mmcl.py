"""What the benchmark counts of MMCL, and its side in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msa_jax import methods
from msa_jax.bench import count_mmcl, measure, shapes
from msa_jax.layers.siamese_cnn import SiameseCnn
from msa_jax.methods import PAPERS
from msa_jax.text import FeatureEncoder
from msa_jax.types import MODALITIES
from tests import tiny
from tests.bench_small import LENGTHS, SMALL, drawn

WIDTH = 320  # the least that five convolutions read is 159


def small(**changes):
    """Return a small network's configuration, without dropout."""
    c = PAPERS["mmcl"].config()
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

    ours, (by_params, by_text) = tiny.quick(jax.value_and_grad(loss, argnums=(0, 1)))(
        params, batch.text
    )
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


def test_operations_of_mmcl_by_hand():
    """Twice 8 LSTM channels, 2 layers, 6 channels; clips of 1 and 3 steps, batch 4."""
    settings = small()
    method = methods.make(settings, FeatureEncoder(), SMALL.label_range)
    (batch,) = shapes.make_batches(SMALL, LENGTHS, 2, 1)
    params = measure.draw_params(method, batch)
    lengths = dict.fromkeys(("audio", "vision"), np.array([1, 3]))
    made = count_mmcl.mmcl(params, lengths, 4, settings.model)
    flop = 2 * 4  # of one number of a matrix that is applied once to each sample
    assert set(made) == {"maps, fusion, score"} | {
        f"{m} {part}"
        for m in ("audio", "vision")
        for part in ("lstm", "encoder", "prediction", "convolutions")
        + ("context", "losses")
    }
    once = (12 + 16 + 16) * WIDTH + (12 + 6 + 6) * 7 + 7
    assert made["maps, fusion, score"] == (flop * once, 2 * flop * once)
    # 5 inputs (audio) or 8 states to 4 gates of 8 channels, two directions, 2 steps.
    inputs, states = flop * 2 * 2 * 5 * 32, flop * 2 * 2 * 8 * 32
    assert made["audio lstm"] == (inputs + states, inputs + 2 * states)
    # Two views, two layers; 12 squares of 16 at 2 steps, two products of 5 pairs.
    encoder = flop * 2 * 2 * (12 * 16**2 * 2 + 2 * 16 * 5)
    assert made["vision encoder"] == (encoder, 2 * encoder)
    prediction = flop * (2 * WIDTH**2 + WIDTH**2 + 5 * 6)
    assert made["audio prediction"].forward == prediction
    assert made["audio context"].forward == flop * 2 * (6 + 5) * 20
    losses = 2 * (8 * 8 * 6 + 4 * 4 * 16)
    assert made["vision losses"] == (losses, 2 * losses)
    # 320 features become 64, 16, 8, 4 and 2 positions.
    kernels = 64 * 10 * 6 + 16 * 8 * 36 + (8 + 4 + 2) * 4 * 36
    assert made["audio convolutions"].forward == flop * 2 * kernels


def test_operations_of_the_convolutions_are_those_that_xla_counts():
    settings = small(width=768, channels=64)
    x = jax.ShapeDtypeStruct((4, 768), jnp.float32)
    cnn = SiameseCnn(64)
    shapes_of = jax.eval_shape(cnn.init, jax.random.key(0), x)
    counted = jax.jit(cnn.apply).lower(shapes_of, x).compile().cost_analysis()["flops"]
    stack = {"stack": shapes_of["params"]["stack"]}
    part = {"cnn": stack, "target_cnn": stack, "bimodal": {}, "predictor": {}}
    params = {f"{m}_prediction": part | {"context": {}} for m in ("audio", "vision")}
    params |= {
        f"{m}_coding": {"lstm": {}, "transformer": {}} for m in ("audio", "vision")
    }
    params |= dict.fromkeys(
        ("text_map", "audio_map", "vision_map", "fusion", "score"), {}
    )
    lengths = dict.fromkeys(("audio", "vision"), np.array([1]))
    made = count_mmcl.mmcl(params, lengths, 4, settings.model)
    ours = made["audio convolutions"].forward / 2  # two networks
    assert counted == pytest.approx(ours, rel=0.03)  # and biases and sums of halves
