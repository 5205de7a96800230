"""PyTorch state dicts (as NumPy arrays) to our parameters and back."""

import re
from collections.abc import Mapping

import jax
import numpy as np

from msa_jax.types import PyTree

# Our path prefix -> PyTorch's. `post_video_layer_2` and the like are the public code's.
_MODULES = (
    (r"^text_encoder/bert/", "text_model.model."),
    (r"^text_encoder/", "text_model."),
    (r"^audio_lstm/", "audio_model.rnn."),
    (r"^vision_lstm/", "video_model.rnn."),
    (r"^audio_projection/linear/", "audio_model.linear_1."),
    (r"^vision_projection/linear/", "video_model.linear_1."),
    (r"^vision_head_net/layer_(\d)/linear/", r"post_video_layer_\1."),
    (r"^(\w+)_head_net/layer_(\d)/linear/", r"post_\1_layer_\2."),
    (r"^vision_head_net/score/linear/", "post_video_layer_3."),
    (r"^(\w+)_head_net/score/linear/", r"post_\1_layer_3."),
)
# Our leaf -> (PyTorch's leaf, whether the matrix is transposed).
_LEAVES = {
    "kernel": ("weight", True),
    "bias": ("bias", False),
    "scale": ("weight", False),
    "embedding": ("weight", False),
    "input_kernel": ("weight_ih_l0", True),
    "state_kernel": ("weight_hh_l0", True),
    "input_bias": ("bias_ih_l0", False),
    "state_bias": ("bias_hh_l0", False),
}


def torch_name(path: str) -> tuple[str, bool]:
    """Translate a parameter path; also say whether PyTorch's matrix is transposed.

    Source: parameter names of thuiar/Self-MM, models/multiTask/SELF_MM.py and
        models/subNets/BertTextEncoder.py.
    """
    for pattern, replacement in _MODULES:
        renamed, count = re.subn(pattern, replacement, path)
        if count:
            *stem, leaf = renamed.replace("/", ".").split(".")
            name, transposed = _LEAVES[leaf]
            return ".".join([*stem, name]), transposed
    raise KeyError(f"no PyTorch name for parameter {path!r}")


def from_torch(state: Mapping[str, np.ndarray], like: PyTree) -> PyTree:
    """Fill parameters shaped as `like` from a PyTorch state dict.

    A leading "Model." (the public trainers' wrapper) is ignored; entries that no
    parameter asks for (BERT's pooler) are, too.

    Raises:
        KeyError: an entry is missing.
        ValueError: an entry has another shape.
    """
    state = {k.removeprefix("Model."): v for k, v in state.items()}

    def fill(path, leaf):
        name, transposed = torch_name(_path(path))
        if name not in state:
            raise KeyError(f"state dict has no {name!r} (for parameter {_path(path)})")
        value = np.asarray(state[name])
        value = value.T if transposed else value
        if value.shape != leaf.shape:
            raise ValueError(f"{name}: shape {value.shape}, expected {leaf.shape}")
        return value.astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, like)


def to_torch(params: PyTree) -> dict[str, np.ndarray]:
    """Return parameters as a PyTorch state dict of NumPy arrays."""
    state = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name, transposed = torch_name(_path(path))
        state[name] = np.asarray(leaf).T if transposed else np.asarray(leaf)
    return state


def _path(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
