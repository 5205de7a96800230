"""What every command shares: one clear line for a user's mistake, never a traceback."""

import argparse
import gc
import inspect
import os
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ml_collections import ConfigDict
from ml_collections.config_flags import tuple_parser

from msa_jax.ground import signals
from msa_jax.ground.errors import UserError, near

MISTAKE = 2  # exit code
_HELP = {"-h", "--help"}


def _boolean(typed: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[typed.lower()]


_PARSERS: dict[type, Callable[[str], Any]] = {
    int: int,
    float: float,
    bool: _boolean,
    str: str,
    tuple: tuple_parser.TupleParser().parse,
}


def run(main: Callable[[], int | None]) -> NoReturn:
    """Call `main` and exit with what it returns; its mistakes are one line."""
    # Tracing makes objects by the million and next to no cycles: looking for them after
    # every 700 new ones, as Python does, took a sixth of that time.
    gc.set_threshold(100_000)
    try:
        code = signals.call(main) or 0
    except UserError as error:
        print("error:", one_line(str(error)), file=sys.stderr)
        code = MISTAKE
    except BrokenPipeError:  # whoever reads has seen enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:  # a path too long, a full disk: the system's own words
        where = f"{error.filename}: " if error.filename else ""
        what = error.strerror or type(error).__name__
        print("error:", one_line(f"{where}{what}"), file=sys.stderr)
        code = MISTAKE
    except KeyboardInterrupt as stop:
        signals.leave(stop)
    if code:
        signals.end(code)
    sys.exit(code)


def one_line(message: str, longest: int = 700) -> str:
    """Return a message as one printable line; what a file says cannot garble it."""
    words = " ".join(message.split())
    safe = "".join(c if c.isprintable() else "?" for c in words)
    return safe if len(safe) <= longest else f"{safe[:longest]} ..."


class Chosen(NamedTuple):
    """A configuration as somebody typed it.

    source: its file, "configs/demo.py" or "configs/mmcl.py:mosei".
    file: what the file says.
    settings: that, with the fields that were set on the command line.
    typed: field -> value of those.
    """

    source: str
    file: ConfigDict
    settings: ConfigDict
    typed: dict[str, Any]

    def workdir(self, *before: str) -> Path:
        """Return where its results go if nobody says: "runs/ucrn_mosei_code+ta"."""
        path, _, words = self.source.partition(":")
        named = (*before, Path(path).stem, words.replace("+", "_", 1))
        return Path("runs") / "_".join(filter(None, named))


class Parser(argparse.ArgumentParser):
    """An argparse parser that shows `doc` as help and answers mistakes in one line."""

    def __init__(self, doc: str | None, **kwargs: Any):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        program = None
        if spec:  # of a package, its __main__ runs
            program = f"python -m {spec.name.removesuffix('.__main__')}"
        doc = (doc or "").strip()
        super().__init__(program, description=doc, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong, with the nearest option name."""
        unknown = re.search(r"unrecognized arguments: (\S+)", message)
        if unknown and not unknown[1].startswith("-"):
            raise UserError(
                f"unexpected argument {unknown[1]!r}; write --flag=value, and a tuple"
                " without spaces: --flag=1,2,3"
            )
        if unknown:
            flag = unknown[1].partition("=")[0]
            message = f"unknown flag {flag}{near(flag, self._option_string_actions)}"
        raise UserError(f"{message} (see --help)")

    def parse_config(
        self, explain: Callable[[ConfigDict], str] | None = None
    ) -> tuple[argparse.Namespace, Chosen]:
        """Parse a command line that has --config FILE and --config.FIELD=VALUE.

        Args:
            explain: a configuration -> a list of its fields: --help beside --config.
        """
        own, overrides = split_overrides(sys.argv[1:])
        if explain and _HELP & set(own):
            given, _ = self.parse_known_args([x for x in own if x not in _HELP])
            self.print_help()
            if given.config is not None:
                print(f"\n{explain(load_config(given.config))}")
            sys.exit(0)
        given = self.parse_args(own)
        if given.config is None:
            raise UserError("--config is missing, e.g. --config configs/demo.py")
        # A copy would not know what kind of value an empty field wants.
        file, settings = (load_config(given.config) for _ in range(2))
        typed = override(settings, overrides)
        return given, Chosen(resolve(given.config), file, settings, typed)


def split_overrides(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """Take "--config.FIELD=VALUE" out of a command's arguments.

    The value may be an argument of its own.

    Returns: the other arguments, and field -> value as typed.

    Raises:
        UserError: a field without value.
    """
    others, overrides, rest = [], {}, iter(argv)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if not flag.startswith("--config."):
            others.append(argument)
            continue
        if not equals:
            value = next(rest, "--")
            if value.startswith("--"):
                raise UserError(f"{flag}: write {flag}=VALUE")
        overrides[flag.removeprefix("--config.")] = value
    return others, overrides


def override(config: ConfigDict, overrides: dict[str, str]) -> dict[str, Any]:
    """Set fields to values as typed; return those values.

    Raises:
        UserError: a field that the configuration has not, or an unfit value; nothing
            has been set.
    """
    known = dict(fields(config))
    values = {field: _parsed(field, typed, known) for field, typed in overrides.items()}
    config.update_from_flattened_dict(values)
    return values


def _parsed(field: str, typed: str, known: dict[str, tuple[type, Any]]) -> Any:
    """Return the value of a field as typed on the command line."""
    flag = f"--config.{field}"
    kind, current = of_field(field, known, prefix="--config.")
    if kind not in _PARSERS:
        raise UserError(
            f"{flag} ({kind.__name__}) cannot be set on the command line; edit the"
            " config file"
        )
    try:
        value = kind(_PARSERS[kind](typed))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{flag}={typed}: not a value of type {kind.__name__} (the config file has"
            f" {current!r})"
        ) from error
    if kind is tuple and current:
        kinds = {type(element) for element in current}
        fit = kinds | {int} if float in kinds else kinds
        if not {type(element) for element in value} <= fit:
            names = " or ".join(sorted(kind.__name__ for kind in kinds))
            raise UserError(
                f"{flag}={typed}: every element must be {names} (the config file has"
                f" {current})"
            )
    return value


def of_field(
    field: str, known: Mapping[str, tuple], where: str = "", *, prefix: str = ""
) -> tuple[type, Any]:
    """Return type and value of a field.

    Args:
        field: dotted.
        known: of the configuration, from `fields`.
        where: what is said before a mistake.
        prefix: what fields have before their names where they are typed.

    Raises:
        UserError: there is no such field, or it is a group of them.
    """
    name = f"{prefix}{field}"
    if field not in known:
        meant = near(field, known, prefix)
        raise UserError(f"{where}unknown config field {name}{meant}")
    kind, value = known[field]
    if isinstance(value, ConfigDict):
        listed = ", ".join(f"{name}.{key}" for key in value)
        raise UserError(f"{where}{name} is a group; its fields: {listed}")
    return kind, value


def own_configs() -> Path:
    """Return the folder of config files that comes with the package.

    In a wheel it lies in the package, in a checkout beside it.
    """
    package = Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def resolve(argument: str) -> str:
    """Say where a config file is, by its path or, if it is one of ours, its name.

    A method has one card. "configs/mmcl_mosei.py:no_scl", where no such file lies, is
    the card configs/mmcl.py with data set and variant: "configs/mmcl.py:mosei+no_scl".
    What is not where it was typed is looked for in `own_configs`, with or without
    "configs/" and ".py".

    Args:
        argument: "file.py" or "file.py:variant", as typed.
    """
    typed, _, variant = argument.partition(":")
    for path in (Path(typed), _own(typed)):
        if path.suffix != ".py":
            continue
        if path.is_file():
            return ":".join(filter(None, (str(path), variant)))
        cards = sorted(path.parent.glob("*.py"), key=lambda card: -len(card.stem))
        for card in cards:
            dataset = path.stem.removeprefix(f"{card.stem}_")
            if dataset != path.stem:
                return f"{card}:{'+'.join(filter(None, (dataset, variant)))}"
    return argument


def _own(typed: str) -> Path:
    """Return where a config file would lie if it were one of ours."""
    path = Path(typed)
    if path.is_absolute() or not path.name:
        return path
    inside = path.relative_to("configs") if path.parts[0] == "configs" else path
    return own_configs() / inside.with_suffix(".py")


def load_config(argument: str | None) -> ConfigDict:
    """Return what the config file "file.py" or "file.py:variant" says."""
    config = from_file(resolve(argument or ""), "get_config", "config file")
    if not isinstance(config, ConfigDict):
        path, kind = (argument or "").split(":", 1)[0], type(config).__name__
        raise UserError(f"config file {path}: get_config() returns a {kind}")
    return config


def from_file(argument: str, function: str, what: str) -> Any:
    """Call a function without arguments, or of a variant, in a file of Python.

    Args:
        argument: "file.py" or "file.py:variant", as typed.
        function: its name.
        what: the file is, in words.

    Raises:
        UserError: no such file or function, or an error in it.
    """
    typed, *variant = argument.split(":", 1)
    path = typed if Path(typed).is_file() else str(_own(typed))
    if not Path(path).is_file():
        like = Path(typed)
        there = [f for p in (like, Path(path)) for f in p.parent.glob("*.py")]
        names = {f.name if like.suffix else f.stem for f in there if like.name}
        meant = near(typed, (str(like.with_name(name)) for name in names))
        raise UserError(f"{what} {typed!r} not found{meant}")
    try:
        call = runpy.run_path(path).get(function)
        if call is None:
            raise UserError(f"{what} {path}: it has no function {function}()")
        try:
            inspect.signature(call).bind(*variant)
        except TypeError:
            advice = f"drop ':{variant[0]}'" if variant else f"write {path}:VARIANT"
            raise UserError(f"{what} {path}: wrong variant; {advice}") from None
        return call(*variant)
    except UserError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise UserError(f"{what} {path}, line {_line(path, error)}: {said}") from error


def _line(path: str, error: Exception) -> int | None:
    """Return the innermost line of file `path` that led to `error`."""
    if isinstance(error, SyntaxError):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if f.filename == path), None)


def fields(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, tuple]]:
    """Yield the dotted path, type and value of every field, groups included."""
    for key in config:
        value = config[key]
        yield prefix + key, (config.get_type(key), value)
        if isinstance(value, ConfigDict):
            yield from fields(value, f"{prefix}{key}.")
