"""Replays of UCRN's networks: a layer of the paper's, the public encoder and model."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msa_jax.ground.types import Batch, PyTree
from msa_jax.layers import refinement
from msa_jax.layers.channels import Affine, FeedForward, project
from msa_jax.layers.refinement import RefinementStack, SlicedLayer
from msa_jax.layers.spt import Readings
from msa_jax.methods import divergence, losses
from msa_jax.methods.torch_names import to_torch
from msa_jax.methods.ucrn import CODE, TORCH, Ucrn
from msa_jax.studies.parity.replays.compare import Comparison
from msa_jax.studies.parity.replays.training import load, under
from msa_jax.text.encoders import FeatureEncoder

Arrays = Mapping[str, np.ndarray]
MODALITY = {"l": "text", "a": "audio", "v": "vision"}
STILL = dict.fromkeys(
    ("attention_dropout", "relu_dropout", "residual_dropout", "embed_dropout"), 0.0
)


def layer(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay Eq. 3 to 6 of one layer, causal and not."""
    heads, width = int(z["heads"]), z["x"].shape[2]

    def affine(*names: str) -> Affine:
        kernel, bias = (jnp.asarray(z[name], dtype) for name in names)
        return Affine(kernel, bias)

    def of_heads(name: str) -> Affine:
        every = [affine(f"W{name}{k}", f"b{name}{k}") for k in range(heads)]
        kernel = jnp.stack([one.kernel for one in every])
        return Affine(kernel, jnp.stack([one.bias for one in every]))

    weights = SlicedLayer(
        of_heads("q"),
        of_heads("k"),
        of_heads("v"),
        affine("fc1_W", "fc1_b"),
        FeedForward(
            affine("ln_g", "ln_b"), affine("fc2_W", "fc2_b"), affine("fc3_W", "fc3_b")
        ),
    )
    readings = Readings(embed=width, heads=heads, rounds=1, **STILL)
    x = jnp.asarray(z["x"].transpose(2, 1, 0), dtype)
    length = jnp.full(x.shape[2], x.shape[1])
    steps = np.arange(x.shape[1])
    for name, causal in (("causal", True), ("full", False)):
        seen = steps[None] <= steps[:, None] + (0 if causal else len(steps))
        seen = jnp.broadcast_to(seen[:, :, None], (*seen.shape, x.shape[2]))
        eq3 = refinement.attend_slices(x, weights, seen, lambda v, rate: v, readings)
        stack = RefinementStack(readings, "paper", causal)
        params = {"layers": _sliced_params(weights)}
        eq5: Any = stack.apply({"params": params}, x, length, train=False)
        for stored, ours in (
            ("eq3", eq3.T),
            ("eq4", project(eq3, weights.output).T),
            ("eq5", eq5.T),
            ("eq6_last", refinement.last_step(eq5, length)),
        ):
            stored = f"{name}/{stored}"
            table.add(stored, jnp.asarray(ours), z[stored], tolerance)


