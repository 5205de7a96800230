"""Replays of MMCL's layers, as stock torch computed them."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from msa_jax.layers import siamese_cnn
from msa_jax.layers.encoder_stack import EncoderStack
from msa_jax.layers.recurrent import BidirectionalLstm, SequenceLstm
from msa_jax.layers.siamese_cnn import ConvStack
from msa_jax.methods.torch_names import LSTM, Names, same, turned
from msa_jax.studies.parity.replays.compare import Comparison
from msa_jax.studies.parity.replays.training import load, under

Arrays = Mapping[str, np.ndarray]
# Names of stock torch's layers: an LSTM's, an encoder's, a list "c" of convolutions.
TORCH = Names(
    {
        "forward/": "",
        r"backward/(\w+)": r"\1_reverse",
        **{f"layer_{i + 1}/": f"c.{i}." for i in range(5)},
        r"^(?=attend|output|rise|fall|forward_norm)": "layers.{}.",
        "attend_norm_": "norm1.",
        "forward_norm_": "norm2.",
        "output_": "self_attn.out_proj.",
        "rise_": "linear1.",
        "fall_": "linear2.",
    },
    {
        "attend_kernel": turned("self_attn.in_proj_weight"),
        "attend_bias": same("self_attn.in_proj_bias"),
        **LSTM,
        **{
            f"{k}_reverse": v._replace(name=f"{v.name}_reverse")
            for k, v in LSTM.items()
        },
    },
)


def bidirectional_lstm(
    z: Arrays, table: Comparison, dtype: type, tolerance: float
) -> None:
    """Replay both directions, with lengths and without."""
    weights = under(z, "w/")
    model = BidirectionalLstm(len(weights["weight_hh_l0"]) // 4)
    x, length = jnp.asarray(z["x"], dtype), jnp.asarray(z["lengths"], jnp.int32)
    params = load(TORCH, weights, dtype, model, x, length)
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
    x = jnp.asarray(z["x"], dtype)
    params = load(TORCH, weights, dtype, model, x)
    run: Any = model.apply({"params": params}, x)
    table.add("out", run.output, z["out"], tolerance)
    table.add("h", run.hidden[None], z["h"], tolerance)
    table.add("c", run.cell[None], z["c"], tolerance)


def encoder(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the stack with and without padding; padded steps are not compared."""
    count = int(z["layers"])
    model = EncoderStack(count, int(z["heads"]), int(z["ff"]))
    x, every = jnp.asarray(z["x"], dtype), jnp.ones(z["x"].shape[:2], bool)
    params = load(TORCH, under(z, "w/"), dtype, model, x, every, train=False)
    for name, valid in (
        ("out_nomask", np.ones(x.shape[:2], bool)),
        ("out_mask", ~z["pad_mask"].astype(bool)),
    ):
        ours = model.apply({"params": params}, x, jnp.asarray(valid), train=False)
        table.add(name, np.asarray(ours)[valid], z[name][valid], tolerance)


def convolutions(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the stack with both paddings, and the number of steps of every layer."""
    weights = under(z, "w/")
    for name in ("kernels", "strides"):
        table.add(name, getattr(siamese_cnn, name.upper()), z[name], 0.0)
    table.add("pads", siamese_cnn.CPC_PADDING, z["pads"], 0.0)
    x = jnp.asarray(z["x"].transpose(0, 2, 1), dtype)
    padding: Any
    for stored, padding in (("cpcpad", "cpc"), ("valid", "valid")):
        model = ConvStack(z[f"out_{stored}"].shape[1], padding)
        params = load(TORCH, weights, dtype, model, x)
        out: Any = model.apply({"params": params}, x)
        ours = jnp.swapaxes(out, 1, 2)
        table.add(f"out_{stored}", ours, z[f"out_{stored}"], tolerance)
        steps = siamese_cnn.output_steps(x.shape[1], padding)
        table.add(f"lens_{stored}", steps, z[f"lens_{stored}"], 0.0)
