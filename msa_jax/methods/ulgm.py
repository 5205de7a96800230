"""Unimodal label generation (ULGM) of Self-MM, as pure functions over label tables.

The tables are part of the train state: u-labels, feature buffers and class centres of
all training samples. Nothing here has parameters and nothing is differentiated.
"""

from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from msa_jax.config.fields import GIVEN
from msa_jax.ground.names import MODALITIES, TARGETS
from msa_jax.ground.types import LabelTables


class Rules(NamedTuple):
    """How labels are generated: every point on which papers and codes differ.

    See docs/fidelity.md; `ulgm_distance` reads these, too.

    label_range: lowest and highest label of the data set, (-3, 3) or (-1, 1).
    zero_is_positive: whether label 0 counts for the positive centre.
    scale_distance: divide distances by sqrt(width), as Eq. 3 and 4 do.
    epsilon_in_ratio: add EPSILON to alpha_f in the ratio alpha_s / alpha_f.
    clip_labels: clip new labels to +-H, H the label range's upper end.
    undefined: a class without samples keeps its old centre ("keep"), or gets a NaN
        centre that spreads to the labels, as in both public codes ("nan"). SUGRM's: a
        u-label that comes out NaN or infinite keeps its old value, or does not.
    repeat_extremes: samples of the extreme labels count as often as SUGRM's code lists
        them (`ulgm_distance.init_tables`); False: once each.
    rule: whose labels they are.
    """

    label_range: Annotated[tuple[float, float], GIVEN] = (-3.0, 3.0)
    zero_is_positive: Annotated[bool, "both codes; MMSA and both papers: False"] = True
    scale_distance: Annotated[bool, "rule self_mm; paper, Eq. 3 and 4: True"] = False
    epsilon_in_ratio: Annotated[bool, "rule self_mm; code; paper: False"] = True
    clip_labels: Annotated[bool, "both codes; both papers: False"] = True
    undefined: Annotated[
        Literal["keep", "nan"], "empty classes, NaN; the public codes: nan"
    ] = "keep"
    repeat_extremes: Annotated[bool, "rule sugrm; code; paper: False"] = True
    rule: Annotated[
        Literal["self_mm", "sugrm", "human"], "human: labels of the data set"
    ] = "self_mm"


EPSILON = 1e-8  # Source: Self-MM, Eq. 5 and trains/multiTask/SELF_MM.py


def init_tables(label: Float[Array, " n"], widths: dict[str, int]) -> LabelTables:
    """Start all labels at the human label, features and centres at zero.

    Source: Self-MM, Algorithm 1, lines 2 and 3.
    """
    n = label.shape[0]
    zeros = {t: jnp.zeros((n, widths[t]), label.dtype) for t in TARGETS}
    centers = {t: jnp.zeros((2, widths[t]), label.dtype) for t in TARGETS}
    value = jnp.broadcast_to(label, (len(TARGETS), n))
    return LabelTables(value, zeros, centers, jnp.zeros((), jnp.int32))


def class_centers(
    feature: Float[Array, "n h"],
    label: Float[Array, " n"],
    old: Float[Array, "2 h"],
    rules: Rules,
) -> tuple[Float[Array, "2 h"], Int[Array, ""]]:
    """Average the features of the positive and of the negative samples.

    Returns the centres and how many of the two classes (0..2) had no sample. NaN labels
    belong to no class.

    Source: Self-MM, Eq. 1 and 2. The sums run over all training samples.
    Differs: an empty class keeps its old centre unless `rules.undefined` is "nan".
    """
    positive = label >= 0 if rules.zero_is_positive else label > 0
    member = jnp.stack([positive, label < 0]).astype(feature.dtype)
    count = member.sum(axis=1, keepdims=True)
    # Full precision: TensorFloat-32 would round features before they are averaged.
    total = jnp.matmul(member, feature, precision=jax.lax.Precision.HIGHEST)
    if rules.undefined == "nan":
        return total / count, (count == 0).sum().astype(jnp.int32)
    mean = jnp.where(count > 0, total / jnp.maximum(count, 1), old)
    return mean, (count == 0).sum().astype(jnp.int32)


