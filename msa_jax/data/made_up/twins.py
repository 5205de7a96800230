"""Twins: data sets of exactly the shapes of published ones, made from nothing.

They let every doc, test and benchmark run at true size without a download. Sizes,
widths, longest sequences and label counts are the published ones (`known`); all the
rest is assumed, and `ASSUMPTIONS` says what. Text, audio and vision each carry the
label weakly, so that training has something to find.
"""

from typing import NamedTuple

import numpy as np

from msa_jax.data.check.checks import SPLITS
from msa_jax.data.check.known import KNOWN, WORD_VECTOR, Features, Known
from msa_jax.data.made_up import lexicon, synthetic
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import EMOTIONS
from msa_jax.ground.types import Examples

VERSION = 1  # raise when the contents change
SEED = 2021
FEWEST = 10  # samples: three splits with a few each

# How often -3, -2.8 .. 3 occurs in CMU-MOSI's train, valid and test labels.
# Source: CMU-MOSI (Zadeh et al. 2016), the standard split, labels rounded to .2.
_MOSI_LABELS = (
    (3, 9, 12, 13, 30, 53, 42, 61, 38, 42, 62, 54, 31, 60, 42, 53)
    + (46, 47, 41, 42, 38, 42, 64, 64, 69, 77, 67, 36, 26, 16, 4),
    (4, 3, 3, 6, 6, 8, 3, 7, 8, 11, 5, 3, 5, 9, 11, 13)
    + (5, 11, 3, 10, 9, 7, 10, 7, 10, 12, 14, 7, 9, 5, 5),
    (5, 20, 21, 23, 27, 42, 31, 33, 35, 26, 43, 19, 22, 20, 12, 30)
    + (22, 22, 21, 29, 15, 26, 22, 22, 19, 31, 15, 13, 9, 8, 3),
)
# Median number of words (characters in Chinese), and how fast labels thin out with
# their strength: MOSI's words are measured, the others are assumptions.
_MOSEI = ("mosei", "mosei_emotion", "mosei_tbje")
_WORDS = {"mosi": 10, "sims": 14, "simsv2": 14, **dict.fromkeys(_MOSEI, 17)}
_FADE = {"sims": 0.0, "simsv2": 0.0, **dict.fromkeys(_MOSEI, 0.35)}
_WORD_SPREAD = 0.62  # deviation of the logarithm; measured on MOSI's transcripts
_PACE_SPREAD = 0.2  # of the logarithm of frames per word
_CARRIED = 0.3  # share of words, and size of the shift, that carry the label
_BLUR = 0.5  # noise of a sample's word vectors on a label whose highest is 1
_WORD_SCALE = 0.4  # deviation of a column of word vectors
_FIRST_WORD = 1000  # BERT's smaller ids are brackets, letters and unused
_VOCABULARY = {"en": 30522, "cn": 21128}
_CLS, _SEP = 101, 102
# Share of samples that show each, in the order of `EMOTIONS`.
# Source: CMU-MOSEI; surprise, disgust, fear as in docs/metrics.md, others second-hand.
EMOTION_SHARES = (0.52, 0.25, 0.21, 0.10, 0.17, 0.08)
# How each goes with sentiment: correlation of what lies under it with the label.
_WITH_LABEL = np.array([0.5, -0.4, -0.45, 0.0, -0.45, -0.2])
_HIGHEST, _GRID = 3.0, 3  # three raters gave 0 to 3
_EMOTION_FADE = 0.4  # an intensity of k/3 occurs exp(-.4 k) as often
_EMOTION_BLUR = (
    1.5  # deviation of what one modality adds to an emotion that has deviation 1
)

_OF_EMOTIONS = (
    "emotions: "
    + ", ".join(
        f"{e} {100 * p:.0f} %" for e, p in zip(EMOTIONS, EMOTION_SHARES, strict=True)
    )
    + " of each split; those of surprise, disgust and fear are MOSEI's, the others "
    "second-hand. Intensities k/3 up to 3 are taken to occur "
    f"exp(-{_EMOTION_FADE} k) as often",
    "emotions: taken to go with sentiment (happy up; sad, anger, disgust, fear down) "
    "and to be independent otherwise; audio, vision and word vectors show each with "
    f"noise of {_EMOTION_BLUR} deviations of their own, token ids and sentences only "
    "what goes with sentiment",
)


class Twin(NamedTuple):
    """A twin and the sentences that its card must state."""

    splits: dict[str, Examples]
    assumptions: tuple[str, ...]
    text: str  # "tokens", "sentences" or "features"


