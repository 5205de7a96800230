"""A text encoder as JSON: what a run writes down, and reads again."""

import math
from typing import Any

from flax import linen as nn

from msa_jax.ground.errors import UserError
from msa_jax.text import bert
from msa_jax.text.encoders import (
    BertEncoder,
    Encoder,
    computing,
    require_flax_bert,
)

# Of a BERT's config.json, what an encoder of sentences reads.
SIZES = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("intermediate_size", "max_position_embeddings", "type_vocab_size"),
)
NUMBERS = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "layer_norm_eps"),
    "initializer_range",
)
NAMES = ("hidden_act", "position_embedding_type")


def encoder_settings(module: nn.Module) -> dict[str, Any] | None:
    """Return what a config.json would say of a BERT, None of another module.

    The same for both implementations; `module` reads it.
    """
    if isinstance(module, bert.OwnBertEncoder):
        return module.shape.settings() | {"position_embedding_type": "absolute"}
    if isinstance(module, BertEncoder):
        fields = (*SIZES, *NUMBERS, *NAMES)
        return {field: getattr(module.config, field) for field in fields}
    return None


def make_encoder(
    values: dict[str, Any], implementation: str, precision: str
) -> nn.Module:
    """Make the encoder that `settings` described; it has no weights of its own.

    Args:
        values: from `settings`.
        implementation: "own" or "transformers", as `config.text.implementation`.
        precision: see `text.computing`.

    Raises:
        UserError: a field is missing, or not one of a BERT that can be computed.
    """
    try:
        known = _checked(values)
        if implementation == "own":
            made: nn.Module = bert.OwnBertEncoder(bert.shape_of(known))
        else:
            require_flax_bert()
            from transformers import BertConfig
            from transformers.models.bert.modeling_flax_bert import ACT2FN

            if known["hidden_act"] not in ACT2FN:
                raise ValueError(f"hidden_act {known['hidden_act']!r} is not known")
            made = BertEncoder(BertConfig(**known))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"the text encoder's settings are not those of a BERT "
            f"({type(error).__name__}: {error})"
        ) from error
    return computing(Encoder(made, None, None, 0, 0, ""), precision).module


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """Return the known fields; the file that held them may come from anyone."""
    for field, kinds, wanted in (
        *((field, (int,), "a whole number above 0") for field in SIZES),
        *((field, (int, float), "a number from 0") for field in NUMBERS),
        *((field, (str,), "a name") for field in NAMES),
    ):
        value = values[field]
        fits = type(value) in kinds and (str in kinds or 0 <= value < math.inf)
        if not fits or (field in SIZES and value < 1):
            raise ValueError(f"{field} must be {wanted}, not {value!r}")
    if values["hidden_size"] % values["num_attention_heads"]:
        raise ValueError(
            f"hidden_size {values['hidden_size']} is no multiple of "
            f"num_attention_heads {values['num_attention_heads']}"
        )
    return {field: values[field] for field in (*SIZES, *NUMBERS, *NAMES)}
