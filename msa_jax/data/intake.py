"""What a run does to a sample before its network sees it, as data that can travel.

Lengths, widths, standardisation and tokeniser of a run are enough to turn a new sample
into what the network reads; the training data are not needed for it.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from msa_jax.data.scaling import Columns, scale
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES

SCHEMA = 1
NONVERBAL = MODALITIES[1:]
_MOST = 1 << 28  # numbers of one sequence: a small file may claim to hold them
SENTENCES, TOKENS, FEATURES = "sentences", "tokens", "features"
# In the place of what a sample has of a modality that the run does not read.
UNREAD = np.zeros((0, 0), np.float32)


class Intake(NamedTuple):
    """How samples become what a run's network reads.

    method, dataset, task, seeds: of the run, for people.
    label_range: lowest and highest label of the data set.
    reads: the modalities that the network reads; the others are one zero here.
    text: what a text can be: "sentences" (token ids as well), "tokens" (ids only, of a
        vocabulary that is not known here) or "features".
    steps: per modality the longest sequence of the run, which every sample is padded
        to: some networks see the padding.
    width: columns of each modality that arrives as features.
    vocabulary: token ids are below it; 0 where text is features.
    columns: per standardised modality train's statistics of every column.
    padding: "back" or "front", see `config.data.padding`.
    aligned: audio and vision have a row per token.
    encoder: BERT's configuration; None where text is features.
    frozen_sha256: `sealed.state_hash` of the encoder, where it is not trained and so
        not among the run's parameters.
    tokenizer: as its tokenizer.json holds it; None where there is none.
    """

    method: str
    dataset: str
    task: str
    seeds: tuple[int, ...]
    label_range: tuple[float, float]
    reads: tuple[str, ...]
    text: str
    steps: dict[str, int]
    width: dict[str, int]
    vocabulary: int
    columns: dict[str, Columns]
    padding: str
    aligned: bool
    encoder: dict[str, Any] | None
    frozen_sha256: str | None
    tokenizer: dict[str, Any] | None


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

    arrays: "text" [n, 3, t] int32 or [n, t, d] float32, "audio" and "vision" [n, t, d]
        float32, and their lengths [n] int32, "text_length" and so on.
    notes: per sample, what of it was cut off, not read, or unknown to the encoder.
    """

    arrays: dict[str, np.ndarray]
    notes: list[list[str]]


class Unread(NamedTuple):
    """What of some texts an encoder has no entry of its vocabulary for.

    unknown: share of the tokens, [CLS] and [SEP] apart, that are [UNK].
    broken: share of the words that are [UNK] or read in pieces.
    words: how many there are.
    """

    unknown: float
    broken: float
    words: int


class Tokenizer:
    """The run's tokeniser: sentences to token ids, cut at the run's longest text."""

    def __init__(self, definition: dict[str, Any]):
        """Build it from what a tokenizer.json says.

        Raises:
            UserError: nothing can be built from it.
        """
        from tokenizers import Tokenizer as Core

        try:
            self._core = Core.from_str(json.dumps(definition))
        except Exception as error:  # the library raises the base class
            raise UserError(f"tokenizer.json: cannot be read ({error})") from error
        self._core.no_padding()
        model = definition["model"]
        # What begins a token that goes on with a word; only WordPiece has such a mark.
        self.prefix = str(model.get("continuing_subword_prefix") or "")
        name = model.get("unk_token")  # None where every byte has a token
        self.unknown = None if name is None else self._core.token_to_id(name)
        self.added = self._core.num_special_tokens_to_add(is_pair=False)
        self.vocabulary: dict[str, int] = self._core.get_vocab()
        begins = self.prefix or "\0"
        inner = [i for word, i in self.vocabulary.items() if word.startswith(begins)]
        self._inner = np.array(sorted(inner), np.int64)

    def ids(self, sentence: str, most: int) -> tuple[list[int], int]:
        """Return the ids, [CLS] and [SEP] included, and how many there are uncut."""
        self._core.no_truncation()
        found = self._core.encode(sentence).ids
        if len(found) <= most:
            return found, len(found)
        self._core.enable_truncation(most)
        return self._core.encode(sentence).ids, len(found)

    def plain_ids(self, sentence: str) -> list[int]:
        """Return the ids of a sentence without [CLS] and [SEP]."""
        self._core.no_truncation()
        return self._core.encode(sentence, add_special_tokens=False).ids

    def unread(self, tokens: np.ndarray) -> Unread:
        """Measure what of texts [n, 3, t] (ids, mask, segments) is not read as words.

        Texts of a vocabulary without [UNK] or without marked pieces measure 0 there.
        """
        ids, valid = tokens[:, 0], tokens[:, 1] > 0
        inner = np.isin(ids, self._inner) & valid
        around = self.added * len(ids)
        count = max(int(valid.sum()) - around, 1)
        words = max(int((valid & ~inner).sum()) - around, 1)
        begun = int((inner[:, 1:] & ~inner[:, :-1]).sum())
        unknown = 0
        if self.unknown is not None:
            unknown = int(((ids == self.unknown) & valid).sum())
        return Unread(unknown / count, (begun + unknown) / words, words)


