"""Weights of `bert.OwnBertEncoder` from a folder as Hugging Face's tools write it."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization
from jaxtyping import Array
from safetensors import safe_open

from msa_jax.ground.types import PyTree
from msa_jax.text.bert import OwnBertEncoder, Shape, shape_of

# Names of a parameter in files written by PyTorch; the second is the older one.
_TORCH_NAMES = {
    "kernel": ("weight",),
    "embedding": ("weight",),
    "scale": ("weight", "gamma"),
    "bias": ("bias", "beta"),
}


def read_shape(folder: Path) -> Shape:
    """Read config.json.

    Raises:
        OSError, ValueError: it cannot be read, or is not of a BERT that we compute.
    """
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    if not isinstance(settings, dict):
        raise ValueError("config.json: no settings in it")
    return shape_of(settings)


def read_params(folder: Path, shape: Shape) -> PyTree:
    """Read the encoder's parameters, float32 NumPy arrays.

    Files of PyTorch (model.safetensors) and of Flax (flax_model.msgpack) are read,
    with or without the prefix "bert."; what the encoder lacks (pooler, heads) is left.

    Raises:
        OSError, ValueError, SafetensorError: a file cannot be read, or a parameter is
            missing, not finite or of another shape.
    """
    tokens = jax.ShapeDtypeStruct((1, 3, 1), jnp.int32)
    init = OwnBertEncoder(shape).init
    wanted = jax.eval_shape(lambda t: init(jax.random.key(0), t, train=False), tokens)
    wanted = wanted["params"]["bert"]
    torch = folder / "model.safetensors"
    found = _of_torch(torch, wanted) if torch.is_file() else _of_flax(folder, wanted)
    paths = jax.tree_util.tree_leaves_with_path(wanted)
    for (path, leaf), value in zip(paths, jax.tree.leaves(found), strict=True):
        name = _name(path)
        if value.shape != leaf.shape:
            raise ValueError(f"{name} has shape {value.shape}, not {leaf.shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} is not finite")
    return {"bert": found}


def _of_torch(path: Path, wanted: PyTree) -> PyTree:
    with safe_open(path, framework="flax") as file:
        stored = set(file.keys())

        def read(place: tuple, _: Any) -> np.ndarray:
            module, _, leaf = _name(place).rpartition("/")
            stem = module.replace("/", ".")
            names = [f"{stem}.{last}" for last in _TORCH_NAMES[leaf]]
            names += [f"bert.{name}" for name in names]
            name = next((name for name in names if name in stored), None)
            if name is None:
                raise ValueError(f"no {names[0]} in {path.name}")
            value = _float32(file.get_tensor(name))
            return value.T if leaf == "kernel" else value

        return jax.tree_util.tree_map_with_path(read, wanted)


def _of_flax(folder: Path, wanted: PyTree) -> PyTree:
    path = folder / "flax_model.msgpack"
    stored = serialization.msgpack_restore(path.read_bytes())
    if not isinstance(stored, dict):
        raise ValueError(f"{path.name}: no parameters in it")
    stored = stored.get("params", stored)
    stored = stored.get("bert", stored)

    def read(place: tuple, _: Any) -> np.ndarray:
        value = stored
        for key in place:
            value = value.get(key.key) if isinstance(value, dict) else None
        if value is None:
            raise ValueError(f"no {_name(place)} in {path.name}")
        return _float32(value)

    return jax.tree_util.tree_map_with_path(read, wanted)


def _float32(value: Array | np.ndarray) -> np.ndarray:
    return np.asarray(value, np.float32)


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
