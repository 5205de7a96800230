"""Which fields are inputs of a compiled program, not constants of it.

Runs that differ in these alone share one program: compiled once, whatever the rate, and
in a hyper-parameter search many of them side by side. A single run is compiled the same
way, so a search and the run that it recommends compute the same numbers.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from ml_collections import ConfigDict

TRACED = (
    *("optim.groups.*.rate", "optim.groups.*.decay"),
    *("loss.task_weight", "loss.divergence_weight"),
    *("weights.*", "contrast.temperature", "contrast.kappa"),
)
# A plain 0 leaves the term out (`losses.counts`): another program.
_LEFT_OUT_AT_ZERO = ("loss.divergence_weight", "weights.*")


def is_traced(field: str, value: Any) -> bool:
    """Say whether a field with this value is an input of the program.

    Args:
        field: dotted, "optim.groups.bert.rate".
        value: its value.
    """
    if not _matches(field, TRACED) or not isinstance(value, int | float):
        return False
    return value != 0 or not _matches(field, _LEFT_OUT_AT_ZERO)


def traced_values(config: Any) -> dict[str, float]:
    """Return the value of every field that is an input of the program."""
    found = _flat(config.to_dict())
    return {field: v for field, v in found.items() if is_traced(field, v)}


def with_values(config: Any, values: Mapping[str, Any]) -> ConfigDict:
    """Return a copy of a configuration in which some fields have other values.

    Args:
        config: frozen or not.
        values: dotted field -> value of any type, traced arrays too.
    """
    changed = ConfigDict(config.to_dict())
    with changed.ignore_type():
        for field, value in values.items():
            *groups, name = field.split(".")
            place = changed
            for group in groups:
                place = place[group]
            place[name] = value
    return changed


def _matches(field: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(field, pattern) for pattern in patterns)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found
