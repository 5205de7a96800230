"""Per-example losses, and the one function that reduces them."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def masked_mean(
    values: Float[Array, " b"], valid: Bool[Array, " b"]
) -> Float[Array, ""]:
    """Average the valid entries; 0 (with zero gradient) when there are none.

    Whatever stands in the other entries, NaN included, reaches neither the value nor
    the gradient.
    """
    kept = jnp.where(valid, values, 0)
    return kept.sum() / jnp.maximum(valid.sum(), 1)


def absolute_error(
    prediction: Float[Array, " b"], label: Float[Array, " b"]
) -> Float[Array, " b"]:
    """Return |prediction - label| per example, in label units.

    Source: Self-MM, Eq. 10 (the L1 loss).
    """
    return jnp.abs(prediction - label)


def disagreement_weight(
    u_label: Float[Array, " b"], m_label: Float[Array, " b"]
) -> Float[Array, " b"]:
    """Return tanh |u_label - m_label|, in 0..1: how much a unimodal task counts.

    Zero until the unimodal label first leaves the multimodal one (epoch 3 in the
    published loop). No gradient flows: labels are data.

    Source: Self-MM, Eq. 10 (W_s^i).
    """
    return jnp.tanh(jnp.abs(u_label - m_label))
