"""UCRN (Guo et al., EMNLP 2021): each modality refined alone, then all together.

Sequences are projected, refined by self-attention, collapsed to one vector each
(x^U), weighted by a gate (x^S), concatenated, refined again and scored. A network for
fewer modalities is built without the others' parts, not masked.
"""

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from msa_jax.config import checks
from msa_jax.config.fields import (
    GIVEN,
    Bound,
    Count,
    Modalities,
    Share,
    Size,
    Traced,
)
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch, Method, Outputs, Task
from msa_jax.layers.dense import ResidualHead, TwoLayerHead, uniform
from msa_jax.layers.quality import ReluGate, SqueezeGate
from msa_jax.layers.refinement import Block, RefinementStack, StepMix, last_step
from msa_jax.layers.spt import Readings
from msa_jax.methods import groups, losses, tasks
from msa_jax.methods.divergence import multimodal
from msa_jax.methods.paper import BERT, Paper
from msa_jax.methods.torch_names import Leaf, Names, rows, turned


class Ucrn(nn.Module):
    """The network; its defaults are the paper's reading, `CODE` is the public code's.

    text_encoder: what turns `Batch.text` into features.
    modalities: which are read, in any order.
    outputs: scores of a sample: 1, or logits of so many classes or labels.
    width: of every modality after its projection; a multiple of `heads`.
    unimodal_layers, crossmodal_layers, gate_layers: depth of each part; 0: without it.
    block, causal, scale: see `RefinementStack`.
    collapse: "last" valid step, or "mix": learned weights of the steps.
    respect_lengths: padding is neither attended to nor mixed in, the last step is the
        last valid one. False: padded steps are steps (zeros before the projection).
    absent_maps: also create the projections of the modalities that are not read; runs
        hand those over as one zero, whatever the data have.
    text_dropout: of text features before the projection.
    attention_dropout: of text's and the crossmodal stack; audio's and vision's follow.

    Source: UCRN, section 3; Redaimao/UCRN@21a6783 (its model).
    Differs: docs/fidelity.md.
    """

    text_encoder: nn.Module
    modalities: Annotated[Modalities, "others' parts are not built"] = MODALITIES
    outputs: Annotated[int, GIVEN] = 1
    width: Annotated[Size, "of a modality; a multiple of heads"] = 24
    unimodal_layers: Annotated[Count, "0: without (Table 6)"] = 5
    crossmodal_layers: Annotated[Count, "0: without"] = 5
    heads: Size = 3
    block: Annotated[Block, "MulT's layer, or residual per head"] = "paper"
    causal: bool = False
    scale: Annotated[bool, "inputs times the root of the width"] = False
    collapse: Annotated[Literal["last", "mix"], "last valid step, or a learned mix"] = (
        "last"
    )
    respect_lengths: bool = True
    gate: Literal["relu", "squeeze"] = "relu"
    gate_layers: Annotated[Count, "0: without"] = 1
    gate_reduction: Annotated[Size, "of the squeezing gate"] = 16
    head: Literal["two_layer", "residual"] = "two_layer"
    absent_maps: Annotated[bool, "idle parameters, as the code counts them"] = False
    text_dropout: Share = 0.25
    attention_dropout: Annotated[Share, "of text and of the joint stack"] = 0.1
    audio_attention_dropout: Share = 0.0
    vision_attention_dropout: Share = 0.0
    relu_dropout: Share = 0.1
    residual_dropout: Share = 0.1
    embed_dropout: Share = 0.25
    output_dropout: Share = 0.5

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Return the scores, and the features: each modality's x^U, and "fusion".

        Raises:
            ValueError: no modality, or one that is not known.
        """
        read = [m for m in MODALITIES if m in self.modalities]
        if not read or len(read) < len(self.modalities):
            raise ValueError(f"modalities {self.modalities}: some of {MODALITIES}")
        feature, gated = {}, []
        for m in MODALITIES:
            if m in read:
                feature[m] = self._refined(m, batch, train)
                gated.append(self._weighted(m, feature[m]))
            elif self.absent_maps and getattr(batch, m).dtype.kind == "f":
                self._maps(m, getattr(batch, m))
        fusion = jnp.concatenate(gated, axis=1)
        alone = jnp.ones(fusion.shape[:1], jnp.int32)
        fusion = self._stack("crossmodal", fusion.T[:, None], alone, train)[:, 0].T
        head = ResidualHead if self.head == "residual" else TwoLayerHead
        scores = head(self.outputs, self.output_dropout, name="head")(
            fusion, train=train
        )
        return Outputs(scores.T, feature | {"fusion": fusion})

    def _refined(self, m: str, batch: Batch, train: bool) -> Float[Array, "b c"]:
        """Return x^U of a modality."""
        x, length = getattr(batch, m), getattr(batch, f"{m}_length")
        if m == "text":
            x = self.text_encoder(x, train=train)
            x = nn.Dropout(self.text_dropout, deterministic=not train)(x)
        if not self.respect_lengths:
            length = jnp.full_like(length, x.shape[1])
        kernel, mix = self._maps(m, x)
        # Padding of BERT's output is not 0; where it counts, it is what it is.
        x = self._stack(m, jnp.einsum("btd,dc->ctb", x, kernel), length, train)
        return last_step(x, length) if mix is None else mix(x, length)

    def _maps(self, m: str, x: Array) -> tuple[Float[Array, "d c"], StepMix | None]:
        """Create a modality's projection and mix of steps."""
        start = uniform(x.shape[2] ** -0.5)
        kernel = self.param(f"{m}_kernel", start, (x.shape[2], self.width))
        if self.collapse == "last":
            return kernel, None
        mix = StepMix(name=f"{m}_mix")
        if m not in self.modalities:
            mix(jnp.zeros((1, x.shape[1], 1), x.dtype), jnp.ones(1, jnp.int32))
        return kernel, mix

    def _stack(
        self, name: str, x: Float[Array, "c t b"], length: Int[Array, " b"], train: bool
    ) -> Float[Array, "c t b"]:
        """Apply the stack of a modality, or "crossmodal"."""
        unimodal = name in MODALITIES
        layers = self.unimodal_layers if unimodal else self.crossmodal_layers
        if layers == 0:
            return x
        own = getattr(self, f"{name}_attention_dropout", self.attention_dropout)
        readings = Readings(
            embed=x.shape[0],
            heads=self.heads,
            rounds=layers,
            attention_dropout=own,
            relu_dropout=self.relu_dropout,
            residual_dropout=self.residual_dropout,
            embed_dropout=self.embed_dropout,
        )
        stack = RefinementStack(
            readings, self.block, self.causal, self.scale, name=f"{name}_stack"
        )
        return stack(x, length, train=train)

    def _weighted(self, m: str, x: Float[Array, "b c"]) -> Float[Array, "b c"]:
        """Return x^S of a modality."""
        for layer in range(1, self.gate_layers + 1):
            name = f"{m}_gate_{layer}"
            if self.gate == "relu":
                gate = ReluGate(name=name)
            else:
                gate = SqueezeGate(self.gate_reduction, name=name)
            x = x * gate(x)
        return x