def make_tokenizer(intake: Intake) -> Tokenizer | None:
    """Return the run's tokeniser, None where there is none."""
    return None if intake.tokenizer is None else Tokenizer(intake.tokenizer)


def missing(intake: Intake, sample: Sample) -> list[str]:
    """Return the modalities that the network reads and the sample lacks."""
    return [m for m in intake.reads if getattr(sample, m) is None]


def prepare(
    intake: Intake, tokenizer: Tokenizer | None, samples: Sequence[Sample]
) -> Prepared:
    """Turn samples into arrays, exactly as the run's own data were.

    A missing modality is zeros of one step; a missing text of tokens is an empty
    sentence. In aligned runs, a missing text is as long as audio or vision: zeros, or
    [UNK] between [CLS] and [SEP].

    Args:
        intake: of the run.
        tokenizer: from `make_tokenizer`.
        samples: of the run's widths, ids below its vocabulary, all finite.
    """
    n, steps = len(samples), intake.steps
    arrays: dict[str, np.ndarray] = {}
    for m in MODALITIES:
        ids = m == "text" and intake.text != FEATURES
        shape = (n, 3, steps[m]) if ids else (n, steps[m], intake.width[m])
        arrays[m] = np.zeros(shape, np.int32 if ids else np.float32)
        arrays[f"{m}_length"] = np.ones(n, np.int32)
    notes: list[list[str]] = []
    for i, sample in enumerate(samples):
        given = [m for m in MODALITIES if getattr(sample, m) is not None]
        unread = [m for m in given if m not in intake.reads]
        cut = [f"this run does not read {m}" for m in unread]
        sample = sample._replace(**dict.fromkeys(unread))
        text = _text(intake, tokenizer, sample, cut)
        if sample.text is not None and tokenizer is not None:
            cut += _foreign(tokenizer.unread(text[None]))
        length = text.shape[-1 if intake.text != FEATURES else 0]
        arrays["text_length"][i] = length
        if intake.text == FEATURES:
            arrays["text"][i, :length] = text
        else:
            arrays["text"][i, :, :length] = text
        for m in NONVERBAL:
            rows = _rows(intake, m, getattr(sample, m), cut)
            if intake.padding == "front":
                arrays[m][i, steps[m] - len(rows) :] = rows
                arrays[f"{m}_length"][i] = steps[m]
            else:
                arrays[m][i, : len(rows)] = rows
                arrays[f"{m}_length"][i] = length if intake.aligned else len(rows)
        notes.append(cut)
    return Prepared(arrays, notes)


def blank(intake: Intake) -> dict[str, np.ndarray]:
    """Return the arrays of one sample that lacks everything."""
    return prepare(intake, make_tokenizer(intake), [Sample()]).arrays


def _rows(intake: Intake, m: str, x: np.ndarray | None, cut: list[str]) -> np.ndarray:
    """Return audio or vision, cut and standardised."""
    if x is None:
        return np.zeros((1, intake.width[m]), np.float32)
    x = _cut(m, x, intake.steps[m], cut)
    if m in intake.columns:
        return scale(x[None], np.array([len(x)]), intake.columns[m])[0]
    return x


