"""The built-in data set: three modalities, each with its own known sentiment.

Per utterance, three correlated sentiments are drawn. A sentence is composed whose
words add up to the text's; audio and vision sequences carry theirs in a few smooth
directions among stronger disturbances and noise. The label is a mixture of the
three. So everything a method is supposed to find out is known.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from msa_jax.data.check.checks import SPLITS
from msa_jax.data.made_up import lexicon
from msa_jax.ground.types import Examples

VERSION = 1  # raise when the contents change: sets on disk are then made again
SEED = 2021
MIXTURE = (0.5, 0.25, 0.25)  # text, audio, vision
SHARED = 0.6  # correlation between the sentiments drawn for two modalities
SPREAD = 1.7  # their standard deviation before clipping to [-3, 3]
LABEL_NOISE = 0.1
DISTURBANCE = 2.5  # deviation of the heights of the waves that hide a sentiment
LABEL_STEP = 0.2  # as MOSI's labels, means of five raters


class Size(NamedTuple):
    """How much of everything a built-in set has; ranges include both ends."""

    samples: tuple[int, int, int]  # train, valid, test
    words: tuple[int, int]
    audio: tuple[int, int, int]  # steps from, to; width
    vision: tuple[int, int, int]


SIZES = {
    "synthetic": Size((600, 150, 250), (6, 20), (8, 50, 5), (10, 60, 20)),
    "synthetic_tiny": Size((96, 32, 32), (4, 12), (3, 12, 5), (3, 10, 8)),
}


class Signal(NamedTuple):
    """How one modality turns curves over time into feature columns."""

    basis: np.ndarray  # [2 + 2d, d]: 2 curves of sentiment, 2d of disturbance
    scale: np.ndarray  # [d]
    offset: np.ndarray  # [d]


def make_splits(name: str, seed: int = SEED) -> dict[str, Examples]:
    """Compose the set of this name; the same seed gives the same bits."""
    size = SIZES[name]
    rng = np.random.default_rng([seed, VERSION])
    signals = {
        "audio": _draw_signal(rng, size.audio[2]),
        "vision": _draw_signal(rng, size.vision[2]),
    }
    videos = iter(range(1, 10_000))  # one numbering: no video in two splits
    return {
        split: _make_split(rng, count, size, signals, videos)
        for split, count in zip(SPLITS, size.samples, strict=True)
    }


def _make_split(
    rng: np.random.Generator,
    count: int,
    size: Size,
    signals: dict[str, Signal],
    videos: Iterator[int],
) -> Examples:
    shared = rng.normal(size=(count, 1)) * np.sqrt(SHARED)
    own = rng.normal(size=(count, 3)) * np.sqrt(1 - SHARED)
    sentiment = np.clip(SPREAD * (shared + own), -3, 3)
    transcripts = []
    for i in range(count):
        sentence, score = compose(rng, sentiment[i, 0], size.words)
        transcripts.append(sentence)
        sentiment[i, 0] = score  # the words decide, not the wish
    noise = rng.normal(scale=LABEL_NOISE, size=count)
    label = np.clip(sentiment @ np.array(MIXTURE) + noise, -3, 3)
    audio, audio_length = _sequences(rng, sentiment[:, 1], size.audio, signals["audio"])
    vision, vision_length = _sequences(
        rng, sentiment[:, 2], size.vision, signals["vision"]
    )
    return Examples(
        id=np.array(_draw_ids(rng, count, videos)),
        transcript=np.array(transcripts),
        text=None,
        text_length=None,
        audio=audio,
        audio_length=audio_length,
        vision=vision,
        vision_length=vision_length,
        label=np.round(np.round(label / LABEL_STEP) * LABEL_STEP, 1).astype(np.float32),
        unimodal_label=np.round(sentiment, 3).astype(np.float32),
    )


def _draw_ids(rng: np.random.Generator, count: int, videos: Iterator[int]) -> list[str]:
    ids: list[str] = []
    while len(ids) < count:
        video = next(videos)
        ids += [f"video{video}_{clip}" for clip in range(1, rng.integers(4, 13))]
    return ids[:count]


def compose(
    rng: np.random.Generator, wanted: float, words: tuple[int, int]
) -> tuple[str, float]:
    """Compose a sentence close to a wanted sentiment; return it and its true score.

    Args:
        rng: where choices come from.
        wanted: sentiment in [-3, 3]; of 8 sentences, the closest is returned.
        words: fewest and most words.
    """
    drafts = []
    while len(drafts) < 8:
        sentence, score = _draft(rng, wanted)
        if words[0] <= len(sentence.split()) <= words[1]:
            drafts.append((abs(score - wanted), sentence, score))
    _, sentence, score = min(drafts)
    return sentence, score


def _draft(rng: np.random.Generator, wanted: float) -> tuple[str, float]:
    sentence, score = _clause(rng, wanted)
    joint = rng.integers(4)
    if joint == 0:
        other, second = _clause(rng, wanted)
        sentence = f"{sentence} {_pick(rng, lexicon.JOINED_EQUALLY)} {other}"
        score = (score + second) / 2
    elif joint == 1:
        other, second = _clause(rng, wanted)
        sentence = f"{sentence} {_pick(rng, lexicon.JOINED_TO_SECOND)} {other}"
        score = (score + 2 * second) / 3
    neutral, opener = _pick(rng, lexicon.NEUTRAL), _pick(rng, lexicon.OPENERS)
    parts = [sentence, neutral] if rng.integers(2) else [neutral, sentence]
    parts = [opener, *parts, _pick(rng, lexicon.CLOSERS)]
    return " ".join(part for part in parts if part), score


def _clause(rng: np.random.Generator, wanted: float) -> tuple[str, float]:
    """Say something about one subject, graded somewhere around `wanted`."""
    negated = rng.random() < 0.2
    centre = wanted / lexicon.NEGATION if negated else wanted
    grade = float(np.clip(np.round(2 * rng.normal(centre, 0.8)) / 2, -3, 3))
    negated = negated and abs(grade) >= 1  # nobody says "not ordinary"
    subject = _pick(rng, lexicon.SUBJECTS)
    if rng.random() < 0.3:
        past, base = _pick(rng, lexicon.VERBS[grade])
        how, factor = _pick(rng, lexicon.VERB_FACTORS)
        how = f"did not {base}" if negated else f"{how} {past}".strip()
        template = _pick(rng, lexicon.VERB_CLAUSES)
    else:
        adjective = _pick(rng, lexicon.ADJECTIVES[grade])
        how, factor = _pick(rng, lexicon.ADJECTIVE_FACTORS)
        how = f"not {adjective}" if negated else f"{how} {adjective}".strip()
        template = _pick(rng, lexicon.ADJECTIVE_CLAUSES)
    factor = lexicon.NEGATION if negated else factor
    return template.format(what=subject, how=how), float(np.clip(grade * factor, -3, 3))


def _pick(rng: np.random.Generator, choices: tuple):
    return choices[rng.integers(len(choices))]


def _draw_signal(rng: np.random.Generator, width: int) -> Signal:
    """Draw directions of length 1; the sentiment's lean on every column alike."""
    carrying = rng.choice([-1, 1], (2, width)) * rng.uniform(0.7, 1.3, (2, width))
    basis = np.concatenate([carrying, rng.normal(size=(2 * width, width))])
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    scale = np.exp(rng.normal(scale=0.4, size=width))
    return Signal(basis, scale, rng.normal(size=width))


