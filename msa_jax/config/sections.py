"""The fields that every run has, whatever its method.

Defaults are what most public codes do; a method's own values are changes to them
(`methods.paper.Paper`). Fields on which a paper and its public code differ are listed
in docs/fidelity.md, too.
"""

from typing import Annotated, Literal, NamedTuple

from msa_jax.config.fields import Bound, Count, Share, Size

Inside = Annotated[float, Bound(0, 1, open=True)]


class Run(NamedTuple):
    """What stands at the top of a configuration, beside its sections.

    on_nonfinite: a loss or gradient that is not finite ends its seed (stop; the others
        go on), is left out with its optimiser step (skip), or ends the run (abort).
    precision: of products; bfloat16: default, and the text encoder computes in
        bfloat16. Parameters, losses, labels and metrics are float32.
    compilation: quick compiles a CPU's programs in half the time; they run slower, and
        round otherwise: for trying things out on little data.
    """

    method: Annotated[str, "the paper, see the README's table"] = ""
    task: Literal[
        "sentiment", "two_class", "seven_class", "seven_class_sdk", "emotion"
    ] = "sentiment"
    seeds: Annotated[tuple[int, ...], "one training each"] = (
        *(1111, 1112, 1113, 1114, 1115),
    )
    on_nonfinite: Literal["stop", "skip", "abort"] = "stop"
    precision: Literal["highest", "high", "default", "bfloat16"] = "highest"
    compilation: Literal["full", "quick"] = "full"


class Data(NamedTuple):
    """Which samples, and how they are laid out.

    aligned: audio and vision lengths are the number of text tokens; None: where
        ready-made text, audio and vision have equally many steps.
    padding: where audio and vision of fewer steps than the longest get their zeros.
        back: steps beyond the true length are not seen. front: zeros first, contents
        last, and every step counts. So MulT's unaligned files
        (yaohungt/Multimodal-Transformer) are said to be laid out; models that read the
        last step see contents then.
    """

    name: Annotated[str, "as given to `python -m msa_jax.prepare NAME`"] = "mosi"
    dir: Annotated[str | None, "where it is; default $MSA_DATA or ./data"] = None
    standardise: Annotated[
        Literal["none", "train"], "by the training split's mean and deviation"
    ] = "none"
    aligned: Annotated[bool | None, "lengths are the text's; None: see there"] = False
    padding: Annotated[Literal["back", "front"], "where the zeros are"] = "back"
    drop_last: Annotated[bool, "leave out the ragged last training batch"] = False


class Text(NamedTuple):
    """How sentences become hidden states.

    implementation: whose code computes BERT: the same numbers to the bit in training,
        dropout included (tests/training/test_train.py). own: bert.py, needs no Flax in
        transformers.
    packing: tokens: several sentences in a row, so that time follows the number of
        tokens and not the longest sentence; the same numbers, to rounding. Needs
        implementation own and a method that reads no padding. auto: tokens on a CPU
        where these needs are met, else none (a GPU is thought to gain less than
        compilation costs).
    """

    encoder: Annotated[
        Literal["bert", "features"], "features: ready-made vectors of the data set"
    ] = "bert"
    weights: Annotated[str, "minilm, a folder, a hub name, or random"] = "minilm"
    implementation: Annotated[Literal["own", "transformers"], "of BERT"] = "own"
    packing: Annotated[
        Literal["none", "auto", "tokens"], "several sentences in a row"
    ] = "none"
    remat: Annotated[bool, "less memory, a third more operations"] = False
    finetune: Annotated[bool, "False: frozen; every text is encoded once"] = True
    pooling: Annotated[
        Literal["first", "mean"], "[CLS], or the mean over valid tokens"
    ] = "first"
    max_tokens: Annotated[int, Bound(3), "raw text beyond this is cut"] = 50
    random_width: Annotated[Size, "of weights = random, for tests"] = 32
    random_layers: Size = 2
    random_heads: Size = 2
    random_vocabulary: Annotated[
        Size, "at least; grows with the words seen in training"
    ] = 64


