"""What trivial baselines read: words, and features of whole samples."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from msa_jax.ground.types import Examples

FARTHEST = 10.0  # standard deviations; a few recordings are far outside train's range

_AT_ONCE = 256  # samples whose float64 copy is made

# Chinese transcripts have no spaces: every CJK character counts as a word there.
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+(?:'[^\W\u3400-\u9fff]+)?")


def words(text: str) -> list[str]:
    """Split a transcript into lower-case words, Chinese into characters."""
    return _WORD.findall(text.lower())


def documents(split: Examples) -> list[list[str]] | None:
    """Each text as a list of words, or of token ids where there is no raw text."""
    if split.transcript is not None:
        return [words(str(text)) for text in split.transcript]
    if split.text is not None and np.issubdtype(split.text.dtype, np.integer):
        return [[str(token) for token in ids[mask > 0]] for ids, mask, _ in split.text]
    return None


def bags_of_words(every: Sequence[Any]) -> list[Any]:
    """Return TF-IDF weights of the documents of train, valid, test; words of train."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.pipeline import make_pipeline

    weights = make_pipeline(DictVectorizer(), TfidfTransformer(sublinear_tf=True))
    counts = [[Counter(document) for document in part] for part in every]
    train = weights.fit_transform(counts[0])
    return [train, *(weights.transform(part) for part in counts[1:])]


def text_features(split: Examples) -> np.ndarray | None:
    """Return text that is features, averaged over its valid steps, [n, d]."""
    if split.text is None or not np.issubdtype(split.text.dtype, np.floating):
        return None
    return mean_and_sd(split.text, split.text_length)[0]


def audio_and_vision(split: Examples) -> np.ndarray | None:
    """Return mean and standard deviation over valid steps of both, [n, 2 (d + d')]."""
    if split.audio is None or split.vision is None:
        return None
    pooled = (
        *mean_and_sd(split.audio, split.audio_length),
        *mean_and_sd(split.vision, split.vision_length),
    )
    return np.concatenate(pooled, axis=1)


def mean_and_sd(
    sequence: np.ndarray, length: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return both over the valid steps of [n, t, d], as float64 [n, d]; 0 of none."""
    assert length is not None  # comes with its sequence
    kept = (np.arange(sequence.shape[1]) < length[:, None])[..., None]
    count = np.maximum(length, 1)[:, None]
    mean = np.sum(sequence, axis=1, where=kept, dtype=np.float64) / count
    variance = np.empty_like(mean)
    for start in range(0, len(sequence), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        away = np.square(sequence[rows] - mean[rows, None])
        variance[rows] = np.sum(away, axis=1, where=kept[rows]) / count[rows]
    return mean, np.sqrt(variance)


def standardised(features: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Scale every column by its mean and standard deviation over train, the first."""
    mean, sd = features[0].mean(axis=0), features[0].std(axis=0)
    return [(x - mean) / np.where(sd > 0, sd, 1.0) for x in features]


def within_reach(features: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Clip standardised columns to `FARTHEST`."""
    return [np.clip(x, -FARTHEST, FARTHEST) for x in features]
