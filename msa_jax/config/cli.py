"""What every command shares: one clear line for a user's mistake, never a traceback."""

import argparse
import difflib
import gc
import inspect
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from absl import flags
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags import tuple_parser
from ml_collections.config_flags.config_flags import is_config_flag

from msa_jax.ground import signals
from msa_jax.ground.errors import UserError

MISTAKE = 2  # exit code

PARSERS = {
    int: flags.IntegerParser(),
    float: flags.FloatParser(),
    bool: flags.BooleanParser(),
    str: flags.ArgumentParser(),
    tuple: tuple_parser.TupleParser(),
}


def run(
    main: Callable[[list[str]], int | None],
    *,
    arguments: bool = False,
    explain: Callable[[ConfigDict], str] | None = None,
) -> NoReturn:
    """Parse the absl flags, call `main` and exit with what it returns.

    Args:
        main: gets the program's name and the arguments that are not flags.
        arguments: whether such arguments are allowed; if not, one is a mistake.
        explain: a configuration -> a list of its fields, for --help beside --config.
    """

    def parse_and_call() -> int | None:
        if any(_flag_of(a) in ("help", "helpshort", "h", "?") for a in sys.argv[1:]):
            print(_help(), *_help_of_fields(explain), sep="\n\n")
            return 0
        rest = _parse(sys.argv)
        if rest[1:] and not arguments:
            raise UserError(
                f"unexpected argument {rest[1]!r}; write --flag=value, and a tuple"
                " without spaces: --flag=1,2,3"
            )
        return main(rest)

    run_plain(parse_and_call)


def run_plain(main: Callable[[], int | None]) -> NoReturn:
    """Call `main` and exit with what it returns; for commands that use argparse."""
    # Tracing makes objects by the million and next to no cycles: looking for them after
    # every 700 new ones, as Python does, took a sixth of that time.
    gc.set_threshold(100_000)
    try:
        code = signals.call(main) or 0
    except UserError as error:
        print("error:", one_line(str(error)), file=sys.stderr)
        code = MISTAKE
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
        unknown = re.search(r"unrecognized arguments: (--?[\w-]+)", message)
        if unknown:
            meant = near(unknown[1], self._option_string_actions)
            message = f"unknown flag {unknown[1]}{meant}"
        raise UserError(f"{message} (see --help)")


def _help() -> str:
    """Return the docstring of the command and the flags that it defines itself."""
    lines = [(sys.modules["__main__"].__doc__ or "").strip(), "", "Flags:"]
    for flag in _own_flags():
        default = "" if flag.default is None else f" (default: {flag.default})"
        lines.append(f"  --{flag.name:<12} {flag.help}{default}")
    return "\n".join(lines)


def _help_of_fields(explain: Callable[[ConfigDict], str] | None) -> list[str]:
    """Explain the fields of the config that stands beside --help, if one does."""
    typed = _config_argument(sys.argv[1:], "config") if explain else None
    return [explain(load_config(typed))] if explain and typed else []


def _own_flags() -> list[flags.Flag]:
    return flags.FLAGS.get_key_flags_for_module(sys.argv[0])


def _parse(argv: list[str]) -> list[str]:
    """Return the arguments that are not flags; mistakes become `UserError`."""
    values = flags.FLAGS
    configs = [name for name in values if is_config_flag(values[name])]
    argv = _resolved(argv, configs)
    try:
        argv = values.read_flags_from_files(argv, force_gnu=False)
        for name in configs:
            if _config_argument(argv, name) is None:
                raise UserError(f"--{name} is missing, e.g. --{name} configs/demo.py")
        rest = values(argv)
    except UserError:
        raise
    except Exception as error:
        # config_flags wraps, delays or garbles the errors of config files and of
        # overrides: look again for the likely mistakes, one by one.
        for name in configs:
            _check_overrides(argv, name, load_config(_config_argument(argv, name)))
        if isinstance(error, flags.UnrecognizedFlagError):
            meant = near(error.flagname, [flag.name for flag in _own_flags()], "--")
            raise UserError(f"unknown flag --{error.flagname}{meant}") from error
        if isinstance(error, flags.Error):
            raise UserError(str(error)) from error
        raise
    for name in configs:
        if not isinstance(values[name].value, ConfigDict):
            load_config(_config_argument(argv, name))
        _check_tuples(name)
    return rest


