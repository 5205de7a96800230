"""The sparse phased transformer as a method of its own: only to be timed."""

from flax import linen as nn
from jax import numpy as jnp

from msa_jax import tasks
from msa_jax.layers.spt import Readings, SparsePhasedTransformer
from msa_jax.types import MODALITIES, Batch, Method, Outputs

GROUPS = {"spt": {"rate": 5e-4, "decay": 1e-3}}


class SptAlone(nn.Module):
    """The transformer on a batch; its final states are the features."""

    readings: Readings

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return the final states; a prediction is a state's mean."""
        inputs = {m: getattr(batch, m) for m in MODALITIES}
        lengths = {m: getattr(batch, f"{m}_length") for m in MODALITIES}
        spt = SparsePhasedTransformer(self.readings, name="spt")
        states = spt(inputs, lengths, train=train)
        mean = jnp.stack([states[m].mean(axis=-1) for m in MODALITIES])
        return Outputs(mean, states)


def readings(dataset: str) -> Readings:
    """Return SUGRM's sizes. Source: its public configuration (SIMS: as MOSI)."""
    return Readings(heads=4 if dataset == "mosei" else 8)


def make(chosen: Readings) -> Method:
    """Return a method whose loss is the mean square of the final states."""

    def loss(outputs, batch, labels):
        del batch, labels
        parts = [jnp.square(x).mean() for x in outputs.feature.values()]
        return jnp.stack(parts).sum(), {}

    return Method(
        task=tasks.SENTIMENT,
        model=SptAlone(chosen),
        loss=loss,
        init_labels=lambda split, key: (),
        update_labels=lambda labels, outputs, batch, epoch: labels,
        groups=lambda path: "frozen" if _unused(path) else "spt",
        label_values=lambda labels: {},
    )


def _unused(path: str) -> bool:
    """Say whether it is the norm of self attention that is never used."""
    return "/self_" in path and "context_norm" in path