def make_twin(
    name: str,
    *,
    aligned: bool = False,
    samples: int | None = None,
    text: str | None = None,
    seed: int = SEED,
) -> Twin:
    """Make the twin of a known data set; the same arguments give the same bits.

    Args:
        samples: of all splits together, in published proportions; None for all.
        text: "tokens" (ids as in MMSA's files), "sentences" or "features" (word
            vectors); None for what models of that set read: features where it has
            emotions, else tokens.
    """
    if name not in KNOWN:
        raise UserError(f"no twin of '{name}'; there are {', '.join(KNOWN)}")
    known = KNOWN[name]
    text = text or ("features" if known.emotions else "tokens")
    if aligned and not known.aligned:
        raise UserError(
            f"no aligned files of {name} are published: leave --aligned out"
        )
    sizes = known.sizes
    if samples is not None:
        if not FEWEST <= samples <= sum(sizes):
            raise UserError(
                f"--samples={samples}: {name} has {sum(sizes)} samples; take {FEWEST} "
                "or more of them"
            )
        sizes = tuple(np.maximum(_share(samples, np.array(sizes)), 2).tolist())
    rng = np.random.default_rng([seed, VERSION, *name.encode()])
    looks = {
        modality: _Look.draw(rng, getattr(known, modality).width)
        for modality in ("audio", "vision")
    }
    if text == "features":
        looks["text"] = _Look.of_words(rng)
    if known.emotions:
        looks = {m: look.with_emotions(rng) for m, look in looks.items()}
    splits, video = {}, 1
    for s, (split, n) in enumerate(zip(SPLITS, sizes, strict=True)):
        label = _labels(rng, name, s, n)
        ids, video = _ids(rng, n, video)
        splits[split] = _split(rng, known, name, label, ids, looks, aligned, text)
    return Twin(splits, _assumptions(name, aligned, text), text)


def _share(total: int, weights: np.ndarray) -> np.ndarray:
    """Divide `total` in proportion to weights, in whole numbers that add up to it."""
    exact = total * weights / weights.sum()
    parts = np.floor(exact).astype(np.int64)
    rest = np.argsort(parts - exact, kind="stable")[: total - parts.sum()]
    parts[rest] += 1
    return parts


