"""A finished run with its data and its method: what predicts as it did."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import msa_jax.methods as methods
from msa_jax.data import Dataset, load_dataset, store
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Method, PyTree, Split
from msa_jax.methods import network
from msa_jax.runs import workdir
from msa_jax.runs.finished import Run, open_own
from msa_jax.training.splits import Inputs, make_inputs
from msa_jax.training.train_state import Devices, devices_of, make_mesh


class ReopenedRun(NamedTuple):
    """Everything needed to predict with a run's selected parameters.

    files: of its folder.
    test: the test split, opened: this run's selection ended long ago.
    variables: of the network, selected, leading seed axis, NumPy.
    label: of the test samples, as the run was scored.
    prediction: the run's own answers on test, [s, n] (or more axes).
    """

    files: Run
    dataset: Dataset
    inputs: Inputs
    test: Split
    method: Method
    variables: PyTree
    devices: Devices
    label: np.ndarray
    prediction: np.ndarray


def reopen(folder: Path, data_dir: str | None = None) -> ReopenedRun:
    """Read a work directory, its data set and its checkpoint.

    Args:
        folder: the run.
        data_dir: where the data set lies, if not where the run found it.

    Raises:
        UserError: the run is not finished, its data set is gone or another one, or
            its checkpoint is damaged or does not fit this version.
    """
    run = open_own(folder)
    settings = run.settings
    where = store.data_dir(data_dir or settings.data.dir)
    dataset = load_dataset(settings.data.name, where)
    advice = "point --data_dir at the data it was trained on"
    workdir.require_same_data(folder, run.results, dataset.name, dataset.card, advice)
    inputs = make_inputs(dataset, settings)
    if (folder / workdir.MODEL).is_file():  # older runs have none
        then = workdir.read_json(folder / workdir.MODEL).get("frozen_sha256")
        require_same_encoder(run, then, inputs.preparation.frozen_sha256)
    label_range = tuple(dataset.card["label_range"])
    method = methods.make(settings, inputs.encoder.module, label_range)
    selected = run.selection()
    require_fitting(
        folder, network.shapes(method, inputs.splits["train"]), selected.variables
    )
    if run.predictions is None:
        raise UserError(f"{folder}: no predictions_test.npz; train again")
    return ReopenedRun(
        files=run,
        dataset=dataset,
        inputs=inputs,
        test=inputs.test.open(selected),
        method=method,
        variables=selected.variables,
        devices=_devices(settings),
        label=run.predictions.label,
        prediction=run.predictions.prediction,
    )


def require_same_encoder(run: Run, then: str | None, now: str | None) -> None:
    """Refuse other weights under the name of those that encoded a run's texts.

    Args:
        run: the run.
        then: `sealed_test.state_hash` of the encoder, None where it was trained.
        now: the same of the weights that lie there now.

    Raises:
        UserError: they are others.
    """
    if then != now:
        raise UserError(
            f"{run.folder}: text.weights = {run.settings.text.weights} are not the "
            "weights that the run encoded its texts with; put those back"
        )


def require_fitting(folder: Path, expected: PyTree, variables: PyTree) -> None:
    """Refuse variables that the method of this version does not have.

    Args:
        folder: of the run.
        expected: shapes of the network's, see `network.shapes`.
        variables: the run's, leading seed axis.

    Raises:
        UserError: names or shapes differ; one that does.
    """
    shapes = [
        {
            (jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape[skip:])
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for tree, skip in ((expected, 0), (variables, 1))
    ]
    if shapes[0] != shapes[1]:
        odd = sorted(shapes[0] ^ shapes[1])[0][0]
        raise UserError(
            f"{folder / workdir.BEST}: its parameters are not this version's, or not "
            f"those of {workdir.MODEL} ({odd} differs); train again"
        )


def _devices(settings: Any) -> Devices:
    """Lay devices out as the run did, or take one where it had more than are here."""
    try:
        return devices_of(settings)
    except UserError:
        return devices_of(settings, make_mesh(1, 1, len(settings.seeds)))
