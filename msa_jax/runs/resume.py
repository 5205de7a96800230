"""Where an unfinished run goes on."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msa_jax.data import store
from msa_jax.ground.errors import UserError
from msa_jax.ground.files import json_safe
from msa_jax.runs import checkpoint, records, workdir
from msa_jax.runs.checkpoint import Damaged
from msa_jax.runs.saver import Before, epochs_folder, states_folder
from msa_jax.training.loop import Saved
from msa_jax.training.splits import Inputs

_NAMED = 5  # differences in a line


def identity(
    config: Mapping[str, Any], data: Mapping[str, Any], inputs: Inputs
) -> dict[str, Any]:
    """Return what makes a run: only one with the same can go on.

    Args:
        config: all of it.
        data: `store.identity` of the data set.
        inputs: the run's: what encodes its texts, and how they were prepared.
    """
    found = {
        "config": config,
        **data,
        "encoder": inputs.encoder.description,
        "encoder_sha256": inputs.preparation.frozen_sha256,
        "notes": inputs.notes,
    }
    return json_safe(found)


def find(
    folder: Path,
    this: Mapping[str, Any],
    provenance: Mapping[str, Any],
    say: Callable[[str], None],
) -> tuple[Saved | None, Before]:
    """Find the newest good state of an unfinished run, and remove what is in its way.

    The caller holds the folder's lock.

    Args:
        folder: the work directory.
        this: the run that is to go on, from `identity`.
        provenance: of what trains now, see `workdir.provenance`.
        say: is told of damage, and where the run goes on.

    Returns: the state and what came before; None and nothing: from the beginning.
    Raises:
        UserError: the folder holds another run, or other data.
    """
    now = json_safe(provenance)
    for path in _states(folder, say):
        try:
            about = checkpoint.read_about(path)
            _require_same(folder, about["identity"], this)
            state = checkpoint.read_state(path)
            hashes = about["epochs"]
            epochs = [
                records.read(epochs_folder(folder), number, sha256)
                for number, sha256 in enumerate(hashes, 1)
            ]
        except Damaged as damage:
            say(f"damaged: {damage}; going back to the state before it")
            continue
        _remove_above(folder, len(epochs))
        ended = [seed for seed, of in about["seeds"].items() if of["ended"]]
        said = f" (ended already: seeds {', '.join(ended)})" if ended else ""
        say(f"resuming after epoch {len(epochs)}{said}")
        made_with = about["made_with"]
        if now not in made_with:
            made_with.append(now)
        return Saved(state.arrays, epochs), Before(hashes, made_with)
    if epochs_folder(folder).is_dir():
        say("no saved state can be used: starting with the first epoch")
    _remove_above(folder, 0)
    return None, Before([], [now])


def notes(before: Before) -> list[str]:
    """Say what changed between the parts of a run; nothing where nothing did."""
    first, *others = before.made_with
    found = {
        field: None
        for other in others
        for field, *_ in workdir.differences(first, other)
    }
    if not found:
        return []
    return [
        f"The run was stopped and went on with a difference in {', '.join(found)}: "
        "rounding may differ from that of a run in one piece."
    ]


def _states(folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Return the states that were written to their end, the newest first."""
    states = states_folder(folder)
    found = sorted(states.iterdir(), reverse=True) if states.is_dir() else []
    for path in found:
        if not checkpoint.is_written(path):
            say(f"{path} was not written to its end and does not count")
    return [path for path in found if checkpoint.is_written(path)]


def _require_same(
    folder: Path, there: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    # Other devices, or another number of them, may go on; `notes` says so.
    found = [
        difference
        for difference in workdir.differences(there["config"], now["config"])
        if not difference[0].startswith("mesh.")
    ]
    other = store.difference(there, now)
    if not found and other:
        raise UserError(
            f"workdir {folder} holds an unfinished run on other data ({other}): the "
            "data set was replaced; put the old one back, give another --workdir, or "
            "delete that one"
        )
    for key in ("encoder", "encoder_sha256", "notes"):
        if key in there:  # older runs know of no hash
            found += workdir.differences(there[key], now[key], key)
    if found:
        said = [f"{field}: {was} there, {new} now" for field, was, new in found]
        more = f" and {len(said) - _NAMED} more" if said[_NAMED:] else ""
        raise UserError(
            f"workdir {folder} holds an unfinished run with another configuration "
            f"({'; '.join(said[:_NAMED])}{more}); give the same configuration to go "
            "on with it, another --workdir, or delete that one"
        )


def _remove_above(folder: Path, epochs: int) -> None:
    """Remove states and epochs above a number, and what kills left unfinished."""
    states = states_folder(folder)
    for path in states.iterdir() if states.is_dir() else ():
        if not path.name.isdigit() or int(path.name) > epochs:
            checkpoint.remove_state(path)
        elif not checkpoint.is_written(path):
            shutil.rmtree(path, ignore_errors=True)
    there = epochs_folder(folder)
    for path in there.iterdir() if there.is_dir() else ():
        if not path.stem.isdigit() or int(path.stem) > epochs:
            path.unlink()
