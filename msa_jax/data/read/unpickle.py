"""Read pickles of arrays without calling anything: the only module that opens them.

An interpreter for the opcodes that such pickles consist of.
Source: Python's pickletools, which describes each opcode.
"""

import codecs
import mmap
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msa_jax.data.read import containers, pickled
from msa_jax.data.read.pickled import Name, call, find, flat_key
from msa_jax.ground.errors import UserError

MAX_OPCODES = 20_000_000
MAX_MEMO = 5_000_000
MAX_STACK = 5_000_000
MAX_MARKS = 1_000  # nesting of open containers
MAX_NUMBER = 1_000  # bytes of a single integer
_COPIED = 1 << 16  # longer bytes stay where they are, in the mapped file


def read_pickle(path: Path) -> tuple[Any, int]:
    """Read one pickle into builtin containers, numbers, strings and NumPy arrays.

    Returns: its contents, and the bytes that follow it in the file. Large arrays
        share memory with the file and cannot be written to.
    Raises: UserError, one line, for anything but a well-formed pickle of arrays.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(containers.HEAD)
            if not head:
                raise UserError("the file is empty: was it fully downloaded?")
            other = containers.recognise(head)
            if other is not None:
                raise UserError(f"not a pickle but {other}")
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})") from None
    contents, at = follow(data)
    return contents, len(data) - at


def follow(
    data: mmap.mmap | bytes, at: int = 0, *, tensors: bool = False
) -> tuple[Any, int]:
    """Follow one pickle in a file.

    Args:
        data, at, tensors: see `Machine`.

    Returns: its contents, and where in `data` it ends.
    Raises: UserError, see `read_pickle`.
    """
    machine = Machine(data, at, tensors=tensors)
    try:
        return machine.run(), machine.at
    except Truncated:
        raise UserError(
            f"the file ends early, after {len(data)} bytes: truncated?"
        ) from None
    except (LookupError, ValueError, TypeError, struct.error, OverflowError) as error:
        if (
            containers.as_text(data[: containers.HEAD]) is not None
            and data[-1:] != b"."
        ):
            raise UserError(
                "not a pickle but a text file: features are an .npz, a pickle of the "
                "field (docs/data.md) or a folder (docs/bring_your_own.md)"
            ) from None
        what = f"{type(error).__name__} at byte {machine.at}"
        raise UserError(
            f"not a pickle, or a damaged one ({what}): fetch or write it again"
        ) from None


class Truncated(Exception):
    """The file ended before the pickle did."""


class Machine:
    """The stack, memo and position of one pickle that is being read."""

    def __init__(self, data: mmap.mmap | bytes, at: int = 0, *, tensors: bool = False):
        """Start in a mapped file.

        Args:
            data: the file.
            at: where in it the pickle begins.
            tensors: it is one of `torch.save`: its tensors are labels that say where
                their numbers lie.
        """
        self.data = data
        self.view = memoryview(data)
        self.at = at
        self.tensors = tensors
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Follow the opcodes to STOP and return what is then on top."""
        view, end, stack = self.view, len(self.view), self.stack
        for _ in range(MAX_OPCODES):
            if self.at >= end:
                raise Truncated
            code = view[self.at]
            self.at += 1
            if code == 0x2E:  # STOP
                return stack.pop()
            handler = _HANDLERS[code]
            if handler is None:
                raise ValueError
            handler(self)
            if len(stack) > MAX_STACK or len(self.memo) > MAX_MEMO:
                raise UserError("refused: it needs too deep a stack or memo")
        raise UserError(f"refused: more than {MAX_OPCODES} opcodes")

    def take(self, count: int) -> memoryview:
        """Return the next bytes, without a copy."""
        start, self.at = self.at, self.at + count
        if count < 0:
            raise ValueError
        if self.at > len(self.view):
            raise Truncated
        return self.view[start : self.at]

    def number(self, form: str) -> int:
        """Read one number of a `struct` format."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        """Read up to the next newline."""
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise Truncated
        line = self.data[self.at : end]
        self.at = end + 1
        return line

    def short_line(self) -> bytes:
        """Read a line that no number or name exceeds."""
        line = self.line()
        if len(line) > MAX_NUMBER:
            raise ValueError
        return line

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        """Take what lies above the last mark off the stack."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def top(self, kind: type) -> Any:
        """Return the top of the stack, which must be of this type."""
        value = self.stack[-1]
        if type(value) is not kind:
            raise TypeError
        return value