# What differs from the defaults in the public code (Redaimao/UCRN@21a6783).
CODE = MappingProxyType(
    {
        "width": 30,
        "block": "code",
        "causal": True,
        "scale": True,
        "collapse": "mix",
        "respect_lengths": False,
        "gate": "squeeze",
        "head": "residual",
        "absent_maps": True,
    }
)


_LETTERS = {"text": "l", "audio": "a", "vision": "v"}
# Source: parameter names of Redaimao/UCRN@21a6783. A modality's map there is a
#     convolution over one step, the mix of steps one over features.
TORCH = Names(
    {
        "crossmodal_stack/": "cross_modal_fusion.",
        "head/layer_1/linear/": "proj1.",
        "head/layer_2/linear/": "proj2.",
        "head/score/linear/": "out_layer.",
        **{f"{m}_stack/": f"{k}_refine." for m, k in _LETTERS.items()},
        **{f"{m}_gate_1/": f"{k}_quality." for m, k in _LETTERS.items()},
        **{f"{m}_kernel": f"proj_{k}.map" for m, k in _LETTERS.items()},
        **{f"{m}_mix/kernel": f"temp_proj_{k}.mix" for m, k in _LETTERS.items()},
        "layers/": "layers.{}.",
        "final/norm_": "layer_norm.",
        "norm_": "layer_norms.0.",
        "forward_norm_": "layer_norms.1.",
        "output_": "self_attn.out_proj.",
        "rise_": "fc1.",
        "fall_": "fc2.",
    },
    {
        "map": Leaf("weight", lambda x: x.T[:, :, None], lambda x: (x[:, :, 0].T,)),
        "mix": Leaf("weight", lambda x: x[None, :, None], lambda x: (x[0, :, 0],)),
        "squeeze_kernel": turned("fc.0.weight"),
        "excite_kernel": turned("fc.2.weight"),
        ("query_kernel", "key_kernel", "value_kernel"): rows(
            "self_attn.in_proj_weight", 3
        ),
        ("query_bias", "key_bias", "value_bias"): rows("self_attn.in_proj_bias", 3),
    },
)


def group(path: str) -> str:
    """Name the optimiser group of a parameter path."""
    return groups.shared(path) or "other"


