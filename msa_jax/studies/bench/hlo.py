"""What a compiled program does, read from its own text: kernels, loops, bytes, padding.

The text is what `compiled.as_text()` returns: computations of instructions in the order
in which they run. A kernel is an instruction that a device runs by itself: anything but
control flow, views and constants. Loops whose trips the compiler does not know are
counted with the most that the caller says.

Source: openxla.org, XLA semantics (operations), "Shapes and layout" (tiles); jax's
    `Compiled.as_text`.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

_BYTES = {"pred": 1, "token": 0, "opaque": 0, "bf16": 2}
_SHAPE = re.compile(r"([a-z]+[0-9a-z]*)\[([0-9,]*)\](?:\{([^}]*)\})?")
_LINE = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*)")
_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_CALLED = re.compile(r"(?:calls|to_apply|body|\w+_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')
COLLECTIVES = (
    *("all-reduce", "all-gather", "all-to-all"),
    *("collective-permute", "reduce-scatter"),
)
# Not kernels: control flow, views, constants, the end of what was started before.
_NONE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while"),
    *("conditional", "call", "after-all", "partition-id", "replica-id", "domain"),
    *("opt-barrier", "async-done", "async-update", "copy-done", "send-done"),
    *("recv-done", *(f"{name}-done" for name in COLLECTIVES)),
}
_SLICES = {"dynamic-slice", "slice", "gather"}
# Changed in place: operation -> which operand is put into the first one.
_UPDATES = {"dynamic-update-slice": 1, "scatter": 2}
_PARTS = {*_SLICES, *_UPDATES}  # of their first operand


class Instruction(NamedTuple):
    """A line of the text: name, type, operation, what it is given, the rest."""

    name: str
    type: str
    operation: str
    given: str
    rest: str

    @property
    def operands(self) -> list[str]:
        """Names of other instructions."""
        return re.findall(r"%([\w.\-]+)", self.given)


class Loop(NamedTuple):
    """A loop, or the whole program (one trip).

    trips: how often it runs each time.
    known: whether the compiler knows that; else it is the most.
    kernels: of one trip, those of the loops in it included.
    moved: bytes that these read and write.
    collectives: of one trip, by operation: how many, and bytes of their results.
    inner: loops in it.
    """

    trips: int
    known: bool
    kernels: int
    moved: float
    collectives: Mapping[str, tuple[int, float]]
    inner: tuple["Loop", ...]


class Padded(NamedTuple):
    """An array that tiles enlarge: its type, bytes with padding, how many times."""

    type: str
    size: int
    factor: float


Computations = dict[str, list[Instruction]]


def read(text: str) -> tuple[Computations, str]:
    """Return a program's computations by name, and the name of the first to run."""
    computations: Computations = {}
    entry, current = "", []
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = computations[head[2]] = []
            entry = head[2] if head[1] else entry
        elif parts := _LINE.match(line):
            current.append(_instruction(parts[1], parts[2]))
    return computations, entry


def _instruction(name: str, text: str) -> Instruction:
    """Take "TYPE operation(operands), rest" apart."""
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    shape, text = text[:end], text[end:].lstrip()
    start = text.index("(")
    end = _closing(text, start)
    return Instruction(
        name, shape, text[:start], text[start + 1 : end], text[end + 1 :]
    )


def _closing(text: str, start: int) -> int:
    """Return where the parenthesis at `start` is closed."""
    depth = 0
    for bracket in re.compile(r"[()]").finditer(text, start):
        depth += 1 if bracket[0] == "(" else -1
        if depth == 0:
            return bracket.start()
    raise ValueError(f"not closed: {text[start : start + 60]}")


def loops(text: str, most: int) -> Loop:
    """Return the program as loops within loops.

    Args:
        text: of a compiled program.
        most: trips of a loop whose trips depend on data.
    """
    computations, entry = read(text)
    moved_by = _moves(computations)

    @cache
    def once(name: str) -> Loop:
        kernels, moved, inner = 0, 0.0, []
        collectives: Counter[str] = Counter()
        size: dict[str, float] = defaultdict(float)

        def add(part: Loop) -> None:
            nonlocal kernels, moved
            kernels += part.trips * part.kernels
            moved += part.trips * part.moved
            for collective, (times, each) in part.collectives.items():
                collectives[collective] += part.trips * times
                size[collective] += part.trips * each

        for instruction in computations.get(name, ()):
            if instruction.operation == "while":
                (body,) = re.findall(r"body=%?([\w.\-]+)", instruction.rest)
                trips = _trips(instruction, computations)
                loop = once(body)._replace(trips=trips or most, known=bool(trips))
                inner.append(loop)
                add(loop)
            elif instruction.operation in ("call", "conditional"):
                for called in _called(instruction):
                    inner += once(called).inner
                    add(once(called))
            elif instruction.operation not in _NONE:
                kernels, moved = kernels + 1, moved + moved_by(name, instruction)
                collective = instruction.operation.removesuffix("-start")
                if collective in COLLECTIVES:
                    collectives[collective] += 1
                    size[collective] += size_of(instruction.type)
        sent = {
            collective: (times, size[collective])
            for collective, times in collectives.items()
        }
        return Loop(1, True, kernels, moved, sent, tuple(inner))

    return once(entry)


