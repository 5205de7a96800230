"""What a hyper-parameter search tries: a space, trials drawn from it, groups of trials.

A sweep file has a function `get_sweep()` that returns config fields and their values:

    {
        "optim.batch_size": (16, 32),  # one of these
        "optim.groups.other.rate": LogUniform(1e-4, 1e-2),  # a range: random search
        # Several fields that share one value:
        ("optim.groups.bert.rate", "optim.groups.bert_no_decay.rate"): (2e-5, 5e-5),
    }
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from msa_jax.config import cli, with_values
from msa_jax.ground.errors import UserError
from msa_jax.methods import check

# A trial that changed these would be scored by another rule, or on other data.
FIXED = (
    *("method", "task", "seeds", "data.name", "data.dir", "precision"),
    *("selection.valid_mean", "selection.round_decimals", "selection.min_delta"),
    *("mesh.devices", "mesh.data", "mesh.over_seeds", "mesh.seeds_at_once"),
)
_REPEATS = 10_000  # so many draws of ranges without a new combination: there is none


class Uniform(NamedTuple):
    """Numbers from `low` to `high`, all equally likely."""

    low: float
    high: float


class LogUniform(NamedTuple):
    """Numbers from `low` (above 0) to `high` whose logarithms are equally likely."""

    low: float
    high: float


class Axis(NamedTuple):
    """One direction of the space: config fields that share a value, and its values."""

    fields: tuple[str, ...]
    values: tuple[Any, ...] | Uniform | LogUniform

    @property
    def name(self) -> str:
        """Its fields, joined."""
        return " = ".join(self.fields)


class Trial(NamedTuple):
    """One point of the space.

    number: from 1, in the order of drawing.
    values: config field -> value, in the order of the sweep file.
    """

    number: int
    values: dict[str, Any]


class Group(NamedTuple):
    """Trials that one compiled program can run.

    traced: fields in which they may differ.
    trials: in the order of their numbers.
    """

    traced: tuple[str, ...]
    trials: tuple[Trial, ...]


def read_space(sweep: Any, config: ConfigDict, source: str) -> tuple[Axis, ...]:
    """Check what a sweep file says against the configuration it is for.

    Args:
        sweep: what its `get_sweep()` returned.
        config: the configuration; values take the types that its fields have.
        source: the file's name, for messages.

    Raises:
        UserError: an unknown field, or a value that its field cannot have.
    """
    if not isinstance(sweep, Mapping) or not sweep:
        raise UserError(
            f"sweep {source}: get_sweep() must return a dictionary, config field -> "
            "values"
        )
    known, axes, seen = dict(cli.fields(config)), [], set()
    for key, values in sweep.items():
        fields = (key,) if isinstance(key, str) else tuple(key)
        for field in fields:
            _check_field(field, known, source)
            if field in seen:
                raise UserError(f"sweep {source}: {field} stands twice")
            seen.add(field)
        if len({known[field][0] for field in fields}) > 1:
            raise UserError(f"sweep {source}: {fields} cannot share values of one type")
        for field in fields:
            kind, current = known[field]
            values = _values(field, values, kind, current, source)
        axes.append(Axis(fields, values))
    return tuple(axes)


def combinations(space: Sequence[Axis]) -> int | None:
    """Count the points of a space; None: it has a range, so no end of them."""
    if any(isinstance(axis.values, Uniform | LogUniform) for axis in space):
        return None
    return math.prod(len(axis.values) for axis in space)


def plan(
    space: Sequence[Axis], config: ConfigDict, search: str, trials: int, seed: int
) -> list[Trial]:
    """Choose the trials and check the configuration of every one.

    A longer random search with the same seed starts with the trials of a shorter one.

    Args:
        space: from `read_space`.
        config: what trials change.
        search: "random" (each combination at most once) or "grid" (all, in order).
        trials: how many at most.
        seed: of the random search.

    Raises:
        UserError: a grid of more than `trials` points or with a range, or a
            combination that no run can use.
    """
    if trials < 1:
        raise UserError(f"--trials {trials}: must be at least 1")
    points = _grid(space, trials) if search == "grid" else _random(space, seed)
    chosen = [
        Trial(number, _by_field(space, point))
        for number, point in enumerate(itertools.islice(points, trials), 1)
    ]
    for trial in chosen:
        try:
            check(with_values(config, trial.values))
        except UserError as error:
            said = ", ".join(f"{k}={v}" for k, v in trial.values.items())
            raise UserError(f"trial {trial.number} ({said}): {error}") from error
    return chosen


def group_trials(
    trials: Iterable[Trial], traced: Callable[[str, Any], bool]
) -> list[Group]:
    """Put trials together that differ in traced fields only.

    Args:
        trials: in any order.
        traced: (field, value) -> whether a program can take the value as an input.

    Returns:
        Groups in the order of their first trials.
    """
    found: dict[tuple, list[Trial]] = {}
    for trial in sorted(trials, key=lambda t: t.number):
        names = tuple(f for f, v in trial.values.items() if traced(f, v))
        rest = tuple((f, v) for f, v in trial.values.items() if f not in names)
        found.setdefault((names, rest), []).append(trial)
    return [Group(names, tuple(some)) for (names, _), some in found.items()]


def _check_field(field: str, known: Mapping[str, tuple], source: str) -> None:
    cli.of_field(field, known, f"sweep {source}: ")
    if field in FIXED:
        raise UserError(
            f"sweep {source}: {field} must be the same in all trials, else their "
            "validation losses cannot be compared; set it in the config"
        )


def _values(
    field: str, values: Any, kind: type, current: Any, source: str
) -> tuple[Any, ...] | Uniform | LogUniform:
    """Return checked values of a field's own type."""
    where = f"sweep {source}: {field}"
    if isinstance(values, Uniform | LogUniform):
        low, high = values
        if kind is not float:
            raise UserError(
                f"{where} is of type {kind.__name__}, not float: list the values"
            )
        if not -math.inf < low < high < math.inf:
            raise UserError(f"{where}: {values} must go from a lower to a higher end")
        if isinstance(values, LogUniform) and low <= 0:
            raise UserError(f"{where}: {values} must start above 0")
        return values
    if not isinstance(values, tuple | list) or not values:
        raise UserError(
            f"{where}: {values!r} must be a tuple of values, Uniform(low, high) or "
            "LogUniform(low, high)"
        )
    fit = tuple(_value(where, value, kind, current) for value in values)
    if len(set(fit)) < len(fit):
        raise UserError(f"{where}: {fit} has a value twice")
    return fit


