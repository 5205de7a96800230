"""A text encoder and its tokeniser as JSON: what a run writes down, and reads again."""

import json
from typing import Any

from flax import linen as nn

from msa_jax import bert
from msa_jax.errors import UserError
from msa_jax.text import BertEncoder, Encoder, computing

# Of a BERT's config.json, what an encoder of sentences reads.
FIELDS = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("intermediate_size", "hidden_act", "hidden_dropout_prob", "layer_norm_eps"),
    *("attention_probs_dropout_prob", "max_position_embeddings", "type_vocab_size"),
    *("initializer_range", "position_embedding_type"),
)


def settings(module: nn.Module) -> dict[str, Any] | None:
    """Return what a config.json would say of a BERT, None of another module.

    The same for both implementations; `module` reads it.
    """
    if isinstance(module, bert.OwnBertEncoder):
        return module.shape.settings() | {"position_embedding_type": "absolute"}
    if isinstance(module, BertEncoder):
        return {field: getattr(module.config, field) for field in FIELDS}
    return None


def module(values: dict[str, Any], implementation: str, precision: str) -> nn.Module:
    """Make the encoder that `settings` described; it has no weights of its own.

    Args:
        values: from `settings`.
        implementation: "own" or "transformers", as `config.text.implementation`.
        precision: see `text.computing`.

    Raises:
        UserError: a field is missing, or not one of a BERT that can be computed.
    """
    try:
        known = {field: values[field] for field in FIELDS}
        if implementation == "own":
            made: nn.Module = bert.OwnBertEncoder(bert.shape_of(known))
        else:
            from transformers import BertConfig

            made = BertEncoder(BertConfig(**known))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"the text encoder's settings are not those of a BERT "
            f"({type(error).__name__}: {error})"
        ) from error
    return computing(Encoder(made, None, None, 0, 0, ""), precision).module


def definition(tokenizer: Any) -> dict[str, Any] | None:
    """Return what a tokenizer.json of a fast tokeniser holds; None of a slow one."""
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        return None
    # Both are set anew by every call of the tokeniser: the last call's stay in there.
    return json.loads(core.to_str()) | {"truncation": None, "padding": None}
