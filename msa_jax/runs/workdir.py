"""The files of a run: what a workdir holds, written so that nothing is half there."""

import importlib.metadata
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from msa_jax.config.sections import ADDED
from msa_jax.data import store
from msa_jax.ground import files
from msa_jax.ground.errors import UserError
from msa_jax.ground.files import json_safe

RESULTS, CONFIG, HISTORY = "results.json", "config.json", "history.jsonl"
TIMES = "times.jsonl"  # what differs from one run to the next of the same
LOSSES, FEATURES = "losses.npz", "features.npz"
MODEL, TOKENIZER = "model.json", "tokenizer.json"  # how samples become inputs
BASELINES = "baselines_test.npz"
BEST = "checkpoint/best"  # the selected parameters
# How the notes begin of runs whose inputs are not those of their data set.
TRAINED_WITHOUT = "Trained without "
TRAINED_SHUFFLED = "Trained with audio and vision of other samples"
ALTERED = (TRAINED_WITHOUT, TRAINED_SHUFFLED)
PACKAGES = (
    "jax jaxlib flax optax orbax-checkpoint transformers numpy scipy scikit-learn "
    "ml-collections tensorflow-datasets"
).split()


def open_workdir(folder: Path) -> Path:
    """Make the folder if need be and check that it can be written.

    Raises:
        UserError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"workdir {folder}: cannot write there ({error.strerror}); give another "
            "folder with --workdir"
        ) from error
    return folder


def finished(folder: Path, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the results of a finished run of the same, else None.

    Raises:
        UserError: the workdir holds a run of another configuration or on other data.
    """
    if not (folder / RESULTS).exists():
        return None
    old = read_json(folder / CONFIG)
    found = [
        (field, there, now)
        for field, there, now in differences(old, json.loads(_dump(config)))
        if there is not None or field not in ADDED or now != ADDED[field]
    ]
    if found:
        raise UserError(
            f"workdir {folder} holds a finished run with another configuration "
            f"({in_words(found)}); give another --workdir, or delete that one"
        )
    results = read_json(folder / RESULTS)
    data = config["data"]
    card = store.card_of(data["name"], store.data_dir(data["dir"]))
    if card is not None:  # without the data, results can still be shown
        advice = "give another --workdir or delete it"
        require_same_data(folder, results, data["name"], card, advice)
    return results


def require_same_data(
    folder: Path, results: Mapping[str, Any], name: str, card: Mapping, advice: str
) -> None:
    """Refuse a finished run if the data set of that name is another one now.

    Args:
        folder: the run's.
        results: its results.json.
        name: of the data set.
        card: of the data set as it is now.
        advice: what can be done, the end of a sentence.

    Raises:
        UserError: the run was trained on others, or with other labels in mind.
    """
    then = results.get("provenance") or {}
    said = store.difference(then, store.identity(card))
    if said:
        raise UserError(f"{folder} was trained on another '{name}' ({said}); {advice}")


def differences(a: Any, b: Any, where: str = "") -> list[tuple[str, Any, Any]]:
    """Compare two configurations read from JSON.

    Returns: name ("optim.batch_size") and both values of each field that differs, in
        the order of names; None for a field that one lacks.
    """
    if isinstance(a, dict) and isinstance(b, dict):
        found = []
        for key in sorted(a.keys() | b.keys()):
            path = f"{where}.{key}" if where else key
            found += differences(a.get(key), b.get(key), path)
        return found
    return [] if a == b else [(where, a, b)]


def in_words(found: list[tuple[str, Any, Any]]) -> str:
    """Say in which fields a folder's configuration differs from the one now."""
    said = [f"{field}: {there} there, {now} now" for field, there, now in found]
    return "; ".join(said[:3]) + (" ..." if said[3:] else "")


def read_json(path: Path) -> Any:
    """Read a JSON file of a workdir.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); delete the workdir and run again"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON (NaN as null) in one stroke."""
    files.write(path, _dump(value).encode())


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write an .npz in one stroke."""
    with files.replacing(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def append_line(path: Path, value: Any) -> None:
    """Add one line of JSON."""
    with open(path, "a") as file:
        file.write(json.dumps(json_safe(value)) + "\n")


def provenance(
    data: Mapping[str, Any], encoder: str, precision: str, devices: int
) -> dict[str, Any]:
    """Say what a run's numbers depend on, apart from its configuration.

    Args:
        data: `store.identity` of the data set.
        encoder: its description.
        precision: of products.
        devices: how many.
    """
    device = jax.devices()[0]
    return {
        "git_commit": _git_commit(),
        "versions": {p: _version(p) for p in ("msa_jax", *PACKAGES)},
        "device": f"{device.platform}: {device.device_kind}",
        "devices": devices,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        **data,
        "encoder": encoder,
        "precision": f"float32, matmul {precision}",
    }


def _dump(value: Any) -> str:
    return json.dumps(json_safe(value), indent=2, sort_keys=True) + "\n"


def _git_commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True
        )
    except OSError:
        return None
    return done.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
