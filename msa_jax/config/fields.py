"""Config fields, derived from the annotations of what reads them: nothing twice.

A linen module, a named tuple, a dataclass or a function says with each of its
attributes (of a function: its keyword-only parameters) what a run may choose:

    class Network(nn.Module):
        text_encoder: nn.Module  # no default: not a field
        gate: Literal["relu", "squeeze"] = "relu"  # choices
        width: Annotated[Size, "of a modality"] = 24  # bounds, and words for --help

`of` reads them, `defaults` makes a `ConfigDict` of them, `refuse` checks values.
"""

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES


class Bound(NamedTuple):
    """What a number may be: low..high, `high` itself excluded, `low` where `open`."""

    low: float
    high: float = math.inf
    open: bool = False

    def allows(self, value: Any) -> bool:
        """Whether a value may be taken; one that is no number may not."""
        above = value > self.low if self.open else value >= self.low
        return above and value < self.high

    @property
    def words(self) -> str:
        """What to do, in words."""
        if self.high < math.inf:
            return f"must be in {'(' if self.open else '['}{self.low:g}, {self.high:g})"
        return f"must be {'above' if self.open else 'at least'} {self.low:g}"


class Some(NamedTuple):
    """What a tuple may list: some of `known`, each once, `always` among them."""

    known: tuple[str, ...]
    always: tuple[str, ...] = ()

    def allows(self, value: Any) -> bool:
        """Whether a tuple may be taken."""
        members = set(value)
        once = 0 < len(members) == len(value)
        return once and set(self.always) <= members <= set(self.known)

    @property
    def words(self) -> str:
        """What to do, in words."""
        others = ", ".join(name for name in self.known if name not in self.always)
        return f"list {' and '.join((*self.always, f'any of {others}'))}"


class Letters(NamedTuple):
    """What a string may hold: some of `known`, or nothing."""

    known: str

    def allows(self, value: Any) -> bool:
        """Whether a string may be taken."""
        return set(value) <= set(self.known)

    @property
    def words(self) -> str:
        """What to do, in words."""
        return f"any of the letters {', '.join(self.known)}"


class Traced(NamedTuple):
    """Marks an input of the compiled program, which is no constant of it.

    Runs that differ in such fields alone share one program: compiled once, whatever the
    rate, and in a search many of them side by side.

    zero_is_constant: a plain 0 leaves the term out: another program.
    """

    zero_is_constant: bool = False


GIVEN = object()  # marks an attribute that another one decides: not a field

Size = Annotated[int, Bound(1)]
Count = Annotated[int, Bound(0)]
Share = Annotated[float, Bound(0, 1)]  # a dropout rate, for example
Weight = Annotated[float, Bound(0)]
Positive = Annotated[float, Bound(0, open=True)]
Modalities = Annotated[tuple[str, ...], Some(MODALITIES)]


class Field(NamedTuple):
    """One field of a configuration.

    path: dotted, "model.width".
    kind: type of its values; None may stand beside it where `optional`.
    choices: all values that it may have; empty: `rules` decide.
    rules: `Bound`s and the like.
    about: a few words, or "".
    """

    path: str
    kind: type
    default: Any
    optional: bool
    choices: tuple[Any, ...]
    rules: tuple[Any, ...]
    traced: Traced | None
    about: str

    def allowed(self) -> str:
        """Say in words what it may be."""
        if self.choices:
            return " | ".join(map(str, self.choices))
        words = ", ".join(rule.words.removeprefix("must be ") for rule in self.rules)
        return words or ("true | false" if self.kind is bool else self.kind.__name__)


def of(owner: Any, section: str = "") -> tuple[Field, ...]:
    """Return the fields that a class or a function declares.

    Args:
        owner: a class (linen module, named tuple, dataclass) or a function.
        section: where they stand, "model"; "": at the top.

    Raises:
        TypeError: a field's type is none that a configuration holds.
    """
    defaults = dict(_defaults(owner))
    hints = typing.get_type_hints(owner, include_extras=True)
    prefix = f"{section}." if section else ""
    fields = [
        _field(prefix + name, hints[name], default)
        for name, default in defaults.items()
    ]
    return tuple(field for field in fields if field is not None)