Weight = Annotated[float | Array, Bound(0)]


def loss(
    outputs: Outputs,
    batch: Batch,
    labels: tuple[()],
    *,
    task: Task,
    divergence: Annotated[Literal["paper", "code"], "its formula"] = "paper",
    divergence_weight: Annotated[
        Weight, Traced(zero_is_constant=True), "lambda_m; 0: without"
    ] = 1.0,
    task_weight: Annotated[Weight, Traced(), "lambda_c"] = 1.0,
) -> tuple[Array, dict[str, Array]]:
    """Return the weighted sum of the task's loss and the divergence of modalities.

    Parts, before they are weighted: "loss_task" and, where its weight is not 0 and
    there are two modalities to compare, "loss_divergence".

    Source: UCRN, Eq. 9 and 11 (both weights 1).
    """
    answer, parts = tasks.loss(outputs, batch, labels, task=task)
    total = task_weight * answer
    features = {m: outputs.feature[m] for m in MODALITIES if m in outputs.feature}
    if losses.counts(divergence_weight) and len(features) > 1:
        apart = multimodal(features, batch.valid, divergence)
        parts["loss_divergence"] = losses.masked_mean(apart, batch.valid)
        total = total + divergence_weight * parts["loss_divergence"]
    return total, parts


def make(
    settings: Any, text_encoder: nn.Module, label_range: tuple[float, float]
) -> Method:
    """Assemble the method; see `Paper.make`."""
    del label_range
    task = tasks.make(settings.task)
    network = Ucrn(text_encoder, outputs=task.outputs, **{**settings.model})
    return assemble(network, task, partial(loss, task=task, **{**settings.loss}))


def assemble(network: Ucrn, task: Task, loss: Callable[..., Any]) -> Method:
    """Put a network, a task and a loss together."""
    return Method(task, network, loss, group)


def reads_padding(settings: Any) -> str:
    """Return the setting that makes it read a text's padding, or ""."""
    read = not settings.model.respect_lengths
    return "model.respect_lengths = False" if read else ""


_MOSEI = {"optim.batch_size": 32, "optim.groups.other.rate": 2e-3}
_MOSEI_CODE = {"optim.groups.other.rate": 1e-3}

# Source: UCRN, section 4 (batch 16 and rate 1e-3 on MOSI, 10 runs); what the paper
#     leaves open is the public code's (Redaimao/UCRN@21a6783: clipping, plateau
#     schedule, 40 epochs, dropouts).
# Differs: the code keeps the epoch that is best on *test*; here validation chooses.
PAPER = Paper(
    name="ucrn",
    title="UCRN",
    cite="Guo et al., EMNLP 2021",
    make=make,
    sections={"model": Ucrn, "loss": loss},
    rates=BERT | {"other": (1e-3, 0.0)},
    common={
        "seeds": tuple(range(1111, 1121)),
        "text.encoder": "features",  # GloVe vectors; bert works, too
        "optim.batch_size": 16,
        "optim.clip_norm": 0.8,
        "optim.schedule": "plateau",  # patience 20, factor .1
        "selection.max_epochs": 40,
        "selection.early_stop": 40,  # none there
        "selection.min_delta": 0.0,
        "selection.valid_mean": "samples",
    },
    data={
        "mosi": {},
        "mosei": _MOSEI,
        "mosei+code": _MOSEI_CODE,
        "mosei_emotion": _MOSEI | {"task": "emotion"},
        "mosei_emotion+code": _MOSEI_CODE,
        "mosei_tbje": _MOSEI | {"task": "emotion"},
        "mosei_tbje+code": _MOSEI_CODE,
        "mosi_real": {
            "data.standardise": "train",
            "text.encoder": "bert",
            "text.finetune": False,
            "text.max_tokens": 40,
        },
    },
    variants={
        "paper": {},  # as without a word
        "code": {f"model.{name}": value for name, value in CODE.items()}
        | {"loss.divergence": "code", "optim.batch_size": 32},
        # Tables 6 and 7.
        "no_urm": {"model.unimodal_layers": 0},
        "no_crm": {"model.crossmodal_layers": 0},
        "no_sqil": {"model.gate_layers": 0},
        "no_mjs": {"loss.divergence_weight": 0.0},
        "t": {"model.modalities": ("text",)},
        "a": {"model.modalities": ("audio",)},
        "v": {"model.modalities": ("vision",)},
        "ta": {"model.modalities": ("text", "audio")},
        "tv": {"model.modalities": ("text", "vision")},
        "av": {"model.modalities": ("audio", "vision")},
    },
    tasks=tasks.EVERY,
    reads_padding=reads_padding,
    check=lambda settings: checks.divisible(settings, "model.width", "model.heads"),
    torch=TORCH,
)
