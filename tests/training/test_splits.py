import json
import re

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from msa_jax.data import preparation, scaling
from msa_jax.data.read.padding import aligned_zeros
from msa_jax.data.scaling import train_columns
from msa_jax.ground.errors import UserError
from msa_jax.methods import PAPERS
from msa_jax.text import encoders
from msa_jax.training import splits
from tests.preparations import dataset, examples, in_steps, opened, settings, with_text

FEATURES = np.arange(4 * 4 * 6, dtype=np.float32).reshape(4, 4, 6)
TOKENS = np.ones((4, 3, 4), np.int32)


def test_sentences_become_tokens_of_one_length():
    data = dataset()
    longer = np.array(["a good film about a very good film", "", "bad", "odd"])
    data.splits["test"] = data.splits["test"]._replace(transcript=longer)
    found = splits.make_inputs(data, settings())
    assert {s.text.shape for s in opened(found).values()} == {(4, 3, 10)}
    np.testing.assert_array_equal(found.splits["train"].text_length, [5, 3, 6, 4])
    np.testing.assert_array_equal(opened(found)["test"].text_length, [10, 2, 3, 3])
    assert found.notes == []
    cut = splits.make_inputs(data, settings(text__max_tokens=4))
    assert opened(cut)["test"].text.shape == (4, 3, 4)
    assert cut.notes == ["5 of 12 texts were cut to 4 tokens."]


def test_arrays_arrive_unchanged():
    data = dataset()
    found = splits.make_inputs(data, settings())
    for name, split in opened(found).items():
        for field in ("audio", "audio_length", "vision", "vision_length", "label"):
            expected = getattr(data.splits[name], field)
            np.testing.assert_array_equal(getattr(split, field), expected)


@pytest.mark.parametrize("standardise", ["none", "train"])
def test_features_lie_in_memory_once(standardise, monkeypatch):
    """On a CPU: what the host made is what a program reads, and nobody writes there."""
    made = []

    def zeros(shape):
        made.append(aligned_zeros(shape))
        return made[-1]

    monkeypatch.setattr(scaling, "aligned_zeros", zeros)
    data = dataset()
    for name, split in data.splits.items():
        x = zeros(split.audio.shape)
        x[:] = split.audio
        data.splits[name] = split._replace(audio=x)
    c = settings(data__standardise=standardise)
    found = splits.make_inputs(data, c).splits["train"]
    assert found.audio.unsafe_buffer_pointer() in {x.ctypes.data for x in made}
    with pytest.raises(ValueError, match="read-only"):
        made[-1 if standardise == "train" else 0][:] = 0


def test_human_unimodal_labels_arrive_or_are_nan():
    given = np.arange(12, dtype=np.float32).reshape(4, 3)
    data = dataset()
    data.splits["valid"] = data.splits["valid"]._replace(unimodal_label=given)
    found = splits.make_inputs(data, settings()).splits
    np.testing.assert_array_equal(found["valid"].unimodal_label, given)
    np.testing.assert_array_equal(
        found["train"].unimodal_label, np.full((4, 3), np.nan)
    )


def test_standardisation_uses_valid_steps_of_train():
    found = splits.make_inputs(dataset(), settings(data__standardise="train"))
    train = found.splits["train"]
    valid = np.arange(9) < np.asarray(train.audio_length)[:, None]
    audio = np.asarray(train.audio)
    np.testing.assert_allclose(audio[valid].mean(0), np.zeros(3), atol=1e-6)
    np.testing.assert_allclose(audio[valid].std(0), np.ones(3), rtol=1e-5)
    assert (audio[~valid] == 0).all()
    assert "statistics of train" in found.notes[0]


@pytest.mark.parametrize("standardised", ["none", "train"])
def test_front_padding_puts_contents_last_and_counts_every_step(standardised):
    changes = {"data__standardise": standardised}
    back = splits.make_inputs(dataset(), settings(**changes))
    found = splits.make_inputs(dataset(), settings(**changes, data__padding="front"))
    for name, split in opened(found).items():
        for modality, steps in (("audio", 9), ("vision", 5)):
            moved = getattr(split, modality)
            contents = np.asarray(getattr(opened(back)[name], modality))
            lengths = np.asarray(getattr(opened(back)[name], f"{modality}_length"))
            expected = np.zeros_like(contents)
            for row, values, n in zip(expected, contents, lengths, strict=True):
                row[steps - n :] = values[:n]
            np.testing.assert_array_equal(moved, expected)
            np.testing.assert_array_equal(
                getattr(split, f"{modality}_length"), [steps] * 4
            )
        np.testing.assert_array_equal(split.text, opened(back)[name].text)
        np.testing.assert_array_equal(split.text_length, opened(back)[name].text_length)
    assert found.notes[:-1] == back.notes
    assert "padded in front" in found.notes[-1]


