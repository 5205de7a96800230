"""What `--input` names, told by its first bytes as `prepare` does, not by its name."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from msa_jax.data.check import checks
from msa_jax.data.preparation import Preparation
from msa_jax.data.read import containers
from msa_jax.ground.errors import UserError
from msa_jax.predict.arrays import read_arrays, read_clip
from msa_jax.predict.json_lines import BOM, Item, read_lines

_ARCHIVE = (b"PK\x03\x04", b"PK\x05\x06")
# Of every protocol; what begins so and is none is refused where pickles are read.
_PICKLE = (b"\x80", b"(d", b"(l", b"}q", b"]q")
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff", b"{\0", b"\0{", b"\0\0\0{")
_WANTED = "predict reads JSONL, .npz or one clip of MMSA-FET (docs/predict.md)"


def items_of(
    path: Path, preparation: Preparation, stack: contextlib.ExitStack
) -> Iterator[Item]:
    """Return the samples, or what is wrong, of a file.

    Args:
        path: JSONL, an .npz, or a pickle of one clip.
        preparation: of the run.
        stack: closes the file.

    Raises:
        UserError: the file as a whole is something else; no line of it is answered.
    """
    said = f"--input {path}"
    if path.is_dir():
        raise UserError(f"{said}: a folder; {_WANTED}")
    if not path.exists():
        raise UserError(f"{said}: no such file")
    if not path.is_file():
        raise UserError(f"{said}: not a file; leave --input out for standard input")
    file = stack.enter_context(path.open("rb"))
    head = file.peek(containers.HEAD)[: containers.HEAD]
    if head.startswith(_ARCHIVE):
        return read_arrays(path, preparation)
    if head.startswith(_PICKLE):
        return read_clip(path, preparation)
    wrong = _no_lines(head, whole=path.stat().st_size <= len(head))
    if wrong:
        raise UserError(f"{said}: {wrong}; {_WANTED}")
    return read_lines(file, preparation, path.parent)


def refuse_binary(head: bytes) -> None:
    """Refuse what comes on standard input and has no lines.

    A text is never refused as a whole: it is answered line by line as it arrives.

    Raises:
        UserError: it is a container that can be told.
    """
    if containers.as_text(head) is None or head.startswith(_WIDE):
        wrong = "an .npz" if head.startswith(_ARCHIVE) else _container(head)
        if wrong is None and head.startswith(_PICKLE):
            wrong = "a pickle"
        if wrong:
            raise UserError(
                f"standard input: {wrong}; it must be JSONL; files are given with "
                "--input FILE (docs/predict.md)"
            )


def _container(head: bytes) -> str | None:
    if head.startswith(_WIDE):
        return "text in UTF-16 or UTF-32: save it as UTF-8"
    return containers.recognise(head)


def _no_lines(head: bytes, *, whole: bool) -> str | None:
    """Say why a file that begins so is no JSONL; None if it may be.

    Args:
        whole: these bytes are all of the file.
    """
    text = head.removeprefix(BOM).lstrip()
    if not text and whole:
        return "the file is empty" if not head else "the file holds no line"
    if head.startswith(_WIDE) or (
        containers.as_text(head) is None and text[:1] != b"{"
    ):
        return _container(head) or "not JSONL, nor anything else that is known"
    if text.startswith(b"["):
        return "one JSON array, not a sample a line: jq -c '.[]' FILE makes lines of it"
    if text and not text.startswith(b"{"):
        first = checks.shown(
            text.partition(b"\n")[0].decode("utf-8", "replace").strip()
        )
        return f"not JSONL, whose lines are {{...}}: it begins with '{first}'"
    if _goes_on(text):
        return "JSON over several lines, not a sample a line: jq -c . FILE makes lines"
    return None


def _goes_on(text: bytes) -> bool:
    """Tell whether the first line is the beginning of an object, as in pretty JSON."""
    first, _, rest = text.decode("utf-8", "replace").partition("\n")
    if not rest.strip() or rest.lstrip().startswith("{"):  # a bad line, then others
        return False
    try:
        json.loads(first)
    except json.JSONDecodeError as error:
        return error.pos >= len(first.rstrip())
    except (ValueError, RecursionError):
        pass
    return False
