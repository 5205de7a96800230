"""What a run does to samples before its network sees them: one way, fitted on train.

dataset --tokenised--> sentences as ids --fit--> `Preparation` --apply--> arrays

A `Preparation` is data that can travel: training applies it to its own splits, whole,
and prediction to samples to come (`predict.samples`), which need no training data.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

import numpy as np

from msa_jax.config import reads
from msa_jax.config.sections import Run
from msa_jax.data.check import language
from msa_jax.data.scaling import Columns, far_from_one, of_card, scale, train_columns
from msa_jax.data.sealed_test import state_hash
from msa_jax.data.store import Dataset
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.text import as_json
from msa_jax.text.encoders import Encoder, check_tokens
from msa_jax.text.tokens import Tokenizer, definition

SCHEMA = 1
NONVERBAL = MODALITIES[1:]
# What `apply` takes and returns: sequences, and how long each is.
FIELDS = (*MODALITIES, *(f"{m}_length" for m in MODALITIES))
TASKS = get_args(Run.__annotations__["task"])
_MOST = 1 << 28  # numbers of one sequence: a small file may claim to hold them
SENTENCES, TOKENS, FEATURES = "sentences", "tokens", "features"


class Preparation(NamedTuple):
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
    frozen_sha256: `sealed_test.state_hash` of the encoder, where it is not trained and
        so not among the run's parameters.
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


def tokenised(
    dataset: Dataset, text: Any, encoder: Encoder
) -> tuple[Dataset, list[str]]:
    """Return a data set whose sentences are token ids, and notes on its text.

    All splits share one length.

    Args:
        dataset: sentences, token ids or features.
        text: `config.text`.
        encoder: of the run.

    Raises:
        UserError: text and encoder do not fit.
    """
    _require_text(dataset, text.encoder)
    if text.encoder != "bert":
        return dataset, []
    splits, notes = dataset.splits, []
    tokenizer = definition(encoder.tokenizer)
    if splits["train"].transcript is not None:
        if tokenizer is None:
            raise UserError(
                f"text.weights = {text.weights}: its tokeniser has no tokenizer.json, "
                "nor can transformers make one (a fast tokeniser); choose other weights"
            )
        every = [line for s in splits.values() for line in _given(s.transcript)]
        tokens, uncut = Tokenizer(tokenizer).tokens(every, text.max_tokens)
        if cut := int((uncut > text.max_tokens).sum()):
            notes = [
                f"{cut} of {len(every)} texts were cut to {text.max_tokens} tokens."
            ]
        ends = np.cumsum([len(_given(s.transcript)) for s in splits.values()])[:-1]
        splits = {
            name: split._replace(text=rows, text_length=rows[:, 1].sum(1, np.int32))
            for (name, split), rows in zip(
                splits.items(), np.split(tokens, ends), strict=True
            )
        }
    for name, split in splits.items():
        check_tokens(_given(split.text), encoder, f"data set {dataset.name}, {name}")
    dataset = dataset._replace(splits=splits)
    if encoder.pretrained and tokenizer is not None:
        notes += language.doubt(dataset, Tokenizer(tokenizer))
    return dataset, notes


def fit(
    dataset: Dataset, config: Any, encoder: Encoder
) -> tuple[Preparation, list[str]]:
    """Say how samples become inputs, by the training split, and what was assumed.

    Args:
        dataset: with the modalities alone that are read; from `tokenised`.
        config: of the run.
        encoder: of the run.

    Raises:
        UserError: modalities are said to be aligned, and are not.
    """
    train, read = dataset.splits["train"], reads(config)
    others = [m for m in NONVERBAL if m in read]
    listed, are = " and ".join(others).capitalize(), "are" if others[1:] else "is"
    notes, columns = _far_from_one(dataset, config), {}
    if config.data.standardise == "train" and others:
        columns = train_columns(dataset.splits)
        notes.append(f"{listed} standardised with statistics of train.")
    if config.data.padding == "front" and others:
        notes.append(
            f"{listed} {are} padded in front: zeros first, contents last, every "
            "step counts."
        )
    if config.data.aligned and "text" not in read:
        notes.append(f"Text is not read: {' and '.join(others)} keep their own length.")
    aligned = _aligned(dataset, config.data, read)
    if aligned and config.data.aligned is None:
        every = ", ".join(read[:-1]).capitalize()
        notes.append(
            f"{every} and {read[-1]} have as many steps: taken for aligned, a row of "
            f"{' and of '.join(others)} per token."
        )
    bert = "text" in read and config.text.encoder == "bert"
    shapes = {m: getattr(train, m) for m in MODALITIES}
    shapes = {m: (1, 1) if x is None else x.shape[1:] for m, x in shapes.items()}
    steps = {m: shape[0] for m, shape in shapes.items()}
    width = {m: shape[1] for m, shape in shapes.items()}
    text, tokenizer = FEATURES, None
    if bert:
        text, steps["text"] = TOKENS, width.pop("text")  # [3, t]
        # A random encoder made its vocabulary itself, not that of ready-made ids.
        if encoder.pretrained or train.transcript is not None:
            tokenizer = definition(encoder.tokenizer)
        if tokenizer is not None:
            text = SENTENCES
    frozen = bert and not config.text.finetune and encoder.params is not None
    fitted = Preparation(
        method=config.method,
        dataset=dataset.name,
        task=config.task,
        seeds=tuple(config.seeds),
        label_range=tuple(dataset.card.get("label_range", ())),
        reads=read,
        text=text,
        steps=steps,
        width=width,
        vocabulary=encoder.vocabulary if bert else 0,
        columns=columns,
        padding=config.data.padding,
        aligned=aligned,
        encoder=as_json.encoder_settings(encoder.module) if bert else None,
        frozen_sha256=state_hash(encoder.params, None) if frozen else None,
        tokenizer=tokenizer,
    )
    return fitted, notes


def apply(
    preparation: Preparation, sequences: Mapping[str, np.ndarray | None]
) -> dict[str, np.ndarray]:
    """Return samples as the network reads them; nothing that is given is changed.

    What needs no change is returned as it is: data may be too large for a copy.

    Args:
        preparation: of the run.
        sequences: `FIELDS` of n samples: "text" [n, 3, t] int32 (ids, mask, segments)
            or [n, t, d] float32, "audio" and "vision" [n, t, d] float32, padded with
            zeros at the back to the run's `steps`, and their lengths [n]; 0: a sample
            lacks the modality. None where the run does not read it.

    Returns: the same fields, lengths int32 and at least 1.
    """
    n = len(next(x for x in sequences.values() if x is not None))
    arrays: dict[str, np.ndarray] = {}
    for m in MODALITIES:
        sequence, length = sequences[m], sequences[f"{m}_length"]
        if sequence is None or length is None:
            sequence, length = np.zeros((n, 1, 1), np.float32), np.ones(n)
        elif m in preparation.columns:
            sequence = scale(sequence, length, preparation.columns[m])
        length = np.maximum(length, 1)
        if m in NONVERBAL and m in preparation.reads:
            if preparation.padding == "front":
                sequence, length = _padded_in_front(sequence, length)
            elif preparation.aligned:
                length = arrays["text_length"]
        arrays |= {m: sequence, f"{m}_length": length.astype(np.int32)}
    return arrays


def _far_from_one(dataset: Dataset, config: Any) -> list[str]:
    """Say of each modality that is read as it is that its columns are far from 1."""
    features = ("text",) if config.text.encoder == "features" else ()
    read = features if config.data.standardise == "train" else (*features, *NONVERBAL)
    present = tuple(m for m in read if getattr(dataset.splits["train"], m) is not None)
    measured = of_card(dataset.card) or train_columns(dataset.splits, present)
    lines = [far_from_one(m, measured[m]) for m in present]
    return [f"{line}." for line in lines if line]


def _aligned(dataset: Dataset, data: Any, read: tuple[str, ...]) -> bool:
    """Say whether audio and vision have a row per token.

    Text that is tokenised here has no fixed number of steps to compare with, text that
    is not read none at all: audio and vision then have their own lengths.
    """
    train = dataset.splits["train"]
    if "text" not in read or len(read) == 1:
        return False
    text = _given(train.text)
    steps = {"text": text.shape[-1 if text.dtype.kind in "iu" else 1]}
    steps |= {m: getattr(train, m).shape[1] for m in NONVERBAL if m in read}
    same, aligned = len(set(steps.values())) == 1, bool(data.aligned)
    if train.transcript is None:
        if aligned and not same:
            listed = ", ".join(f"{name} {count}" for name, count in steps.items())
            raise UserError(
                f"data set {dataset.name}: config.data.aligned is on, but the steps "
                f"are {listed}; use aligned features or --config.data.aligned=False"
            )
        if data.aligned is None:
            aligned = same and data.padding == "back"
    lengths = [int(_given(s.text_length).max()) for s in dataset.splits.values()]
    for m in NONVERBAL:
        if aligned and steps.get(m, max(lengths)) < max(lengths):
            raise UserError(
                f"data set {dataset.name}: config.data.aligned is on, but {m} has "
                f"{steps[m]} steps and text up to {max(lengths)}; use aligned "
                "features or --config.data.aligned=False"
            )
    return aligned


def _padded_in_front(
    sequence: np.ndarray, length: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move contents to the last steps; every step counts."""
    n, steps, _ = sequence.shape
    source = np.arange(steps) - (steps - length[:, None])  # the step that comes here
    moved = np.take_along_axis(sequence, np.maximum(source, 0)[:, :, None], axis=1)
    moved[source < 0] = 0
    return moved, np.full(n, steps)


