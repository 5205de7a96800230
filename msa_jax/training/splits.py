"""From a data set on disk to splits on the device, prepared as samples to come are."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import msa_jax.methods as methods
from msa_jax.config import reads
from msa_jax.data import preparation
from msa_jax.data.batches import video_index
from msa_jax.data.preparation import Preparation
from msa_jax.data.sealed_test import Frozen, Sealed, seal
from msa_jax.data.store import Dataset
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Examples, Split
from msa_jax.text.encoders import (
    Encoder,
    FeatureEncoder,
    computing,
    load_encoder,
    no_encoder,
    pool,
)


class Inputs(NamedTuple):
    """Everything a run reads.

    splits: "train", "valid".
    test: the test split, sealed until selection is frozen.
    encoder: the text encoder.
    notes: what a reader of the results should know of the preparation.
    preparation: how these splits, and samples to come, are made.
    """

    splits: dict[str, Split]
    test: Sealed[Split]
    encoder: Encoder
    notes: list[str]
    preparation: Preparation


def make_inputs(dataset: Dataset, config: Any) -> Inputs:
    """Tokenise, standardise and convert a data set as `config` says.

    A modality that the method does not read is put aside before anything is done, so
    that nothing depends on whether the data set has it.

    Raises:
        UserError: what the method reads is missing, or text and encoder do not fit.
    """
    _require_samples(dataset)
    train = dataset.splits["train"]
    present = _present(train)
    methods.require(config, dataset.name, present)
    read, notes = reads(config), []
    if unread := _left_out(dataset.name, read, present):
        notes.append(unread)
    splits = {name: _only(split, read) for name, split in dataset.splits.items()}
    dataset = dataset._replace(splits=splits)
    if dataset.card.get("synthetic"):
        notes.append(
            f"SYNTHETIC data: {dataset.name} was made by this program; the numbers "
            "say nothing about methods on real data."
        )
    encoder = no_encoder()
    if "text" in read:
        sentences = [] if train.transcript is None else list(train.transcript)
        encoder = load_encoder(config.text, sentences)
        encoder = computing(encoder, config.precision, remat=config.text.remat)
        dataset, of_text = preparation.tokenised(dataset, config.text, encoder)
        notes += of_text
    fitted, assumed = preparation.fit(dataset, config, encoder)
    converted = {name: _split(fitted, split) for name, split in dataset.splits.items()}
    if "text" in read and config.text.encoder == "bert" and not config.text.finetune:
        if not encoder.pretrained:
            raise UserError(
                "config.text.finetune = False needs trained weights, not text.weights "
                "= random: features would be noise"
            )
        converted = _encoded(converted, encoder)
        encoder = encoder._replace(module=FeatureEncoder(), params=None)
    test = converted.pop("test")
    return Inputs(converted, seal(test), encoder, notes + assumed, fitted)


def _present(train: Examples) -> set[str]:
    """Return what a data set has of modalities and of labels beside the main ones."""
    fields = (*MODALITIES, "emotion", "unimodal_label")
    present = {field for field in fields if getattr(train, field) is not None}
    return present | ({"text"} if train.transcript is not None else set())


def _only(split: Examples, reads: tuple[str, ...]) -> Examples:
    """Return a split as if it had the modalities alone that are read."""
    aside = [m for m in MODALITIES if m not in reads]
    fields = [*aside, *(f"{m}_length" for m in aside)]
    fields += ["transcript"] * ("text" in aside)
    return split._replace(**dict.fromkeys(fields))


def _left_out(dataset: str, reads: tuple[str, ...], present: set[str]) -> str:
    """Say what is not read, and what the data set does not have; "" if nothing."""
    aside = [m for m in MODALITIES if m not in reads]
    absent = [m for m in MODALITIES if m not in present]
    if not aside:
        return ""
    note = f"The network reads {' and '.join(reads)}, not {' nor '.join(aside)}: "
    note += f"test is not answered with {' or '.join(aside)} of other samples"
    if absent:
        lacks = " and no ".join(absent)
        note += f"; {dataset} has no {lacks}, so baselines that read it are left out"
    return f"{note}."


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


def _split(fitted: Preparation, examples: Examples) -> Split:
    """Prepare a split and give it to the device."""
    sequences = {field: getattr(examples, field) for field in preparation.FIELDS}
    arrays = preparation.apply(fitted, sequences)
    unimodal, emotion = examples.unimodal_label, examples.emotion
    if unimodal is None:
        unimodal = np.full((len(examples.label), len(MODALITIES)), np.nan)
    return Split(
        **{field: _in_place(x) for field, x in arrays.items()},
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
