"""PyTorch state dicts of UCRN's public code to our parameters and back."""

from collections.abc import Iterable, Mapping

import numpy as np

from msa_jax.types import PyTree

State = dict[str, np.ndarray]
_LETTER = {"text": "l", "audio": "a", "vision": "v"}
_HEAD = {"layer_1": "proj1", "layer_2": "proj2", "score": "out_layer"}
_PARTS = ("query", "key", "value")  # rows of torch's stacked matrix
# Our leaf -> (PyTorch's name in a layer, whether the matrix is transposed).
_LAYER = {
    "output_kernel": ("self_attn.out_proj.weight", True),
    "output_bias": ("self_attn.out_proj.bias", False),
    "rise_kernel": ("fc1.weight", True),
    "rise_bias": ("fc1.bias", False),
    "fall_kernel": ("fc2.weight", True),
    "fall_bias": ("fc2.bias", False),
    "norm_scale": ("layer_norms.0.weight", False),
    "norm_bias": ("layer_norms.0.bias", False),
    "forward_norm_scale": ("layer_norms.1.weight", False),
    "forward_norm_bias": ("layer_norms.1.bias", False),
}
_GATE = {"squeeze_kernel": "fc.0.weight", "excite_kernel": "fc.2.weight"}


def ucrn_from_torch(state: Mapping[str, np.ndarray]) -> PyTree:
    """Read the parameters of a network with `methods.ucrn.CODE`, any modalities.

    Source: parameter names of Redaimao/UCRN@21a6783.
    """
    params: PyTree = {}
    for m, letter in _LETTER.items():
        params[f"{m}_kernel"] = np.asarray(state[f"proj_{letter}.weight"])[:, :, 0].T
        mix = np.asarray(state[f"temp_proj_{letter}.weight"])[0, :, 0]
        params[f"{m}_mix"] = {"kernel": mix}
        if f"{letter}_refine.layer_norm.weight" in state:
            params[f"{m}_stack"] = encoder_from_torch(state, f"{letter}_refine.")
            gate = gate_from_torch(state, f"{letter}_quality.")
            params[f"{m}_gate_1"] = gate
    params["crossmodal_stack"] = encoder_from_torch(state, "cross_modal_fusion.")
    params["head"] = {
        ours: {
            "linear": {
                "kernel": np.asarray(state[f"{theirs}.weight"]).T,
                "bias": np.asarray(state[f"{theirs}.bias"]),
            }
        }
        for ours, theirs in _HEAD.items()
    }
    return params


def ucrn_to_torch(params: PyTree) -> State:
    """Name the parameters as the public code does."""
    state: State = {}
    for m, letter in _LETTER.items():
        kernel = np.asarray(params[f"{m}_kernel"])
        state[f"proj_{letter}.weight"] = kernel.T[:, :, None]
        mix = np.asarray(params[f"{m}_mix"]["kernel"])
        state[f"temp_proj_{letter}.weight"] = mix[None, :, None]
        if f"{m}_stack" in params:
            state |= encoder_to_torch(params[f"{m}_stack"], f"{letter}_refine.")
            for ours, theirs in _GATE.items():
                leaf = np.asarray(params[f"{m}_gate_1"][ours])
                state[f"{letter}_quality.{theirs}"] = leaf.T
    state |= encoder_to_torch(params["crossmodal_stack"], "cross_modal_fusion.")
    for ours, theirs in _HEAD.items():
        linear = params["head"][ours]["linear"]
        state[f"{theirs}.weight"] = np.asarray(linear["kernel"]).T
        state[f"{theirs}.bias"] = np.asarray(linear["bias"])
    return state


def encoder_from_torch(state: Mapping[str, np.ndarray], prefix: str) -> PyTree:
    """Read one encoder (MulT's), its layers side by side; `prefix` ends with a dot."""
    layers = [_layer(state, f"{prefix}layers.{i}.") for i in _numbers(state, prefix)]
    final = {
        "norm_scale": np.asarray(state[f"{prefix}layer_norm.weight"]),
        "norm_bias": np.asarray(state[f"{prefix}layer_norm.bias"]),
    }
    side_by_side = {k: np.stack([layer[k] for layer in layers]) for k in layers[0]}
    return {"layers": side_by_side, "final": final}


def encoder_to_torch(params: PyTree, prefix: str) -> State:
    """Name one encoder's parameters; `prefix` ends with a dot."""
    layers = {k: np.asarray(v) for k, v in params["layers"].items()}
    state: State = {}
    for i in range(len(layers["output_bias"])):
        name = f"{prefix}layers.{i}."
        kernels = [layers[f"{part}_kernel"][i].T for part in _PARTS]
        state[f"{name}self_attn.in_proj_weight"] = np.concatenate(kernels)
        biases = [layers[f"{part}_bias"][i] for part in _PARTS]
        state[f"{name}self_attn.in_proj_bias"] = np.concatenate(biases)
        for ours, (theirs, transposed) in _LAYER.items():
            leaf = layers[ours][i]
            state[name + theirs] = leaf.T if transposed else leaf
    for ours, theirs in (("norm_scale", "weight"), ("norm_bias", "bias")):
        state[f"{prefix}layer_norm.{theirs}"] = np.asarray(params["final"][ours])
    return state


def gate_from_torch(state: Mapping[str, np.ndarray], prefix: str) -> PyTree:
    """Read one squeezing gate; `prefix` ends with a dot."""
    return {ours: np.asarray(state[prefix + name]).T for ours, name in _GATE.items()}


def _layer(state: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    kernels = np.split(np.asarray(state[f"{name}self_attn.in_proj_weight"]), 3)
    biases = np.split(np.asarray(state[f"{name}self_attn.in_proj_bias"]), 3)
    made: dict[str, np.ndarray] = {}
    for part, kernel, bias in zip(_PARTS, kernels, biases, strict=True):
        made |= {f"{part}_kernel": kernel.T, f"{part}_bias": bias}
    for ours, (theirs, transposed) in _LAYER.items():
        leaf = np.asarray(state[name + theirs])
        made[ours] = leaf.T if transposed else leaf
    return made


def _numbers(state: Mapping[str, np.ndarray], prefix: str) -> Iterable[int]:
    count = 0
    while f"{prefix}layers.{count}.fc1.weight" in state:
        count += 1
    return range(count)
