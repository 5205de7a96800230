"""What a run reads of a data set, and why one that lacks it cannot be used."""

from collections.abc import Container
from typing import Any

from msa_jax.errors import UserError
from msa_jax.types import MODALITIES


def reads(settings: Any) -> tuple[str, ...]:
    """Return the modalities that the method reads, in the order of `MODALITIES`.

    Nothing that a run computes depends on the others: a data set may lack them.
    """
    named = settings.model.get("modalities")
    return tuple(m for m in MODALITIES if named is None or m in named)


def require(settings: Any, dataset: str, there: Container[str]) -> None:
    """Refuse a data set that lacks what a run reads.

    Args:
        settings: the configuration.
        dataset: name of the data set.
        there: what it has of `MODALITIES`, "emotion" and "unimodal_label".

    Raises:
        UserError: what is missing, and what can be used instead.
    """
    absent = [m for m in MODALITIES if m not in there]
    wanted = [m for m in reads(settings) if m in absent]
    if wanted:
        variant = "".join(m[0] for m in MODALITIES if m not in absent)
        instead = f"; UCRN and MMCL can do without {' and '.join(absent)}: --config "
        instead += f"configs/ucrn_mosi_real.py:{variant} or --config "
        instead += f"configs/mmcl_mosi_real.py:{variant}"
        raise UserError(
            f"data set {dataset} has no {' and no '.join(wanted)}, which "
            f"{settings.method} reads{instead if variant else ''}"
        )
    if settings.task == "emotion" and "emotion" not in there:
        raise UserError(
            f"data set {dataset} has no emotions, which config.task = 'emotion' "
            "asks for; prepare a file that has them (docs/layouts.md), or a twin: "
            "python -m msa_jax.prepare mosei_emotion --synthetic"
        )
    rule = settings.ulgm.rule if "ulgm" in settings else None
    if rule == "human" and "unimodal_label" not in there:
        raise UserError(
            f"data set {dataset} has no human unimodal labels, which "
            "config.ulgm.rule = 'human' asks for; prepare a file that has them "
            "(docs/bring_your_own.md) or generate them: --config.ulgm.rule=self_mm"
        )