def label_histogram(name: str, split: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the grid of labels of a known set, and how often each occurs."""
    known = KNOWN[name]
    most = round(known.label_range[1] * known.grid)
    steps = np.arange(-most, most + 1)
    if name == "mosi":
        return steps / known.grid, np.array(_MOSI_LABELS[split])
    # Of SIMS v2 only sizes are known: its signs are taken to fall as those of SIMS.
    signs = known.signs or KNOWN["sims"].signs
    assert signs is not None
    signs = _share(known.sizes[split], np.array(signs[split]))
    weights = np.exp(-_FADE[name] * np.arange(1, most + 1))
    negative, positive = _share(signs[0], weights), _share(signs[2], weights)
    counts = np.concatenate([negative[::-1], signs[1:2], positive])
    return steps / known.grid, counts


def _labels(rng: np.random.Generator, name: str, split: int, n: int) -> np.ndarray:
    grid, counts = label_histogram(name, split)
    if n != counts.sum():
        counts = _share(n, counts)
    label = np.repeat(grid, counts).astype(np.float32)
    rng.shuffle(label)
    return label


def _ids(rng: np.random.Generator, n: int, video: int) -> tuple[np.ndarray, int]:
    """Name clips as MMSA does, video$_$clip; return also the next free video."""
    ids: list[str] = []
    while len(ids) < n:
        clips = int(rng.integers(3, 20))
        ids += [f"twin{video}$_${clip}" for clip in range(clips)]
        video += 1
    return np.array(ids[:n]), video


class Emotions(NamedTuple):
    """What was felt, and what people wrote down of it.

    felt: [n, 6], deviation about 1; the highest are those that show.
    intensity: [n, 6] float32, 0 to 3.
    """

    felt: np.ndarray
    intensity: np.ndarray


def draw_emotions(rng: np.random.Generator, strength: np.ndarray) -> Emotions:
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
    weights = np.exp(-_EMOTION_FADE * levels)
    for e, share in enumerate(EMOTION_SHARES):
        count = int(np.clip(round(share * n), 1, n - 1))  # both answers in every split
        strongest = np.argsort(-felt[:, e], kind="stable")[:count]
        values = np.sort(rng.choice(levels, count, p=weights / weights.sum()))[::-1]
        intensity[strongest, e] = values / _GRID
    return Emotions(felt.astype(np.float32), intensity)


def _seen(rng: np.random.Generator, felt: np.ndarray) -> np.ndarray:
    """Return what one modality shows of emotions, [n, 6] float32, deviation about 1."""
    noise = rng.normal(0, _EMOTION_BLUR, felt.shape)
    return ((felt + noise) / np.hypot(1, _EMOTION_BLUR)).astype(np.float32)


class _Look(NamedTuple):
    """What columns of a modality look like: their scale, offset, and what they carry.

    carried: [1, d], or [7, d] with emotions: shift per label (1 is the highest) and
        per deviation of each emotion.
    blur: deviation of noise on the label, one draw per sample.
    """

    scale: np.ndarray
    offset: np.ndarray
    carried: np.ndarray
    blur: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator, width: int) -> "_Look":
        scale = np.exp(rng.normal(0, 1, width))
        carried = rng.normal(0, _CARRIED, (1, width))
        offset = rng.normal(0, 2, width) * scale
        scale, offset, carried = (
            a.astype(np.float32) for a in (scale, offset, carried)
        )
        return cls(scale, offset, carried)

    @classmethod
    def of_words(cls, rng: np.random.Generator) -> "_Look":
        """Word vectors: columns alike around 0; 300 of them would tell the label."""
        scale = np.full(WORD_VECTOR, _WORD_SCALE, np.float32)
        carried = rng.normal(0, _CARRIED, (1, WORD_VECTOR)).astype(np.float32)
        return cls(scale, np.zeros_like(scale), carried, blur=_BLUR)

    def with_emotions(self, rng: np.random.Generator) -> "_Look":
        own = rng.normal(0, _CARRIED, (6, len(self.scale))).astype(np.float32)
        return self._replace(carried=np.concatenate([self.carried, own]))

    def signal(
        self,
        rng: np.random.Generator,
        strength: np.ndarray,
        emotions: Emotions | None,
    ) -> np.ndarray:
        """Return the shift of every sample's columns, [n, d]."""
        told = strength[:, None]
        if self.blur:
            noise = rng.normal(0, self.blur, told.shape)
            told = told + noise.astype(np.float32)
        if emotions is not None:
            told = np.hstack([told, _seen(rng, emotions.felt)])
        return told @ self.carried


def _split(
    rng: np.random.Generator,
    known: Known,
    name: str,
    label: np.ndarray,
    ids: np.ndarray,
    looks: dict[str, _Look],
    aligned: bool,
    text: str,
) -> Examples:
    n = len(label)
    strength = label / np.float32(known.label_range[1])
    words = np.exp(rng.normal(np.log(_WORDS[name]), _WORD_SPREAD, n))
    tokens = np.clip(np.round(words) + 2, 3, known.tokens).astype(np.int32)
    tokens[0] = known.tokens  # so that the shapes are those of the published files
    fields: dict = {"transcript": None, "text": None, "text_length": None}
    # Only where there are any: twins without keep their bits.
    emotions = draw_emotions(rng, strength) if known.emotions else None
    if text == "sentences":
        fields["transcript"] = _sentences(rng, known.language, strength, tokens - 2)
    elif text == "features":
        shifts = looks["text"].signal(rng, strength, emotions)
        steps = known.tokens
        fields["text"] = _sequences(rng, looks["text"], shifts, tokens, steps, False)
        fields["text_length"] = tokens
    else:
        fields["text"] = _tokens(rng, known, strength, tokens)
        fields["text_length"] = tokens
    for modality in ("audio", "vision"):
        look = looks[modality]
        shape: Features = getattr(known, modality)
        length, steps = tokens, known.tokens
        if not aligned:
            steps = shape.steps
            pace = np.exp(rng.normal(0, _PACE_SPREAD, n))
            length = np.round(steps * pace * tokens / known.tokens)
            length = np.clip(length, 1, steps).astype(np.int32)
            length[0] = steps
        shifts = look.signal(rng, strength, emotions)
        fields[modality] = _sequences(rng, look, shifts, length, steps, aligned)
        fields[f"{modality}_length"] = length.copy()
    unimodal = None
    if known.unimodal:
        noise = rng.normal(0, 0.25, (n, 3))
        unimodal = np.round((label[:, None] + noise) * known.grid) / known.grid
        unimodal = np.clip(unimodal, *known.label_range).astype(np.float32)
    if emotions is not None:
        fields["emotion"] = emotions.intensity
    return Examples(id=ids, label=label, unimodal_label=unimodal, **fields)


def _sequences(
    rng: np.random.Generator,
    look: _Look,
    shifts: np.ndarray,
    length: np.ndarray,
    steps: int,
    aligned: bool,
) -> np.ndarray:
    """Draw [n, steps, d] row by row: no second copy of a large array."""
    width = len(look.scale)
    out = np.zeros((len(length), steps, width), np.float32)
    for i, stop in enumerate(length):
        row = out[i, :stop]
        rng.standard_normal(dtype=np.float32, out=row)
        row += shifts[i]
        row *= look.scale
        row += look.offset
        if aligned:  # nothing is said at [CLS] and [SEP]
            row[0] = row[-1] = 0
    return out


def _tokens(
    rng: np.random.Generator, known: Known, strength: np.ndarray, length: np.ndarray
) -> np.ndarray:
    """Draw ids, mask and segments; frequent ids are the small ones, as in BERT's."""
    shape = (len(length), known.tokens)
    most = _VOCABULARY[known.language] - _FIRST_WORD
    ids = _FIRST_WORD + (most * rng.random(shape) ** 3).astype(np.int32)
    grade = np.round(3 * strength).astype(np.int32) + 3
    graded = _FIRST_WORD + 20 * grade[:, None] + rng.integers(0, 20, shape)
    ids = np.where(rng.random(shape) < _CARRIED, graded, ids)
    ids[:, 0] = _CLS
    ids[np.arange(len(length)), length - 1] = _SEP
    mask = np.arange(known.tokens) < length[:, None]
    tokens = np.stack([ids * mask, mask, np.zeros(shape)], axis=1)
    return tokens.astype(np.int32)


def _sentences(
    rng: np.random.Generator, language: str, strength: np.ndarray, words: np.ndarray
) -> np.ndarray:
    lines = []
    for wanted, most in zip(strength, words, strict=True):
        if language == "cn":
            lines.append(_compose_chinese(rng, float(wanted), int(most)))
            continue
        line, _ = synthetic.compose(rng, 3 * float(wanted), (1, 40))
        while len(line.split()) < most:
            line += " " + synthetic.compose(rng, 3 * float(wanted), (1, 40))[0]
        lines.append(" ".join(line.split()[: max(most, 1)]))
    return np.array(lines)


def _compose_chinese(rng: np.random.Generator, wanted: float, characters: int) -> str:
    """Compose a sentence whose phrases are graded around `wanted`, in [-1, 1].

    Clauses are added while it is shorter than `characters`; then it is cut to that.
    """
    grades = np.array(list(lexicon.CHINESE_PHRASES))
    sentence = lexicon.CHINESE_OPENERS[rng.integers(len(lexicon.CHINESE_OPENERS))]
    while True:
        grade = grades[np.abs(grades - rng.normal(wanted, 0.2)).argmin()]
        phrases = lexicon.CHINESE_PHRASES[float(grade)]
        sentence += lexicon.CHINESE_SUBJECTS[
            rng.integers(len(lexicon.CHINESE_SUBJECTS))
        ]
        sentence += phrases[rng.integers(len(phrases))]
        if len(sentence) >= characters:
            return sentence[: max(characters, 1)]
        sentence += lexicon.CHINESE_JOINTS[rng.integers(len(lexicon.CHINESE_JOINTS))]


def _assumptions(name: str, aligned: bool, text: str) -> tuple[str, ...]:
    spread = f"log-normal around {_WORDS[name]} words, cut at {KNOWN[name].tokens - 2}"
    mosei = (
        "labels: negative, zero and positive counts are CMU-MOSEI's; within a "
        f"sign a label of k/3 is taken to occur exp(-{_FADE['mosei']} k) as often"
    )
    known = {
        "mosi": "labels: the counts of each value are CMU-MOSI's",
        **dict.fromkeys(_MOSEI, mosei),
        "sims": "labels: negative, zero and positive counts are CH-SIMS's; within a "
        "sign all values are taken to be equally frequent",
        "simsv2": "labels: signs are taken to fall as in CH-SIMS; within a sign all "
        "values are taken to be equally frequent",
    }
    frames = (
        "as many steps as tokens, zeros at the first and last token"
        if aligned
        else "as long against the published maximum as the text is against its own, "
        "times a log-normal pace"
    )
    words = {
        "tokens": "token ids",
        "sentences": "sentences",
        "features": f"word vectors, {WORD_VECTOR} wide as GloVe's, noise",
    }
    doubts = {
        "simsv2": ("simsv2: valid and test sizes as users of the set state them",),
        "mosei_tbje": ("mosei_tbje: sizes of MOSEI, at most 60 steps of everything",),
    }
    return (
        known[name],
        f"text: {words[text]} drawn at random; their number is taken to be {spread}",
        f"audio and vision: noise around a constant per column; {frames}",
        f"text, audio and vision carry the label weakly (about {_CARRIED} of a "
        "deviation): how hard the real task is cannot be told from here",
        *(_OF_EMOTIONS if KNOWN[name].emotions else ()),
        *doubts.get(name, ()),
    )
