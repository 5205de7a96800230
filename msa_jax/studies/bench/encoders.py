"""Text encoders that the benchmark times: sizes, random weights, what they read."""

import os
from typing import Any

import numpy as np
from flax import linen as nn

from msa_jax.ground.errors import UserError
from msa_jax.studies.bench import shapes
from msa_jax.text import bert

_MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}
CLS, SEP = 101, 102  # ids of BERT's vocabularies


def shape_of(options: Any) -> bert.Shape:
    """Return the sizes of the encoder that the flags name; not for "none"."""
    shape = bert.Shape()
    if options.encoder == "minilm":
        shape = shape._replace(**_MINILM)
    if options.layers:
        shape = shape._replace(num_hidden_layers=options.layers)
    return shape


def module(shape: bert.Shape, *, ours: bool = True) -> nn.Module:
    """Return our BERT, or transformers'."""
    if ours:
        return bert.OwnBertEncoder(shape)
    from transformers import BertConfig

    from msa_jax.text.encoders import BertEncoder

    return BertEncoder(BertConfig(**shape.settings()))


def tokens(options: Any, shape: shapes.Shape, n: int) -> np.ndarray:
    """Return ids, mask and segments of n sentences, [n, 3, t].

    Sentences of --transcripts, else random words, as many as the data set's twin says;
    t is the longest sentence's length, at most the data set's.
    """
    rng = np.random.default_rng(n)
    if options.transcripts:
        read = _transcripts(options, shape.steps["text"])
        return read[rng.permutation(np.arange(n) % len(read))]
    length = rng.choice(shapes.true_lengths(shape)["text"], n)
    step = np.arange(shape.steps["text"])
    mask = step < length[:, None]
    words = rng.integers(1000, bert.Shape().vocab_size, mask.shape)
    words[:, 0] = CLS
    words[np.arange(n), length - 1] = SEP
    made = np.stack([words * mask, mask, np.zeros_like(mask)], axis=1)
    return made.astype(np.int32)


def _transcripts(options: Any, longest: int) -> np.ndarray:
    from msa_jax.config import fields, sections
    from msa_jax.data import load_dataset
    from msa_jax.text import encoders
    from msa_jax.text.tokens import Tokenizer, definition

    folder = options.data or os.environ.get("MSA_DATA") or "data"
    train = load_dataset(options.transcripts, folder).splits["train"]
    if train.transcript is None:
        raise UserError(f"--transcripts {options.transcripts}: it has no transcripts")
    encoder = encoders.load_encoder(fields.defaults(fields.of(sections.Text)))
    tokenizer = Tokenizer(definition(encoder.tokenizer) or {})
    return tokenizer.tokens(list(train.transcript), longest)[0]
