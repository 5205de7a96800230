"""UCRN (Guo et al., EMNLP 2021): each modality refined alone, then all together.

Sequences are projected, refined by self-attention, collapsed to one vector each
(x^U), weighted by a gate (x^S), concatenated, refined again and scored. A network for
fewer modalities is built without the others' parts, not masked.
"""

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from msa_jax import divergence, losses, tasks
from msa_jax.layers.dense import ResidualHead, TwoLayerHead, uniform
from msa_jax.layers.quality import ReluGate, SqueezeGate
from msa_jax.layers.refinement import Block, RefinementStack, StepMix, last_step
from msa_jax.layers.spt import Readings
from msa_jax.methods import groups
from msa_jax.methods.torch_names import Leaf, Names, rows, turned
from msa_jax.types import MODALITIES, Batch, Method, Outputs, Task


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
    modalities: tuple[str, ...] = MODALITIES
    outputs: int = 1
    width: int = 24
    unimodal_layers: int = 5
    crossmodal_layers: int = 5
    heads: int = 3
    block: Block = "paper"
    causal: bool = False
    scale: bool = False
    collapse: Literal["last", "mix"] = "last"
    respect_lengths: bool = True
    gate: Literal["relu", "squeeze"] = "relu"
    gate_layers: int = 1
    gate_reduction: int = 16
    head: Literal["two_layer", "residual"] = "two_layer"
    absent_maps: bool = False
    text_dropout: float = 0.25
    attention_dropout: float = 0.1
    audio_attention_dropout: float = 0.0
    vision_attention_dropout: float = 0.0
    relu_dropout: float = 0.1
    residual_dropout: float = 0.1
    embed_dropout: float = 0.25
    output_dropout: float = 0.5

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


def loss(
    outputs: Outputs,
    batch: Batch,
    labels: tuple[()],
    *,
    task: Task,
    reading: Literal["paper", "code"] = "paper",
    divergence_weight: float | Array = 1.0,
    task_weight: float | Array = 1.0,
) -> tuple[Array, dict[str, Array]]:
    """Return the weighted sum of the task's loss and the divergence of modalities.

    Parts, before they are weighted: "loss_task" and, where its weight is not 0 and
    there are two modalities to compare, "loss_divergence".

    Source: UCRN, Eq. 9 and 11 (both weights 1).
    """
    del labels
    answer = losses.masked_mean(task.error(task.read(outputs), batch), batch.valid)
    total, parts = task_weight * answer, {"loss_task": answer}
    features = {m: outputs.feature[m] for m in MODALITIES if m in outputs.feature}
    if losses.counts(divergence_weight) and len(features) > 1:
        apart = divergence.multimodal(features, batch.valid, reading)
        parts["loss_divergence"] = losses.masked_mean(apart, batch.valid)
        total = total + divergence_weight * parts["loss_divergence"]
    return total, parts


def make(config: Any, text_encoder: nn.Module) -> Method:
    """Assemble the method.

    Args:
        config: the run's configuration, see `config.ucrn`.
        text_encoder: module from `text.load_encoder`.
    """
    task = tasks.make(config.task)
    network = Ucrn(text_encoder, outputs=task.outputs, **{**config.model})
    return assemble(
        network,
        task,
        partial(
            loss,
            task=task,
            reading=config.loss.divergence,
            divergence_weight=config.loss.divergence_weight,
            task_weight=config.loss.task_weight,
        ),
    )


def assemble(network: Ucrn, task: Task, loss: Callable[..., Any]) -> Method:
    """Put a network, a task and a loss together."""
    return Method(
        task=task,
        model=network,
        loss=loss,
        init_labels=lambda split, key: (),
        update_labels=lambda labels, outputs, batch, epoch: labels,
        groups=group,
        label_values=lambda labels: {},
    )
