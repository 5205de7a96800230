"""Samples become what a run's own data became, by what the run wrote down."""

import json

import numpy as np
import pytest

from msa_jax.data import preparation
from msa_jax.data.scaling import column_statistics
from msa_jax.ground.errors import UserError
from msa_jax.predict.samples import (
    UNREAD,
    Sample,
    missing,
    prepare_samples,
    tokenizer_of,
)
from msa_jax.text.tokens import Tokenizer
from msa_jax.training.splits import make_inputs
from tests.preparations import (
    CLS,
    FEATURES,
    SENTENCES,
    SEP,
    TOKENS,
    UNK,
    WORDS,
    dataset,
    in_steps,
    opened,
    settings,
    with_text,
)


def prepared(*samples, of=SENTENCES):
    made = prepare_samples(of, tokenizer_of(of), samples)
    return made.arrays, made.notes


def test_missing_modalities_are_one_step_of_zeros():
    arrays, notes = prepared(Sample("good film"), Sample(audio=np.ones((2, 2))))
    np.testing.assert_array_equal(
        arrays["text"][:, 0], [[CLS, 4, 6, SEP, 0], [CLS, SEP, 0, 0, 0]]
    )
    np.testing.assert_array_equal(arrays["text_length"], [4, 2])
    np.testing.assert_array_equal(arrays["text"][0, 1], [1, 1, 1, 1, 0])
    np.testing.assert_array_equal(arrays["audio_length"], [1, 2])
    np.testing.assert_array_equal(arrays["audio"].sum((1, 2)), [0, 4])
    np.testing.assert_array_equal(arrays["vision_length"], [1, 1])
    assert notes == [[], []] and not arrays["vision"].any()
    assert missing(SENTENCES, Sample("a")) == ["audio", "vision"]
    without = SENTENCES._replace(reads=("text", "vision"))
    assert missing(without, Sample("a")) == ["vision"]


@pytest.mark.parametrize("of", [SENTENCES, TOKENS, FEATURES])
def test_what_is_not_read_is_one_zero_and_noted(of):
    of = of._replace(reads=("audio",))
    given = Sample(UNREAD, np.ones((2, 2), np.float32), UNREAD)
    arrays, notes = prepared(given, Sample(audio=given.audio), of=of)
    for array in arrays.values():
        np.testing.assert_array_equal(array[0], array[1])
    assert arrays["audio"][0, :2].all() and not arrays["vision"].any()
    said = ["this run does not read text", "this run does not read vision"]
    assert notes == [said, []]
    assert missing(of, given) == []


def test_what_is_longer_than_the_runs_longest_is_cut():
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    ids = np.array([[CLS, 4, 5, 6, 4, SEP], [1] * 6, [0] * 6])
    arrays, notes = prepared(Sample("good bad film good", x), Sample(ids))
    np.testing.assert_array_equal(arrays["text"][0, 0], [CLS, 4, 5, 6, SEP])
    np.testing.assert_array_equal(arrays["text"][1, 0], [CLS, 4, 5, 6, SEP])
    np.testing.assert_array_equal(arrays["audio"][0], x[:4])
    assert notes == [
        ["text cut from 6 to 5 tokens", "audio cut from 6 to 4 steps"],
        ["text cut from 6 to 5 tokens"],
    ]


def test_standardisation_is_trains_and_padding_stays_zero():
    train = np.random.default_rng(0).normal(3, 2, (9, 4, 2)).astype(np.float32)
    train[:, :, 1] = 5  # constant
    columns = column_statistics(train, np.full(9, 4))
    of = SENTENCES._replace(columns={"audio": columns})
    arrays, _ = prepared(Sample(audio=train[0, :2]), Sample("a"), of=of)
    expected = (train[0, :2, 0] - train[:, :, 0].mean()) / train[:, :, 0].std()
    np.testing.assert_allclose(arrays["audio"][0, :2, 0], expected, rtol=1e-5)
    assert not arrays["audio"][0, 2:].any() and not arrays["audio"][:, :, 1].any()
    assert not arrays["audio"][1].any()  # missing: zero after standardisation


def test_front_padding_and_alignment():
    x = np.ones((2, 2), np.float32)
    arrays, _ = prepared(Sample(audio=x), of=SENTENCES._replace(padding="front"))
    np.testing.assert_array_equal(arrays["audio"][0, :, 0], [0, 0, 1, 1])
    assert arrays["audio_length"] == 4 and arrays["vision_length"] == 3
    aligned = SENTENCES._replace(aligned=True, steps=dict.fromkeys(SENTENCES.steps, 5))
    x = np.ones((4, 2), np.float32)
    arrays, _ = prepared(Sample("good", x), Sample(audio=x), of=aligned)
    np.testing.assert_array_equal(arrays["audio_length"], [3, 4])
    np.testing.assert_array_equal(arrays["vision_length"], [3, 4])
    np.testing.assert_array_equal(arrays["text"][1, 0], [CLS, UNK, UNK, SEP, 0])
    arrays, _ = prepared(
        Sample(audio=x), of=aligned._replace(text="features", width=FEATURES.width)
    )
    assert arrays["text_length"] == 4 and not arrays["text"].any()
    assert arrays["text"].shape == (1, 5, 4)


