"""Configurations: fields derived from annotations, the sections that all runs share."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from msa_jax.ground.types import MODALITIES

__all__ = ["reads", "with_values"]


def reads(settings: Any) -> tuple[str, ...]:
    """Return the modalities that the method reads, in the order of `MODALITIES`.

    Nothing that a run computes depends on the others: a data set may lack them.
    """
    named = settings.model.get("modalities")
    return tuple(m for m in MODALITIES if named is None or m in named)


def with_values(settings: Any, values: Mapping[str, Any]) -> ConfigDict:
    """Return a copy of a configuration in which some fields have other values.

    Args:
        settings: frozen or not.
        values: dotted field -> value of any type, traced arrays too.
    """
    changed = ConfigDict(settings.to_dict())
    with changed.ignore_type():
        for field, value in values.items():
            *groups, name = field.split(".")
            place = changed
            for group in groups:
                place = place[group]
            place[name] = value
    return changed
