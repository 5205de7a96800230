"""Check this machine against arrays that the original PyTorch code computed.

    python -m msa_jax.parity ../shared/goldens
    python -m msa_jax.parity tests/goldens --precision float64

Replays every reference file it knows in the folder and prints, per quantity, the
largest error; of files in schema 2, which any method can have, also what was not
compared. An entry passes if |ours - reference| <= tolerance * (1 + |reference|).
One line says whether programs that versions of jax's compiler got wrong come out right.
Exit code 1 if anything fails.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from msa_jax.config import cli
from msa_jax.ground import compiler
from msa_jax.ground.errors import UserError
from msa_jax.studies.parity.replays import REPLAYS
from msa_jax.studies.parity.replays.compare import Comparison, Row, floats

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
Arrays = Mapping[str, np.ndarray]


class Replayed(NamedTuple):
    """What the replay of one file gave; `notes` are for the reader, one line each."""

    rows: list[Row]
    notes: list[str]


def replay_file(path: Path, precisions: tuple[str, ...]) -> Replayed | None:
    """Replay one file; None if its kind, or the method it names, is not known.

    Raises:
        UserError: the file cannot be read, lacks a key or does not fit its method.
    """
    from msa_jax.studies.parity import replay, schema

    arrays = _read(path)
    try:
        if schema.is_schema_2(arrays):
            tables = replay.replay(arrays, path.name, precisions)
        else:
            tables = _replay_older(arrays, path, precisions)
    except KeyError as error:
        raise UserError(
            f"{path}: no array {error.args[0]}; the layout is that of docs/parity.md"
        ) from error
    if tables is None:
        return None
    rows = [row for table in tables for row in table.rows]
    return Replayed(rows, [note for table in tables for note in table.notes])


def _replay_older(
    arrays: Arrays, path: Path, precisions: tuple[str, ...]
) -> list[Comparison] | None:
    known = [r for r in REPLAYS if path.stem.startswith(r.name)]
    if not known:
        return None
    replay, tables = known[0], []
    for scenario, values in _scenarios(arrays, replay.scenarios).items():
        for precision in precisions if replay.floats else ("exact",):
            table = Comparison(path.name, scenario, precision)
            tables.append(table)
            try:
                if not replay.floats:
                    replay.run(values, table)
                    continue
                with floats(precision) as dtype:
                    replay.run(values, table, dtype, TOLERANCE[precision])
            except KeyError as error:
                raise KeyError(f"{error.args[0]} in scenario {scenario}") from error
    return tables


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable .npz file ({error})") from error


def _scenarios(arrays: Arrays, several: bool) -> dict[str, Arrays]:
    if not several:
        return {"all": arrays}
    found: dict[str, dict[str, np.ndarray]] = {}
    for key, value in arrays.items():
        scenario, _, rest = key.partition("/")
        found.setdefault(scenario, {})[rest] = value
    return dict(found)


def main() -> int:
    """Parse the command line, replay, print; return the exit code."""
    from rich.progress import track

    parser = cli.Parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of .npz files")
    parser.add_argument(
        "--precision",
        choices=("float64", "float32", "both"),
        default="both",
        help="float64 has no place on a TPU: use float32 there (default: both)",
    )
    parser.add_argument("--failures", action="store_true", help="print only what fails")
    options = parser.parse_args()
    if not options.folder.is_dir():
        raise UserError(f"{options.folder}: no such folder; give one with .npz files")
    paths = sorted(options.folder.glob("*.npz"))
    if not paths:
        raise UserError(f"{options.folder}: holds no .npz file")
    both = options.precision == "both"
    precisions = ("float64", "float32") if both else (options.precision,)
    rows: list[Row] = []
    notes: list[str] = []
    unknown: list[str] = []
    for path in track(paths, "replaying", transient=True):
        done = replay_file(path, precisions)
        if done is None:
            unknown.append(path.name)
        else:
            rows += done.rows
            notes += done.notes
    _print(rows, options.failures)
    for name in unknown:
        print(f"{name:<30} not covered")
    for note in notes:
        print(f"note: {note}")
    miscompiled = compiler.wrong()
    print(_compiler_line(miscompiled))
    failed = sum(not row.passed for row in rows)
    passed = len(rows) - failed
    print(f"{passed} passed, {failed} failed, {len(unknown)} not covered")
    return 1 if failed or miscompiled else 0


def _compiler_line(wrong: list[str]) -> str:
    import jax

    verdict = f"WRONG in {', '.join(wrong)}" if wrong else "right"
    where = f"jaxlib {compiler.jaxlib()} on {jax.default_backend()}"
    return f"compiler: {verdict} ({where}, XLA_FLAGS={os.environ.get('XLA_FLAGS', '')})"


def _print(rows: list[Row], failures: bool) -> None:
    columns = "{:<22} {:<24} {:<42} {:<8} {:>9} {:>9} {:>9}  {}"
    heads = ("file", "scenario", "quantity", "floats", "max abs", "max rel", "tol")
    print(columns.format(*heads, "verdict"))
    for row in rows:
        if row.passed and failures:
            continue
        numbers = (row.max_abs, row.max_rel, row.tolerance)
        print(
            columns.format(
                row.file,
                row.scenario,
                row.quantity,
                row.precision,
                *(f"{x:.1e}" for x in numbers),
                "passed" if row.passed else "FAILED",
            )
        )


if __name__ == "__main__":
    cli.run(main)