def _text(
    intake: Intake, tokenizer: Tokenizer | None, sample: Sample, cut: list[str]
) -> np.ndarray:
    """Return token ids [3, t] or features [t, d]."""
    most, text = intake.steps["text"], sample.text
    if text is None and intake.aligned:
        others = [x for x in (sample.audio, sample.vision) if x is not None]
        steps = min(max(len(x) for x in others), most) if others else 1
    else:
        steps = 1
    if intake.text == FEATURES:
        if text is None:
            return np.zeros((steps, intake.width["text"]), np.float32)
        assert isinstance(text, np.ndarray)
        return _cut("text", text, most, cut)
    if isinstance(text, np.ndarray):
        if text.shape[1] <= most:
            return text
        cut.append(f"text cut from {text.shape[1]} to {most} tokens")
        return np.concatenate([text[:, : most - 1], text[:, -1:]], axis=1)
    if tokenizer is None:  # ids of a vocabulary that is not known: nothing but padding
        ids = [0] * steps
    else:
        ids, uncut = tokenizer.ids(text or "", most)
        if uncut > most:
            cut.append(f"text cut from {uncut} to {most} tokens")
        if text is None and steps > len(ids) >= 2:
            ids = [ids[0], *[tokenizer.unknown or 0] * (steps - 2), ids[-1]]
    tokens = np.zeros((3, len(ids)), np.int32)
    tokens[0], tokens[1] = ids, 1
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


def to_json(intake: Intake) -> dict[str, Any]:
    """Return it as JSON, without the tokeniser, which is a file of its own."""
    found = {k: v for k, v in intake._asdict().items() if k != "tokenizer"}
    found["has_tokenizer"] = intake.tokenizer is not None
    found["columns"] = {
        m: {k: np.asarray(v, np.float64).tolist() for k, v in c._asdict().items()}
        for m, c in intake.columns.items()
    }
    return {"schema": SCHEMA} | found


def from_json(
    value: Any, tokenizer: dict[str, Any] | None, where: str = "model.json"
) -> Intake:
    """Read what `to_json` wrote; the file may come from anyone.

    Raises:
        UserError: it is something else.
    """
    try:
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']!r}")
        fields = {k: value[k] for k in Intake._fields if k != "tokenizer"}
        low, high = (float(x) for x in fields["label_range"])
        intake = Intake(**fields, tokenizer=tokenizer)._replace(
            seeds=tuple(int(s) for s in fields["seeds"]),
            label_range=(low, high),
            reads=tuple(m for m in MODALITIES if m in fields["reads"]),
            steps={m: int(fields["steps"][m]) for m in MODALITIES},
            width={str(m): int(w) for m, w in fields["width"].items()},
            columns={m: _columns(c) for m, c in fields["columns"].items()},
        )
        _check(intake, bool(value["has_tokenizer"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{where}: does not say what a run reads ({type(error).__name__}: {error})"
        ) from error
    return intake


def _columns(value: dict[str, Any]) -> Columns:
    return Columns(*(np.asarray(value[k], np.float64) for k in Columns._fields))


def _check(intake: Intake, has_tokenizer: bool) -> None:
    """Refuse what `prepare` could not work with.

    Raises:
        ValueError: a part is missing or contradicts another.
    """
    features = intake.text == FEATURES
    wanted = (*(("text",) if features else ()), *NONVERBAL)
    if intake.text not in (SENTENCES, TOKENS, FEATURES):
        raise ValueError(f"text {intake.text!r}")
    if sorted(intake.width) != sorted(wanted):
        raise ValueError(f"widths of {', '.join(intake.width)}")
    if min(*intake.steps.values(), *intake.width.values(), len(intake.seeds)) < 1:
        raise ValueError("a size below 1")
    if any(n * intake.width.get(m, 1) > _MOST for m, n in intake.steps.items()):
        raise ValueError("sizes beyond any data set")
    if not features and not 0 < intake.vocabulary < 2**31:
        raise ValueError(f"vocabulary {intake.vocabulary!r}")
    if has_tokenizer != (intake.tokenizer is not None):
        raise ValueError("tokenizer.json is missing, or one too many")
    if (intake.text == SENTENCES) != has_tokenizer:
        raise ValueError("sentences without a tokeniser, or the reverse")
    if intake.padding not in ("back", "front") or not intake.reads:
        raise ValueError(f"padding {intake.padding!r}, reads {intake.reads!r}")
    for m, columns in intake.columns.items():
        if m not in NONVERBAL:
            raise ValueError(f"statistics of {m}")
        for values in columns:
            if values.shape != (intake.width[m],) or not np.isfinite(values).all():
                raise ValueError(f"statistics of {m}")