def test_front_padding_by_hand():
    audio = np.array([[1, 2, 0], [3, 4, 5], [6, 0, 0], [7, 0, 0]], np.float32)
    lengths = np.array([2, 3, 1, 2], np.int32)  # the last one's second step is 0
    data = dataset(audio=audio[:, :, None], audio_length=lengths)
    found = splits.make_inputs(data, settings(data__padding="front")).splits["train"]
    np.testing.assert_array_equal(
        found.audio[:, :, 0], [[0, 1, 2], [3, 4, 5], [0, 0, 6], [0, 7, 0]]
    )
    np.testing.assert_array_equal(found.audio_length, [3, 3, 3, 3])


@pytest.mark.parametrize(("missing", "variant"), [("audio", "tv"), ("vision", "ta")])
def test_a_missing_modality_is_named_and_what_works_without(missing, variant):
    data = dataset(**{missing: None, f"{missing}_length": None})
    said = (
        f"data set movies has no {missing}, which self_mm reads; UCRN and MMCL can do "
        f"without {missing}: --config configs/ucrn_mosi_real.py:{variant} or --config "
        f"configs/mmcl_mosi_real.py:{variant}"
    )
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        splits.make_inputs(data, settings())
    for preset in (
        PAPERS["ucrn"].config(),
        PAPERS["mmcl"].config(),
    ):  # they read all three here
        with pytest.raises(UserError, match=f"no {missing}, which .* reads; UCRN"):
            splits.make_inputs(data, preset)


def named(method, read, **changes):
    """Return the settings of a method that reads some modalities."""
    c = PAPERS[method].config()
    c.text.update({"weights": "random", "random_width": 8, "random_layers": 1})
    c.text.encoder, c.model.modalities = "bert", read
    c.data.standardise = "train"
    for path, value in changes.items():
        section, field = path.split("__")
        c[section][field] = value
    return c


SETS = [("text",), ("audio",), ("vision",), ("text", "audio"), ("audio", "vision")]


@pytest.mark.parametrize("padding", ["back", "front"])
@pytest.mark.parametrize("aligned", [None, True, False])
@pytest.mark.parametrize("read", [*SETS, ("text", "vision")])
def test_nothing_depends_on_what_is_not_read(read, aligned, padding):
    """With it, without it, with one of other lengths: the same inputs to the bit."""
    aside = [m for m in ("text", "audio", "vision") if m not in read]
    whole = with_text(TOKENS) if aligned or aligned is None else dataset()
    whole = in_steps(whole, 4)
    gone = {m: None for m in aside} | {f"{m}_length": None for m in aside}
    gone |= {"transcript": None} if "text" in aside else {}
    less = whole._replace(
        splits={name: s._replace(**gone) for name, s in whole.splits.items()}
    )
    c = named("mmcl", read, data__aligned=aligned, data__padding=padding)
    one, two = (splits.make_inputs(data, c) for data in (whole, less))
    for name, split in opened(one).items():
        for field, value in vars(split).items():
            np.testing.assert_array_equal(value, getattr(opened(two)[name], field))
        for m in aside:
            assert getattr(split, m).shape == (4, 1, 1) and not getattr(split, m).any()
    assert one.preparation._replace(columns={}) == two.preparation._replace(columns={})
    assert one.preparation.columns.keys() == {"audio", "vision"} & {*read}
    assert one.preparation.reads == read
    assert one.encoder.description == two.encoder.description
    assert [n.split(";")[0].rstrip(".") for n in two.notes[:1]] == [
        n.rstrip(".") for n in one.notes[:1]
    ]
    assert one.notes[1:] == two.notes[1:]
    lacks = " and no ".join(aside)
    assert f"movies has no {lacks}, so baselines" in two.notes[0]
    assert f"reads {' and '.join(read)}, not {' nor '.join(aside)}" in one.notes[0]


