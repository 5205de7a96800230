"""Graph-MFN (Zadeh et al., ACL 2018): MFN with a graph of modalities for attention.

At every step each modality is a vertex, so is each pair and all three; edges are
weighed anew by the modalities themselves. What the graph says goes into a gated memory.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import PRNGKeyArray

from msa_jax.config.fields import GIVEN, Share, Size
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch, Outputs
from msa_jax.layers.dense import Linear, TwoLayerHead, product, uniform
from msa_jax.layers.gated_memory import (
    GatedMemory,
    Steps,
    before,
    last_states,
    lstms,
    small,
)
from msa_jax.layers.resample import Align, side_by_side
from msa_jax.methods import groups, losses, tasks
from msa_jax.methods.mfn import COMMON, REAL, SANE, column, named
from msa_jax.methods.mmsa_fields import MEMORY, SEQUENCES, Mmsa, nets, to
from msa_jax.methods.paper import BERT, Paper, regression
from msa_jax.methods.torch_names import LSTM_CELL, TEXT, Names

# What each vertex reads, in the order in which the edges are numbered.
EDGES: Mapping[str, tuple[str, ...]] = {
    "text_audio": ("text", "audio"),
    "text_vision": ("text", "vision"),
    "audio_vision": ("audio", "vision"),
    "all": (*MODALITIES, "text_audio", "text_vision", "audio_vision"),
    "tau": (*MODALITIES, "text_audio", "text_vision", "audio_vision", "all"),
}
COUNT = sum(map(len, EDGES.values()))


class FusionGraph(nn.Module):
    """The dynamic fusion graph, of all steps at once.

    Every vertex is two linear maps, of which the second ones all start as the same
    numbers. Where intermediates are kept: "steps_efficacies" and every vertex.

    Source: MMSA a94e65d and CMU-MultimodalSDK fd18d71, DynamicFusionGraph; Graph-MFN,
        section 4.1.
    """

    width: int
    hidden: int
    efficacy: Literal["linear", "sigmoid"]

    @nn.compact
    def __call__(self, vertices: Mapping[str, Steps]) -> Steps:
        """Return the last vertex [t, b, width] of those of text, audio and vision."""
        every, first = dict(vertices), 0
        e = jnp.concatenate([every[m] for m in MODALITIES], axis=-1)
        for layer, width in enumerate((self.hidden, self.width, COUNT), start=1):
            e = Linear(width, name=f"efficacy_{layer}")(e)
        e = nn.sigmoid(e) if self.efficacy == "sigmoid" else e
        self.sow("intermediates", "steps_efficacies", e)
        # Flax asks for the shape of what is drawn also where nothing is.
        key = self.make_rng("params") if self.is_initializing() else jax.random.key(0)
        for name, sources in EDGES.items():
            read = [
                every[source] * e[:, :, first + i, None]
                for i, source in enumerate(sources)
            ]
            first += len(sources)
            x = Linear(self.hidden, name=f"{name}_1")(jnp.concatenate(read, axis=-1))
            x = _Copied(self.width, name=f"{name}_2")(x, key)
            said = name if name == "tau" else f"node_{name}"
            self.sow("intermediates", f"steps_{said}", x)
            every[name] = x
        return every[name]


class _Copied(nn.Module):
    """A linear map that starts as every other one with this key."""

    width: int

    @nn.compact
    def __call__(self, x: Steps, key: PRNGKeyArray) -> Steps:
        start = uniform(x.shape[-1] ** -0.5)

        def of(number):
            return lambda _, shape: start(jax.random.fold_in(key, number), shape)

        kernel = self.param("kernel", of(0), (x.shape[-1], self.width))
        bias = self.param("bias", of(1), (self.width,))
        return product(x, kernel) + bias[None, None]


class GraphMfn(nn.Module):
    """The network, as MMSA has it.

    Source: MMSA a94e65d, its model Graph_MFN (the authors published the graph alone);
        Graph-MFN, section 4.
    """

    text_encoder: nn.Module
    outputs: Annotated[int, GIVEN] = 1
    text_hidden: Annotated[Size, "of the text's LSTM"] = 256
    audio_hidden: Size = 32
    vision_hidden: Size = 256
    memory: Annotated[Size, "width"] = 300
    node_width: Annotated[Size, "of a vertex of several modalities"] = 64
    node_hidden: Annotated[Size, "between its two maps"] = 100
    candidate_hidden: Annotated[Size, "of what is written"] = 32
    candidate_dropout: Share = 0.0
    retain_hidden: Annotated[Size, "of the gate that keeps"] = 128
    retain_dropout: Share = 0.5
    update_hidden: Annotated[Size, "of the gate that writes"] = 64
    update_dropout: Share = 0.5
    head_hidden: Size = 256
    head_dropout: Share = 0.0
    graph_nodes: Annotated[
        Literal["frozen", "trained"], "vertices of several; both codes: never trained"
    ] = "frozen"
    efficacy: Annotated[
        Literal["linear", "sigmoid"], "how strong an edge may be; paper: sigmoid"
    ] = "linear"
    singleton_input: Annotated[
        Literal["h", "c"], "a modality's vertex reads states or (paper) cells"
    ] = "h"
    align: Annotated[Align, "which steps make one for each of the text's"] = (
        "block_mean"
    )
    text_state: Annotated[
        Literal["padded_end", "last_valid"], "which states and memory are scored"
    ] = "padded_end"

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return a row for each output, and what is scored as feature "fusion"."""
        text = self.text_encoder(batch.text, train=train)
        x = side_by_side(self, batch, text, self.align)
        length = batch.text_length if self.text_state == "last_valid" else None
        states = lstms(x, {m: getattr(self, f"{m}_hidden") for m in MODALITIES}, length)
        vertices = {}
        for m, state in states.items():
            now = state.hidden if self.singleton_input == "h" else state.cell
            both = jnp.concatenate([before(now), now], axis=-1)
            pre = Linear(now.shape[-1], name=f"{m}_transform")(both)
            self.sow("intermediates", f"steps_singleton_pre_{m}", pre)
            vertices[m] = nn.relu(pre)
        graph = FusionGraph(
            self.node_width, self.node_hidden, self.efficacy, name="graph"
        )
        gates = small(self, "candidate", "retain", "update")
        memory = GatedMemory(self.memory, *gates, name="memory")
        kept = memory(graph(vertices), length, train=train)
        fusion = last_states(self, states, kept)
        head = TwoLayerHead(
            self.outputs, self.head_dropout, self.head_hidden, name="head"
        )
        return Outputs(head(fusion, train=train).T, {"fusion": fusion})

    def group(self, path: str) -> str:
        """Name the optimiser group of a parameter path.

        Source: MMSA and the authors keep the vertices of several modalities in a plain
            dictionary, which no optimiser and no state dict sees.
        """
        node = path.startswith("graph/") and not path.startswith(
            ("graph/efficacy", "graph/tau")
        )
        if node and self.graph_nodes == "frozen":
            return "frozen"
        return groups.shared(path) or "other"