def _sequences(
    rng: np.random.Generator,
    sentiment: np.ndarray,
    size: tuple[int, int, int],
    signal: Signal,
) -> tuple[np.ndarray, np.ndarray]:
    """Make sequences [n, t, d] whose first two curves carry the sentiment.

    Curve 0 is a level with a swell somewhere, curve 1 a ramp that averages to zero;
    the others are slow waves of random height that have nothing to do with it, and
    too many for any direction to be free of them.
    """
    shortest, longest, width = size
    length = rng.integers(shortest, longest + 1, size=len(sentiment)).astype(np.int32)
    out = np.zeros((len(sentiment), longest, width), np.float32)
    for i, steps in enumerate(length):
        time = np.linspace(0, 1, steps)
        swell = np.exp(-(((time - rng.uniform(0.2, 0.8)) / 0.2) ** 2))
        wave_count = len(signal.basis) - 2
        rate, phase = rng.uniform(0.1, 1, wave_count), rng.uniform(0, 1, wave_count)
        waves = np.sin(2 * np.pi * (time[:, None] * rate + phase))
        waves = waves * rng.normal(scale=DISTURBANCE, size=wave_count)
        levels = np.stack([0.5 + swell, 2 * time - 1], axis=1) * sentiment[i]
        curves = np.concatenate([levels, waves], axis=1)
        noise = rng.normal(scale=0.5, size=(steps, width))
        values = (curves @ signal.basis + noise) * signal.scale + signal.offset
        out[i, :steps] = np.round(values, 4)  # hides last-bit differences of machines
    return out, length