def test_no_encoder_is_loaded_for_text_that_is_not_read():
    c = named("ucrn", ("audio",), text__weights="/nowhere/at/all")
    data = dataset(transcript=None, vision=None, vision_length=None)
    found = splits.make_inputs(data, c)
    assert found.encoder.params is None and "not read" in found.encoder.description
    assert found.preparation.text == "features" and found.preparation.tokenizer is None


def test_several_missing_modalities_are_named():
    data = dataset(transcript=None, vision=None, vision_length=None)
    with pytest.raises(UserError, match="has no text and no vision, which .*py:a or"):
        splits.make_inputs(data, settings())


def test_features_need_the_features_encoder():
    with pytest.raises(UserError, match="text features.*text.encoder=features"):
        splits.make_inputs(with_text(FEATURES), settings())
    found = splits.make_inputs(with_text(FEATURES), settings(text__encoder="features"))
    np.testing.assert_array_equal(found.splits["valid"].text, FEATURES)
    np.testing.assert_array_equal(found.splits["valid"].text_length, [3, 1, 2, 4])


@pytest.mark.parametrize("data", [dataset(), with_text(TOKENS)])
def test_sentences_and_tokens_need_bert(data):
    with pytest.raises(UserError, match="sentences or token ids.*text.encoder=bert"):
        splits.make_inputs(data, settings(text__encoder="features"))


def test_sentences_need_a_tokeniser_that_can_be_written_down(monkeypatch):
    slow = encoders.Encoder(encoders.FeatureEncoder(), {}, object(), 512, 64, "")
    monkeypatch.setattr(splits, "load_encoder", lambda *_: slow)
    with pytest.raises(UserError, match="text.weights = random: its tokeniser has no"):
        splits.make_inputs(dataset(), settings())
    found = splits.make_inputs(with_text(TOKENS), settings())
    assert found.preparation.text == "tokens" and found.preparation.tokenizer is None


def test_token_ids_are_checked_in_every_split():
    splits.make_inputs(with_text(TOKENS), settings())
    data = with_text(TOKENS)
    wrong = TOKENS * 64
    data.splits["test"] = data.splits["test"]._replace(text=wrong)
    with pytest.raises(UserError, match="^data set movies, test: token id 64"):
        splits.make_inputs(data, settings())


def test_an_empty_text_counts_as_one_step():
    data = with_text(FEATURES, length=(0, 1, 2, 4))
    found = splits.make_inputs(data, settings(text__encoder="features"))
    np.testing.assert_array_equal(found.splits["train"].text_length, [1, 1, 2, 4])


@pytest.mark.parametrize("aligned", [True, None])
def test_aligned_lengths_are_the_texts(aligned):
    data = in_steps(with_text(FEATURES), FEATURES.shape[1])
    changes = {"text__encoder": "features", "data__aligned": aligned}
    found = splits.make_inputs(data, settings(**changes))
    train = found.splits["train"]
    for length in (train.audio_length, train.vision_length):
        np.testing.assert_array_equal(length, [3, 1, 2, 4])
    assert any("taken for aligned" in n for n in found.notes) == (aligned is None)


def test_unaligned_data_are_told_by_their_steps():
    data = with_text(FEATURES)
    changes = {"text__encoder": "features", "data__aligned": None}
    found = splits.make_inputs(data, settings(**changes)).splits["train"]
    own = data.splits["train"]
    np.testing.assert_array_equal(found.audio_length, own.audio_length)
    changes["data__padding"] = "front"
    same = in_steps(data, FEATURES.shape[1])
    found = splits.make_inputs(same, settings(**changes)).splits["train"]
    np.testing.assert_array_equal(found.audio_length, [FEATURES.shape[1]] * 4)
    sentences = splits.make_inputs(dataset(), settings(data__aligned=None))
    np.testing.assert_array_equal(
        sentences.splits["train"].audio_length, own.audio_length
    )


def test_aligned_does_not_pass_for_other_steps():
    changes = {"text__encoder": "features", "data__aligned": True}
    message = "movies: .* steps are text .*, audio 9, vision 5; use aligned features or"
    with pytest.raises(UserError, match=message):
        splits.make_inputs(with_text(FEATURES), settings(**changes))
    with pytest.raises(UserError, match="movies: .*audio has 2 steps and text up to"):
        data = in_steps(dataset(), 2)
        splits.make_inputs(data, settings(data__aligned=True))


