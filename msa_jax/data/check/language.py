"""Whether a text encoder reads the language of a data set, as far as can be told.

A frozen or fine-tuned encoder of another language trains without an error, to numbers
that mean nothing. What tells: tokens that are [UNK], words in pieces, token ids that
the encoder's tokeniser would never write, and Chinese against not Chinese.
"""

import numpy as np

from msa_jax.data.check.findings import chinese_share, is_chinese
from msa_jax.data.check.known import KNOWN
from msa_jax.data.store import Dataset
from msa_jax.text.tokens import Tokenizer, Unread

# Measured with MiniLM, whose vocabulary is bert-base-uncased's: the 1447 training
# sentences of CMU-MOSI have no [UNK] and 6 % of their words in pieces. A sentence each:
# 70 % [UNK] in Chinese, 24 in Japanese; 75 to 100 % of the words [UNK] or in pieces in
# Russian, Greek, Arabic, Persian, Hebrew, Hindi and Korean, 50 in Vietnamese (in German
# 43, as its own BERT may have: not told). Ids drawn at random are none of its own in
# 27 % of texts of 5 tokens and 47 % of 10; of CMU-MOSI's in none.
UNKNOWN, BROKEN, NOT_OWN = 0.2, 0.5, 0.1
# Chinese entries among all of a vocabulary: 2 % of bert-base-uncased's, most of
# bert-base-chinese's; multilingual ones lie between and read both.
FEW, MOST = 0.05, 0.5
_TEXTS = 1000  # whose ids are looked at
_ADVICE = "choose weights of their language, --config.text.weights=FOLDER."


def doubt(dataset: Dataset, tokenizer: Tokenizer) -> list[str]:
    """Say that a pretrained text encoder is not one of the training texts.

    Args:
        dataset: train's "text" is token ids, mask and segments [n, 3, t], as the run
            reads them; name, card and transcripts may tell the language.
        tokenizer: the encoder's.

    Returns: one line, or none.
    """
    text = dataset.splits["train"].text
    assert text is not None
    line = (
        _not_read(tokenizer.unread(text))
        or _other_language(dataset, tokenizer)
        or _other_ids(dataset, text, tokenizer)
    )
    return [line] if line else []


def _not_read(found: Unread) -> str:
    if found.unknown >= UNKNOWN:
        share = f"{100 * found.unknown:.0f} % of the tokens of the training sentences"
        return f"{share} are unknown to this text encoder ([UNK]): {_ADVICE}"
    if found.broken >= BROKEN:
        share = f"{100 * found.broken:.0f} % of the words of the training sentences"
        return f"{share} are not in the vocabulary of this text encoder: {_ADVICE}"
    return ""


def _other_language(dataset: Dataset, tokenizer: Tokenizer) -> str:
    """Hold Chinese, or not, of the data against the vocabulary."""
    chinese = _is_chinese(dataset)
    entries = [word.removeprefix(tokenizer.prefix) for word in tokenizer.vocabulary]
    count = sum(len(entry) == 1 and is_chinese(entry) for entry in entries)
    share = count / max(len(entries), 1)
    if chinese is None or FEW <= share <= MOST or chinese == (share > MOST):
        return ""
    is_, has = ("", f"only {count}") if chinese else ("not ", str(count))
    return (
        f"The sentences of {dataset.name} are {is_}Chinese, but {has} of the "
        f"{len(entries)} entries of this text encoder's vocabulary are: {_ADVICE}"
    )


def _is_chinese(dataset: Dataset) -> bool | None:
    """Tell by the letters of train, else by the name if it is known; None: not clear.

    What is said is not always in the language of the set's name: it can be translated.
    """
    transcript = dataset.splits["train"].transcript
    share = None if transcript is None else chinese_share([transcript])
    if share is not None:
        return None if 0.1 < share < 0.5 else share >= 0.5
    return KNOWN[dataset.name].language == "cn" if dataset.name in KNOWN else None


def _other_ids(dataset: Dataset, text: np.ndarray, tokenizer: Tokenizer) -> str:
    """Write ready-made ids as words and see whether those give the same ids.

    Ids of another vocabulary are other words here, among them pieces that join to
    words with an id of their own, and entries that stand for nothing ("[unused5]").
    """
    made_here = dataset.splits["train"].transcript is not None
    if made_here or not tokenizer.prefix or dataset.card.get("synthetic"):
        return ""  # a twin's ids are drawn at random
    word = {i: entry for entry, i in tokenizer.vocabulary.items()}
    before = tokenizer.added // 2  # [CLS]; [SEP] comes after
    after, other, count = tokenizer.added - before, 0, 0
    for ids, mask, _ in text[:: -(-len(text) // _TEXTS)]:
        said = ids[before : int(mask.sum()) - after].tolist()
        if not said or tokenizer.unknown in said:
            continue
        words = " ".join(word.get(i, "") for i in said)
        words = words.replace(f" {tokenizer.prefix}", "")
        count += 1
        other += tokenizer.plain_ids(words) != said
    if not other or other / count < NOT_OWN:
        return ""
    return (
        f"{100 * other / count:.0f} % of the training texts hold token ids that this "
        "text encoder's tokeniser never writes: they are of another vocabulary; choose "
        "the weights they were made for, --config.text.weights=FOLDER."
    )
