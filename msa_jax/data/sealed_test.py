"""Test, sealed until selection is frozen.

Training and selection get train and valid (`train.fitted`). Test is a `Sealed`, which
opens for nothing but a `Frozen`: the variables that selection chose, made once no seed
trains any more. So whatever reads test comes after selection, in any command.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Generic, TypeVar

import jax
import numpy as np

from msa_jax.ground import hosts
from msa_jax.ground.types import PyTree, TrainState

T = TypeVar("T")
U = TypeVar("U")
_MADE_HERE = object()  # known to `freeze`, `recall` and `adopt` alone


class StillSealed(RuntimeError):
    """Somebody wants to read test before selection is frozen: a mistake in the code."""


@dataclasses.dataclass(frozen=True, eq=False)
class Frozen:
    """The variables that selection chose; the proof that it has ended.

    Only `freeze`, at the end of training, `recall`, of a finished run, and `adopt`, of
    a network that was trained elsewhere, make one.

    variables: see `network`; leading seed axis, on the devices after training.
    values: the same as NumPy arrays.
    sha256: per seed, of its variables and last u-labels.
    """

    variables: PyTree
    values: PyTree
    sha256: tuple[str, ...]
    maker: dataclasses.InitVar[object]

    def __post_init__(self, maker: object):
        """Refuse every other maker."""
        if maker is not _MADE_HERE:
            raise StillSealed("only the end of training freezes a selection")


def freeze(state: TrainState, u_labels: np.ndarray | None, max_epochs: int) -> Frozen:
    """Freeze the selected variables of every seed.

    Args:
        state: of all seeds, after the last epoch.
        u_labels: the last ones [s, m, n], which are hashed too; None without.
        max_epochs: the epochs after which training ends anyhow.

    Raises:
        StillSealed: a seed still trains, or has selected nothing.
    """
    chosen = state.selection
    active, selected, epoch = hosts.to_host((chosen.active, chosen.epoch, state.epoch))
    going = active & (epoch < max_epochs)
    if going.any() or not selected.all():
        raise StillSealed("a seed still trains or has selected no epoch")
    return _frozen({"params": chosen.params, **chosen.statistics}, u_labels)


def recall(
    variables: PyTree, u_labels: np.ndarray | None, sha256: tuple[str, ...]
) -> Frozen:
    """Return the frozen selection of a run that is finished.

    Args:
        variables: as read, leading seed axis.
        u_labels: see `freeze`.
        sha256: what the run says they hash to, per seed.

    Raises:
        StillSealed: they do not; these are not the parameters that were selected.
    """
    frozen = _frozen(variables, u_labels)
    if frozen.sha256 != tuple(sha256):
        raise StillSealed("these are not the parameters that the run selected")
    return frozen


def adopt(variables: PyTree) -> Frozen:
    """Return the frozen selection that another program's training ended with.

    Args:
        variables: of the network, leading seed axis, NumPy.
    """
    return _frozen(variables, None)


class Sealed(Generic[T]):
    """What only a frozen selection may see."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], T]):
        """Keep what `read` returns; it is called at every opening, not before."""
        self._read = read

    def open(self, proof: Frozen) -> T:
        """Return the content.

        Raises:
            StillSealed: `proof` is none.
        """
        if not isinstance(proof, Frozen):
            raise StillSealed(
                f"test opens with a frozen selection, not with {type(proof).__name__}"
            )
        return self._read()

    def map(self, change: Callable[[T], U]) -> "Sealed[U]":
        """Change the content without seeing it: `change` runs when it is opened."""
        read = self._read
        return Sealed(lambda: change(read()))


def seal(content: T) -> Sealed[T]:
    """Seal something that is there already."""
    return Sealed(lambda: content)


def state_hash(tree: PyTree, u_labels: np.ndarray | None) -> str:
    """Hash one seed's parameters or variables and last u-labels, bit for bit."""
    digest = hashlib.sha256()
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    for path, leaf in sorted(leaves, key=lambda item: jax.tree_util.keystr(item[0])):
        name = f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}"
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    if u_labels is not None:
        digest.update(np.ascontiguousarray(u_labels).tobytes())
    return digest.hexdigest()


def _frozen(variables: PyTree, u_labels: np.ndarray | None) -> Frozen:
    values = hosts.to_host(variables)
    seeds = len(jax.tree.leaves(values)[0])
    # Parameters are hashed without the name of their collection, so that the hashes of
    # networks that have no other one are those of runs made before there were others.
    statistics = {name: x for name, x in values.items() if name != "params"}
    hashed = {**values["params"], **statistics}
    hashes = tuple(
        state_hash(
            jax.tree.map(lambda x, i=i: x[i], hashed),
            None if u_labels is None else u_labels[i],
        )
        for i in range(seeds)
    )
    return Frozen(variables, values, hashes, _MADE_HERE)
