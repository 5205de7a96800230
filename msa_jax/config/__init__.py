"""Configurations: fields derived from annotations, the sections that all runs share."""

from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from msa_jax.ground.callable_module import let_call
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES

__all__ = ["config", "reads", "with_values"]


def config(
    path_or_name: str, seeds: Iterable[int] | None = None, **fields: Any
) -> ConfigDict:
    """Return the configuration of a config file, as `--config` finds it.

    Args:
        path_or_name: a file ("mine.py"), or one that comes with the package, as a path
            or a name: "configs/tfn_mosi.py", "self_mm_mosi", "demo"; variants after a
            colon: "mmcl_mosei:no_scl".
        seeds: one training each; None: the file's.
        fields: what differs, by dotted names: `**{"optim.batch_size": 8}`.

    Raises:
        UserError: no such file, an error in it, or a field that it has not or whose
            type is another one. Values are checked by `msa_jax.train`.

    Examples:
        >>> import msa_jax as msa
        >>> config = msa.config("linear", seeds=(1, 2), **{"optim.batch_size": 8})
        >>> config.seeds, config.optim.batch_size
        ((1, 2), 8)
    """
    from msa_jax.config import cli
    from msa_jax.config.fields import change

    settings = cli.load_config(str(path_or_name))
    known = dict(cli.fields(settings))
    for name in fields:
        cli.of_field(name, known)
    change(settings, fields)
    if seeds is not None:
        try:
            settings.seeds = tuple(int(seed) for seed in seeds)
        except (TypeError, ValueError):
            said = f"seeds = {seeds!r}: give whole numbers, as in (1, 2, 3)"
            raise UserError(said) from None
    return settings


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
            around = changed
            for group in groups:
                around = around[group]
            around[name] = value
    return changed


let_call(__name__, config)
