"""PyTorch state dicts of SPT and SUGRM to our parameters and back."""

from collections.abc import Mapping

import numpy as np

from msa_jax.layers.spt import PAIRS
from msa_jax.types import MODALITIES, TARGETS, PyTree

_LETTER = {"text": "t", "audio": "a", "vision": "v", "fusion": "f"}
_ROWS = ("audio", "text", "vision")  # of `init_hiddens`
_LAYERS = {"input": "hiddenlayer", "cross": "crosslayer", "self": "selflayer"}
_GATES = {"squeeze_map": "wg", "audio_map": "wa", "vision_map": "wv", "text_map": "wl"}
_HEAD = {"layer_1": "proj1", "layer_2": "proj2", "score": "out_layer"}
_NORMS = {"query_norm": "layer_norm", "context_norm": "layer_norm_kv"}
State = dict[str, np.ndarray]


def spt_from_torch(state: Mapping[str, np.ndarray], prefix: str) -> PyTree:
    """Read the encoder's parameters; `prefix` ends with a dot.

    Source: parameter names of SP-Transformer's code.
    """
    rows = [_ROWS.index(m) for m in MODALITIES]
    params: PyTree = {"start": np.asarray(state[f"{prefix}init_hiddens"])[rows]}
    params["final"] = _norm(state, f"{prefix}layer_norm", "norm")
    for ours, theirs in _blocks():
        params[ours] = _attention(state, prefix + theirs.format("mha"))
        params[f"{ours}_forward"] = _forward(state, prefix + theirs.format("ffn"))
    return params


def spt_to_torch(params: PyTree, prefix: str) -> State:
    """Name the encoder's parameters as PyTorch does."""
    rows = [MODALITIES.index(m) for m in _ROWS]
    state = {f"{prefix}init_hiddens": np.asarray(params["start"])[rows]}
    state |= _torch_norm(params["final"], "norm", f"{prefix}layer_norm")
    for ours, theirs in _blocks():
        state |= _torch_attention(params[ours], prefix + theirs.format("mha"))
        block = params[f"{ours}_forward"]
        state |= _torch_forward(block, prefix + theirs.format("ffn"))
    return state


def sugrm_from_torch(state: Mapping[str, np.ndarray]) -> PyTree:
    """Read SUGRM's parameters but the text encoder's.

    A leading "Model." (the public trainer's wrapper) is ignored.

    Source: parameter names of skystarhyw/SUGRM.
    """
    state = {k.removeprefix("Model."): v for k, v in state.items()}
    params = {
        "recalibration": mrm_from_torch(state, "se_model."),
        "spt": spt_from_torch(state, "spe."),
    }
    for target in TARGETS:
        params[f"{target}_head_net"] = {
            ours: _linear(state, f"{theirs}_{_LETTER[target]}")
            for ours, theirs in _HEAD.items()
        }
    return params


def sugrm_to_torch(params: PyTree) -> State:
    """Name SUGRM's parameters but the text encoder's as PyTorch does."""
    state = mrm_to_torch(params["recalibration"], "se_model.")
    state |= spt_to_torch(params["spt"], "spe.")
    for target in TARGETS:
        head = params[f"{target}_head_net"]
        for ours, theirs in _HEAD.items():
            state |= _torch_linear(head[ours], f"{theirs}_{_LETTER[target]}")
    return state


def mrm_from_torch(state: Mapping[str, np.ndarray], prefix: str) -> PyTree:
    """Read the recalibration module's parameters."""
    return {o: _linear(state, prefix + t) for o, t in _GATES.items()}


def mrm_to_torch(params: PyTree, prefix: str) -> State:
    """Name the recalibration module's parameters as PyTorch does."""
    state = {}
    for ours, theirs in _GATES.items():
        state |= _torch_linear(params[ours], prefix + theirs)
    return state


def _blocks() -> list[tuple[str, str]]:
    """Return (our name, their name with a place for mha or ffn) of every block."""
    names = [(k, m, _LETTER[m]) for k in ("input", "self") for m in MODALITIES]
    names += [("cross", f"{a}_{b}", _LETTER[a] + _LETTER[b]) for a, b in PAIRS]
    return [(f"{k}_{ours}", f"{_LAYERS[k]}.{{}}_{x}") for k, ours, x in names]


