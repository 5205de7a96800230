"""The data that flow between the parts of the package.

Axis glossary, used in every jaxtyping annotation of the package:

    b batch        n samples of a split      t time steps      d features in
    h features out  m targets (4, see TARGETS)  c polarity (positive, negative)
    s seeds        e epochs                  k batches per optimiser step
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from msa_jax.ground.names import MODALITIES

PyTree = Any


class Examples(NamedTuple):
    """One split as read from disk: NumPy arrays, padded at the back with zeros.

    Exactly one of `transcript` (raw text, not tokenised yet) and `text` (token ids
    [n, 3, t] int32 = ids, mask, segments; or features [n, t, d] float32) is set.
    A modality that the data set lacks is None, its length too.
    """

    id: np.ndarray  # [n] str
    transcript: np.ndarray | None  # [n] str
    text: np.ndarray | None
    text_length: np.ndarray | None  # [n] int32, valid steps of `text`
    audio: np.ndarray | None  # [n, t, d] float32
    audio_length: np.ndarray | None  # [n] int32, at least 1
    vision: np.ndarray | None  # [n, t, d] float32
    vision_length: np.ndarray | None  # [n] int32, at least 1
    label: np.ndarray  # [n] float32, in the data set's label range
    unimodal_label: np.ndarray | None  # [n, 3] float32: text, audio, vision
    emotion: np.ndarray | None = None  # [n, 6] float32 intensities, at least 0


@struct.dataclass
class Split:
    """One split on the device; what `gather` cuts batches from.

    A modality that the method does not read is one step of one zero.
    """

    text: Int[Array, "n 3 t"] | Float[Array, "n t d"]
    text_length: Int[Array, " n"]
    audio: Float[Array, "n t d"]
    audio_length: Int[Array, " n"]
    vision: Float[Array, "n t d"]
    vision_length: Int[Array, " n"]
    label: Float[Array, " n"]
    unimodal_label: Float[Array, "n 3"]  # text, audio, vision; NaN where not given
    emotion: Float[Array, "n 6"] | None = None  # intensities, where the data have them
    # Samples of each video in order, padded with n; see `batches.video_index`.
    videos: Int[Array, "v u"] | None = None


@struct.dataclass
class Batch:
    """A split's rows at `index`; rows where `valid` is False are padding.

    A padding row has index n (one past the split) and the contents of some real row:
    nothing that depends on it may reach a loss, a label table or a metric.
    """

    text: Int[Array, "b 3 t"] | Float[Array, "b t d"]
    text_length: Int[Array, " b"]
    audio: Float[Array, "b t d"]
    audio_length: Int[Array, " b"]
    vision: Float[Array, "b t d"]
    vision_length: Int[Array, " b"]
    label: Float[Array, " b"]
    index: Int[Array, " b"]
    valid: Bool[Array, " b"]
    emotion: Float[Array, "b 6"] | None = None
    # Rows are videos of so many one after another; 1: the batch knows no videos.
    utterances: int = struct.field(pytree_node=False, default=1)

    def lengths(self) -> dict[str, Int[Array, " b"]]:
        """Return the valid steps of every modality."""
        return {m: getattr(self, f"{m}_length") for m in MODALITIES}


@struct.dataclass
class Outputs:
    """What a model returns: scores of every sample, and features.

    prediction: in label units per target, row 0 (fusion) the answer; or the logits of
        classes or emotions, see `Task`.
    """

    prediction: Float[Array, "m b"]
    feature: dict[str, Float[Array, "b h"]]  # per target; widths differ


@struct.dataclass
class LabelTables:
    """ULGM's label tables of all n training samples.

    value: labels; row 0 (fusion) is the human label and never changes.
    feature: per target, the last feature each sample had; zeros before its first visit.
    center: per target, the mean feature of the positive [0] and negative [1] class.
    empty_classes: how often a centre had no sample to average, so far.
    """

    value: Float[Array, "m n"]
    feature: dict[str, Float[Array, "n h"]]
    center: dict[str, Float[Array, "2 h"]]
    empty_classes: Int[Array, ""]


@struct.dataclass
class DistanceTables:
    """The label tables of SUGRM's ULGM: one common feature space, one set of buffers.

    value: labels; row 0 (fusion) is the human label and never changes.
    feature: the last fusion feature each sample had; zeros before its first visit.
    center: mean fusion feature of the positive [0] and negative [1] class.
    extreme_weight: how often a sample counts for the highest [0], lowest [1] label.
    extreme_label: the highest [0] and lowest [1] label that those samples have.
    empty_classes: how often a centre had no sample to average, so far.
    """

    value: Float[Array, "m n"]
    feature: Float[Array, "n h"]
    center: Float[Array, "2 h"]
    extreme_weight: Float[Array, "2 n"]
    extreme_label: Float[Array, "2"]
    empty_classes: Int[Array, ""]


@struct.dataclass
class HumanTables:
    """Labels that people gave, unimodal ones included; nothing ever changes.

    value: row 0 the multimodal label; NaN where a sample has no unimodal label.
    """

    value: Float[Array, "m n"]


@struct.dataclass
class Selection:
    """The best epoch so far of one seed, and whether the seed still trains."""

    params: PyTree  # parameters after the best epoch
    score: Float[Array, ""]  # validation loss of that epoch, lower is better
    epoch: Int[Array, ""]  # counted from 1; 0 before the first epoch
    active: Bool[Array, ""]  # False once early stopping has ended this seed
    statistics: dict[str, PyTree] = struct.field(default_factory=dict)  # as then


@struct.dataclass
class TrainState:
    """All that changes during training, of one seed or (leading axis s) of many."""

    step: Int[Array, ""]  # batches seen
    epoch: Int[Array, ""]  # epochs finished
    params: PyTree
    opt_state: PyTree  # phase -> state of its optimiser, see `phases`
    labels: PyTree  # label tables or other memories; () for methods without
    selection: Selection
    key: PRNGKeyArray  # the seed's root key; never changes, everything is folded in
    # Config field -> this lane's value, of every traced field; never changes.
    hyper: dict[str, Array] = struct.field(default_factory=dict)
    # The network's collections besides "params": batch norm's running statistics.
    statistics: dict[str, PyTree] = struct.field(default_factory=dict)


class Task(NamedTuple):
    """What is asked of a method, as data; see `tasks.make`.

    outputs: how many rows of `Outputs.prediction` make up the answer.
    labels: the field of `Examples`, `Split` and `Batch` with the truth.
    read: outputs -> answers [b] or [b, outputs].
    error: (answers, split or batch) -> loss of each sample; validation's selects.
    loss: what that loss is called.
    """

    name: str
    outputs: int
    labels: str
    read: Callable[[Outputs], Array]
    error: Callable[[Array, Any], Array]
    loss: str


class Phase(NamedTuple):
    """One of several updates of a method, with its own loss and optimiser state.

    name: of its optimiser state; its loss is logged as "loss_<name>".
    loss: see `Method`.
    groups: the optimiser groups that move, all other parameters are constants; None:
        all move.
    whole_epoch: it has a pass over the epoch's batches of its own, before that of the
        phases which share each batch; label tables stay as they are.
    """

    name: str
    loss: Callable[..., tuple[Array, dict[str, Array]]]
    groups: tuple[str, ...] | None = None
    whole_epoch: bool = False


class Method(NamedTuple):
    """A method is data: a linen module and pure functions. The loop knows no names.

    task: what it answers.
    model: applied by `network`, returns `Outputs`. Its collections besides "params" are
        running statistics: a training pass changes them, selection keeps those of the
        best epoch.
    loss: (outputs, batch, labels) -> (scalar to differentiate, its parts by name).
    groups: parameter path ("a/b/kernel") -> name of its group in `config.optim`.
    init_labels: (training split, the seed's root key) -> label tables, or any memory
        across batches, before the first epoch.
    begin_labels: (labels, epoch) -> the same when an epoch begins.
    update_labels: (labels, outputs, batch, epoch) -> the same after a batch.
    label_values: label tables -> {"name": array} worth recording after each epoch.
    streams: PRNG streams of the model besides "dropout".
    phases: updates in order; (): one, of `loss`, which phases take the place of.
    videos: a batch holds whole videos; losses, tables and answers stay per utterance.
    valid_error: (outputs, validation split) -> loss of each sample, whose mean selects;
        None: the task's, of its answers. Outputs have no features.
    on_batch: a function of a batch and more -> the same function, run on the batch as
        the text encoder wants it (`text.layout`). Gradients belong inside it.
    """

    task: Task
    model: nn.Module
    loss: Callable[..., tuple[Array, dict[str, Array]]]
    groups: Callable[[str], str]
    init_labels: Callable[..., PyTree] = lambda split, key: ()
    begin_labels: Callable[..., PyTree] = lambda labels, epoch: labels
    update_labels: Callable[..., PyTree] = lambda labels, outputs, batch, epoch: labels
    label_values: Callable[[PyTree], dict[str, Array]] = lambda labels: {}
    streams: tuple[str, ...] = ()
    phases: tuple[Phase, ...] = ()
    videos: bool = False
    valid_error: Callable[[Outputs, Split], Array] | None = None
    on_batch: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda run: run