def relative_distance(
    feature: Float[Array, "b h"], center: Float[Array, "2 h"], rules: Rules
) -> Float[Array, " b"]:
    """Say where features lie between the centres: positive = near the positive one.

    alpha = (d_neg - d_pos) / (d_pos + EPSILON). On the positive centre it is about
    d_neg / EPSILON, on the negative one -1, half way 0.

    Source: Self-MM, Eq. 3 to 5; EPSILON is added to d_pos only.
    Differs: distances are not divided by sqrt(width) unless `rules.scale_distance`
        (the ratio is the same but for EPSILON); the public code does not either.
    """
    scale = feature.shape[-1] ** -0.5 if rules.scale_distance else 1.0
    from_pos, from_neg = feature - center[:1], feature - center[1:]
    d_pos = scale * jnp.linalg.norm(from_pos, axis=-1)
    d_neg = scale * jnp.linalg.norm(from_neg, axis=-1)
    # d_neg^2 - d_pos^2, without the cancellation that subtracting distances suffers
    # where the centres are much closer to each other than to the feature.
    step = center[:1] - center[1:]
    squares = scale**2 * ((from_pos + from_neg) * step).sum(axis=-1)
    total = d_pos + d_neg
    difference = squares / jnp.where(total == 0, 1, total)
    return difference / (d_pos + EPSILON)


def generate(
    label: Float[Array, " b"],
    alpha_fusion: Float[Array, " b"],
    alpha: Float[Array, " b"],
    rules: Rules,
) -> Float[Array, " b"]:
    """Shift human labels by how far a modality stands from the fusion: new u-labels.

    The mean of a ratio and a difference: y alpha_s / alpha_f and y + alpha_s - alpha_f.

    Source: Self-MM, Eq. 6 to 8; the sum is evaluated in the order of the public code.
    Differs: clipped to +-H (`rules.clip_labels`) and EPSILON added to alpha_f whatever
        its sign (`rules.epsilon_in_ratio`), as in the code; the paper does neither.
    """
    epsilon = EPSILON if rules.epsilon_in_ratio else 0.0
    ratio = alpha / (alpha_fusion + epsilon)
    new = 0.5 * ratio * label + 0.5 * (label + alpha - alpha_fusion)
    if rules.clip_labels:
        high = rules.label_range[1]
        new = jnp.clip(new, -high, high)
    return new


def momentum(
    old: Float[Array, " b"], new: Float[Array, " b"], epoch: Int[Array, ""]
) -> Float[Array, " b"]:
    """Mix new u-labels into old ones; later epochs weigh more.

    (n - 1) / (n + 1) old + 2 / (n + 1) new in epoch n (counted from 1).

    Source: Self-MM, Eq. 9.
    """
    n = jnp.asarray(epoch, old.dtype)
    return (n - 1) / (n + 1) * old + 2 / (n + 1) * new


def update_tables(
    tables: LabelTables,
    feature: dict[str, Float[Array, "b h"]],
    index: Int[Array, " b"],
    valid: Bool[Array, " b"],
    epoch: Int[Array, ""],
    rules: Rules,
) -> LabelTables:
    """Take in one batch: new labels (from epoch 2 on), features, then all centres.

    The batch's labels come from its own features and the centres that the previous
    batch left; only then do its features enter the buffers and the centres.

    Source: Self-MM, Algorithm 1, lines 10 to 15; order of the public code.
    Differs: a u-label that comes out NaN or infinite keeps its old value unless
        `rules.undefined` is "nan".
    """
    # 1. Labels. A padding row's index is n, out of range: such writes are dropped.
    index = jnp.where(valid, index, tables.value.shape[1])
    read = jnp.minimum(index, tables.value.shape[1] - 1)
    alpha = {t: relative_distance(feature[t], tables.center[t], rules) for t in TARGETS}
    value = tables.value
    for row, target in enumerate(TARGETS):
        if target not in MODALITIES:
            continue
        old = tables.value[row, read]
        human = tables.value[0, read]
        new = generate(human, alpha["fusion"], alpha[target], rules)
        new = momentum(old, new, epoch)
        if rules.undefined == "keep":
            new = jnp.where(jnp.isfinite(new), new, old)
        value = value.at[row, index].set(jnp.where(epoch > 1, new, old), mode="drop")
    # 2. Features.
    buffers = {
        t: tables.feature[t].at[index].set(feature[t], mode="drop") for t in TARGETS
    }
    # 3. Centres, by each target's own labels.
    centers, empty = {}, tables.empty_classes
    for row, target in enumerate(TARGETS):
        centers[target], missing = class_centers(
            buffers[target], value[row], tables.center[target], rules
        )
        empty = empty + missing
    return LabelTables(value, buffers, centers, empty)
