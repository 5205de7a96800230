"""BERT in PyTorch, as fast as we know how to write it without unpadding.

Parameters have the names of Hugging Face's BertModel, without its pooler. Attention is
`scaled_dot_product_attention`, PyTorch's own fast path.
"""

from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from benchmarks.torch_sides.formulation import Formulation, adam, nothing, state
from msa_jax.ground.types import PyTree
from msa_jax.text.bert import Shape


class Bert(nn.Module):
    """Embeddings and layers; exact gelu."""

    def __init__(self, shape: Shape):
        """Build with random weights."""
        super().__init__()
        width, eps = shape.hidden_size, shape.layer_norm_eps
        self.embeddings = nn.Module()
        self.embeddings.word_embeddings = nn.Embedding(shape.vocab_size, width)
        self.embeddings.position_embeddings = nn.Embedding(
            shape.max_position_embeddings, width
        )
        self.embeddings.token_type_embeddings = nn.Embedding(
            shape.type_vocab_size, width
        )
        self.embeddings.LayerNorm = nn.LayerNorm(width, eps)
        self.encoder = nn.Module()
        layers = [_Layer(shape) for _ in range(shape.num_hidden_layers)]
        self.encoder.layer = nn.ModuleList(layers)
        self.rate = shape.hidden_dropout_prob

    def forward(self, tokens):
        """Return the last hidden states [b, t, h] of tokens [b, 3, t]."""
        ids, mask, segments = tokens[:, 0], tokens[:, 1], tokens[:, 2]
        e: Any = self.embeddings
        x = e.word_embeddings(ids) + e.token_type_embeddings(segments)
        x = x + e.position_embeddings(torch.arange(ids.shape[1]))[None]
        x = functional.dropout(e.LayerNorm(x), self.rate, self.training)
        visible = (mask > 0)[:, None, None]
        for layer in self.encoder.layer:  # pyright: ignore[reportGeneralTypeIssues]
            x = layer(x, visible)
        return x


class _Layer(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        width, wide = shape.hidden_size, shape.intermediate_size
        norm = (width, shape.layer_norm_eps)
        own = nn.Module()
        own.query, own.key, own.value = (nn.Linear(width, width) for _ in range(3))
        self.attention = nn.Module()
        self.attention.add_module("self", own)
        self.attention.output = _mapped(width, width, norm)
        self.intermediate = nn.Module()
        self.intermediate.dense = nn.Linear(width, wide)
        self.output = _mapped(wide, width, norm)
        self.heads = shape.num_attention_heads
        self.rates = shape.attention_probs_dropout_prob, shape.hidden_dropout_prob

    def forward(self, x, visible):
        own: Any = self.attention.get_submodule("self")
        on_weights, on_hidden = (r if self.training else 0.0 for r in self.rates)
        b, t, width = x.shape

        def heads(linear):
            return linear(x).view(b, t, self.heads, -1).transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(
            heads(own.query), heads(own.key), heads(own.value), visible, on_weights
        )
        mixed = mixed.transpose(1, 2).reshape(b, t, width)
        x = _residual(self.attention.output, mixed, x, on_hidden)
        wide = functional.gelu(self.intermediate.dense(x))  # pyright: ignore
        return _residual(self.output, wide, x, on_hidden)


def formulation(shape: Shape, params: PyTree, groups: Any) -> Formulation:
    """Return BERT over padded text, with our parameters; it has no loss of its own.

    Args:
        shape: of the encoder.
        params: of the method, its encoder's among them.
        groups: `config.optim.groups`.
    """
    from msa_jax.methods.self_mm import TORCH
    from msa_jax.methods.torch_names import to_torch

    prefix = "text_model.model."
    weights = state(to_torch(TORCH, {"text_encoder": params["text_encoder"]}))
    network = Bert(shape)
    network.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items()})
    parts: dict[str, list] = {"bert": [], "bert_no_decay": []}
    for name, parameter in network.named_parameters():
        spared = "bias" in name or "LayerNorm" in name
        parts["bert_no_decay" if spared else "bert"].append(parameter)
    made = [adam(part, groups[name]) for name, part in parts.items()]
    return Formulation(network, made, lambda x: (None, nothing))


def _mapped(inputs: int, width: int, norm: tuple[int, float]) -> Any:
    made = nn.Module()
    made.dense, made.LayerNorm = nn.Linear(inputs, width), nn.LayerNorm(*norm)
    return made


def _residual(mapped: Any, branch, x, rate: float):
    return mapped.LayerNorm(functional.dropout(mapped.dense(branch), rate) + x)
