"""What runs in `sandbox`'s child process: pickles in, .npy files out.

It has no rights to give up but its memory and time: what it reads, it never runs.
"""

import json
import os
import resource
import sys
import threading
from pathlib import Path

import numpy as np

from msa_jax.data.read import clips, columns, dialects, state_dicts, unpickle
from msa_jax.data.read.sandbox import MISTAKE, Found, Limits
from msa_jax.ground.errors import UserError


def child(request: dict) -> int:
    """Read the files of a request into .npy files; runs in the child process."""
    end_with_parent = threading.Thread(
        target=_end_at_its_end, args=(request["lifeline"],), daemon=True
    )
    end_with_parent.start()
    limits, folder = Limits(*request["limits"]), Path(request["scratch"])
    budget = columns.Budget(limits.budget)
    # a second of grace: at the hard limit it would be SIGKILL, which says nothing
    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds + 1))
    for what, most in (
        (resource.RLIMIT_FSIZE, limits.budget),
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    several = len(request["files"]) > 1
    where = ""
    try:
        if request["wanted"] == "weights":
            names = _write_weights(Path(request["files"][0]), folder, budget)
            (folder / "found.json").write_text(json.dumps({"names": names}))
            return 0
        trees, notes = {}, []
        for file in map(Path, request["files"]):
            where = f"{file}: " if several else ""
            if file.stem in trees:
                raise UserError(f"another pickle here is called '{file.stem}', too")
            trees[file.stem], rest = unpickle.read_pickle(file)
            if rest:
                notes.append(f"{file.name}: {rest} bytes after the pickle are not read")
        where = f"{Path(request['files'][0]).parent}: " if several else ""
        if request["wanted"] == "one_clip":
            layout = clips.from_one_clip(trees, budget)
        else:
            layout = dialects.recognise(trees, budget, request["text"])
        if request["emotions"]:
            where = f"{request['emotions']}: "
            tree, _ = unpickle.read_pickle(Path(request["emotions"]))
            names, values = clips.emotions_of(tree, budget)
            layout = clips.join_emotions(layout, names, values)
        notes = [*layout.assumptions, *notes]
        notes += columns.write_columns(layout, folder, budget)
        found = Found(layout.name, tuple(notes), layout.unused)
        (folder / "found.json").write_text(json.dumps(found._asdict()))
        return 0
    except UserError as error:
        line = str(error)
    except MemoryError:
        line = f"refused: it needs more than {limits.memory >> 20} MiB of memory"
    except RecursionError:
        line = "refused: nested too deeply"
    except OSError as error:
        line = f"its arrays cannot be written to {folder} ({error.strerror})"
    except Exception as error:  # a file nobody thought of must not end in a traceback
        line = f"no known layout ({type(error).__name__}: {error})"
    sys.stdout.buffer.write(f"{where}{line}".encode("utf-8", "replace"))
    return MISTAKE


def _end_at_its_end(pipe: int) -> None:
    """End this process at the end of a pipe that the parent alone can write to."""
    os.read(pipe, 1)
    os._exit(1)


def _write_weights(file: Path, folder: Path, budget: columns.Budget) -> list[str]:
    """Write each tensor under its number, for a name in the file can be any text.

    Returns: the names.
    """
    tensors = state_dicts.read_state_dict(file, budget)
    for i, tensor in enumerate(tensors.values()):
        np.save(folder / f"{i}.npy", tensor)
    return list(tensors)
