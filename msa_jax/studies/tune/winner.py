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


def command(config: str, values: Mapping[str, Any]) -> str:
    """Return the command that trains a configuration, ready to paste into a shell.

    Args:
        config: the config file as typed.
        values: dotted field -> value; those that are None are the file's own.
    """
    flags = [f"--config.{k}={v}" for k, v in values.items() if v is not None]
    words = ["python -m msa_jax.main --config " + shlex.quote(config)]
    return " \\\n    ".join(words + [shlex.quote(flag) for flag in flags])


def config_file(config: ConfigDict, title: str, path: str) -> str:
    """Return a config file that builds a configuration, all fields and types.

    Args:
        config: the configuration.
        title: the first sentence of the file.
        path: where it will lie.
    """
    said = [text.replace("\\", "/").replace('"', "'") for text in (title, path)]
    head = _HEAD.format(title=said[0], path=shlex.quote(said[1]))
    return f"{head}{_body(config, 'c')}\n    return c\n"


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
    return "\n".join(lines)
