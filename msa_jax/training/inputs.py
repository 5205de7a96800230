"""From a data set on disk to splits on the device: tokens, lengths, standardisation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import msa_jax.methods as methods
from msa_jax.config import reads
from msa_jax.data import Dataset, language, standardise
from msa_jax.data.batches import video_index
from msa_jax.data.intake import FEATURES, NONVERBAL, SENTENCES, TOKENS, Intake
from msa_jax.data.scaling import Columns, far_from_one, of_card, train_columns
from msa_jax.data.sealed_test import Frozen, Sealed, seal, state_hash
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Examples, Split
from msa_jax.text import as_json
from msa_jax.text.encoders import (
    Encoder,
    FeatureEncoder,
    check_tokens,
    computing,
    load_encoder,
    no_encoder,
    pool,
    tokenize,
)


class Inputs(NamedTuple):
    """Everything a run reads.

    splits: "train", "valid".
    test: the test split, sealed until selection is frozen.
    encoder: the text encoder.
    notes: what a reader of the results should know of the preparation.
    intake: the same preparation as data, for samples to come.
    """

    splits: dict[str, Split]
    test: Sealed[Split]
    encoder: Encoder
    notes: list[str]
    intake: Intake


def make_inputs(dataset: Dataset, config: Any) -> Inputs:
    """Tokenise, standardise and convert a data set as `config` says.

    A modality that the method does not read is put aside before anything is done, so
    that nothing depends on whether the data set has it.

    Raises:
        UserError: what the method reads is missing, or text and encoder do not fit.
    """
    _require_samples(dataset)
    there = _there(dataset.splits["train"])
    methods.require(config, dataset.name, there)
    read, notes = reads(config), []
    if said := _left_out(dataset.name, read, there):
        notes.append(said)
    splits = {name: _only(split, read) for name, split in dataset.splits.items()}
    dataset = dataset._replace(splits=splits)
    if dataset.card.get("synthetic"):
        notes.append(
            f"SYNTHETIC data: {dataset.name} was made by this program; the numbers "
            "say nothing about methods on real data."
        )
    train = splits["train"]
    transcripts = [] if train.transcript is None else train.transcript
    encoder = no_encoder()
    if "text" in read:
        encoder = load_encoder(config.text, list(transcripts))
        encoder = computing(encoder, config.precision, remat=config.text.remat)
        _require_text(dataset, config.text.encoder)
    bert = "text" in read and config.text.encoder == "bert"
    if train.transcript is not None:
        splits, cut = _tokenized(splits, encoder, config.text.max_tokens)
        if cut:
            total = sum(len(s.id) for s in splits.values())
            most = config.text.max_tokens
            notes.append(f"{cut} of {total} texts were cut to {most} tokens.")
    for name, split in splits.items() if bert else ():
        check_tokens(_given(split.text), encoder, f"data set {dataset.name}, {name}")
    if bert:
        notes += language.doubt(dataset, _given(splits["train"].text), encoder)
    notes += _far_from_one(dataset, config)
    others = [m for m in NONVERBAL if m in read]
    listed, are = " and ".join(others).capitalize(), "are" if others[1:] else "is"
    columns = {}
    if config.data.standardise == "train" and others:
        columns = train_columns(splits)
        splits = standardise(splits, columns)
        notes.append(f"{listed} standardised with statistics of train.")
    if config.data.padding == "front" and others:
        splits = {name: _padded_in_front(split) for name, split in splits.items()}
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
    converted = {
        name: _split(dataset.name, split, aligned) for name, split in splits.items()
    }
    intake = _intake(dataset, config, encoder, converted["train"], columns, aligned)
    if bert and not config.text.finetune:
        if not encoder.pretrained:
            raise UserError(
                "config.text.finetune = False needs trained weights, not text.weights "
                "= random: features would be noise"
            )
        converted = _encoded(converted, encoder)
        encoder = encoder._replace(module=FeatureEncoder(), params=None)
    test = converted.pop("test")
    return Inputs(converted, seal(test), encoder, notes, intake)


def _far_from_one(dataset: Dataset, config: Any) -> list[str]:
    """Say of each modality that is read as it is that its columns are far from 1."""
    features = ("text",) if config.text.encoder == "features" else ()
    read = features if config.data.standardise == "train" else (*features, *NONVERBAL)
    train = dataset.splits["train"]
    there = tuple(m for m in read if getattr(train, m) is not None)
    measured = of_card(dataset.card) or train_columns(dataset.splits, there)
    found = [far_from_one(m, measured[m]) for m in there]
    return [f"{line}." for line in found if line]


def _there(train: Examples) -> set[str]:
    """Return what a data set has of modalities and of labels beside the main ones."""
    fields = (*MODALITIES, "emotion", "unimodal_label")
    there = {field for field in fields if getattr(train, field) is not None}
    return there | ({"text"} if train.transcript is not None else set())


def _only(split: Examples, reads: tuple[str, ...]) -> Examples:
    """Return a split as if it had the modalities alone that are read."""
    aside = [m for m in MODALITIES if m not in reads]
    fields = [*aside, *(f"{m}_length" for m in aside)]
    fields += ["transcript"] * ("text" in aside)
    return split._replace(**dict.fromkeys(fields))


def _left_out(dataset: str, reads: tuple[str, ...], there: set[str]) -> str:
    """Say what is not read, and what the data set does not have; "" if nothing."""
    aside = [m for m in MODALITIES if m not in reads]
    absent = [m for m in MODALITIES if m not in there]
    if not aside:
        return ""
    said = f"The network reads {' and '.join(reads)}, not {' nor '.join(aside)}: "
    said += f"test is not answered with {' or '.join(aside)} of other samples"
    if absent:
        lacks = " and no ".join(absent)
        said += f"; {dataset} has no {lacks}, so baselines that read it are left out"
    return f"{said}."


def _require_samples(dataset: Dataset) -> None:
    for name, why in (
        ("train", "learn from"),
        ("valid", "select the epoch by"),
        ("test", "report"),
    ):
        if not len(dataset.splits[name].label):
            raise UserError(
                f"data set {dataset.name}: its {name} split has no samples, so there "
                f"is nothing to {why}; prepare it again with some"
            )


def opened(inputs: Inputs, proof: Frozen) -> dict[str, Split]:
    """Return "train", "valid" and "test", once selection is frozen."""
    return inputs.splits | {"test": inputs.test.open(proof)}


def changed(inputs: Inputs, change: Callable[[Split], Split]) -> Inputs:
    """Change every split; test, which stays sealed, when it is opened."""
    splits = {name: change(split) for name, split in inputs.splits.items()}
    return inputs._replace(splits=splits, test=inputs.test.map(change))


def frozen_features(
    encoder: Encoder, splits: dict[str, Split], batch_size: int = 64
) -> dict[str, np.ndarray] | None:
    """Encode every text with the untrained encoder, averaged over tokens: [n, h].

    Returns:
        Features per split for baselines; None for an encoder that starts at random.
    """
    if not encoder.pretrained:
        return None
    encode = _encoder_of_splits(encoder, batch_size, lambda x, n: pool(x, n, "mean"))
    return {name: np.asarray(encode(split)) for name, split in splits.items()}


def _encoded(splits: dict[str, Split], encoder: Encoder) -> dict[str, Split]:
    """Put the encoder's hidden states in the place of the tokens.

    A frozen encoder drops nothing out and learns nothing: what it says of a text stays
    the same through all epochs and seeds.
    """
    encode = _encoder_of_splits(encoder, 64, lambda hidden, length: hidden)
    return {name: replace(s, text=encode(s)) for name, s in splits.items()}


def _encoder_of_splits(
    encoder: Encoder, batch_size: int, read: Callable[[Array, Array], Array]
) -> Callable[[Split], Array]:
    """Return split -> read(hidden states, lengths) of all its texts, [n, ...]."""

    @jax.jit
    def encode(params, text, length):
        n = text.shape[0]
        count = -(-n // batch_size)
        rows = jnp.minimum(jnp.arange(count * batch_size), n - 1)

        def one(index):
            hidden: Any = encoder.module.apply(
                {"params": params}, text[index], train=False
            )
            return read(hidden, length[index])

        found = jax.lax.map(one, rows.reshape(count, batch_size))
        return found.reshape(count * batch_size, *found.shape[2:])[:n]

    params = encoder.params or {}
    return lambda split: encode(params, split.text, split.text_length)


def _tokenized(
    splits: dict[str, Examples], encoder: Encoder, most: int
) -> tuple[dict[str, Examples], int]:
    """Tokenise all splits together, so that they share one length."""
    every = [str(t) for s in splits.values() for t in _given(s.transcript)]
    tokens, cut = tokenize(encoder, every, most)
    done, start = {}, 0
    for name, split in splits.items():
        rows = tokens[start : start + len(split.id)]
        start += len(split.id)
        length = rows[:, 1].sum(-1).astype(np.int32)
        done[name] = split._replace(transcript=None, text=rows, text_length=length)
    return done, cut


def _padded_in_front(examples: Examples) -> Examples:
    """Move audio's and vision's contents to the last steps; every step counts."""
    moved = {}
    for name in NONVERBAL:
        sequence = getattr(examples, name)
        if sequence is None:
            continue
        n, steps, _ = sequence.shape
        padding = steps - _given(getattr(examples, f"{name}_length"))[:, None]
        source = np.arange(steps) - padding  # the step that comes to lie here
        rows = np.take_along_axis(sequence, np.maximum(source, 0)[:, :, None], axis=1)
        rows[source < 0] = 0
        moved |= {name: rows, f"{name}_length": np.full(n, steps, np.int32)}
    return examples._replace(**moved)


def _aligned(dataset: Dataset, data: Any, reads: tuple[str, ...]) -> bool:
    """Say whether audio and vision have a row per token.

    Text that is tokenised here has no fixed number of steps to compare with, text that
    is not read none at all: audio and vision then have their own lengths.
    """
    train = dataset.splits["train"]
    if "text" not in reads or len(reads) == 1:
        return False
    if train.transcript is not None:
        return bool(data.aligned)
    text = _given(train.text)
    steps = {"text": text.shape[-1 if text.dtype.kind in "iu" else 1]}
    steps |= {m: getattr(train, m).shape[1] for m in NONVERBAL if m in reads}
    same = len(set(steps.values())) == 1
    if data.aligned and not same:
        listed = ", ".join(f"{name} {count}" for name, count in steps.items())
        raise UserError(
            f"data set {dataset.name}: config.data.aligned is on, but the steps are "
            f"{listed}; use aligned features or --config.data.aligned=False"
        )
    if data.aligned is None:
        return same and data.padding == "back"
    return data.aligned


def _split(dataset: str, examples: Examples, aligned: bool) -> Split:
    """Convert a split; of modalities that are not read one step of one zero."""
    n = len(examples.label)
    arrays = {m: getattr(examples, m) for m in MODALITIES}
    lengths = {m: getattr(examples, f"{m}_length") for m in MODALITIES}
    for m in MODALITIES:
        if arrays[m] is None:
            arrays[m], lengths[m] = np.zeros((n, 1, 1), np.float32), np.ones(n)
        elif m == "text":
            lengths[m] = np.maximum(lengths[m], 1)
        elif aligned:
            steps, lengths[m] = arrays[m].shape[1], lengths["text"]
            if steps < lengths[m].max():
                raise UserError(
                    f"data set {dataset}: config.data.aligned is on, but {m} has "
                    f"{steps} steps and text up to {lengths[m].max()}; use aligned "
                    "features or --config.data.aligned=False"
                )
    unimodal, emotion = examples.unimodal_label, examples.emotion
    if unimodal is None:
        unimodal = np.full((n, len(MODALITIES)), np.nan)
    return Split(
        **{m: _in_place(x) for m, x in arrays.items()},
        **{f"{m}_length": jnp.asarray(x, jnp.int32) for m, x in lengths.items()},
        label=jnp.asarray(examples.label, jnp.float32),
        unimodal_label=jnp.asarray(unimodal, jnp.float32),
        emotion=None if emotion is None else jnp.asarray(emotion, jnp.float32),
        videos=jnp.asarray(video_index(examples.id)),
    )


def _in_place(array: np.ndarray) -> Array:
    """Give an array to the device; on a CPU it stays where it lies, if it can.

    Nobody may write into it from now on: see `padding.aligned_zeros`.
    """
    array.flags.writeable = False
    return jax.device_put(array)


def _intake(
    dataset: Dataset,
    config: Any,
    encoder: Encoder,
    train: Split,
    columns: dict[str, Columns],
    aligned: bool,
) -> Intake:
    """Say how other samples become what these splits are."""
    width = {m: getattr(train, m).shape[2] for m in NONVERBAL}
    steps = {m: getattr(train, m).shape[1] for m in NONVERBAL}
    read, tokenizer = reads(config), None
    bert = "text" in read and config.text.encoder == "bert"
    if bert:
        steps["text"] = train.text.shape[2]
        # A random encoder made its vocabulary itself, not that of ready-made ids.
        if encoder.pretrained or dataset.splits["train"].transcript is not None:
            tokenizer = as_json.definition(encoder.tokenizer)
        text = TOKENS if tokenizer is None else SENTENCES
    else:
        steps["text"], width["text"] = train.text.shape[1:]
        text = FEATURES
    frozen = bert and not config.text.finetune and encoder.params is not None
    return Intake(
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
        encoder=as_json.settings(encoder.module) if bert else None,
        frozen_sha256=state_hash(encoder.params, None) if frozen else None,
        tokenizer=tokenizer,
    )


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
