"""Replays of MMCL's layers, as stock torch computed them."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from msa_jax.layers import siamese_cnn
from msa_jax.layers.encoder_stack import EncoderStack
from msa_jax.layers.recurrent import BidirectionalLstm, SequenceLstm
from msa_jax.layers.siamese_cnn import ConvStack
from msa_jax.parity.compare import Comparison
from msa_jax.parity.training import under
from msa_jax.types import PyTree

Arrays = Mapping[str, np.ndarray]


def bidirectional_lstm(
    z: Arrays, table: Comparison, dtype: type, tolerance: float
) -> None:
    """Replay both directions, with lengths and without."""
    weights = under(z, "w/")
    params = {
        "forward": _lstm(weights, "", dtype),
        "backward": _lstm(weights, "_reverse", dtype),
    }
    model = BidirectionalLstm(len(weights["weight_hh_l0"]) // 4)
    x, length = jnp.asarray(z["x"], dtype), jnp.asarray(z["lengths"], jnp.int32)
    run: Any = model.apply({"params": params}, x, length)
    table.add("out_packed", run.output, z["out_packed"], tolerance)
    for name, ours in (("h_packed", run.hidden), ("c_packed", run.cell)):
        table.add(name, jnp.stack(jnp.split(ours, 2, axis=1)), z[name], tolerance)
    whole: Any = model.apply({"params": params}, x)
    table.add("out_unpacked", whole.output, z["out_unpacked"], tolerance)


def sequence_lstm(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the single direction."""
    weights = under(z, "w/")
    model = SequenceLstm(len(weights["weight_hh_l0"]) // 4)
    params = {"params": _lstm(weights, "", dtype)}
    run: Any = model.apply(params, jnp.asarray(z["x"], dtype))
    table.add("out", run.output, z["out"], tolerance)
    table.add("h", run.hidden[None], z["h"], tolerance)
    table.add("c", run.cell[None], z["c"], tolerance)


def encoder(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the stack with and without padding; padded steps are not compared."""
    count = int(z["layers"])
    params = _encoder_params(under(z, "w/"), count, dtype)
    model = EncoderStack(count, int(z["heads"]), int(z["ff"]))
    x = jnp.asarray(z["x"], dtype)
    for name, valid in (
        ("out_nomask", np.ones(x.shape[:2], bool)),
        ("out_mask", ~z["pad_mask"].astype(bool)),
    ):
        ours = model.apply({"params": params}, x, jnp.asarray(valid), train=False)
        table.add(name, np.asarray(ours)[valid], z[name][valid], tolerance)


def convolutions(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the stack with both paddings, and the number of steps of every layer."""
    weights = under(z, "w/c.")
    params = {
        f"layer_{i + 1}": {
            "kernel": jnp.asarray(weights[f"{i}.weight"].transpose(2, 1, 0), dtype),
            "bias": jnp.asarray(weights[f"{i}.bias"], dtype),
        }
        for i in range(len(z["kernels"]))
    }
    for name in ("kernels", "strides"):
        table.add(name, getattr(siamese_cnn, name.upper()), z[name], 0.0)
    table.add("pads", siamese_cnn.CPC_PADDING, z["pads"], 0.0)
    x = jnp.asarray(z["x"].transpose(0, 2, 1), dtype)
    padding: Any
    for stored, padding in (("cpcpad", "cpc"), ("valid", "valid")):
        model = ConvStack(z[f"out_{stored}"].shape[1], padding)
        out: Any = model.apply({"params": params}, x)
        ours = jnp.swapaxes(out, 1, 2)
        table.add(f"out_{stored}", ours, z[f"out_{stored}"], tolerance)
        steps = siamese_cnn.output_steps(x.shape[1], padding)
        table.add(f"lens_{stored}", steps, z[f"lens_{stored}"], 0.0)


def _lstm(weights: Arrays, suffix: str, dtype: type) -> PyTree:
    names = {
        "input_kernel": "weight_ih_l0",
        "state_kernel": "weight_hh_l0",
        "input_bias": "bias_ih_l0",
        "state_bias": "bias_hh_l0",
    }
    return {k: jnp.asarray(weights[v + suffix].T, dtype) for k, v in names.items()}


def _encoder_params(weights: Arrays, layers: int, dtype: type) -> PyTree:
    names = {
        "attend_kernel": "self_attn.in_proj_weight",
        "attend_bias": "self_attn.in_proj_bias",
        "output_kernel": "self_attn.out_proj.weight",
        "output_bias": "self_attn.out_proj.bias",
        "rise_kernel": "linear1.weight",
        "rise_bias": "linear1.bias",
        "fall_kernel": "linear2.weight",
        "fall_bias": "linear2.bias",
        "attend_norm_scale": "norm1.weight",
        "attend_norm_bias": "norm1.bias",
        "forward_norm_scale": "norm2.weight",
        "forward_norm_bias": "norm2.bias",
    }
    return {
        ours: jnp.stack(
            [jnp.asarray(weights[f"layers.{i}.{k}"].T, dtype) for i in range(layers)]
        )
        for ours, k in names.items()
    }
