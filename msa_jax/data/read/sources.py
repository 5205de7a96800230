"""Open whatever `--from` names: an .npz, a pickle, or a folder of pickles."""

import contextlib
import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from msa_jax.data.read import plain, sandbox
from msa_jax.data.read.sandbox import Found
from msa_jax.ground.errors import UserError, listed

_PICKLES = (".pkl", ".pickle", ".p")


@contextlib.contextmanager
def open_source(
    path: Path, emotions: Path | None = None, text: str | None = None
) -> Iterator[tuple[dict[str, np.ndarray], Found]]:
    """Yield the plain arrays of a source; they live until the context is left.

    Args:
        path: an .npz or a pickle, told apart by contents, or a folder of pickles.
        emotions: a pickle of six emotion intensities per clip, joined by id.
        text: which text is read, see `checks.choose_text`.
    """
    for file in (path, emotions):
        if file is not None and not file.exists():
            raise UserError(f"{file}: no such file")
    if emotions is not None and not emotions.is_file():
        raise UserError(f"{emotions}: not a file")
    if path.is_dir():
        files = pickles_in(path)
        if not files:
            raise UserError(_no_features(path))
    elif not path.is_file():
        raise UserError(f"{path}: not a file")
    else:
        files = [path]
    if path.is_file() and zipfile.is_zipfile(path):
        if emotions is not None:
            raise UserError("--emotions goes with pickles; an .npz holds 'emotion'")
        yield plain.read_npz(path), Found("plain .npz", (), ())
        return
    with sandbox.read_pickles(files, emotions, text=text) as (arrays, found):
        line = "pickles: read in a sandbox: memory, time and file-size limits"
        yield arrays, found._replace(assumptions=(*found.assumptions, line))


def _no_features(folder: Path) -> str:
    """Say what a folder lacks, and what in it could be given itself."""
    names = sorted(item.name for item in folder.iterdir())
    line = f"{folder}: no .pkl, .pickle or .p file in this folder, nor a table of clips"
    archives = [name for name in names if name.endswith(".npz")]
    if archives:
        return f"{line}; give the file itself: --from {folder / archives[0]}"
    found = listed(names) or "nothing"
    return f"{line} (.csv, docs/bring_your_own.md); found: {found}"


def pickles_in(folder: Path) -> list[Path]:
    """Return the pickles of a folder, by their names' endings."""
    return sorted(f for f in folder.iterdir() if f.suffix in _PICKLES and f.is_file())


def sha256(path: Path) -> str:
    """Hash a file, or the names and hashes of a folder's pickles."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    lines = [f"{sha256(file)}  {file.name}\n" for file in pickles_in(path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
