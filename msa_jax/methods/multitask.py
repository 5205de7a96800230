"""The loss of one multimodal and three unimodal tasks, whatever made their labels."""

from typing import Annotated, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from msa_jax.config.fields import Some
from msa_jax.ground.names import TARGETS
from msa_jax.ground.types import (
    Batch,
    DistanceTables,
    HumanTables,
    LabelTables,
    Outputs,
)
from msa_jax.methods import losses


def loss(
    outputs: Outputs,
    batch: Batch,
    labels: LabelTables | DistanceTables | HumanTables,
    *,
    tasks: Annotated[tuple[str, ...], Some(TARGETS, always=("fusion",))] = TARGETS,
    error: losses.Error = "l1",
    weighting: Annotated[
        Literal["disagreement", "equal"], "disagreement: tanh |u - m|"
    ] = "disagreement",
) -> tuple[Array, dict[str, Array]]:
    """Sum the batch means of the weighted losses of the tasks.

    The labels are those stored before this batch's own update. A sample for which
    people gave no unimodal label (NaN in `HumanTables`) has weight 0 there.

    Args:
        outputs: the model's.
        batch: the batch.
        labels: label tables.
        tasks: the unimodal tasks that count; fusion always does.
        error: see `losses.regression_error`.
        weighting: of the unimodal tasks, tanh |u-label - label| ("disagreement") or 1
            ("equal").

    Returns:
        The scalar to differentiate and its parts, "loss_<task>".

    Source: Self-MM, Eq. 10; SUGRM, section 3.4 and Table 8.
    """
    if unknown := set(tasks) - set(TARGETS):
        raise ValueError(f"unknown tasks {sorted(unknown)}")
    if weighting not in ("disagreement", "equal"):
        raise ValueError(f"unknown weighting {weighting!r}")
    parts = {}
    for row, target in enumerate(TARGETS):
        if target != "fusion" and target not in tasks:
            continue
        label = labels.value[row, jnp.minimum(batch.index, labels.value.shape[1] - 1)]
        # A padding row reads sample n - 1: were its label NaN, so were the gradient.
        given = batch.valid
        if isinstance(labels, HumanTables):  # a generated NaN must be seen instead
            given = given & ~jnp.isnan(label)
        label = jnp.where(given, label, batch.label)
        value = losses.regression_error(outputs.prediction[row], label, error)
        if target != "fusion" and weighting == "disagreement":
            value = value * losses.disagreement_weight(label, batch.label)
        value = jnp.where(given, value, 0)
        parts[f"loss_{target}"] = losses.masked_mean(value, batch.valid)
    return sum(parts.values(), start=jnp.zeros((), batch.label.dtype)), parts


def human_tables(
    label: Float[Array, " n"], unimodal_label: Float[Array, "n 3"]
) -> HumanTables:
    """Take human unimodal labels in place of generated ones.

    Source: Self-MM, Table 3 (Human-MM).
    """
    return HumanTables(jnp.concatenate([label[None], unimodal_label.T]))