def _given(array: np.ndarray | None) -> np.ndarray:
    """Return an array whose presence was checked before."""
    assert array is not None
    return array


def _require_text(dataset: Dataset, encoder: str) -> None:
    text = dataset.splits["train"].text
    features = text is not None and text.ndim == 3 and text.dtype.kind == "f"
    if features and encoder == "bert":
        raise UserError(
            f"data set {dataset.name} holds text features, not sentences or token "
            "ids: use --config.text.encoder=features"
        )
    if not features and encoder == "features":
        raise UserError(
            f"data set {dataset.name} holds sentences or token ids, not text "
            "features: use --config.text.encoder=bert"
        )


def to_json(preparation: Preparation) -> dict[str, Any]:
    """Return it as JSON, without the tokeniser, which is a file of its own."""
    values = {k: v for k, v in preparation._asdict().items() if k != "tokenizer"}
    values["has_tokenizer"] = preparation.tokenizer is not None
    values["columns"] = {
        m: {k: np.asarray(v, np.float64).tolist() for k, v in c._asdict().items()}
        for m, c in preparation.columns.items()
    }
    return {"schema": SCHEMA} | values


def from_json(
    value: Any, tokenizer: dict[str, Any] | None, where: str = "model.json"
) -> Preparation:
    """Read what `to_json` wrote; the file may come from anyone.

    Raises:
        UserError: it is something else.
    """
    try:
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']!r}")
        fields = {k: value[k] for k in Preparation._fields if k != "tokenizer"}
        low, high = (float(x) for x in fields["label_range"])
        preparation = Preparation(**fields, tokenizer=tokenizer)._replace(
            seeds=tuple(int(s) for s in fields["seeds"]),
            label_range=(low, high),
            reads=tuple(m for m in MODALITIES if m in fields["reads"]),
            steps={m: int(fields["steps"][m]) for m in MODALITIES},
            width={str(m): int(w) for m, w in fields["width"].items()},
            columns={m: _columns(c) for m, c in fields["columns"].items()},
        )
        _check(preparation, bool(value["has_tokenizer"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{where}: does not say what a run reads ({type(error).__name__}: {error})"
        ) from error
    return preparation


def _columns(value: dict[str, Any]) -> Columns:
    return Columns(*(np.asarray(value[k], np.float64) for k in Columns._fields))


def _check(of: Preparation, has_tokenizer: bool) -> None:
    """Refuse what `apply` could not work with.

    Raises:
        ValueError: a part is missing or contradicts another.
    """
    features = of.text == FEATURES
    wanted = (*(("text",) if features else ()), *NONVERBAL)
    if of.task not in TASKS:
        raise ValueError(f"task {of.task!r} is not known")
    if of.text not in (SENTENCES, TOKENS, FEATURES):
        raise ValueError(f"text {of.text!r}")
    if sorted(of.width) != sorted(wanted):
        raise ValueError(f"widths of {', '.join(of.width)}")
    if min(*of.steps.values(), *of.width.values(), len(of.seeds)) < 1:
        raise ValueError("a size below 1")
    if any(n * of.width.get(m, 1) > _MOST for m, n in of.steps.items()):
        raise ValueError("sizes beyond any data set")
    if not features and not 0 < of.vocabulary < 2**31:
        raise ValueError(f"vocabulary {of.vocabulary!r}")
    if has_tokenizer != (of.tokenizer is not None):
        raise ValueError("tokenizer.json is missing, or one too many")
    if (of.text == SENTENCES) != has_tokenizer:
        raise ValueError("sentences without a tokeniser, or the reverse")
    if of.padding not in ("back", "front") or not of.reads:
        raise ValueError(f"padding {of.padding!r}, reads {of.reads!r}")
    for m, columns in of.columns.items():
        if m not in NONVERBAL:
            raise ValueError(f"statistics of {m}")
        for values in columns:
            if values.shape != (of.width[m],) or not np.isfinite(values).all():
                raise ValueError(f"statistics of {m}")
