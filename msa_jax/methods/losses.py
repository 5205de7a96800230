"""Per-example losses, and the one function that reduces them."""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from msa_jax.ground.types import Batch, Outputs

Error = Annotated[Literal["l1", "l2", "huber"], "of each sample"]


def masked_mean(
    values: Float[Array, " b"], valid: Bool[Array, " b"]
) -> Float[Array, ""]:
    """Average the valid entries; 0 (with zero gradient) when there are none.

    Whatever stands in the other entries, NaN included, reaches neither the value nor
    the gradient.
    """
    kept = jnp.where(valid, values, 0)
    return kept.sum() / jnp.maximum(valid.sum(), 1)


def counts(weight: float | int | Float[Array, ""]) -> bool:
    """Say whether a term of a loss is computed: not if its weight is a plain 0.

    A weight that is an array (a lane's, in a hyper-parameter search) always counts.
    """
    return isinstance(weight, jax.Array) or weight != 0


def absolute_error(
    prediction: Float[Array, " b"], label: Float[Array, " b"]
) -> Float[Array, " b"]:
    """Return |prediction - label| per example, in label units.

    The gradient at an error of exactly 0 is 0, as PyTorch's; `jnp.abs` has 1 there.

    Source: Self-MM, Eq. 10 (the L1 loss).
    """
    error = prediction - label
    return error * jnp.sign(error)


def regression_error(
    prediction: Float[Array, " b"],
    label: Float[Array, " b"],
    kind: Error,
) -> Float[Array, " b"]:
    """Return the loss of each example, e = prediction - label.

    l1: |e|. l2: e^2. huber: e^2 / 2 up to |e| = 1, |e| - 1/2 beyond, as PyTorch's
    HuberLoss and SmoothL1Loss by default.

    Source: SUGRM, Table 8 (L1 is the published choice).
    """
    size = absolute_error(prediction, label)
    match kind:
        case "l1":
            return size
        case "l2":
            return size**2
        case "huber":
            # The square of what is below 1 only: a huge one would overflow.
            return jnp.minimum(size, 1) ** 2 / 2 + jnp.maximum(size - 1, 0)
    raise ValueError(f"unknown error {kind!r}: l1, l2 or huber")


def fusion(
    outputs: Outputs, batch: Batch, labels: Any, *, error: Error = "l1"
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Return the mean error of the valid samples, and the same as "loss_fusion".

    The loss of methods that answer with one score.
    """
    del labels
    value = regression_error(outputs.prediction[0], batch.label, error)
    mean = masked_mean(value, batch.valid)
    return mean, {"loss_fusion": mean}


def disagreement_weight(
    u_label: Float[Array, " b"], m_label: Float[Array, " b"]
) -> Float[Array, " b"]:
    """Return tanh |u_label - m_label|, in 0..1: how much a unimodal task counts.

    Zero until the unimodal label first leaves the multimodal one (epoch 3 in the
    published loop). No gradient flows: labels are data.

    Source: Self-MM, Eq. 10 (W_s^i).
    """
    return jnp.tanh(jnp.abs(u_label - m_label))


def binary_cross_entropy(
    logit: Float[Array, "*any"], present: Bool[Array, "*any"]
) -> Float[Array, "*any"]:
    """Return the cross-entropy of each yes-or-no answer, finite for any logit.

    Source: UCRN's emotions as TBJE trains them (jbdel/MOSEI_UMONS): one logit for each,
        because several may be present.
    """
    # log(1 + e^-x) for present, log(1 + e^x) for absent.
    return jnp.logaddexp(0, jnp.where(present, -logit, logit))


def cross_entropy(
    logit: Float[Array, "k b"], label: Int[Array, " b"]
) -> Float[Array, " b"]:
    """Return the cross-entropy of each sample's class, 0 to k - 1.

    Source: UCRN, Eq. 12.
    Differs: the equation takes the logarithm of the layer's output itself, which may be
        negative; here of its softmax.
    """
    chance = jax.nn.log_softmax(logit, axis=0)
    return -jnp.take_along_axis(chance, label[None], axis=0)[0]
