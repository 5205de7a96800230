"""MMCL's total loss: five contrastive terms, their readings and their weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from msa_jax.config.fields import Bound, Traced
from msa_jax.methods import contrastive, losses


class Views(NamedTuple):
    """What the losses read of one predicted modality (audio or vision)."""

    feature: Float[Array, "b d"]  # F_u, pooled over time
    augmented: Float[Array, "b d"]  # F_u+, the same from the cut-off sequence
    predicted: Float[Array, "b h"]  # P_u, predicted from text and the other modality
    target: Float[Array, "b h"]  # G_u


Weight = Annotated[
    contrastive.Number, Bound(0), Traced(zero_is_constant=True), "0: without"
]
Positive = Annotated[contrastive.Number, Bound(0, open=True), Traced()]


class Weights(NamedTuple):
    """Weights of the total loss; 0 leaves a term out.

    Source: MMCL, Eq. 10. 0.7, 1 and 1 are the rows of Table 5 that repeat the main
        result; the paper does not say which of its grids' beta and gamma were used.
    """

    uni: Weight = 0.7  # mu
    sentiment: Weight = 1.0  # eta
    cross: Weight = 1.0  # alpha
    align: Weight = 0.75  # beta
    uniform: Weight = 0.1  # gamma


@dataclass(frozen=True)
class Readings:
    """How each formula is read; the defaults' reasons: docs/fidelity.md, "MMCL"."""

    temperature: Annotated[Positive, "grid: .05, .1, .7"] = 0.1
    uni: Annotated[contrastive.UniReading, "Eq. 4; keys: MoCo"] = "prose"
    uni_normalise: bool = True
    cross_reduce: Annotated[Literal["mean", "sum"], "over the pairings"] = "mean"
    align_power: Annotated[float, Bound(0, open=True), "lambda, 1 or 2"] = 2.0
    align_norm: Literal["euclidean", "taxicab"] = "euclidean"
    uniformity: contrastive.UniformityReading = "wang_isola"
    kappa: Positive = 2.0
    sentiment: contrastive.SentimentReading = "log_outside_sum"
    sentiment_self: Annotated[bool, "the anchor among its own candidates"] = False
    sentiment_pool: Annotated[
        Literal["both", "target"], "both: targets and predictions"
    ] = "both"


def parts(
    views: Mapping[str, Views],
    label: Float[Array, " b"],
    valid: Bool[Array, " b"],
    readings: Readings,
) -> dict[str, Float[Array, ""]]:
    """Return the five contrastive losses, each summed over the predicted modalities.

    Vectors are normalised here. A batch without valid rows gives zeros.

    Args:
        views: per predicted modality.
        label: sentiment, whose signs are the classes.
        valid: rows that count.
        readings: of the formulas.

    Returns:
        The terms under the names of `Weights`.

    Source: MMCL, Eq. 4 to 8 ("u in {a, v}": summed, as Eq. 4 prints it).
    """
    r, t = readings, readings.temperature
    terms = [_parts(v, label, valid, r, t) for v in views.values()]
    zero = jnp.zeros((), label.dtype)
    return {n: sum((term[n] for term in terms), start=zero) for n in Weights._fields}


def _parts(
    view: Views, label: Array, valid: Array, r: Readings, t: contrastive.Number
) -> dict[str, Array]:
    predicted, target = (
        contrastive.unit(view.predicted, valid),
        contrastive.unit(view.target, valid),
    )
    query, key = view.feature, view.augmented
    if r.uni_normalise:
        query, key = contrastive.unit(query, valid), contrastive.unit(key, valid)
    pool, labels, rows = target, label, valid
    if r.sentiment_pool == "both":
        pool = contrastive.in_turn(target, predicted)
        labels, rows = jnp.repeat(label, 2), jnp.repeat(valid, 2)
    elif r.sentiment_pool != "target":
        raise ValueError(f"unknown pool {r.sentiment_pool!r}")
    mean = losses.masked_mean
    apart = contrastive.alignment(predicted, target, valid, r.align_power, r.align_norm)
    return {
        "uni": mean(contrastive.info_nce(query, key, valid, t, r.uni), valid),
        "sentiment": mean(
            *contrastive.sentiment_contrast(
                pool, labels, rows, t, r.sentiment, r.sentiment_self
            )
        ),
        "cross": mean(
            contrastive.cross_contrast(predicted, target, valid, t, r.cross_reduce),
            valid,
        ),
        "align": mean(apart, valid),
        "uniform": contrastive.uniformity(
            predicted, target, valid, r.kappa, r.uniformity
        ),
    }


def total(
    regression: Float[Array, ""],
    terms: Mapping[str, Float[Array, ""]],
    weights: Weights,
) -> Float[Array, ""]:
    """Add the weighted terms to the regression loss.

    A term of weight 0 is left out: it costs nothing and a NaN in it is harmless.

    Source: MMCL, Eq. 10.
    """
    for name, weight in weights._asdict().items():
        if losses.counts(weight):
            regression = regression + weight * terms[name]
    return regression
