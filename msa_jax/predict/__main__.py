"""Answer for new samples with a finished run, or export it to files that travel.

example: python -m msa_jax.predict --workdir runs/demo --input new.jsonl
example: echo '{"text": "what a film"}' | python -m msa_jax.predict --workdir runs/demo
example: python -m msa_jax.predict --workdir runs/demo --export exported/demo
example: python -m msa_jax.predict --model exported/demo --input new.jsonl

A line is {"id": ..., "text": "...", "audio": [[...], ...], "vision": [[...], ...]}, any
of the three; an answer is a line, too. Without --input, standard input is answered line
by line. Bad lines are answered with "error", and the exit code is 2. See
docs/predict.md.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from msa_jax.config import cli
from msa_jax.ground.backend import set_up_jax
from msa_jax.ground.errors import UserError

if TYPE_CHECKING:
    from msa_jax.predict.answers import Counts, Predictor


def command() -> int:
    """Run the command; return its exit code."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--workdir", help="a finished run")
    parser.add_argument("--model", help="the folder of an export, in place of a run")
    parser.add_argument(
        "--input",
        help="JSONL, .npz in the plain layout, or one clip of MMSA-FET, a pickle "
        "(default: -, line by line)",
    )
    parser.add_argument("--output", default="-", help="JSONL (default: -)")
    parser.add_argument("--seed", type=int, help="one seed's answers (default: all)")
    parser.add_argument(
        "--data_dir",
        help="where the data set lies, of a run older than this command",
    )
    parser.add_argument("--export", metavar="DIR", help="write the run's export there")
    given = parser.parse_args()
    if (given.workdir is None) == (given.model is None):
        raise UserError(
            "give one of --workdir (a finished run) and --model (an export)"
        )
    if given.export is not None and (given.model or given.input):
        raise UserError("--export goes with --workdir alone")
    if given.export is not None:
        return _export(given)
    with contextlib.redirect_stdout(sys.stderr):  # nothing but answers on stdout
        predictor = _open(given)
    counts = answer(predictor, given.input or "-", given.output)
    if counts.bad:
        total = counts.answered + counts.bad
        print(f"error: {counts.bad} of {total} lines are bad", file=sys.stderr)
        return cli.MISTAKE
    return 0


def answer(predictor: "Predictor", source: str, target: str) -> "Counts":
    """Answer a file, or standard input line by line; "-" is standard input or output.

    Raises:
        UserError: a file cannot be read or written.
    """
    from msa_jax.predict.answers import answer_all
    from msa_jax.predict.formats import items_of, refuse_binary
    from msa_jax.predict.json_lines import read_lines

    found = predictor.preparation
    if "-" not in (source, target) and Path(target).exists():
        if Path(source).exists() and Path(source).samefile(target):
            raise UserError(f"--output {target} is the input")
    with contextlib.ExitStack() as stack:
        if source == "-":
            stream: Any = sys.stdin.buffer
            refuse_binary(stream.peek())
            items, size = read_lines(stream, found, None), 1
        else:
            items, size = items_of(Path(source), found, stack), predictor.size
        write = stack.enter_context(_writer(target))
        return answer_all(predictor, items, write, size)


@contextlib.contextmanager
def _writer(target: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that writes an answer and flushes it."""

    def writer(file: IO[str]) -> Callable[[dict[str, Any]], None]:
        def write(line: dict[str, Any]) -> None:
            if "error" in line:
                line = line | {"error": cli.one_line(str(line["error"]))}
            file.write(json.dumps(line, allow_nan=False) + "\n")
            file.flush()

        return write

    if target == "-":
        yield writer(sys.stdout)
    else:
        with open(target, "w", encoding="utf-8") as file:
            yield writer(file)


def _open(given: Any) -> "Predictor":
    """Open a run or an export; JAX and all the methods are slow to import."""
    if given.model is not None:
        set_up_jax("highest")  # the program has its own precision
        from msa_jax.predict.exported import open_export

        return open_export(Path(given.model), given.seed)
    from msa_jax.predict import model

    return model.predictor(_live(given))


def _live(given: Any) -> Any:
    from msa_jax.predict import model  # jax and all the methods: slow to import

    return model.open_configured(Path(given.workdir), given.data_dir, given.seed)


def _export(given: Any) -> int:
    from msa_jax.predict.export import TOLERANCE, export

    gap = export(_live(given), Path(given.export))
    print(
        f"exported to {given.export}; read back, its answers differ by at most "
        f"{gap:.1e} from the run's (allowed: {TOLERANCE:g})"
    )
    return 0


if __name__ == "__main__":
    cli.run(command)
