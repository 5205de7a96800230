"""PyTorch's state dicts (as NumPy arrays) and our parameters, both ways, from data.

A method says once, as `Names`, how its modules and leaves are called in the code that
its numbers come from. Paths are those of a pytree of parameters, or of variables
{"params": ..., "batch_stats": ...}: "audio_net/linear_1/linear/kernel".
"""

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from msa_jax.ground.types import PyTree

Arrays = Mapping[str, np.ndarray]


class Leaf(NamedTuple):
    """How PyTorch stores one leaf of a module, or several in one array.

    name: PyTorch's, behind the module's name and a dot.
    to_torch: our leaves, in their order -> its array.
    from_torch: its array -> our leaves, as a tuple.
    """

    name: str
    to_torch: Callable[..., np.ndarray]
    from_torch: Callable[[np.ndarray], tuple[np.ndarray, ...]]


def same(name: str) -> Leaf:
    """Return a leaf that is the same array in PyTorch."""
    return Leaf(name, lambda x: x, lambda x: (x,))


def turned(name: str) -> Leaf:
    """Return a leaf whose axes PyTorch has in the opposite order.

    So are the matrices of linear maps [in, out] and LSTMs, and kernels of convolutions
    [k, in, out].
    """
    return Leaf(name, lambda x: x.T, lambda x: (x.T,))