def _bytes(machine: Machine, form: str) -> None:
    part = machine.take(machine.number(form))
    machine.push(bytes(part) if len(part) <= _COPIED else part)


def _text(machine: Machine, form: str) -> None:
    part = machine.take(machine.number(form))
    machine.push(str(part, "utf-8", "surrogatepass"))


def _long(machine: Machine, form: str) -> None:
    size = machine.number(form)
    if not 0 <= size <= MAX_NUMBER:
        raise ValueError
    machine.push(int.from_bytes(machine.take(size), "little", signed=True))


def _int_line(machine: Machine) -> None:
    line = machine.short_line()
    fixed = {b"00": False, b"01": True}
    machine.push(fixed[line] if line in fixed else int(line))


def _string_line(machine: Machine) -> None:
    line = machine.line()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError
    machine.push(codecs.escape_decode(line[1:-1])[0])


def _mark(machine: Machine) -> None:
    if len(machine.marks) >= MAX_MARKS:
        raise UserError(f"refused: nested deeper than {MAX_MARKS}")
    machine.marks.append(len(machine.stack))


def _append(machine: Machine) -> None:
    value = machine.stack.pop()
    machine.top(list).append(value)


def _appends(machine: Machine) -> None:
    items = machine.since_mark()
    machine.top(list).extend(items)