def _value(where: str, value: Any, kind: type, current: Any) -> Any:
    if value is None and current is None:
        return None
    if kind is float and type(value) is int:
        value = float(value)
    if kind is tuple and isinstance(value, list):
        value = tuple(value)
    if type(value) is not kind or value != value:
        raise UserError(
            f"{where}: {value!r} is not a value of type {kind.__name__} (the config "
            f"has {current!r})"
        )
    return value


def _grid(space: Sequence[Axis], trials: int) -> Iterator[tuple]:
    count = combinations(space)
    if count is None:
        name = next(a.name for a in space if type(a.values) is not tuple)
        raise UserError(
            f"--search grid: {name} is a range; list its values, or use --search random"
        )
    if count > trials:
        raise UserError(
            f"--search grid: the sweep has {count} combinations, more than --trials "
            f"{trials}; give --trials {count} to try all, or use --search random"
        )
    return itertools.product(*(axis.values for axis in space))


def _random(space: Sequence[Axis], seed: int) -> Iterator[tuple]:
    """Yield new points until there is none left."""
    rng, count = np.random.default_rng(seed), combinations(space)
    seen: set[tuple] = set()
    repeats = 0
    while len(seen) < count if count is not None else repeats < _REPEATS:
        point = tuple(_draw(axis.values, rng) for axis in space)
        if point in seen:
            repeats += 1
        else:
            repeats = 0
            seen.add(point)
            yield point


def _draw(values: tuple | Uniform | LogUniform, rng: np.random.Generator) -> Any:
    match values:
        case Uniform(low, high):
            return _short(rng.uniform(low, high), low, high)
        case LogUniform(low, high):
            drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
            return _short(drawn, low, high)
        case _:
            return values[rng.integers(len(values))]


def _short(value: float, low: float, high: float) -> float:
    """Round to four digits, which a person can type again; stay inside the range."""
    return min(max(float(f"{value:.4g}"), float(low)), float(high))


def _by_field(space: Sequence[Axis], point: Iterable[Any]) -> dict[str, Any]:
    return {
        field: value
        for axis, value in zip(space, point, strict=True)
        for field in axis.fields
    }