def encoder(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the public encoder with and without its mask, gradients included."""
    readings = Readings(
        embed=int(z["embed_dim"]),
        heads=int(z["num_heads"]),
        rounds=int(z["layers"]),
        **STILL,
    )
    x, cot = (jnp.asarray(z[k].transpose(2, 0, 1), dtype) for k in ("x", "cot"))
    length = jnp.full(x.shape[2], x.shape[1])
    for name, causal in (("causal", True), ("nomask", False)):
        stack = RefinementStack(readings, "code", causal, scaled=True)
        params = load(TORCH, under(z, "w/"), dtype, stack, x, length, train=False)

        def total(params, x, stack=stack):
            out: Any = stack.apply({"params": params}, x, length, train=False)
            return (out * cot).sum(), out

        run = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
        (_, out), (weights, inputs) = run(params, x)
        for kind, ours in (("y", out), ("dx", inputs)):
            stored = f"{kind}_{name}"
            table.add(stored, ours.transpose(1, 2, 0), z[stored], tolerance)
        for parameter, gradient in to_torch(TORCH, weights).items():
            stored = f"g_{name}/{parameter}"
            table.add(stored, gradient, z[stored], tolerance)


def model(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the public model of some modalities: scores, features, loss, gradients."""
    state = under(z, "w/")
    network = network_of(state)
    batch = _batch([z[f"x{letter}"] for letter in MODALITY], dtype)
    params = load(TORCH, state, dtype, network, batch, train=False)

    def total(params):
        out: Any = network.apply({"params": params}, batch, train=False)
        label = jnp.asarray(z["y"][:, 0], dtype)
        error = losses.absolute_error(out.prediction[0], label).mean()
        apart = _divergence(out, batch)
        return error + apart, (out, error, apart)

    run = jax.jit(jax.value_and_grad(total, has_aux=True))
    (loss, (out, error, apart)), gradient = run(params)
    _forward(z, "", table, tolerance, out)
    for stored, ours in (("l1", error), ("jsd", apart), ("loss", loss)):
        table.add(stored, ours, z[stored], tolerance)
    gradients = to_torch(TORCH, gradient)
    table.add("grad_names", len(gradients), len(z["grad_names"]), 0.0)
    named = [np.asarray(gradients[str(name)], np.float64) for name in z["grad_names"]]
    norms = [np.linalg.norm(g) for g in named]
    table.add("grad_norm", norms, z["grad_norm"], tolerance)
    # Sums cancel, to 0 before a norm: what float32 leaves of them grows with the terms.
    size = np.maximum(1, z["grad_norm"]) if dtype is np.float32 else 1.0
    sums = np.asarray([g.sum() for g in named])
    table.add("grad_sum", sums / size, z["grad_sum"] / size, tolerance)


def full_size(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the public model at its published size, from weights made by seeds."""
    for which in dict.fromkeys(k.split("/")[0] for k in z if "/" in k):
        names = [str(name) for name in z[f"{which}/param_names"]]
        shapes = [_shape(str(text)) for text in z[f"{which}/param_shapes"]]
        base = int(z["weight_seed_base"])
        state = {
            name: seeded_weight(name, shape, base + i)
            for i, (name, shape) in enumerate(zip(names, shapes, strict=True))
        }
        inputs = []
        for letter, seed in zip(MODALITY, z["x_seeds"], strict=True):
            steps = state[f"temp_proj_{letter}.weight"].shape[1]
            width = state[f"proj_{letter}.weight"].shape[1]
            shape = (len(z[f"{which}/out"]), steps, width)
            drawn = np.random.RandomState(seed).standard_normal(shape)
            inputs.append(drawn.astype(np.float32))
        network, batch = network_of(state), _batch(inputs, dtype)
        params = load(TORCH, state, dtype, network, batch, train=False)

        run = jax.jit(partial(network.apply, train=False))
        out: Any = run({"params": params}, batch)
        _forward(z, f"{which}/", table, tolerance, out)
        stored = f"{which}/jsd"
        table.add(stored, _divergence(out, batch), z[stored], tolerance)
        start = partial(network.init, train=False)
        made = jax.eval_shape(start, jax.random.key(0), batch)
        count = sum(leaf.size for leaf in jax.tree.leaves(made))
        table.add(f"{which}/n_params", count, z[f"{which}/n_params"], 0.0)


def seeded_weight(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Draw one parameter of the full-size network as its file prescribes."""
    drawn = np.random.RandomState(seed).uniform(-1, 1, shape)
    if len(shape) > 1:
        drawn = drawn * np.sqrt(3 / np.prod(shape[1:]))
    elif "norm" in name and name.endswith("weight"):
        drawn = 1 + 0.2 * drawn
    else:
        drawn = 0.2 * drawn
    return drawn.astype(np.float32)


def network_of(state: Arrays) -> Ucrn:
    """Return the public code's network whose state dict this is."""
    read = [m for k, m in MODALITY.items() if f"{k}_quality.fc.0.weight" in state]
    layers = 0
    while f"cross_modal_fusion.layers.{layers}.fc1.weight" in state:
        layers += 1
    changes: dict[str, Any] = {
        "modalities": tuple(read),
        "width": len(state["proj_l.weight"]),
        "unimodal_layers": layers,
        "crossmodal_layers": layers,
        "outputs": len(state["out_layer.bias"]),
    }
    return Ucrn(FeatureEncoder(), **{**CODE, **changes})


def _forward(
    z: Arrays, prefix: str, table: Comparison, tolerance: float, out: Any
) -> None:
    table.add(f"{prefix}out", out.prediction.T, z[f"{prefix}out"], tolerance)
    fusion = out.feature["fusion"]
    table.add(f"{prefix}last_h", fusion, z[f"{prefix}last_h"], tolerance)
    kept = [m for m in MODALITY.values() if m in out.feature]
    for i, m in enumerate(kept):
        stored = f"{prefix}h{i}"
        table.add(stored, out.feature[m][None], z[stored], tolerance)


def _divergence(out: Any, batch: Batch) -> jax.Array:
    features = {m: x for m, x in out.feature.items() if m != "fusion"}
    found = divergence.multimodal(features, batch.valid, "code")
    return losses.masked_mean(found, batch.valid)


def _batch(inputs: list[np.ndarray], dtype: type) -> Batch:
    count = len(inputs[0])
    parts = []
    for x in inputs:
        parts += [jnp.asarray(x, dtype), jnp.full(count, x.shape[1], jnp.int32)]
    return Batch(
        *parts,
        label=jnp.zeros(count),
        index=jnp.arange(count),
        valid=jnp.ones(count, bool),
    )


def _sliced_params(weights: SlicedLayer) -> PyTree:
    """Return one layer as the parameters of a stack of one."""
    maps = {name: getattr(weights, name) for name in ("query", "key", "value")}
    maps["output"] = weights.output
    maps |= {name: getattr(weights.forward, name) for name in ("rise", "fall")}
    params = {}
    for name, (kernel, bias) in maps.items():
        params |= {f"{name}_kernel": kernel[None], f"{name}_bias": bias[None]}
    scale, shift = weights.forward.norm
    norm = {"forward_norm_scale": scale[None], "forward_norm_bias": shift[None]}
    return params | norm


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))