def _setitem(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.top(dict)[flat_key(key)] = value


def _setitems(machine: Machine) -> None:
    items = machine.since_mark()
    target = machine.top(dict)
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[flat_key(key)] = value


def _dict(machine: Machine) -> None:
    items = machine.since_mark()
    pairs = zip(items[::2], items[1::2], strict=True)
    machine.push({flat_key(key): value for key, value in pairs})


def _additems(machine: Machine) -> None:
    items = machine.since_mark()
    machine.top(set).update(flat_key(item) for item in items)


def _last(machine: Machine, count: int) -> None:
    items = tuple(machine.stack[-count:])
    if len(items) != count:
        raise IndexError
    del machine.stack[-count:]
    machine.push(items)


def _pop(machine: Machine) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()


def _pop_mark(machine: Machine) -> None:
    machine.since_mark()


def _protocol(machine: Machine) -> None:
    version = machine.number("B")
    if version > 5:
        raise UserError(f"a pickle of protocol {version}; 0 to 5 are known")


def _frame(machine: Machine) -> None:
    size = machine.number("<Q")
    if machine.at + size > len(machine.view):
        raise Truncated


def _global(machine: Machine) -> None:
    module, name = machine.short_line(), machine.short_line()
    machine.push(find(module.decode(), name.decode(), tensors=machine.tensors))


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise TypeError
    machine.push(find(module, name, tensors=machine.tensors))


def _inst(machine: Machine) -> None:
    if not machine.marks:
        raise ValueError
    _global(machine)  # refuses every name but those of NAMES, by name
    raise UserError("refused: it builds an instance of a class")


def _instance(machine: Machine) -> None:
    raise UserError("refused: it builds an instance of a class")


def _persistent(machine: Machine) -> None:
    if machine.tensors:
        machine.push(pickled.storage_of(machine.stack.pop()))
        return
    _persistent_line(machine)


def _persistent_line(machine: Machine) -> None:
    raise UserError("refused: it refers to data outside the file (persistent id)")


def _extension(machine: Machine) -> None:
    raise UserError("refused: it wants to call what an extension code stands for")


def _outside(machine: Machine) -> None:
    raise UserError("refused: its buffers lie outside the file (out-of-band)")


def _reduce(machine: Machine) -> None:
    arguments, name = machine.stack.pop(), machine.stack.pop()
    if type(name) is not Name or type(arguments) is not tuple:
        raise TypeError
    machine.push(call(name.kind, arguments))


def _build(machine: Machine) -> None:
    state, value = machine.stack.pop(), machine.stack[-1]
    if type(value) is pickled.Kind:
        value.set_state(state)
    elif type(value) is pickled.Pending:
        array = pickled.from_state(state)
        machine.stack[-1] = array
        for index in value.indices:
            machine.memo[index] = array
    elif not (type(value) is dict and (not state or machine.tensors)):
        raise UserError("refused: it sets the inside of an object")


def _remember(machine: Machine, index: int) -> None:
    value = machine.stack[-1]
    machine.memo[index] = value
    if type(value) is pickled.Pending:
        value.indices.append(index)


def _one(value: Any) -> Callable[[Machine], None]:
    return lambda machine: machine.push(value)


_OPS: dict[bytes, Callable[[Machine], None]] = {
    b"I": _int_line,
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"L": lambda m: m.push(int(m.short_line().rstrip(b"L"))),
    b"\x8a": lambda m: _long(m, "B"),
    b"\x8b": lambda m: _long(m, "<i"),
    b"S": _string_line,
    b"T": lambda m: _bytes(m, "<i"),
    b"U": lambda m: _bytes(m, "B"),
    b"B": lambda m: _bytes(m, "<I"),
    b"C": lambda m: _bytes(m, "B"),
    b"\x8e": lambda m: _bytes(m, "<Q"),
    b"\x96": lambda m: _bytes(m, "<Q"),
    b"\x97": _outside,
    b"\x98": _outside,
    b"N": _one(None),
    b"\x88": _one(True),
    b"\x89": _one(False),
    b"V": lambda m: m.push(str(m.line(), "raw-unicode-escape")),
    b"\x8c": lambda m: _text(m, "B"),
    b"X": lambda m: _text(m, "<I"),
    b"\x8d": lambda m: _text(m, "<Q"),
    b"F": lambda m: m.push(float(m.short_line())),
    b"G": lambda m: m.push(m.number(">d")),
    b"]": lambda m: m.push([]),
    b"a": _append,
    b"e": _appends,
    b"l": lambda m: m.push(m.since_mark()),
    b")": _one(()),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"\x85": lambda m: _last(m, 1),
    b"\x86": lambda m: _last(m, 2),
    b"\x87": lambda m: _last(m, 3),
    b"}": lambda m: m.push({}),
    b"d": _dict,
    b"s": _setitem,
    b"u": _setitems,
    b"\x8f": lambda m: m.push(set()),
    b"\x90": _additems,
    b"\x91": lambda m: m.push({flat_key(item) for item in m.since_mark()}),
    b"0": _pop,
    b"2": lambda m: m.push(m.stack[-1]),
    b"(": _mark,
    b"1": _pop_mark,
    b"g": lambda m: m.push(m.memo[int(m.short_line())]),
    b"h": lambda m: m.push(m.memo[m.number("B")]),
    b"j": lambda m: m.push(m.memo[m.number("<I")]),
    b"p": lambda m: _remember(m, int(m.short_line())),
    b"q": lambda m: _remember(m, m.number("B")),
    b"r": lambda m: _remember(m, m.number("<I")),
    b"\x94": lambda m: _remember(m, len(m.memo)),
    **dict.fromkeys((b"\x82", b"\x83", b"\x84"), _extension),
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _reduce,
    b"b": _build,
    b"i": _inst,
    **dict.fromkeys((b"o", b"\x81", b"\x92"), _instance),
    b"\x80": _protocol,
    b"\x95": _frame,
    b"P": _persistent_line,
    b"Q": _persistent,
}
_HANDLERS = tuple(_OPS.get(bytes([code])) for code in range(256))
