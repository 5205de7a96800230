"""A finished run's files: each read when asked for, each checked against the seeds."""

import json

import numpy as np
import pytest

from msa_jax.ground.errors import UserError
from msa_jax.runs import workdir
from msa_jax.runs.finished import open_folder


@pytest.fixture
def folder(tmp_path):
    """A run of two seeds, 7 and 3; seed 7 stopped after one epoch."""
    summary = {"per_seed": [0.5, None], "mean": None, "sd": None, "ci95": None}
    results = {"schema": 1, "method": "m", "dataset": "d", "metrics_kind": "mosi"}
    results |= {"seeds": [7, 3], "test": {"mae": summary}, "selected_epoch": {"3": 2}}
    workdir.write_json(tmp_path / workdir.RESULTS, results)
    for epoch, active in ((1, [True, True]), (2, [False, True])):
        line = {"epoch": epoch, "active": active, "train": {"loss": [epoch, None]}}
        workdir.append_line(
            tmp_path / workdir.HISTORY, line | {"valid": {"loss": [0.5, epoch / 4]}}
        )
    return tmp_path


def test_a_damaged_file_matters_when_it_is_asked_for(folder):
    (folder / "u_labels.npz").write_bytes(b"PK")
    run = open_folder(folder)
    assert run.predictions is None and run.samples == {} and run.steps is None
    with pytest.raises(UserError, match=r"u_labels.npz: cannot be read"):
        _ = run.u_labels


def test_a_seeds_curve_is_of_the_epochs_it_trained(folder):
    run = open_folder(folder)
    assert run.lane(3) == 1
    assert run.curve(7) | {"train_loss": None} == {
        "epoch": [1],
        "valid_loss": [0.5],
        "train_loss": None,
        "selected": None,
    }
    curve = run.curve(3)
    assert curve is not None and np.isnan(curve["train_loss"]).all()
    assert (curve["epoch"], curve["valid_loss"]) == ([1, 2], [0.25, 0.5])
    assert curve["selected"] == 2


@pytest.mark.parametrize(
    "arrays, said",
    [
        ({"prediction": np.ones((2, 4))}, "lacks the array 'label'"),
        (
            {"label": np.ones(4), "prediction": np.ones(4)},
            r"is \(4,\), expected \(2, 4\)",
        ),
        ({"label": np.ones(4), "prediction": np.ones((3, 4))}, r"expected \(2, 4\)"),
        (
            {"label": np.ones(4), "prediction": np.ones((2, 4)), "id": np.ones(3)},
            r"id is \(3,\), expected \(4,\)",
        ),
        (
            {"label": np.ones((4, 6)), "prediction": np.ones((2, 4))},
            r"expected \(2, 4, 6\)",
        ),
    ],
)
def test_answers_must_be_those_of_the_seeds(folder, arrays, said):
    np.savez(folder / "predictions_test.npz", **arrays)
    with pytest.raises(UserError, match=said):
        _ = open_folder(folder).predictions


def test_logits_of_any_number_of_classes_fit(folder):
    np.savez(
        folder / "predictions_test.npz", label=np.ones(4), prediction=np.ones((2, 4, 7))
    )
    predictions = open_folder(folder).predictions
    assert predictions is not None and not predictions.scores


@pytest.mark.parametrize(
    "change, said",
    [
        ({"schema": 2}, "not a results file of schema 1"),
        ({"metrics_kind": "mood"}, "'mood' is none of mosi, sims"),
        ({"seeds": [7, 3, 1]}, "mae has 2 values for 3 seeds"),
    ],
)
def test_results_that_are_none_are_refused(folder, change, said):
    path = folder / workdir.RESULTS
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=said):
        open_folder(folder)
