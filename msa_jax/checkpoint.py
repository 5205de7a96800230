"""The best parameters of every seed, on disk."""

from pathlib import Path

import jax
import numpy as np

from msa_jax.types import PyTree


def save(folder: Path, tree: PyTree) -> None:
    """Write a pytree of arrays with orbax; an older checkpoint there is replaced."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.resolve(), jax.tree.map(np.asarray, tree), force=True)


def load(folder: Path) -> PyTree:
    """Read the pytree that `save` wrote, as NumPy arrays in nested dicts."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(folder.resolve())