def split_overrides(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """Take "--config.FIELD=VALUE" out of a command's arguments.

    Returns: the other arguments, and field -> value as typed.
    """
    mine, overrides = [], {}
    for argument in argv:
        match = re.match(r"--config\.([\w.]+)=(.*)", argument)
        if match:
            overrides[match[1]] = match[2]
        elif argument.startswith("--config."):
            raise UserError(f"{argument}: write --config.FIELD=VALUE")
        else:
            mine.append(argument)
    return mine, overrides


def override(config: ConfigDict, overrides: dict[str, str]) -> None:
    """Set fields to values as typed.

    Raises:
        UserError: a field that the configuration has not, or an unfit value.
    """
    argv = [f"--config.{field}={value}" for field, value in overrides.items()]
    _check_overrides(argv, "config", config)
    for field, value in overrides.items():
        kind, _ = dict(fields(config))[field]
        *groups, name = field.split(".")
        group = config
        for key in groups:
            group = group[key]
        parsed = PARSERS[kind].parse(value)
        group[name] = kind(parsed) if kind is tuple else parsed


def _resolved(argv: list[str], configs: list[str]) -> list[str]:
    """Return a command's arguments with the files that config flags mean."""
    argv = list(argv)
    for i, argument in enumerate(argv):
        flag, equals, value = argument.partition("=")
        if flag.lstrip("-") not in configs or not flag.startswith("-"):
            continue
        if equals:
            argv[i] = f"{flag}={resolve(value)}"
        elif i + 1 < len(argv):
            argv[i + 1] = resolve(argv[i + 1])
    return argv


def _flag_of(argument: str) -> str | None:
    """Return NAME of "--NAME" or "--NAME=value"."""
    match = re.match(r"--?([^=]+)", argument)
    return match[1] if match else None


def _values_of(argv: list[str]) -> Iterator[tuple[str, str]]:
    """Yield name and value of "--name=value" and "--name value" alike."""
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        if name := _flag_of(argument):
            yield name, argument.split("=", 1)[1] if "=" in argument else following


def _config_argument(argv: list[str], name: str) -> str | None:
    return dict(_values_of(argv)).get(name, flags.FLAGS[name].default)


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


def _check_overrides(argv: list[str], name: str, config: ConfigDict) -> None:
    """Raise for the first override that names no field or has an unfit value."""
    known = dict(fields(config))
    for flag, value in _values_of(argv):
        prefix, _, path = flag.partition(".")
        if prefix not in (name, f"no{name}") or not path:
            continue
        if path not in known:
            meant = near(path, known, f"--{name}.")
            raise UserError(f"unknown config field --{name}.{path}{meant}")
        kind, current = known[path]
        if isinstance(current, ConfigDict):
            listed = ", ".join(f"--{name}.{path}.{key}" for key in current)
            raise UserError(f"--{name}.{path} is a group; its fields: {listed}")
        parser = PARSERS.get(kind)
        if parser is None:
            raise UserError(
                f"--{name}.{path} ({kind.__name__}) cannot be set on the command line;"
                " edit the config file"
            )
        try:
            boolean = kind is bool and f"--{flag}={value}" not in argv
            parser.parse("true" if boolean else value)
        except (ValueError, TypeError) as error:
            raise UserError(
                f"--{name}.{path}={value}: not a value of type {kind.__name__}"
                f" (the config file has {current!r})"
            ) from error


def fields(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, tuple]]:
    """Yield the dotted path, type and value of every field, groups included."""
    for key in config:
        value = config[key]
        yield prefix + key, (config.get_type(key), value)
        if isinstance(value, ConfigDict):
            yield from fields(value, f"{prefix}{key}.")


def _check_tuples(name: str) -> None:
    """Raise if a tuple given on the command line has other types than the file's."""
    config_flag = flags.FLAGS[name]
    for path, value in config_flags.get_override_values(config_flag).items():
        before = flags.FLAGS[f"{name}.{path}"].default
        if not isinstance(value, tuple) or not before:
            continue
        kinds = {type(element) for element in before}
        fit = kinds | {int} if float in kinds else kinds
        if not {type(element) for element in value} <= fit:
            names = " or ".join(sorted(kind.__name__ for kind in kinds))
            raise UserError(
                f"--{name}.{path}={','.join(map(str, value))}: every element must be"
                f" {names} (the config file has {tuple(before)})"
            )


def near(word: str, known: Iterable[str], prefix: str = "") -> str:
    """Return "; did you mean ...?", or nothing if no known name is near."""
    known = sorted(known)
    found = difflib.get_close_matches(word, known, n=1)
    if not found:  # the name may be in another group
        leaves = {other.rpartition(".")[2]: other for other in known}
        found = difflib.get_close_matches(word.rpartition(".")[2], leaves, n=1)
        found = [leaves[leaf] for leaf in found]
    return f"; did you mean {prefix}{found[0]}?" if found else ""