class Optim(NamedTuple):
    """How parameters move; rates and decays are in `optim.groups`.

    schedule: what happens to all rates: constant | linear (down to 0 at the end of
        max_epochs) | cosine (the same, along a cosine, from epoch to epoch) | plateau
        (times plateau_factor after more than plateau_patience epochs without a better
        validation loss, as PyTorch's ReduceLROnPlateau).
    """

    batch_size: Size = 32
    accumulate_batches: Annotated[Size, "whose gradients are summed per step"] = 1
    step_every_batch: Annotated[bool, "besides, on the sum so far"] = False
    tail: Annotated[
        Literal["dropped", "stepped"], "an epoch's incomplete last group"
    ] = "dropped"
    clip_norm: Annotated[
        float, Bound(0), "largest joint norm of all gradients of a step; 0: no limit"
    ] = 0.0
    clip_value: Annotated[
        float, Bound(0), "largest entry of the sum, after every batch; 0: no limit"
    ] = 0.0
    schedule: Annotated[
        Literal["constant", "linear", "cosine", "plateau"], "of all rates"
    ] = "constant"
    warmup_share: Annotated[Share, "share of all steps in which rates rise"] = 0.0
    plateau_patience: Count = 20
    plateau_factor: Share = 0.1


class Rule(NamedTuple):
    """How gradients become steps, in `config.optim`, too.

    optimiser:
        adam: decay is added to the gradient *before* the moments (coupled L2). With a
            zero gradient the normalised decay still moves every weight by about its
            rate per step towards 0: so move Self-MM's unimodal heads while their loss
            weight is 0. Source: torch.optim.Adam.
        adamw: decay times rate is taken off weights. Source: torch.optim.AdamW.
        adamw_hf: the same *after* the step, off the weights that it led to; epsilon
            as in adam_keras. Source: transformers.AdamW, before it was removed.
        adam_keras: adam, but epsilon is added to the second moment's root before its
            bias is corrected. Source: keras.optimizers.Adam.
        adamax: the second moment is the largest gradient so far, which fades. Source:
            torch.optim.Adamax; decay as in adam.
        adadelta: steps as large as earlier ones were. Source: torch.optim.Adadelta,
            keras.optimizers.Adadelta; decay as in adam.
    beta1, beta2: what a step leaves of Adam's moments, in (0, 1).
    epsilon: added to what is divided by (adadelta: under the roots), above 0.
    rho: what a step leaves of adadelta's averages, in (0, 1).
    """

    optimiser: Literal[
        "adam", "adamw", "adamw_hf", "adam_keras", "adamax", "adadelta"
    ] = "adam"
    beta1: Inside = 0.9
    beta2: Inside = 0.999
    epsilon: Annotated[float, Bound(0, open=True), "added to what is divided by"] = 1e-8
    rho: Annotated[Inside, "of adadelta"] = 0.95


class Selection(NamedTuple):
    """Which epoch counts, and when a seed ends."""

    early_stop: Annotated[Size, "epochs without improvement"] = 8
    max_epochs: Annotated[Size, "public codes have no maximum"] = 100
    min_delta: Annotated[float, "better: at most best - min_delta"] = 1e-6
    valid_mean: Annotated[
        Literal["batches", "samples"], "public codes: mean of batch means"
    ] = "batches"
    round_decimals: Annotated[int | None, "of the validation loss; MMSA: 4"] = None


class Mesh(NamedTuple):
    """How a run lies on devices.

    shard_text: divide the text encoder's matrices, moments and best copy over the
        devices that share a batch, too.
    seeds_at_once: seeds of a device that step side by side with vmap, a divisor of
        their number; the others wait. 0: as many as fit into its memory.
    over_seeds: auto: map on CPU devices that share no batch, else vmap.
    """

    devices: Annotated[Count, "0: all there are"] = 0
    data: Annotated[Size, "devices that share one seed's batch"] = 1
    shard_text: Annotated[bool, "divide the text encoder over those"] = False
    seeds_at_once: Annotated[Count, "0: as many as fit into memory"] = 0
    over_seeds: Annotated[Literal["auto", "vmap", "map"], "side by side or in turn"] = (
        "auto"
    )


# Fields that earlier versions did not have: their runs are what the defaults say.
ADDED = {
    f"optim.{name}": default
    for name, default in (Optim._field_defaults | Rule._field_defaults).items()
    if name in ("step_every_batch", "tail", "clip_value", *Rule._fields)
} | {"compilation": "full"}

# Section -> what declares its fields.
COMMON = (
    *(("", Run), ("data", Data), ("text", Text)),
    *(("optim", Optim), ("optim", Rule), ("selection", Selection), ("mesh", Mesh)),
)
