"""Sentences to token ids, by what a tokenizer.json says: the same text, the same ids.

Training builds a run's tokeniser from its text encoder's file, prediction from the one
that the run wrote down.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from msa_jax.ground.errors import UserError


class Unread(NamedTuple):
    """What of some texts an encoder has no entry of its vocabulary for.

    unknown: share of the tokens, [CLS] and [SEP] apart, that are [UNK].
    broken: share of the words that are [UNK] or read in pieces.
    words: how many there are.
    """

    unknown: float
    broken: float
    words: int


def definition(tokenizer: Any) -> dict[str, Any] | None:
    """Return what a tokenizer.json of a fast tokeniser holds; None of a slow one."""
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        return None
    # Both are set anew by every call of the tokeniser: the last call's stay in there.
    return json.loads(core.to_str()) | {"truncation": None, "padding": None}


class Tokenizer:
    """A tokeniser of sentences; [CLS] and [SEP] are put around them."""

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

    def tokens(
        self, sentences: Sequence[str], most: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ids, mask and segments, [n, 3, t] int32, and uncut lengths [n].

        t is the longest sentence's length, at most `most`, [CLS] and [SEP] included.
        """
        self._core.no_truncation()
        rows = self._core.encode_batch([str(s) for s in sentences])
        uncut = np.array([len(row.ids) for row in rows])
        if (uncut > most).any():
            self._core.enable_truncation(most)
            rows = self._core.encode_batch([str(s) for s in sentences])
        array = np.zeros((len(rows), 3, min(int(uncut.max()), most)), np.int32)
        for i, row in enumerate(rows):
            array[i, 0, : len(row.ids)], array[i, 1, : len(row.ids)] = row.ids, 1
        return array, uncut

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