# Source: parameter names of MMSA a94e65d; the vertices' are those of the reference
#     arrays, because they are in no state dict there.
_NODES = {"text_audio": "0_1", "text_vision": "0_2", "audio_vision": "1_2"}
_NODES = {
    **{n: f"unregistered.networks.{i}" for n, i in (_NODES | {"all": "0_1_2"}).items()},
    "tau": "graph_mfn.t_network",
}
TORCH = Names(
    {
        **TEXT,
        **named(""),
        "head/": "out_",
        **{f"{m}_transform/(linear/)?": f"{m[0]}_transform." for m in MODALITIES[1:]},
        "text_transform/(linear/)?": "l_transform.",
        **{
            f"graph/efficacy_{k}/(linear/)?": f"graph_mfn.efficacy_model.{name}."
            for k, name in ((1, "0"), (2, "1.0"), (3, "2"))
        },
        **{f"graph/{n}_1/(linear/)?": f"{name}.0." for n, name in _NODES.items()},
        **{f"graph/{n}_2/": f"{name}.1.0." for n, name in _NODES.items()},
    },
    LSTM_CELL,
)


def _column(
    hidden: tuple[int, int, int],
    memory: int,
    node: int,
    optim: tuple[int, float, float],
    *nets: tuple[int, float],
) -> dict[str, Any]:
    names = "candidate", "retain", "update", "head"
    values = column(hidden, memory, optim, **dict(zip(names, nets, strict=True)))
    return values | {"model.node_width": node}


# Padding is not read, and the whole graph learns.
_SANE = SANE | {"model.graph_nodes": "trained"}
_MOSI = _column(
    *((256, 32, 256), 300, 64, (32, 2e-3, 0.005)),
    *((32, 0.0), (128, 0.5), (64, 0.5), (256, 0.0)),
)
_MOSEI = _column(
    *((64, 16, 64), 300, 128, (64, 2e-3, 0.001)),
    *((32, 0.5), (64, 0.0), (256, 0.7), (128, 0.7)),
)

# Source: MMSA a94e65d, its configuration; v1: that of January 2021, to which its
#     results table belongs (SIMS: the same).
PAPER = Paper(
    name="graph_mfn",
    title="Graph-MFN",
    cite="Zadeh et al., ACL 2018",
    make=regression(GraphMfn, GraphMfn.group),
    sections={"model": GraphMfn, "loss": losses.fusion},
    rates=BERT | {"other": (2e-3, 0.005)},
    common=COMMON,
    data={
        "mosi": _MOSI,
        "mosi+v1": _column(
            *((64, 32, 64), 128, 32, (32, 1e-3, 0.0)),
            *((128, 0.0), (32, 0.7), (64, 0.7), (32, 0.7)),
        ),
        "mosei": _MOSEI,
        "mosei+v1": _column(
            *((64, 32, 64), 400, 20, (64, 1e-3, 0.0)),
            *((64, 0.7), (32, 0.2), (64, 0.5), (64, 0.5)),
        ),
        "mosei_emotion": _MOSEI | {"task": "emotion"},
        "mosei_tbje": _MOSEI | {"task": "emotion"},
        "sims": _column(
            *((256, 32, 256), 64, 128, (64, 5e-4, 0.001)),
            *((256, 0.5), (32, 0.2), (32, 0.7), (256, 0.2)),
        )
        | {"text.max_tokens": 39},
        "mosi_real": _MOSI | _SANE | REAL,
    },
    variants={
        "v1": {},
        "sane": _SANE,
        "paper": {"model.efficacy": "sigmoid", "model.singleton_input": "c"},
    },
    tasks=tasks.EVERY,
    reads_padding=groups.reads_padded_text,
    torch=TORCH,
    mmsa=Mmsa(
        {
            **SEQUENCES,
            **MEMORY,
            **nets(NNConfig="candidate", outConfig="head"),
            "inner_node_dim": to("model.node_width"),
        }
    ),
    parameters={
        "mosi": 2_110_624,
        "mosi+v1": 369_212,
        "mosei": 675_792,
        "mosei+v1": 459_344,
        "sims": 2_724_860,
    },
)
