"""From a feature file to checked, padded NumPy splits.

file --sources.read--> arrays --plain.to_splits (checks, padding)--> splits
splits --card.make_card, store.write--> TFDS files and data card on disk
store.load--> Dataset --standardise--> what goes to the device
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msa_jax.data.scaling import standardise
    from msa_jax.data.store import Dataset, load

__all__ = ["Dataset", "load", "standardise"]


def __getattr__(name: str) -> Any:
    """Import on first use: the child process of `sandbox` needs none of JAX."""
    if name == "standardise":
        from msa_jax.data.scaling import standardise

        return standardise
    if name in ("Dataset", "load"):
        from msa_jax.data import store

        return getattr(store, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
