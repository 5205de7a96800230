"""The winner of a search as things to use: a command line and a config file."""

import shlex
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

_HEAD = '''"""{title}

    python -m msa_jax.main --config {path}

Every field as it was in the search, but for the seeds: those of the search's config
file. Written by `python -m msa_jax.tune`.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config():
    """Return the configuration."""
    c = ConfigDict()
'''


def command(config: str, values: Mapping[str, Any]) -> list[str]:
    """Return the words of the command that trains a configuration, quoted for a shell.

    Args:
        config: the config file as typed.
        values: dotted field -> value; those that are None are the file's own.
    """
    flags = [f"--config.{k}={_typed(v)}" for k, v in values.items() if v is not None]
    words = ["python", "-m", "msa_jax.main", "--config", config, *flags]
    return [shlex.quote(word) for word in words]


def config_file(config: ConfigDict, title: str, path: str) -> str:
    """Return a config file that builds a configuration, all fields and types.

    Args:
        config: the configuration.
        title: the first sentence of the file.
        path: where it will lie.
    """
    return "\n".join(
        [_HEAD.format(title=title, path=shlex.quote(path)) + _body(config, "c"), ""]
    )


def _typed(value: Any) -> str:
    """Write a value as config flags read it."""
    if isinstance(value, tuple):
        return repr(value)
    return str(value)


def _body(config: ConfigDict, name: str) -> str:
    lines = []
    for key in config:
        value, place = config[key], f"{name}.{key}"
        if isinstance(value, ConfigDict):
            lines += [f"    {place} = ConfigDict()", _body(value, place)]
        elif value is None:
            kind = config.get_type(key).__name__
            lines.append(f"    {place} = placeholder({kind})")
        else:
            lines.append(f"    {place} = {value!r}")
    if name == "c":
        lines.append("    return c")
    return "\n".join(lines)