def rows(name: str, count: int) -> Leaf:
    """Return `count` leaves of the same size, turned, that are PyTorch's rows."""

    def split(stacked: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(part.T for part in np.split(stacked, count))

    return Leaf(name, lambda *x: np.concatenate([part.T for part in x]), split)


LSTM: Mapping[str, Leaf] = MappingProxyType(
    {
        "input_kernel": turned("weight_ih_l0"),
        "state_kernel": turned("weight_hh_l0"),
        "input_bias": same("bias_ih_l0"),
        "state_bias": same("bias_hh_l0"),
    }
)
# The same of torch.nn.LSTMCell, for a method whose LSTMs are all cells there.
LSTM_CELL: Mapping[str | tuple[str, ...], Leaf] = MappingProxyType(
    {k: leaf._replace(name=leaf.name.removesuffix("_l0")) for k, leaf in LSTM.items()}
)
# What a leaf of ours is in PyTorch, in every method.
LEAVES: Mapping[str | tuple[str, ...], Leaf] = MappingProxyType(
    {
        "kernel": turned("weight"),
        "bias": same("bias"),
        "scale": same("weight"),
        "embedding": same("weight"),
        "running_mean": same("running_mean"),
        "running_var": same("running_var"),
        **LSTM,
    }
)
# The text encoder of every method: BERT, or what stands in for it in references.
TEXT: Mapping[str, str] = MappingProxyType(
    {"text_encoder/bert/": "text_model.model.", "text_encoder/": "text_model."}
)

# MMSA's networks of one vector a modality, `layers.subnets.vectors`.
SUBNETS: Mapping[str, str] = MappingProxyType(
    {
        **TEXT,
        "audio_net/": "audio_subnet.",
        "vision_net/": "video_subnet.",
        "text_net/": "text_subnet.",
        r"(linear_\d)/linear/": r"\1.",
    }
)
# Heads of MMSA, `layers.dense.ScoreHead` with two hidden layers.
HEADS: Mapping[str, str] = MappingProxyType(
    {
        "vision_head_net/": "video_head_net/",
        r"(\w+)_head_net/Dropout_0/": r"post_\1_dropout.",
        r"(\w+)_head_net/layer_(\d)/(linear/)?": r"post_\1_layer_\2.",
        r"(\w+)_head_net/score/(linear/)?": r"post_\1_layer_3.",
    }
)


class Names(NamedTuple):
    """The names of a method's parameters, in PyTorch.

    paths: regular expression -> replacement, applied in order; an expression begins
        where a part of a path does. Slashes that are left become dots. "{}" in a
        replacement is the number of a layer: one array in PyTorch for every entry of
        our leaf's first axis.
    leaves: leaf of ours, or several that are one array there -> `Leaf`; they come
        before those in `LEAVES`.
    ignored: regular expression of PyTorch's names that nothing of ours stands for.
    """

    paths: Mapping[str, str]
    leaves: Mapping[Any, Leaf] = MappingProxyType({})
    ignored: str = r"num_batches_tracked$|pooler\.|position_ids$"

    def module(self, path: str) -> str:
        """Return PyTorch's name of a module, "a/b" here."""
        return self.renamed(f"{path}/")[0].replace("/", ".").removesuffix(".")

    def renamed(self, path: str) -> tuple[str, bool]:
        """Return a path after all replacements, and whether there was one."""
        path = re.sub(r"^(params|batch_stats)/", "", path)
        total = 0
        for pattern, replacement in self.paths.items():
            path, count = re.subn(rf"(?<![^/.]){pattern}", replacement, path)
            total += count
        return path, total > 0


class Entry(NamedTuple):
    """What one array of PyTorch, or one for each layer, is made of.

    paths: of our leaves, in the order of `leaf`.
    name: PyTorch's; with layers it holds "{}".
    """

    paths: tuple[str, ...]
    name: str
    leaf: Leaf


def from_torch(names: Names, state: Arrays, like: PyTree) -> PyTree:
    """Fill a pytree shaped as `like` from a PyTorch state dict.

    A leading "Model." (the public trainers' wrapper) is ignored.

    Raises:
        KeyError: an array is missing.
        ValueError: an array has another shape, or nothing asks for it.
    """
    state = {k.removeprefix("Model."): v for k, v in state.items()}
    shapes = _leaves(like)
    filled: dict[str, np.ndarray] = {}
    asked = set()
    for entry in _entries(names, shapes):
        first = shapes[entry.paths[0]].shape
        layered = "{}" in entry.name
        wanted = [entry.name.format(i) for i in range(first[0] if layered else 1)]
        for name in wanted:
            if name not in state:
                paths = ", ".join(entry.paths)
                raise KeyError(f"state dict has no {name!r} (for parameter {paths})")
        asked |= set(wanted)
        parts = [entry.leaf.from_torch(np.asarray(state[name])) for name in wanted]
        values = (
            [np.stack(p) for p in zip(*parts, strict=True)] if layered else parts[0]
        )
        for path, value in zip(entry.paths, values, strict=True):
            if value.shape != shapes[path].shape:
                raise ValueError(
                    f"{entry.name}: shape {value.shape}, expected {shapes[path].shape}"
                )
            filled[path] = value.astype(shapes[path].dtype)
    if rest := [k for k in state if k not in asked and not re.search(names.ignored, k)]:
        raise ValueError(f"no parameter asks for {', '.join(sorted(rest))}")
    return jax.tree_util.tree_map_with_path(lambda path, _: filled[_path(path)], like)


def to_torch(names: Names, tree: PyTree) -> dict[str, np.ndarray]:
    """Return parameters (or variables) as a PyTorch state dict of NumPy arrays."""
    arrays = {path: np.asarray(leaf) for path, leaf in _leaves(tree).items()}
    state = {}
    for entry in _entries(names, arrays):
        values = [arrays[path] for path in entry.paths]
        if "{}" not in entry.name:
            state[entry.name] = entry.leaf.to_torch(*values)
            continue
        for i, of_layer in enumerate(zip(*values, strict=True)):
            state[entry.name.format(i)] = entry.leaf.to_torch(*of_layer)
    return state


def _entries(names: Names, paths: Iterable[str]) -> list[Entry]:
    """Say what each leaf is in PyTorch; leaves that are one array come together."""
    own = _by_part(names.leaves)
    table = {**_by_part(LEAVES), **own}
    located: dict[tuple[str, str], str] = {}
    for path in paths:
        renamed, known = names.renamed(path)
        module, _, last = renamed.replace("/", ".").rpartition(".")
        if last not in table or not (known or last in own):
            raise KeyError(f"no PyTorch name for parameter {path!r}")
        located[module, last] = path
    entries = []
    for module, last in located:
        together, leaf = table[last]
        if last == together[0]:
            name = f"{module}.{leaf.name}" if module else leaf.name
            whole = tuple(located[module, part] for part in together)
            entries.append(Entry(whole, name, leaf))
    return entries


def _by_part(
    leaves: Mapping[Any, Leaf],
) -> dict[str, tuple[tuple[str, ...], Leaf]]:
    """Return, for every leaf of ours, those it is one array with, and that array."""
    every = [(k if isinstance(k, tuple) else (k,), leaf) for k, leaf in leaves.items()]
    return {part: (key, leaf) for key, leaf in every for part in key}


def _leaves(tree: PyTree) -> dict:
    named = jax.tree_util.tree_leaves_with_path(tree)
    return {_path(path): leaf for path, leaf in named}


def _path(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