@pytest.mark.parametrize("of", [SENTENCES, TOKENS, FEATURES])
def test_a_preparation_survives_its_json(of):
    columns = column_statistics(np.float32([[[0.1, 2], [1 / 3, 2]]]), np.array([2]))
    of = of._replace(columns={"audio": columns})
    text = json.dumps(preparation.to_json(of))
    back = preparation.from_json(json.loads(text), of.tokenizer)
    for ours, theirs in zip(of.columns["audio"], back.columns["audio"], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert back._replace(columns={}) == of._replace(columns={})


@pytest.mark.parametrize(
    "change",
    [
        *({"schema": 2}, {"steps": {"text": 1}}, {"steps": 3}, {"text": "speech"}),
        *({"width": {"audio": 2}}, {"width": {"audio": 0, "vision": 3}}),
        *({"vocabulary": 0}, {"vocabulary": 1 << 40}, {"has_tokenizer": False}),
        *({"padding": "left"}, {"reads": []}, {"seeds": []}, {"label_range": [1]}),
        *({"columns": {"audio": {}}}, {"columns": {"text": {}}}, {"columns": [1]}),
        {"columns": {"audio": dict.fromkeys(("mean", "std", "low", "high"), [1.0])}},
    ],
)
def test_a_damaged_preparation_is_one_line(change):
    value = preparation.to_json(SENTENCES) | change
    with pytest.raises(UserError, match="^model.json: does not say what a run reads"):
        preparation.from_json(value, SENTENCES.tokenizer)


def test_no_preparation_at_all():
    for value in (None, [], 3, {"schema": 1}):
        with pytest.raises(UserError, match="does not say what a run reads"):
            preparation.from_json(value, None)
    with pytest.raises(UserError, match="tokenizer.json: cannot be read"):
        Tokenizer({"model": {"type": "Nothing"}})


@pytest.mark.parametrize(
    "text, said",
    [
        ("nie gesehen film", "67 % of the text's tokens are unknown to the text enc"),
        ("good nie", ""),
        (np.array([[CLS, UNK, UNK, 4, SEP], [1] * 5, [0] * 5]), "67 % of the text's"),
        (None, ""),
        ("", ""),
    ],
)
def test_a_sentence_that_is_mostly_unknown_is_noted(text, said):
    _, (notes,) = prepared(Sample(text, np.ones((2, 2))))
    assert len(notes) == bool(said) and "".join(notes).startswith(said)
    assert prepared(Sample(np.ones((3, 5), np.int32)), of=TOKENS)[1] == [[]]


def test_a_sentence_in_pieces_is_noted():
    model = {"type": "WordPiece", "unk_token": "[UNK]", "max_input_chars_per_word": 9}
    words = [*WORDS, "e", "##e"]
    definition = SENTENCES.tokenizer | {
        "model": model
        | {"continuing_subword_prefix": "##"}
        | {"vocab": {word: i for i, word in enumerate(words)}}
    }
    of = SENTENCES._replace(tokenizer=definition, steps={**SENTENCES.steps, "text": 20})
    _, notes = prepared(
        *map(Sample, ("ee nie eee eeee good", "ee", "ee ee good e")), of=of
    )
    assert notes[1:] == [[], []]
    assert notes[0] == [
        "80 % of the text's words are not in the text encoder's vocabulary"
    ]


def rows_of(split, i):
    """Return a split's sample as a caller would give it: without padding."""
    lengths = {m: getattr(split, f"{m}_length")[i] for m in ("audio", "vision")}
    rows = {m: getattr(split, m)[i, :n] for m, n in lengths.items()}
    if split.transcript is not None:
        return Sample(str(split.transcript[i]), **rows)
    n = split.text_length[i]
    ids = split.text.dtype.kind == "i"
    return Sample(split.text[i, :, :n] if ids else split.text[i, :n], **rows)


@pytest.mark.parametrize("kind", ["sentences", "tokens", "features"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"standardise": "train"},
        {"standardise": "train", "padding": "front"},
        {"standardise": "train", "aligned": True},
    ],
)
def test_a_sample_to_come_is_prepared_as_a_whole_split_was(kind, changes):
    """Training prepares arrays of all samples, prediction one after the other."""
    length = np.array([3, 1, 2, 4])
    x = np.random.default_rng(0).normal(3, 2, (4, 8, 6)).astype(np.float32)
    tokens = np.stack([np.full((4, 4), 5), np.arange(4) < length[:, None]] * 2, 1)[
        :, :3
    ]
    tokens = (tokens * (np.arange(4) < length[:, None])[:, None]).astype(np.int32)
    features = x[:, :4] * (np.arange(4) < length[:, None])[:, :, None]
    data = {
        "sentences": dataset,
        "tokens": lambda: with_text(tokens),
        "features": lambda: with_text(features),
    }[kind]()
    config = settings(text__max_tokens=5)
    config.text.encoder = "features" if kind == "features" else "bert"
    config.data.update(changes)
    if changes.get("aligned"):
        data = in_steps(data, 5 if kind == "sentences" else 4)
    inputs = make_inputs(data, config)
    for name, split in opened(inputs).items():
        examples = data.splits[name]
        given = [rows_of(examples, i) for i in range(4)]
        fitted = inputs.preparation
        arrays = prepare_samples(fitted, tokenizer_of(fitted), given).arrays
        assert arrays.keys() == set(preparation.FIELDS)
        for field, array in arrays.items():
            wanted = getattr(split, field)
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted, field)
