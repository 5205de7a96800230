"""Texts that are not the text encoder's are noticed, and its own never are."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from msa_jax.data import Dataset, preparation
from msa_jax.text import encoders
from msa_jax.training import splits
from tests.preparations import dataset, settings, with_text

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]"]
ENGLISH = ["a", "good", "bad", "film", "play", "##ing", "##ed", "playing", "e", "##x"]
CHINESE = list("我觉得这部电影很精彩剧情演员音乐画面")


def encoder(words, core=None) -> encoders.Encoder:
    """Return a pretrained encoder without parameters, with BERT's kind of tokeniser."""
    table = {word: i for i, word in enumerate(SPECIAL + words)}
    if core is None:
        core = Tokenizer(models.WordPiece(table, unk_token="[UNK]"))
        core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        core.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    fast = PreTrainedTokenizerFast(tokenizer_object=core)
    size = max(len(table), 500)  # for ids of any test
    return encoders.Encoder(encoders.FeatureEncoder(), {}, fast, 512, size, "")


def doubt(of: encoders.Encoder, sentences, name="mine") -> list[str]:
    data = dataset(transcript=np.array(sentences))._replace(name=name)
    return of_text(data, of)


def of_text(data: Dataset, of: encoders.Encoder) -> list[str]:
    text = settings(text__max_tokens=40).text
    notes = preparation.tokenised(data, text, of)[1]
    return [note for note in notes if "texts were cut" not in note]


def doubt_of_ids(of: encoders.Encoder, rows, name="mine", card=None) -> list[str]:
    """Judge ready-made ids, with [CLS] = 2 and [SEP] = 3 put around."""
    tokens = np.zeros((len(rows), 3, 2 + max(map(len, rows))), np.int32)
    for i, row in enumerate(rows):
        tokens[i, 0, : len(row) + 2] = [2, *row, 3]
        tokens[i, 1, : len(row) + 2] = 1
    return of_text(Dataset(name, with_text(tokens).splits, card or {}), of)


def test_unknown_tokens_are_counted_without_what_is_put_around():
    """3 of 4 tokens are [UNK]; of all 8, with [CLS] and [SEP], it would be 38 %."""
    assert doubt(encoder(ENGLISH), ["film 我", "很 好"]) == [
        "75 % of the tokens of the training sentences are unknown to this text encoder "
        "([UNK]): choose weights of their language, --config.text.weights=FOLDER."
    ]
    few = ["a good film", "a bad film", "a good 我 film"]  # 1 of 10
    assert doubt(encoder(ENGLISH), few) == []
    (line,) = doubt(encoder(ENGLISH), [*few[1:], "a 我 我"])  # 3 of 10
    assert line.startswith("30 % of the tokens")


def test_words_in_pieces_are_counted():
    """As an English encoder spells Russian or Greek: letter by letter, never [UNK]."""
    (line,) = doubt(encoder(ENGLISH), ["exxx ex playxx film"])
    assert line.startswith("75 % of the words of the training sentences are not in th")
    assert doubt(encoder(ENGLISH), ["a good film played a bad film"]) == []


@pytest.mark.parametrize("name", ["sims", "simsv2"])
def test_a_set_known_to_be_chinese_needs_a_chinese_vocabulary(name):
    (line,) = doubt_of_ids(encoder(ENGLISH), [[6, 7], [9]], name)
    assert line.startswith(f"The sentences of {name} are Chinese, but only 0 of the 16")
    assert doubt_of_ids(encoder(CHINESE), [[6, 7], [9]], name) == []
    both = encoder(CHINESE[:4] + ENGLISH)  # as a multilingual one
    assert doubt_of_ids(both, [[6, 7], [9]], name) == []


@pytest.mark.parametrize("name", ["mine", "mosi"])
def test_english_sentences_need_another_than_a_chinese_vocabulary(name):
    of = encoder(CHINESE + ENGLISH[:4])
    (line,) = doubt(of, ["a good film", "a bad film"], name)
    assert line.startswith(f"The sentences of {name} are not Chinese, but 18 of the 28")
    assert doubt(of, ["我 觉 得 a", "精 彩"]) == []
    assert doubt(of, ["a a a 我 觉"]) == []  # both languages: 40 % of the letters


def test_letters_tell_more_than_a_name():
    """CH-SIMS in English for an English encoder, or MOSI in Chinese for a Chinese."""
    assert doubt(encoder(ENGLISH), ["a good film", "a bad film"], "sims") == []
    assert doubt(encoder(CHINESE), ["我 觉 得", "精 彩"], "mosi") == []
    (line,) = doubt(encoder(["1", "2", *ENGLISH]), ["1 2", "2"], "sims")  # no letter
    assert line.startswith("The sentences of sims are Chinese")


def test_ids_of_another_vocabulary_are_no_words_here():
    of = encoder(ENGLISH)
    own = [of.tokenizer(s)["input_ids"][1:-1] for s in ("a good film", "played a play")]
    assert own[1] == [10, 12, 6, 10] and doubt_of_ids(of, own * 5) == []
    joined = [9, 10, 11]  # "film", "play" and "##ing", which is "playing", 13
    (line,) = doubt_of_ids(of, [*own, joined])
    assert line.startswith("33 % of the training texts hold token ids that this text")
    assert "never writes" in line
    assert doubt_of_ids(of, [*own, [6, 5, 9]]) != []  # "[unused1]" is no word
    assert doubt_of_ids(of, [*own * 5, joined]) == []  # 9 %
    assert doubt_of_ids(of, [[6, *joined]], card={"synthetic": True}) == []


def test_encoders_that_no_language_can_be_foreign_to():
    table = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(models.BPE(table, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel()
    of_bytes = encoder([], core)
    assert doubt(of_bytes, ["我觉得", "a film"]) == []
    assert doubt_of_ids(of_bytes, [[200, 3, 4]]) == []
    random = encoder(ENGLISH)._replace(pretrained=False)
    assert doubt(random, ["我觉得"]) == []
    without = encoder(ENGLISH)._replace(tokenizer=None)
    assert doubt_of_ids(without, [[10, 11]], "sims") == []


def test_the_real_vocabulary_knows_its_language(minilm):
    of = encoders.load_encoder(settings(text__weights=str(minilm)).text)
    assert doubt(of, ["so i think it 's a really good movie , do n't miss it"]) == []
    assert (
        doubt(of, ["It wasn't boring at all: I'd see DiCaprio again, and again!"]) == []
    )
    for sentence, start in (
        ("我觉得这部电影很精彩，演员不错。", "69 % of the tokens"),
        ("Это был очень хороший фильм, мне понравилась игра", "78 % of the words"),
    ):
        (line,) = doubt(of, [sentence])
        assert line.startswith(start), line
    chinese = [[2769, 6230, 2533, 6821, 6956, 4510, 2512, 2523, 679, 7231, 511]]
    ids = np.array([[[101, *chinese[0], 102], [1] * 13, [0] * 13]], np.int32)
    (line,) = of_text(with_text(ids, length=[13]), of)
    assert "never writes" in line


def test_a_run_says_so_in_its_notes(monkeypatch):
    of = encoder(ENGLISH)
    monkeypatch.setattr(splits, "load_encoder", lambda *_: of)
    monkeypatch.setattr(splits, "_encoded", lambda splits, _: splits)
    sentences = np.array(["我 觉 得", "film", "很", "好"])
    found = splits.make_inputs(dataset(transcript=sentences), settings())
    assert found.notes[0].startswith("83 % of the tokens of the training sentences")
    assert (
        splits.make_inputs(dataset(transcript=np.array(["a"] * 4)), settings()).notes
        == []
    )
