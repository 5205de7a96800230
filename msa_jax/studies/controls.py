"""Controls to train: a method without modalities, or with those of other samples.

Each is a change of the inputs, as `run.complete_run` takes it, and leaves a note in
them. All splits are changed alike; test stays sealed.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from msa_jax.data import corruptions
from msa_jax.data.batches import gather
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Split
from msa_jax.runs.shuffled_modalities import partners
from msa_jax.runs.workdir import TRAINED_SHUFFLED, TRAINED_WITHOUT
from msa_jax.training.splits import Inputs, changed

_DRAW = 1000  # of the shuffle: none of those that runs are tested with


def of(name: str) -> Callable[[Inputs], Inputs]:
    """Return a control by its name: "without", "shuffled", or "", which is none."""
    match name:
        case "without":
            return without_audio_vision
        case "shuffled":
            return shuffled_audio_vision
        case "":
            return lambda inputs: inputs
    raise ValueError(f"no control {name!r}")


def without_audio_vision(inputs: Inputs) -> Inputs:
    """Make audio and vision the same for every sample: zeros, every step valid.

    For any method; the network keeps its size. `reduced_config` gives a smaller network
    for methods whose configuration names their modalities.
    """

    def blank(split: Split) -> Split:
        changes = {}
        for name in MODALITIES[1:]:
            sequence, length = getattr(split, name), getattr(split, f"{name}_length")
            changes[name] = jnp.zeros_like(sequence)
            changes[f"{name}_length"] = jnp.full_like(length, sequence.shape[1])
        return replace(split, **changes)

    return _noted(
        changed(inputs, blank),
        f"{TRAINED_WITHOUT}audio and vision, as a control: zeros in every split, as "
        "long for every sample.",
    )


def shuffled_audio_vision(inputs: Inputs) -> Inputs:
    """Give every sample audio and vision of another one of its split, both together.

    What they are distributed like stays, what they say of the sample goes. The same
    assignment in every run and seed.
    """

    def shuffle(split: Split) -> Split:
        rows = partners(split.label.shape[0], _DRAW)
        names = ("audio", "audio_length", "vision", "vision_length")
        return replace(split, **{name: getattr(split, name)[rows] for name in names})

    return _noted(
        changed(inputs, shuffle),
        f"{TRAINED_SHUFFLED} of the same split, as a control.",
    )


def zeroed(inputs: Inputs, absent: tuple[str, ...], replacement: int) -> Inputs:
    """Leave modalities out of every split: features 0, token ids `replacement`."""
    take_away = partial(_without, absent=absent, replacement=replacement)
    return noted(changed(inputs, take_away), absent)


def noted(inputs: Inputs, absent: tuple[str, ...]) -> Inputs:
    """Say in the notes what the network is trained without."""
    listed = " and ".join(absent)
    return _noted(inputs, f"{TRAINED_WITHOUT}{listed}, to measure robustness.")


def reduced_config(config: Any, kept: tuple[str, ...]) -> FrozenConfigDict | None:
    """Return the configuration for `kept`; None if the method has no such field."""
    if "modalities" not in config.model:
        return None
    reduced = ConfigDict(config)
    reduced.model.modalities = tuple(kept)
    return FrozenConfigDict(reduced)


def _without(split: Split, absent: tuple[str, ...], replacement: int) -> Split:
    """Leave modalities out of every sample of a split; lengths stay."""
    gone = np.asarray([m in absent for m in MODALITIES])
    batch = gather(split, jnp.arange(split.label.shape[0]))
    made = corruptions.without(batch, jnp.asarray(gone), replacement=replacement)
    return replace(split, text=made.text, audio=made.audio, vision=made.vision)


def _noted(inputs: Inputs, note: str) -> Inputs:
    return inputs._replace(notes=[*inputs.notes, note])
