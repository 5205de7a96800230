"""A finished run, opened again: its data, its method and its selected parameters."""

import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import FrozenConfigDict

import msa_jax.methods as methods
from msa_jax.data import Dataset, load, store
from msa_jax.data.batches import gather
from msa_jax.data.sealed_test import Frozen, StillSealed, recall
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Method, PyTree, Split
from msa_jax.methods import network
from msa_jax.runs import checkpoint, workdir
from msa_jax.training.inputs import Inputs, make_inputs
from msa_jax.training.train_state import make_mesh


class FinishedRun(NamedTuple):
    """Everything needed to predict with a run's selected parameters.

    config: the run's own.
    results: its results.json.
    test: the test split, opened: this run's selection ended long ago.
    variables: of the network, selected, leading seed axis, NumPy.
    label: of the test samples, as the run was scored.
    prediction: the run's own answers on test, [s, n] (or more axes).
    """

    folder: Path
    config: FrozenConfigDict
    results: dict[str, Any]
    dataset: Dataset
    inputs: Inputs
    test: Split
    method: Method
    variables: PyTree
    mesh: Mesh
    label: np.ndarray
    prediction: np.ndarray


def open_run(folder: Path, data_dir: str | None = None) -> FinishedRun:
    """Read a work directory, its data set and its checkpoint.

    Args:
        folder: the run.
        data_dir: where the data set lies, if not where the run found it.

    Raises:
        UserError: the run is not finished, its data set is gone or another one, or
            its checkpoint is damaged or does not fit this version.
    """
    results, settings = read_results(folder), read_config(folder)
    where = store.data_dir(data_dir or settings.data.dir)
    dataset = load(settings.data.name, where)
    advice = "point --data_dir at the data it was trained on"
    workdir.require_same_data(folder, results, dataset.name, dataset.card, advice)
    inputs = make_inputs(dataset, settings)
    if (folder / workdir.MODEL).is_file():  # older runs have none
        then = workdir.read_json(folder / workdir.MODEL).get("frozen_sha256")
        require_same_encoder(folder, settings, then, inputs.intake.frozen_sha256)
    label_range = tuple(dataset.card["label_range"])
    method = methods.make(settings, inputs.encoder.module, label_range)
    frozen = _read_selection(folder, results)
    _require_fitting(folder, method, inputs, frozen.variables)
    arrays = _read_arrays(folder / "predictions_test.npz", "label", "prediction")
    label, prediction = arrays
    return FinishedRun(
        folder=folder,
        config=settings,
        results=results,
        dataset=dataset,
        inputs=inputs,
        test=inputs.test.open(frozen),
        method=method,
        variables=frozen.variables,
        mesh=_mesh(settings.mesh, len(settings.seeds)),
        label=label,
        prediction=prediction,
    )


def read_results(folder: Path) -> dict[str, Any]:
    """Read a run's results.

    Raises:
        UserError: there are none, or the run did not read its data as they are.
    """
    path = folder / workdir.RESULTS
    if not path.is_file():
        raise UserError(
            f"no {workdir.RESULTS} in {folder}: the run is not finished, or this is "
            "not its work directory (train with python -m msa_jax.main)"
        )
    results = workdir.read_json(path)
    wanted = ("seeds", "metrics_kind", "test", "provenance", "state_sha256", "notes")
    lacking = [key for key in wanted if key not in results]
    if lacking:
        raise UserError(f"{path}: lacks {', '.join(lacking)}; train again")
    require_own(folder, results, "give the run it was made from")
    return results


def require_own(folder: Path, results: dict[str, Any], advice: str) -> None:
    """Refuse a run whose inputs were not those of its data set (`workdir.ALTERED`).

    Args:
        folder: of the run.
        results: its results.json.
        advice: what can be done, the end of a sentence.

    Raises:
        UserError: they were altered.
    """
    for note in results.get("notes", ()):
        if note.startswith(workdir.ALTERED):
            said = f"{note[0].lower()}{note[1:].rstrip('.')}"
            raise UserError(f"{folder}: {said}; {advice}")


def require_same_encoder(
    folder: Path, settings: Any, then: str | None, now: str | None
) -> None:
    """Refuse other weights under the name of those that encoded a run's texts.

    Args:
        folder: of the run.
        settings: its configuration.
        then: `sealed_test.state_hash` of the encoder, None where it was trained.
        now: the same of the weights that lie there now.

    Raises:
        UserError: they are others.
    """
    if then != now:
        raise UserError(
            f"{folder}: text.weights = {settings.text.weights} are not the weights "
            "that the run encoded its texts with; put those back"
        )


def read_config(folder: Path) -> FrozenConfigDict:
    """Read a run's configuration, frozen.

    Raises:
        UserError: it is damaged, or not one of this version.
    """
    path = folder / workdir.CONFIG
    values = workdir.read_json(path)
    try:
        settings = FrozenConfigDict(methods.completed(values))
        methods.check(settings)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not a configuration of this version ({error}); train again"
        ) from error
    return settings


def read_variables(folder: Path, results: dict[str, Any]) -> PyTree:
    """Read the selected variables alone: leading seed axis, NumPy.

    Args:
        folder: the run.
        results: from `read_results`.

    Raises:
        UserError: the checkpoint is missing, damaged or of another run.
    """
    return _read_selection(folder, results).variables


def _mesh(layout: Any, seeds: int) -> Mesh:
    """Lay devices out as the run did, or take one where it had more than are here."""
    try:
        return make_mesh(layout.devices, layout.data, seeds)
    except UserError:
        return make_mesh(1, 1, seeds)


def _read_selection(folder: Path, results: dict[str, Any]) -> Frozen:
    """Read the checkpoint; its hash must be the one that the results name."""
    path = folder / "checkpoint" / "best"
    if not path.is_dir():
        raise UserError(f"no {path}: train again")
    try:
        with checkpoint.quiet():
            variables = jax.tree.map(np.asarray, checkpoint.load(path))
        if "params" not in variables:  # a run from before there were other collections
            variables = {"params": variables}
        table = folder / "u_labels.npz"
        last = _read_arrays(table, "value")[0][-1] if table.is_file() else None
        hashes = [results["state_sha256"].get(str(s)) for s in results["seeds"]]
        return recall(variables, last, tuple(hashes))
    except UserError:
        raise
    except StillSealed as error:
        raise UserError(
            f"{path} and u_labels.npz do not hold what {workdir.RESULTS} says "
            "(state_sha256 differs); train again"
        ) from error
    except Exception as error:  # orbax and its readers raise many types on damage
        raise UserError(
            f"{path} is damaged ({type(error).__name__}); train again"
        ) from error


def _require_fitting(
    folder: Path, method: Method, inputs: Inputs, variables: PyTree
) -> None:
    """Refuse variables that the method of this version does not have."""

    def init(split):
        batch = gather(split, jnp.zeros((1,), jnp.int32))
        return network.start(method, jax.random.key(0), batch)

    expected = jax.eval_shape(init, inputs.splits["train"])
    shapes = [
        {
            jax.tree_util.keystr(path): tuple(leaf.shape[skip:])
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for tree, skip in ((expected, 0), (variables, 1))
    ]
    if shapes[0] != shapes[1]:
        odd = sorted(set(shapes[0].items()) ^ set(shapes[1].items()))[0][0]
        raise UserError(
            f"{folder / 'checkpoint' / 'best'}: its parameters are not this version's "
            f"({odd} differs); train again"
        )


def _read_arrays(path: Path, *names: str) -> list[np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        said = json.dumps(str(error))
        raise UserError(f"{path}: cannot be read ({said}); train again") from error
