"""What is tried on a run: a table of passes over the test split, one row each.

A row is data, so one compiled program serves them all.
"""

from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from msa_jax.data import corruptions
from msa_jax.data.batches import gather
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch, Split

RATES = tuple(round(0.1 * i, 1) for i in range(1, 10))
DECIBELS = (30.0, 20.0, 10.0, 0.0, -10.0)
COMBINATIONS = "combinations"  # the first kind: which modalities are there


@dataclass(frozen=True)
class Kind:
    """A corruption that grows with a severity.

    name: in results.json and file names.
    title, axis: for people; what the severity is.
    levels: severities as people read them, from weak to strong, without "none".
    decibels: the levels are signal-to-noise ratios.
    meaning: one sentence.
    """

    name: str
    title: str
    axis: str
    levels: tuple[float, ...]
    meaning: str
    decibels: bool = False

    def severity(self, level: float) -> float:
        """Return a level as `corruptions` takes it."""
        return (
            float(corruptions.amplitude(jnp.asarray(level))) if self.decibels else level
        )


# In the order of the branches of `corrupt`, which has the combinations before them.
KINDS = (
    Kind(
        "frames",
        "Frames missing",
        "missing rate",
        RATES,
        "Each step of audio, vision and text is missing with this probability.",
    ),
    Kind(
        "modalities",
        "Modalities missing at random",
        "missing rate",
        RATES,
        "Each modality of each sample is missing with this probability; all of a "
        "sample's modalities may be.",
    ),
    Kind(
        "bernoulli",
        "Bernoulli noise added",
        "probability",
        RATES,
        "1 is added to each feature with this probability; the paper's is .5.",
    ),
    Kind(
        "gaussian",
        "Gaussian noise added",
        "signal-to-noise ratio (dB)",
        DECIBELS,
        "Noise in proportion to each feature's root mean square over the sample; at "
        "0 dB it is as strong as the signal.",
        decibels=True,
    ),
    Kind(
        "tokens",
        "Text tokens missing",
        "missing rate",
        RATES,
        "Each token of the text is missing with this probability; audio and vision "
        "are whole.",
    ),
)


class Passes(NamedTuple):
    """Rows of the table; every array has them as its first axis.

    kind: 0 is a combination of modalities, i + 1 is `KINDS[i]`.
    severity: as `corruptions` takes it.
    absent: of a combination, which modalities are gone.
    repeat: which draw; the same draw at another severity is of the same numbers.
    """

    kind: Int[np.ndarray | Array, " p"]
    severity: Float[np.ndarray | Array, " p"]
    absent: Bool[np.ndarray | Array, "p 3"]
    repeat: Int[np.ndarray | Array, " p"]


@dataclass(frozen=True)
class Pass:
    """What a row of the table is: a combination, or a kind's level and draw.

    kept: the modalities that are there.
    level: None means no corruption.
    """

    kind: str
    kept: tuple[str, ...]
    level: float | None = None
    repeat: int = 0


def touched(
    kind: Kind, read: tuple[str, ...], noisy: tuple[str, ...] = MODALITIES
) -> tuple[str, ...]:
    """Return what a kind does something to, of the modalities that the run reads.

    Args:
        kind: one of `KINDS`.
        read: the modalities that the run reads.
        noisy: those that noise can be added to (`noisy_modalities`).
    """
    match kind.name:
        case "bernoulli" | "gaussian":
            of_kind = noisy
        case "tokens":
            of_kind = ("text",)
        case _:
            of_kind = MODALITIES
    return tuple(m for m in of_kind if m in read)


def make_rows(
    read: tuple[str, ...], repeats: int, noisy: tuple[str, ...] = MODALITIES
) -> list[Pass]:
    """List every pass: combinations, then each kind without and with corruption.

    Kinds that would touch nothing are left out.

    Args:
        read: the modalities that the run reads.
        repeats: draws of each level.
        noisy: see `touched`.
    """
    rows = [Pass(COMBINATIONS, kept) for kept in kept_combinations(read)]
    for kind in KINDS:
        if not touched(kind, read, noisy):
            continue
        rows.append(Pass(kind.name, MODALITIES))
        rows += [
            Pass(kind.name, MODALITIES, level, repeat)
            for level in kind.levels
            for repeat in range(repeats)
        ]
    return rows


def kept_combinations(read: tuple[str, ...]) -> list[tuple[str, ...]]:
    """List the sets of modalities that can be left, all of them first."""
    present = [m for m in MODALITIES if m in read]
    return [
        kept
        for count in range(len(present), 0, -1)
        for kept in combinations(present, count)
    ]


def tabulate(rows: list[Pass], read: tuple[str, ...]) -> Passes:
    """Turn rows into arrays. A modality that the run does not read is never gone."""
    names = [kind.name for kind in KINDS]
    numbers, severities = [], []
    for row in rows:
        number = 0 if row.kind == COMBINATIONS else 1 + names.index(row.kind)
        numbers.append(number)
        level = row.level
        severities.append(0.0 if level is None else KINDS[number - 1].severity(level))
    return Passes(
        np.asarray(numbers, np.int32),
        np.asarray(severities, np.float32),
        np.asarray([[m in read and m not in r.kept for m in MODALITIES] for r in rows]),
        np.asarray([row.repeat for row in rows], np.int32),
    )


def corrupted(split: Split, row: Passes, replacement: int) -> Split:
    """Corrupt a split as one row of the table says.

    Args:
        split: the samples.
        row: a row; its entries may be traced.
        replacement: the token id that stands for a missing one.
    """
    n = split.label.shape[0]
    key = jax.random.fold_in(jax.random.key(0), row.kind)
    key = jax.random.fold_in(key, row.repeat)
    batch = gather(split, jnp.arange(n))
    made = jax.lax.switch(row.kind, _branches(batch, replacement), key, batch, row)
    return replace(split, text=made.text, audio=made.audio, vision=made.vision)


def noisy_modalities(split: Split | Batch) -> tuple[str, ...]:
    """Return the modalities that noise can be added to: no token ids."""
    ids = jnp.issubdtype(split.text.dtype, jnp.integer)
    return MODALITIES[1:] if ids else MODALITIES


def _branches(batch: Batch, replacement: int):
    c = corruptions
    modalities = noisy_modalities(batch)

    def combination(key, batch, row):
        return c.without(batch, row.absent, replacement=replacement)

    def frames(key, batch, row):
        return c.missing_frames(key, batch, row.severity, replacement=replacement)

    def whole(key, batch, row):
        return c.missing_modalities(key, batch, row.severity, replacement=replacement)

    def bernoulli(key, batch, row):
        return c.bernoulli_noise(key, batch, row.severity, modalities=modalities)

    def gaussian(key, batch, row):
        return c.gaussian_noise(key, batch, row.severity, modalities=modalities)

    def tokens(key, batch, row):
        return c.missing_frames(
            key, batch, row.severity, modalities=("text",), replacement=replacement
        )

    return combination, frames, whole, bernoulli, gaussian, tokens
