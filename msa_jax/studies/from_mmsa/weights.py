"""A network that MMSA trained, as a finished run of ours."""

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import FrozenConfigDict

import msa_jax.methods as methods
from msa_jax.data import store
from msa_jax.data.read import sandbox, sources
from msa_jax.data.sealed_test import adopt
from msa_jax.ground import files
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Method, PyTree, Split
from msa_jax.methods.torch_names import from_torch
from msa_jax.runs import run, workdir
from msa_jax.runs.run import Ready
from msa_jax.runs.writer import Writer
from msa_jax.training import step
from msa_jax.training.train import Fitted
from msa_jax.training.train_state import drawing

SELECTION = (
    "by MMSA, elsewhere: the epoch with the lowest validation loss, as its trainers "
    "select; no epoch was run here"
)


def convert(file: Path, settings: FrozenConfigDict, folder: Path) -> dict[str, Any]:
    """Make a finished run of a state dict that MMSA saved; return its results.

    Args:
        file: by `torch.save`.
        settings: what the network was trained with, and the prepared data set that its
            test results are of; one seed.
        folder: of the run; it is made, whole or not at all.

    Raises:
        UserError: the folder is taken, the data set is missing, the file is another
            one, or its network is not the one that the settings describe.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    clock = time.perf_counter()
    if folder.exists():
        raise UserError(f"--to {folder}: is there already; give another folder")
    if len(settings.seeds) != 1:
        raise UserError("config.seeds: a file holds the weights of one seed; name one")
    if not file.is_file():
        raise UserError(f"--weights {file}: no such file")
    digest = sources.sha256(file)
    ready = run.load(settings, lambda inputs: inputs)
    label_range, encoder = ready.dataset.card["label_range"], ready.inputs.encoder
    method = methods.make(settings, encoder.module, tuple(label_range))
    with sandbox.read_weights(file) as state:
        train = ready.inputs.splits["train"]
        variables = variables_of(file, state, settings, method, train)
    fitted = Fitted(
        frozen=adopt(variables),
        method=method,
        selected_epoch=np.zeros(1, int),
        epochs_run=np.zeros(1, int),
        valid_prediction=_answers(settings, method, variables, ready),
        recorded={},
        notes=[],
        compilation=0.0,
    )
    trained, shuffled = run.evaluate(settings, ready, fitted)
    data = store.identity(ready.dataset.card)
    provenance = workdir.provenance(
        data, encoder.description, settings.precision, ready.devices.mesh.size
    )
    provenance["converted_from"] = {"file": file.name, "sha256": digest}
    note = (
        f"Converted from {file.name} (sha256 {digest}): trained and selected by MMSA. "
        "No epoch was run here, so there are no losses and times. MMSA keeps the "
        f"weights of the last of its seeds; that it was {settings.seeds[0]} is assumed."
    )
    with files.new_folder(folder) as partial:
        writer = Writer(partial, settings, ready.dataset, ready.inputs, provenance)
        times = {
            "started": started,
            "seconds": time.perf_counter() - clock,
            "command": " ".join(["python -m msa_jax.from_mmsa", *sys.argv[1:]]),
        }
        results = writer.finish(trained, shuffled, times, [note])
        results["selection"] = SELECTION
        workdir.write_json(partial / workdir.RESULTS, results)
    return results


def variables_of(
    file: Path,
    state: Mapping[str, np.ndarray],
    settings: FrozenConfigDict,
    method: Method,
    train: Split,
) -> PyTree:
    """Return a network's variables, with a leading axis for the seed.

    Args:
        file: that they come from, for what is said about them.
        state: its tensors.
        settings: the configuration.
        method: from `methods.make`.
        train: samples of the shapes that the network reads.

    Raises:
        UserError: they are another network's, or not finite.
    """
    names = methods.of(settings).torch
    assert names is not None  # `translate.paper_of` has seen to it
    like = jax.eval_shape(drawing(method), train, jax.random.key(0))
    try:
        found = from_torch(names, state, like)
    except (KeyError, ValueError) as error:
        said = str(error.args[0])
        if "'unregistered." in said:  # so named in `torch`: what no state dict has
            raise UserError(
                f"{file}: MMSA does not save all networks of {settings.method}: what "
                f"it answered cannot be had back ({said})"
            ) from None
        raise UserError(
            f"{file}: its network is not {settings.method} with these sizes and "
            f"{settings.data.name}'s widths ({said}); give the configuration it "
            "was trained with, --config, and the data set it was trained on, --dataset"
        ) from None
    bad = [name for name, x in state.items() if not np.isfinite(x).all()]
    if bad:
        raise UserError(f"{file}: {bad[0]} is not finite: its training failed")
    return jax.tree.map(lambda x: np.asarray(x)[None], found)


def _answers(
    settings: FrozenConfigDict, method: Method, variables: PyTree, ready: Ready
) -> np.ndarray:
    """Answer the validation split, as training does after an epoch."""
    size, devices = settings.optim.batch_size, ready.devices
    predict = step.make_predict(
        method, size, devices.mesh, over_seeds=devices.over_seeds
    )
    return np.asarray(predict(variables, ready.inputs.splits["valid"]))