def test_a_random_encoder_has_no_frozen_features():
    found = splits.make_inputs(dataset(), settings())
    assert splits.frozen_features(found.encoder, found.splits) is None


class Doubling(nn.Module):
    """An encoder with one parameter."""

    @nn.compact
    def __call__(self, features, *, train):
        return features * self.param("factor", nn.initializers.ones, (1, 1, 1))


def test_a_frozen_encoder_reads_every_text_once(monkeypatch):
    ids = np.zeros((4, 3, 5), np.int32)
    ids[:, 0] = np.arange(20).reshape(4, 5) % 7
    table = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)

    class Table(nn.Module):
        @nn.compact
        def __call__(self, tokens, *, train):
            assert not train
            return self.param("table", nn.initializers.zeros, (7, 3))[tokens[:, 0]]

    encoder = encoders.Encoder(Table(), {"table": jnp.asarray(table)}, "t", 9, 7, "")
    monkeypatch.setattr(splits, "load_encoder", lambda *_: encoder)
    monkeypatch.setattr(preparation, "check_tokens", lambda *_: None)
    found = splits.make_inputs(with_text(ids), settings(text__finetune=False))
    np.testing.assert_array_equal(opened(found)["test"].text, table[ids[:, 0]])
    assert isinstance(found.encoder.module, encoders.FeatureEncoder)
    assert found.encoder.params is None and found.encoder.tokenizer == "t"
    pooled = splits.frozen_features(found.encoder, opened(found))
    assert pooled is not None
    np.testing.assert_allclose(pooled["test"][1], table[ids[1, 0, 0]], rtol=1e-6)


def test_noise_is_not_frozen():
    with pytest.raises(UserError, match="needs trained weights, not text.weights = "):
        splits.make_inputs(dataset(), settings(text__finetune=False))


@pytest.mark.parametrize("size", [1, 3, 4, 64])
def test_frozen_features_are_means_over_valid_steps(size):
    found = splits.make_inputs(with_text(FEATURES), settings(text__encoder="features"))
    encoder = encoders.Encoder(
        Doubling(), {"factor": jnp.full((1, 1, 1), 2.0)}, *[None] * 4
    )
    features = splits.frozen_features(encoder, opened(found), batch_size=size)
    rows = zip(FEATURES, (3, 1, 2, 4), strict=True)
    expected = np.stack([2 * row[:n].mean(0) for row, n in rows])
    for split in features.values():
        np.testing.assert_allclose(split, expected, rtol=1e-6)
    assert list(features) == ["train", "valid", "test"]


def test_human_labels_must_be_there():
    c = settings(ulgm__rule="human")
    with pytest.raises(UserError, match="^data set movies has no human unimodal label"):
        splits.make_inputs(dataset(), c)
    given = np.arange(12.0, dtype=np.float32).reshape(4, 3)
    found = splits.make_inputs(dataset(unimodal_label=given), c)
    np.testing.assert_array_equal(found.splits["train"].unimodal_label, given)


def test_columns_far_from_1_that_are_read_as_they_are_are_noted():
    audio = examples(0).audio
    loud = dataset(audio=1000 * audio)
    (note,) = splits.make_inputs(loud, settings()).notes
    assert re.fullmatch(r"audio: columns of train reach \d+,\d+; most .*=train\.", note)
    found = splits.make_inputs(loud, settings(data__standardise="train"))
    assert len(found.notes) == 1 and "standardised" in found.notes[0]
    columns = train_columns(dataset(audio=-4000 * np.ones_like(audio)).splits)
    described = {m: c._asdict() for m, c in columns.items()}
    stored = json.loads(
        json.dumps({"normaliser": described}, default=np.ndarray.tolist)
    )
    (note,) = splits.make_inputs(dataset()._replace(card=stored), settings()).notes
    assert note.startswith("audio: columns of train reach 4,000; most")  # as the card


def test_text_features_far_from_1_are_noted_whatever_is_standardised():
    c = settings(text__encoder="features", data__standardise="train")
    found = splits.make_inputs(with_text(1000 * FEATURES), c)
    assert "text: columns of train reach 95,000; scale them in" in found.notes[0]
