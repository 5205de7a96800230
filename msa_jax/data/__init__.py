"""From a feature file to checked, padded NumPy splits, and to what a network reads.

file --sources.open_source--> arrays --plain.to_splits (checks, padding)--> splits
splits --card.make_card, store.write_dataset--> TFDS files and data card on disk
store.load_dataset--> Dataset --preparation.fit, apply--> what goes to the device
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msa_jax.data.store import Dataset, load_dataset

__all__ = ["Dataset", "load_dataset"]


def __getattr__(name: str) -> Any:
    """Import on first use: the child process of `sandbox` needs none of JAX."""
    if name in __all__:
        from msa_jax.data import store

        return getattr(store, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