def _trips(loop: Instruction, computations: Computations) -> int:
    """Return how often a loop runs; 0 where that is not in the text."""
    if known := _TRIPS.search(loop.rest):
        return int(known[1])
    # The TPU's compiler does not say it: a counter from 0 stays below a constant.
    (name,) = re.findall(r"condition=%?([\w.\-]+)", loop.rest)
    condition = {instruction.name: instruction for instruction in computations[name]}
    limit = condition.get(computations[name][-1].operands[-1])
    return int(limit.given) if limit and limit.operation == "constant" else 0


def heaviest(loop: Loop, trips: int) -> Loop | None:
    """Return the loop of so many trips that runs the most kernels, at any depth."""
    such = [each for each in _every(loop) if each.trips == trips and each.known]
    return max(such, key=lambda each: each.kernels, default=None)


def _every(loop: Loop) -> Iterator[Loop]:
    for each in loop.inner:
        yield each
        yield from _every(each)


def nested(loop: Loop) -> str:
    """Write the loops in a loop with their trips, for example "10 x (4 x (<=16 x 32))".

    Loops of fewer than 1 % of the kernels are left out.
    """
    parts = []
    for each in loop.inner:
        if each.trips * each.kernels * 100 < loop.kernels:
            continue
        trips = f"{'' if each.known else '<='}{each.trips}"
        inside = nested(each)
        parts.append(f"{trips} x ({inside})" if inside else trips)
    return ", ".join(parts)


def worst_padding(text: str, above: int) -> Padded | None:
    """Return the array that tiles enlarge the most, of those above so many bytes."""
    computations, _ = read(text)
    fused = {
        called
        for instructions in computations.values()
        for each in instructions
        if each.operation == "fusion"
        for called in _called(each)
    }
    types = {
        shape[0]
        for name, instructions in computations.items()
        if name not in fused
        for each in instructions
        for shape in _SHAPE.finditer(each.type)
    }
    padded = []
    for each in types:
        size, true = size_of(each), size_of(each, tiles=False)
        if size > above and true:
            padded.append(Padded(each, size, size / true))
    return max(padded, key=lambda each: (each.factor, each.size), default=None)


@cache
def size_of(type_text: str, tiles: bool = True) -> int:
    """Return the bytes of all arrays of a type, padding of tiles included or not."""
    total = 0
    for element, listed, layout in _SHAPE.findall(type_text):
        shape = [int(n) for n in listed.split(",")] if listed else []
        if tiles and (tile := re.search(r":[^S]*?T\(([\d,]+)\)", layout or "")):
            minor_first = [int(n) for n in layout.split(":")[0].split(",") if n]
            sizes = [shape[axis] for axis in minor_first] or [1]
            edges = [int(n) for n in tile[1].split(",")][::-1]
            sizes += [1] * (len(edges) - len(sizes))
            shape = [
                -(-size // edge) * edge
                for size, edge in zip(
                    sizes, edges + [1] * (len(sizes) - len(edges)), strict=True
                )
            ]
        total += math.prod(shape) * _width(element)
    return total


def _width(element: str) -> int:
    """Return the bytes of a number, for example of "f32"; a part counts as one."""
    if element in _BYTES:
        return _BYTES[element]
    bits = re.search(r"\d+", element)
    return max(int(bits[0]) // 8, 1) if bits else 0


def _called(instruction: Instruction) -> list[str]:
    branches = _BRANCHES.search(instruction.rest)
    if branches:
        return re.findall(r"%?([\w.\-]+)", branches[1])
    return _CALLED.findall(instruction.rest)


def _moves(computations: Computations) -> Callable[[str, Instruction], float]:
    """Return what says how many bytes a kernel reads and writes.

    Where a kernel takes a slice of an array, or puts one into it, the slice counts.
    """
    types = {
        name: {each.name: each.type for each in instructions}
        for name, instructions in computations.items()
    }

    def read_by(instruction: Instruction, where: str) -> float:
        whole = [size_of(types[where].get(x, "")) for x in instruction.operands]
        if instruction.operation in _SLICES:
            return float(size_of(instruction.type) + sum(whole[1:]))
        if instruction.operation in _UPDATES:
            return float(sum(whole[1:]))
        if instruction.operation != "fusion":
            return float(sum(whole))
        (inside,) = _called(instruction)[:1]
        return sum(
            min(size, _used(computations[inside], number))
            for number, size in enumerate(whole)
        )

    def written_by(instruction: Instruction, where: str) -> float:
        if instruction.operation == "fusion":
            (where,) = _called(instruction)[:1]
            instruction = computations[where][-1]
        if (update := _UPDATES.get(instruction.operation)) is not None:
            return float(size_of(types[where].get(instruction.operands[update], "")))
        return float(size_of(instruction.type))

    return lambda where, instruction: (
        read_by(instruction, where) + written_by(instruction, where)
    )


def _used(inside: list[Instruction], number: int) -> float:
    """Return the bytes that a fusion reads of an argument; all of it is infinite."""
    (argument,) = (
        instruction.name
        for instruction in inside
        if instruction.operation == "parameter" and instruction.given == str(number)
    )
    total = 0.0
    for instruction in inside:
        operands = instruction.operands
        if argument in operands[1:] or (
            argument in operands and instruction.operation not in _PARTS
        ):
            return math.inf
        if argument in operands and instruction.operation in _SLICES:
            total += size_of(instruction.type)
    return total
