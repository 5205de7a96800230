"""Samples as callers give them, and as a run prepares them: gaps filled, ends cut."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from msa_jax.data import preparation
from msa_jax.data.preparation import FEATURES, MODALITIES, NONVERBAL, Preparation
from msa_jax.ground.errors import UserError
from msa_jax.runs import workdir
from msa_jax.text.tokens import Tokenizer, Unread

# In the place of what a sample has of a modality that the run does not read.
UNREAD = np.zeros((0, 0), np.float32)


class Sample(NamedTuple):
    """One sample as a caller gives it; None: the modality is missing.

    `UNREAD` stands for all that was given of a modality that the run does not read.

    text: a sentence, token ids [3, t] (ids, mask of ones, segments) or features [t, d].
    audio, vision: [t, d] float32, before standardisation.
    """

    text: str | np.ndarray | None = None
    audio: np.ndarray | None = None
    vision: np.ndarray | None = None


class Prepared(NamedTuple):
    """Samples as the network reads them.

    arrays: from `preparation.apply`.
    notes: per sample, what of it was cut off, not read, or unknown to the encoder.
    """

    arrays: dict[str, np.ndarray]
    notes: list[list[str]]


def read_preparation(folder: Path) -> Preparation:
    """Read model.json and tokenizer.json of a run or an export.

    Raises:
        UserError: they are missing, damaged or contradict each other.
    """
    path, tokenizer = folder / workdir.MODEL, folder / workdir.TOKENIZER
    if not path.is_file():
        raise UserError(f"{folder}: no {workdir.MODEL} in there")
    definition = _read_json(tokenizer) if tokenizer.is_file() else None
    return preparation.from_json(_read_json(path), definition, str(path))


def _read_json(path: Path) -> Any:
    try:
        return workdir.read_json(path)
    except RecursionError:
        raise UserError(f"{path}: nested too deeply") from None


def tokenizer_of(of: Preparation) -> Tokenizer | None:
    """Return the run's tokeniser, None where there is none."""
    return None if of.tokenizer is None else Tokenizer(of.tokenizer)


def missing(of: Preparation, sample: Sample) -> list[str]:
    """Return the modalities that the network reads and the sample lacks."""
    return [m for m in of.reads if getattr(sample, m) is None]


def prepare_samples(
    of: Preparation, tokenizer: Tokenizer | None, samples: Sequence[Sample]
) -> Prepared:
    """Turn samples into arrays, exactly as the run's own data were.

    A missing modality is zeros of one step; a missing text of tokens is an empty
    sentence. In aligned runs, a missing text is as long as audio or vision: zeros, or
    [UNK] between [CLS] and [SEP].

    Args:
        of: the run's preparation.
        tokenizer: from `tokenizer_of`.
        samples: of the run's widths, ids below its vocabulary, all finite.
    """
    n = len(samples)
    sequences: dict[str, np.ndarray | None] = dict.fromkeys(preparation.FIELDS)
    notes: list[list[str]] = [[] for _ in samples]
    rows: dict[str, list[np.ndarray]] = {m: [] for m in MODALITIES}
    for sample, noted in zip(samples, notes, strict=True):
        present = [m for m in MODALITIES if getattr(sample, m) is not None]
        unread = [m for m in present if m not in of.reads]
        noted += [f"this run does not read {m}" for m in unread]
        rows["text"].append(_text(of, tokenizer, sample, noted))
        for m in NONVERBAL:
            x = getattr(sample, m) if m in of.reads else None
            rows[m].append(UNREAD if x is None else _cut(m, x, of.steps[m], noted))
    for m in of.reads:
        ids = m == "text" and of.text != FEATURES
        shape = (3, of.steps[m]) if ids else (of.steps[m], of.width[m])
        array = np.zeros((n, *shape), np.int32 if ids else np.float32)
        length = np.zeros(n, np.int32)
        for i, x in enumerate(rows[m]):
            length[i] = x.shape[-1] if ids else len(x)
            if length[i]:
                array[i][(..., slice(length[i])) if ids else slice(length[i])] = x
        sequences |= {m: array, f"{m}_length": length}
    return Prepared(preparation.apply(of, sequences), notes)


def blank(of: Preparation) -> dict[str, np.ndarray]:
    """Return the arrays of one sample that lacks everything."""
    return prepare_samples(of, tokenizer_of(of), [Sample()]).arrays


def _text(
    of: Preparation, tokenizer: Tokenizer | None, sample: Sample, notes: list[str]
) -> np.ndarray:
    """Return token ids [3, t] or features [t, d], zeros where there is no text."""
    most, text, steps = of.steps["text"], sample.text, 1
    if "text" not in of.reads:
        return UNREAD
    if text is None and of.aligned:
        others = [getattr(sample, m) for m in NONVERBAL if m in of.reads]
        steps = min(max([1, *(len(x) for x in others if x is not None)]), most)
    if of.text == FEATURES:
        if text is None:
            return np.zeros((steps, of.width["text"]), np.float32)
        assert isinstance(text, np.ndarray)
        return _cut("text", text, most, notes)
    if isinstance(text, np.ndarray):
        tokens, uncut = text, text.shape[1]
        if uncut > most:
            tokens = np.concatenate([text[:, : most - 1], text[:, -1:]], axis=1)
    elif tokenizer is None:  # ids of a vocabulary that is not known: only padding
        tokens, uncut = np.zeros((3, steps), np.int32), steps
        tokens[1] = 1
    else:
        (tokens,), (uncut,) = tokenizer.tokens([text or ""], most)
        if text is None and steps > tokens.shape[1] >= 2:
            ends = tokens[:, [0, -1]]
            tokens = np.zeros((3, steps), np.int32)
            tokens[0], tokens[1] = tokenizer.unknown or 0, 1
            tokens[:, [0, -1]] = ends
    if uncut > most:
        notes.append(f"text cut from {uncut} to {most} tokens")
    if text is not None and tokenizer is not None:
        notes += _foreign(tokenizer.unread(tokens[None]))
    return tokens


def _foreign(found: Unread) -> list[str]:
    """Say of one sentence that most of it means nothing to the text encoder.

    Names and rare words are read in pieces in any language, so that it takes more of
    those, and a sentence of some length.
    """
    if found.unknown > 0.5:
        share = f"{100 * found.unknown:.0f} % of the text's tokens are"
        return [f"{share} unknown to the text encoder ([UNK])"]
    if found.broken > 0.75 and found.words >= 4:
        share = f"{100 * found.broken:.0f} % of the text's words are"
        return [f"{share} not in the text encoder's vocabulary"]
    return []


def _cut(name: str, x: np.ndarray, most: int, notes: list[str]) -> np.ndarray:
    if len(x) > most:
        notes.append(f"{name} cut from {len(x)} to {most} steps")
    return x[:most]
