"""From a feature file to checked, padded NumPy splits.

file --plain.read_npz--> arrays --plain.to_splits (checks, padding)--> splits
splits --card.make_card, store.write--> TFDS files and data card on disk
store.load--> Dataset --standardise--> what goes to the device
"""

from msa_jax.data.standardise import standardise
from msa_jax.data.store import Dataset, load

__all__ = ["Dataset", "load", "standardise"]
