"""Unimodal label generation (ULGM) of SUGRM, as pure functions over label tables.

All features lie in one space, in which distances are taken for proportional to
distances between labels. Nothing here has parameters and nothing is differentiated.

Source: SUGRM, section 3.3 and Figure 3, with the readings of its public code.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from msa_jax.ground.names import MODALITIES, TARGETS
from msa_jax.ground.types import DistanceTables
from msa_jax.methods import ulgm
from msa_jax.methods.ulgm import Rules


def init_tables(
    label: Float[Array, " n"],
    width: int,
    order: Int[Array, " n"],
    batch_size: int,
    rules: Rules,
) -> DistanceTables:
    """Start all labels at the human label; find the samples of the extreme labels.

    Those are the samples at the ends of the label range or, at an end where none is,
    those of the farthest label present. If all labels are equal, the same samples are
    both extremes: distance and label width are 0 and labels never move.

    Args:
        label: human labels.
        width: features per target.
        order: sample order of the pass in which the public code starts its labels.
        batch_size: samples per batch of that pass.
        rules: readings.

    Source: SUGRM, section 3.3 (labels exactly +3 and -3); public code: after each of
        the K batches of its first pass it lists all extreme samples seen so far once
        more, so a sample of batch k (from 1) counts K - k + 1 times.
    Differs: without a sample at an end of the range the public code stops with an
        error; here, the farthest label present takes its place.
    """
    n = label.shape[0]
    low, high = (jnp.asarray(end, label.dtype) for end in rules.label_range)
    highest = jnp.where((label == high).any(), high, label.max())
    lowest = jnp.where((label == low).any(), low, label.min())
    times = jnp.ones(n, label.dtype)
    if rules.repeat_extremes:
        count = -(-n // batch_size)
        seen = count - jnp.arange(n) // batch_size
        times = times.at[order].set(seen.astype(label.dtype))
    member = jnp.stack([label == highest, label == lowest])
    return DistanceTables(
        value=jnp.broadcast_to(label, (len(TARGETS), n)),
        feature=jnp.zeros((n, width), label.dtype),
        center=jnp.zeros((2, width), label.dtype),
        extreme_weight=jnp.where(member, times, 0),
        extreme_label=jnp.stack([highest, lowest]),
        empty_classes=jnp.zeros((), jnp.int32),
    )


def maximum_distance(tables: DistanceTables) -> Float[Array, ""]:
    """Return D_max: how far the mean features of the two extreme labels are apart.

    Exactly 0 if all of those features are the same.

    Source: SUGRM, section 3.3, "Magnitude of offset".
    """
    weight = tables.extreme_weight
    # Seen from one of the samples: what all features share would only add roundings.
    seen = tables.feature - tables.feature[jnp.argmax(weight[0])][None]
    # Full precision: TensorFloat-32 would round features before they are averaged.
    total = jnp.matmul(weight, seen, precision=jax.lax.Precision.HIGHEST)
    mean = total / weight.sum(axis=1, keepdims=True)
    return jnp.linalg.norm(mean[0] - mean[1])


def position(
    feature: Float[Array, "b h"], center: Float[Array, "2 h"]
) -> Float[Array, " b"]:
    """Say where features lie between the centres: 1 on the positive, -1 on the other.

    (D^n - D^p) / (D^n + D^p), which falls as the paper's ratio D^p / D^n rises: to
    compare the one is to compare the other. It has no infinity on the negative centre
    (-1) and no NaN where both centres and the feature are one point (0).
    """
    from_pos, from_neg = feature - center[:1], feature - center[1:]
    total = jnp.linalg.norm(from_pos, axis=-1) + jnp.linalg.norm(from_neg, axis=-1)
    # (D^n)^2 - (D^p)^2, without the cancellation that subtracting distances suffers
    # where the centres are much closer to each other than to the feature.
    squares = ((from_pos + from_neg) * (center[:1] - center[1:])).sum(axis=-1)
    total = jnp.where(total == 0, 1, total)
    return squares / total / total


def direction(
    fusion: Float[Array, " b"], modality: Float[Array, " b"]
) -> Float[Array, " b"]:
    """Return the sign of the offset: 1, -1, or 0 where there is none.

    Args:
        fusion: `position` of the fusion features.
        modality: `position` of unimodal features. At the fusion's position, or NaN
            (either of the two): 0.

    Source: SUGRM, section 3.3, "Direction of offset": + if D_s^p / D_s^n is less than
        D_m^p / D_m^n.
    """
    return (modality > fusion).astype(fusion.dtype) - (modality < fusion)


def generate(
    label: Float[Array, " b"],
    distance: Float[Array, " b"],
    sign: Float[Array, " b"],
    max_distance: Float[Array, ""],
    label_width: Float[Array, ""],
    rules: Rules,
) -> Float[Array, " b"]:
    """Shift human labels by distance times direction: new u-labels.

    label + sign * label_width * min(distance, max_distance) / max_distance. A sign of
    0 means the human label itself, whatever the distances. A `max_distance` of 0, with
    a sign, gives no offset, either; with `rules.undefined` "nan" it gives NaN.

    Source: SUGRM, section 3.3, the equations of D^L and y_s.
    Differs: clipped to the label range (`rules.clip_labels`), as in the code; the paper
        does not. The code's label width is the constant 6.
    """
    share = jnp.minimum(distance, max_distance) / max_distance
    if rules.undefined == "keep":
        share = jnp.where(max_distance == 0, 0, share)
    offset = jnp.where(sign == 0, 0, sign * label_width * share)
    new = label + offset
    return jnp.clip(new, *rules.label_range) if rules.clip_labels else new


def update_tables(
    tables: DistanceTables,
    feature: dict[str, Float[Array, "b h"]],
    index: Int[Array, " b"],
    valid: Bool[Array, " b"],
    epoch: Int[Array, ""],
    rules: Rules,
) -> DistanceTables:
    """Take in one batch: new labels (from epoch 2 on), features, then both centres.

    The batch's labels come from its own features and from the buffers and centres that
    the previous batch left; only then do its fusion features enter them. In data
    without a positive or without a negative label nothing has a direction: u-labels
    stay human labels.

    Source: SUGRM, section 3.3; order of the public code; momentum by Self-MM, Eq. 9.
    """
    # 1. Labels. A padding row's index is n, out of range: such writes are dropped.
    n = tables.value.shape[1]
    index = jnp.where(valid, index, n)
    read = jnp.minimum(index, n - 1)
    human = tables.value[0, read]
    positive = tables.value[0] >= 0 if rules.zero_is_positive else tables.value[0] > 0
    two_classes = positive.any() & (tables.value[0] < 0).any()
    max_distance = maximum_distance(tables)
    label_width = tables.extreme_label[0] - tables.extreme_label[1]
    # All targets in one go, so that equal features have equal positions to the bit.
    stacked = jnp.stack([feature[t] for t in TARGETS])
    place = jax.vmap(position, in_axes=(0, None))(stacked, tables.center)
    value = tables.value
    for row, target in enumerate(TARGETS):
        if target not in MODALITIES:
            continue
        old = tables.value[row, read]
        distance = jnp.linalg.norm(stacked[row] - stacked[0], axis=-1)
        sign = jnp.where(two_classes, direction(place[0], place[row]), 0)
        new = generate(human, distance, sign, max_distance, label_width, rules)
        new = ulgm.momentum(old, new, epoch)
        if rules.undefined == "keep":
            new = jnp.where(jnp.isfinite(new), new, old)
        value = value.at[row, index].set(jnp.where(epoch > 1, new, old), mode="drop")
    # 2. Features.
    buffer = tables.feature.at[index].set(stacked[0], mode="drop")
    # 3. Centres, by the human labels.
    center, missing = ulgm.class_centers(buffer, value[0], tables.center, rules)
    return dataclasses.replace(
        tables,
        value=value,
        feature=buffer,
        center=center,
        empty_classes=tables.empty_classes + missing,
    )
