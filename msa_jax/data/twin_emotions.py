"""Six emotions for the twin of CMU-MOSEI: how often, how strong, and who shows them."""

from typing import NamedTuple

import numpy as np

from msa_jax.ground.names import EMOTIONS

# Share of samples that show each, in the order of `EMOTIONS`.
# Source: CMU-MOSEI; surprise, disgust, fear as in docs/metrics.md, others second-hand.
PRESENT = (0.52, 0.25, 0.21, 0.10, 0.17, 0.08)
# How each goes with sentiment: correlation of what lies under it with the label.
_WITH_LABEL = np.array([0.5, -0.4, -0.45, 0.0, -0.45, -0.2])
_HIGHEST, _GRID = 3.0, 3  # three raters gave 0 to 3
_FADE = 0.4  # an intensity of k/3 occurs exp(-.4 k) as often
_BLUR = 1.5  # deviation of what one modality adds to an emotion that has deviation 1

ASSUMPTIONS = (
    "emotions: "
    + ", ".join(f"{e} {100 * p:.0f} %" for e, p in zip(EMOTIONS, PRESENT, strict=True))
    + " of each split; those of surprise, disgust and fear are MOSEI's, the others "
    "second-hand. Intensities k/3 up to 3 are taken to occur "
    f"exp(-{_FADE} k) as often",
    "emotions: taken to go with sentiment (happy up; sad, anger, disgust, fear down) "
    "and to be independent otherwise; audio, vision and word vectors show each with "
    f"noise of {_BLUR} deviations of their own, token ids and sentences only what goes "
    "with sentiment",
)


class Emotions(NamedTuple):
    """What was felt, and what people wrote down of it.

    felt: [n, 6], deviation about 1; the highest are those that show.
    intensity: [n, 6] float32, 0 to 3.
    """

    felt: np.ndarray
    intensity: np.ndarray


def draw(rng: np.random.Generator, strength: np.ndarray) -> Emotions:
    """Draw emotions for labels.

    Args:
        strength: [n], labels divided by the highest there can be.
    """
    n = len(strength)
    spread = strength / max(float(np.std(strength)), 1e-6)
    rest = np.sqrt(1 - _WITH_LABEL**2)
    felt = spread[:, None] * _WITH_LABEL + rng.normal(0, 1, (n, 6)) * rest
    intensity = np.zeros((n, 6), np.float32)
    levels = np.arange(1, round(_HIGHEST * _GRID) + 1)
    weights = np.exp(-_FADE * levels)
    for e, share in enumerate(PRESENT):
        count = int(np.clip(round(share * n), 1, n - 1))  # both answers in every split
        strongest = np.argsort(-felt[:, e], kind="stable")[:count]
        values = np.sort(rng.choice(levels, count, p=weights / weights.sum()))[::-1]
        intensity[strongest, e] = values / _GRID
    return Emotions(felt.astype(np.float32), intensity)


def seen(rng: np.random.Generator, felt: np.ndarray) -> np.ndarray:
    """Return what one modality shows of emotions, [n, 6] float32, deviation about 1."""
    noise = rng.normal(0, _BLUR, felt.shape)
    return ((felt + noise) / np.hypot(1, _BLUR)).astype(np.float32)