def _attention(state: Mapping[str, np.ndarray], name: str) -> PyTree:
    """Take the stacked matrix apart.

    With a context as wide as the states, its rows are query, key and value; otherwise
    key and value alternate behind the query's rows, as columns.
    """
    stacked = np.asarray(state[f"{name}.attn.in_proj_weight"])
    bias = np.asarray(state[f"{name}.attn.in_proj_bias"])
    embed = stacked.shape[1]
    rest = stacked[embed:]
    if len(rest) == 2 * embed:
        key, value = rest[:embed].T, rest[embed:].T
    else:
        key, value = rest[::2], rest[1::2]
    params = {
        "query_kernel": stacked[:embed].T,
        "key_kernel": key,
        "value_kernel": value,
        "output_kernel": np.asarray(state[f"{name}.attn.out_proj.weight"]).T,
        "output_bias": np.asarray(state[f"{name}.attn.out_proj.bias"]),
    }
    for part, values in zip(("query", "key", "value"), np.split(bias, 3), strict=True):
        params[f"{part}_bias"] = values
    for ours, theirs in _NORMS.items():
        params |= _norm(state, f"{name}.{theirs}", ours)
    return params


def _torch_attention(params: PyTree, name: str) -> State:
    p = {k: np.asarray(v) for k, v in params.items()}
    context, embed = p["key_kernel"].shape
    if context == embed:
        rest = np.concatenate([p["key_kernel"].T, p["value_kernel"].T])
    else:
        rest = np.stack([p["key_kernel"], p["value_kernel"]], axis=1)
        rest = rest.reshape(2 * context, embed)
    bias = np.concatenate([p[f"{k}_bias"] for k in ("query", "key", "value")])
    state = {
        f"{name}.attn.in_proj_weight": np.concatenate([p["query_kernel"].T, rest]),
        f"{name}.attn.in_proj_bias": bias,
        f"{name}.attn.out_proj.weight": p["output_kernel"].T,
        f"{name}.attn.out_proj.bias": p["output_bias"],
    }
    for ours, theirs in _NORMS.items():
        state |= _torch_norm(params, ours, f"{name}.{theirs}")
    return state


def _forward(state: Mapping[str, np.ndarray], name: str) -> PyTree:
    params = _norm(state, f"{name}.layer_norm", "norm")
    for ours, theirs in (("rise", "fc1"), ("fall", "fc2")):
        params[f"{ours}_kernel"] = np.asarray(state[f"{name}.{theirs}.weight"]).T
        params[f"{ours}_bias"] = np.asarray(state[f"{name}.{theirs}.bias"])
    return params


def _torch_forward(params: PyTree, name: str) -> State:
    state = _torch_norm(params, "norm", f"{name}.layer_norm")
    for ours, theirs in (("rise", "fc1"), ("fall", "fc2")):
        state[f"{name}.{theirs}.weight"] = np.asarray(params[f"{ours}_kernel"]).T
        state[f"{name}.{theirs}.bias"] = np.asarray(params[f"{ours}_bias"])
    return state


def _norm(state: Mapping[str, np.ndarray], name: str, ours: str) -> PyTree:
    scale, shift = state[f"{name}.weight"], state[f"{name}.bias"]
    return {f"{ours}_scale": np.asarray(scale), f"{ours}_bias": np.asarray(shift)}


def _torch_norm(params: PyTree, ours: str, name: str) -> State:
    scale, shift = params[f"{ours}_scale"], params[f"{ours}_bias"]
    return {f"{name}.weight": np.asarray(scale), f"{name}.bias": np.asarray(shift)}


def _linear(state: Mapping[str, np.ndarray], name: str) -> PyTree:
    kernel = np.asarray(state[f"{name}.weight"]).T
    return {"linear": {"kernel": kernel, "bias": np.asarray(state[f"{name}.bias"])}}


def _torch_linear(params: PyTree, name: str) -> State:
    kernel = np.asarray(params["linear"]["kernel"]).T
    return {
        f"{name}.weight": kernel,
        f"{name}.bias": np.asarray(params["linear"]["bias"]),
    }
