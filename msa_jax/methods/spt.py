"""The standalone SP-Transformer (Cheng et al., EMNLP 2021): one task, one score.

Three sequences, text as word vectors, are encoded by the sparse phased transformer;
their final states are concatenated and scored. No unimodal tasks, no label tables.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from msa_jax.config import checks
from msa_jax.config.fields import Share
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch, Method, Outputs
from msa_jax.layers import spt
from msa_jax.layers.dense import Linear
from msa_jax.methods import groups, losses, tasks
from msa_jax.methods.paper import BERT, Paper
from msa_jax.methods.torch_names import Leaf, Names, rows


class Spt(nn.Module):
    """The network: a text encoder (or none), SPT, a residual block, a score.

    Source: SP-Transformer's code, its model for sentiment.
    """

    text_encoder: nn.Module
    readings: spt.Readings
    output_dropout: Share = 0.1

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return one row of scores and no features."""
        sequences = {
            "text": self.text_encoder(batch.text, train=train),
            "audio": batch.audio,
            "vision": batch.vision,
        }
        encoder = spt.SparsePhasedTransformer(self.readings, name="spt")
        states = encoder(sequences, batch.lengths(), train=train)
        # Order of the concatenation: the public code's (text, audio, vision).
        state = jnp.concatenate([states[m] for m in MODALITIES], axis=-1)
        width = state.shape[-1]
        hidden = nn.relu(Linear(width, name="layer_1")(state))
        hidden = nn.Dropout(self.output_dropout, deterministic=not train)(hidden)
        state = state + Linear(width, name="layer_2")(hidden)
        return Outputs(Linear(1, name="score")(state).T, {})


LETTERS = {"text": "t", "audio": "a", "vision": "v", "fusion": "f"}  # SPT's, SUGRM's


def _stacked(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Put one attention's matrices under each other; see `_apart`."""
    if key.shape == query.shape:
        return np.concatenate([query.T, key.T, value.T])
    both = np.stack([key, value], axis=1)
    return np.concatenate([query.T, both.reshape(-1, key.shape[1])])


def _apart(stacked: np.ndarray) -> tuple[np.ndarray, ...]:
    """Take them apart.

    With a context as wide as the states, its rows are query, key and value; otherwise
    key and value alternate behind the query's rows, as columns.
    """
    embed = stacked.shape[1]
    query, rest = stacked[:embed].T, stacked[embed:]
    if len(rest) == 2 * embed:
        return query, rest[:embed].T, rest[embed:].T
    return query, rest[::2], rest[1::2]


# Source: parameter names of SP-Transformer's code; its start has audio's row first.
TORCH = Names(
    {
        "spt/": "spe.",
        "layer_1/linear/": "proj1.",
        "layer_2/linear/": "proj2.",
        "score/linear/": "out_layer.",
        r"(input|cross|self)_(\w+)_forward/": r"\1layer.ffn_\2/",
        r"(input|cross|self)_(\w+)/": r"\1layer.mha_\2/",
        "inputlayer": "hiddenlayer",
        **{
            rf"(mha|ffn)_{a}_{b}/": rf"\1_{LETTERS[a]}{LETTERS[b]}."
            for a, b in spt.PAIRS
        },
        **{rf"(mha|ffn)_{m}/": rf"\1_{LETTERS[m]}." for m in MODALITIES},
        "final/": "",
        "norm_": "layer_norm.",
        "query_norm_": "layer_norm.",
        "context_norm_": "layer_norm_kv.",
        "output_": "attn.out_proj.",
        "rise_": "fc1.",
        "fall_": "fc2.",
    },
    {
        "start": Leaf(
            "init_hiddens", lambda x: x[[1, 0, 2]], lambda x: (x[[1, 0, 2]],)
        ),
        ("query_kernel", "key_kernel", "value_kernel"): Leaf(
            "attn.in_proj_weight", _stacked, _apart
        ),
        ("query_bias", "key_bias", "value_bias"): rows("attn.in_proj_bias", 3),
    },
)


def group(path: str) -> str:
    """Name the optimiser group of a parameter path."""
    if name := groups.shared(path):
        return name
    return "other"


def make(
    settings: Any, text_encoder: nn.Module, label_range: tuple[float, float]
) -> Method:
    """Assemble the method; see `Paper.make`."""
    del label_range
    return Method(
        task=tasks.SENTIMENT,
        model=Spt(text_encoder, spt.Readings(**settings.spt), **{**settings.model}),
        loss=partial(losses.fusion, **{**settings.loss}),
        groups=group,
    )


def reads_padding(settings: Any) -> str:
    """Return the setting that makes it read a text's padding, or ""."""
    return "" if settings.spt.respect_lengths else "spt.respect_lengths = False"


# The code reads the last step of files padded in front (MulT's). Data prepared here are
# padded at the back: there only true lengths let it see the contents.
_LENGTHS = {"spt.respect_lengths": True}

# Source: SP-Transformer's code (Cheng et al., EMNLP 2021), its command's defaults. The
#     command's attention dropout of .2 is declared and never applied.
PAPER = Paper(
    name="spt",
    title="SPT",
    cite="Cheng et al., EMNLP 2021",
    make=make,
    sections={"model": Spt, "spt": spt.Readings, "loss": losses.fusion},
    rates=BERT | {"spt": (5e-4, 0.0), "other": (5e-4, 0.0)},
    common={
        "seeds": (777,),
        "text.encoder": "features",  # GloVe vectors, 300 wide; bert works, too
        "spt.relu_dropout": 0.1,
        "spt.residual_dropout": 0.1,
        "optim.batch_size": 250,
        "optim.clip_norm": 1.0,
        "optim.schedule": "plateau",  # patience 20, factor .1
        "selection.max_epochs": 50,
        "selection.early_stop": 50,  # none there
        "selection.min_delta": 0.0,
        "selection.valid_mean": "samples",
    },
    data={
        "mosi": _LENGTHS,
        "mosei": _LENGTHS,
        "mosi_real": _LENGTHS
        | {
            "data.standardise": "train",
            "text.encoder": "bert",
            "text.finetune": False,
            "text.max_tokens": 40,
            "optim.batch_size": 64,
        },
    },
    reads_padding=reads_padding,
    check=lambda settings: checks.divisible(settings, "spt.embed", "spt.heads"),
    torch=TORCH,
)