def defaults(fields: tuple[Field, ...]) -> ConfigDict:
    """Make a configuration of fields, all at their defaults."""
    config = ConfigDict()
    for field in fields:
        *sections, name = field.path.split(".")
        around = config
        for section in sections:
            if section not in around:
                around[section] = ConfigDict()
            around = around[section]
        value = field.default
        if field.optional:  # of this kind, or nothing
            around[name] = placeholder(field.kind)
        if value is not None:
            around[name] = value
    return config


def change(config: ConfigDict, changes: Mapping[str, Any]) -> None:
    """Set dotted fields.

    Raises:
        UserError: the configuration has no such field, or it is of another type.
    """
    for path, value in changes.items():
        *sections, name = path.split(".")
        around, said = config, f"config.{path} = {value!r}"
        try:
            for section in sections:
                around = around[section]
            kind = around.get_type(name)
        except (KeyError, TypeError, AttributeError):
            raise UserError(f"{said}: {config.method} has no such field") from None
        if value is None:
            with around.ignore_type():
                around[name] = placeholder(kind)
            continue
        try:
            around[name] = value
        except TypeError:
            raise UserError(f"{said}: not a value of type {kind.__name__}") from None


def refuse(config: Any, fields: tuple[Field, ...]) -> None:
    """Refuse values that a field may not have.

    Raises:
        UserError: naming the field, its value and what it may be.
    """
    for field in fields:
        value = get(config, field.path)
        if value is None and field.optional:
            continue
        if field.choices and value not in field.choices:
            listed = ", ".join(map(str, field.choices))
            raise UserError(f"config.{field.path} = {value!r}: must be one of {listed}")
        for rule in field.rules:
            if not rule.allows(value):
                raise UserError(f"config.{field.path} = {value!r}: {rule.words}")


def get(config: Any, path: str) -> Any:
    """Return the value of a dotted field."""
    for key in path.split("."):
        config = config[key]
    return config


def _defaults(owner: Any) -> Iterator[tuple[str, Any]]:
    if inspect.isclass(owner) and dataclasses.is_dataclass(owner):
        for field in dataclasses.fields(owner):
            # linen adds `parent` and `name`, whose defaults are no values.
            if field.name not in ("parent", "name"):
                if field.default is not dataclasses.MISSING:
                    yield field.name, field.default
    elif inspect.isclass(owner):
        yield from getattr(owner, "_field_defaults").items()  # noqa: B009 (a named tuple's)
    else:
        for name, parameter in inspect.signature(owner).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY:
                if parameter.default is not parameter.empty:
                    yield name, parameter.default


def _field(path: str, hint: Any, default: Any) -> Field | None:
    marks: list[Any] = []
    options: list[Any] = [hint]
    while any(get_origin(option) in _WRAPPERS for option in options):
        option = next(o for o in options if get_origin(o) in _WRAPPERS)
        options.remove(option)
        inner = get_args(option)
        if get_origin(option) is Annotated:
            marks += inner[1:]
            inner = inner[:1]
        options += inner
    if any(mark is GIVEN for mark in marks):
        return None
    optional = type(None) in options
    # A number may be a traced array inside a program; a configuration holds the number.
    holds = [o for o in options if (get_origin(o) or o) in (*_KINDS, Literal)]
    if not holds:
        if type(default) in _KINDS:
            raise TypeError(f"field {path}: no configuration holds a {hint}")
        return None
    choices = get_args(holds[0]) if get_origin(holds[0]) is Literal else ()
    return Field(
        path=path,
        kind=type(choices[0]) if choices else get_origin(holds[0]) or holds[0],
        default=default,
        optional=optional,
        choices=choices,
        rules=tuple(m for m in marks if isinstance(m, Bound | Some | Letters)),
        traced=next((m for m in marks if isinstance(m, Traced)), None),
        about=next((m for m in marks if isinstance(m, str)), ""),
    )


_WRAPPERS = (Annotated, typing.Union, types.UnionType)
_KINDS = (bool, int, float, str, tuple)
