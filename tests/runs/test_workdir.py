import json
import os
import re

import numpy as np
import pytest

from msa_jax.data import sealed_test, store
from msa_jax.ground.errors import UserError
from msa_jax.runs import workdir

CONFIG = {
    "seeds": (1, 2),
    "optim": {"rate": 1e-3, "batch": 32},
    "cut": None,
    "data": {"name": "movies", "dir": None},
}


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """Where data sets lie; there are none at first."""
    folder = tmp_path / "data"
    monkeypatch.setenv("MSA_DATA", str(folder))
    return folder


def put_card(folder, content):
    """Pretend that a data set is there: no more than its card is read."""
    path = store.dataset_path("movies", folder)
    path.mkdir(parents=True, exist_ok=True)
    (path / "card.json").write_text(content)


def finish(folder, config):
    workdir.write_json(folder / workdir.CONFIG, config)
    workdir.write_json(folder / workdir.RESULTS, {"mae": 0.8})


def test_a_workdir_is_made_with_its_parents(tmp_path):
    folder = tmp_path / "runs" / "first"
    assert workdir.open_workdir(folder) == folder
    assert workdir.open_workdir(folder) == folder  # once more is fine
    assert list(folder.iterdir()) == []  # the trial file is gone


@pytest.mark.parametrize("inside", ["", "run"])
def test_a_file_in_the_workdirs_place_is_refused(tmp_path, inside):
    (tmp_path / "taken").write_text("")
    folder = tmp_path / "taken" / inside
    with pytest.raises(UserError, match=r"^workdir .*taken.*: cannot write there \("):
        workdir.open_workdir(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_workdir_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        workdir.open_workdir(tmp_path)


def test_a_finished_run_is_recognised(tmp_path):
    assert workdir.finished(tmp_path, CONFIG) is None
    workdir.write_json(tmp_path / workdir.CONFIG, CONFIG)
    assert workdir.finished(tmp_path, CONFIG) is None  # begun, not finished
    finish(tmp_path, CONFIG)
    assert workdir.finished(tmp_path, CONFIG) == {"mae": 0.8}


def test_another_configuration_is_told_field_by_field(tmp_path):
    finish(tmp_path, CONFIG)
    changes = {"seeds": (1, 3), "optim": {"rate": 1e-3, "batch": 16}, "cut": 4}
    other = CONFIG | changes
    with pytest.raises(UserError) as caught:
        workdir.finished(tmp_path, other)
    message = str(caught.value)
    told = (
        "(cut: None there, 4 now; optim.batch: 32 there, 16 now; seeds: [1, 2] there,"
    )
    assert told in message and "..." not in message and "rate" not in message
    more = {**other, "new": 1}
    with pytest.raises(UserError, match=r"optim.batch.* \.\.\.\)"):
        workdir.finished(tmp_path, more)


def test_fields_that_a_finished_run_did_not_have_are_as_it_was_computed(tmp_path):
    finish(tmp_path, CONFIG)
    optim = CONFIG["optim"] | {"tail": "dropped", "clip_value": 0.0}
    assert workdir.finished(tmp_path, CONFIG | {"optim": optim}) == {"mae": 0.8}
    with pytest.raises(UserError, match="optim.tail: None there, stepped now"):
        workdir.finished(tmp_path, CONFIG | {"optim": optim | {"tail": "stepped"}})


def test_a_finished_run_on_other_data_is_refused(tmp_path, data):
    results = {"provenance": {"data_sha256": "a" * 64}}
    workdir.write_json(tmp_path / workdir.CONFIG, CONFIG)
    workdir.write_json(tmp_path / workdir.RESULTS, results)
    assert workdir.finished(tmp_path, CONFIG) == results  # the data are gone
    put_card(data, json.dumps({"content_sha256": "a" * 64}))
    assert workdir.finished(tmp_path, CONFIG) == results
    put_card(data, json.dumps({"content_sha256": "b" * 64}))
    said = (
        f"{tmp_path} was trained on another 'movies' (content {'a' * 12}, here "
        f"{'b' * 12}); give another --workdir or delete it"
    )
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        workdir.finished(tmp_path, CONFIG)
    elsewhere = {**CONFIG, "data": {"name": "movies", "dir": str(tmp_path / "other")}}
    workdir.write_json(tmp_path / workdir.CONFIG, elsewhere)
    assert workdir.finished(tmp_path, elsewhere) == results  # none of that name there


@pytest.mark.parametrize(
    "change, said",
    [
        ({"label_range": [-1.0, 1.0]}, "label range [-3.0, 3.0], here [-1.0, 1.0]"),
        ({"metrics": "sims"}, "metrics mosi, here sims"),
    ],
)
def test_the_same_contents_with_labels_read_otherwise_are_other_data(
    tmp_path, data, change, said
):
    """`prepare --overwrite` with another --label_range or --metrics."""
    card = {"content_sha256": "a" * 64, "label_range": [-3.0, 3.0], "metrics": "mosi"}
    results = {"provenance": workdir.provenance(store.identity(card), "bert", "", 1)}
    workdir.write_json(tmp_path / workdir.CONFIG, CONFIG)
    workdir.write_json(tmp_path / workdir.RESULTS, results)
    put_card(data, json.dumps(card))
    assert workdir.finished(tmp_path, CONFIG) is not None
    put_card(data, json.dumps(card | change))
    with pytest.raises(UserError, match=re.escape(f"another 'movies' ({said}); give")):
        workdir.finished(tmp_path, CONFIG)
    now = store.identity(card | change)
    assert store.difference(now, now) == ""
    older = {"data_sha256": "a" * 64}  # of a run that did not keep them
    assert store.difference(older, now) == ""


@pytest.mark.parametrize("content", [None, '{"seeds": [1,'])
def test_a_damaged_workdir_is_told(tmp_path, content):
    finish(tmp_path, CONFIG)
    path = tmp_path / workdir.CONFIG
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError, match=r"config.json: cannot be read .*run again"):
        workdir.finished(tmp_path, CONFIG)


def test_json_has_null_for_nan_and_plain_numbers_for_arrays(tmp_path):
    path = tmp_path / "x.json"
    value = {
        "nan": float("nan"),
        "list": [np.float32(0.5), np.float64("inf"), (1, np.nan)],
        "array": np.array([[1.5, np.nan]]),
        "text": "ü",
    }
    workdir.write_json(path, value)
    content = path.read_text()
    assert "NaN" not in content and "Infinity" not in content
    assert workdir.read_json(path) == {
        "nan": None,
        "list": [0.5, None, [1, None]],
        "array": [[1.5, None]],
        "text": "ü",
    }
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    workdir.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        workdir.write_json(path, {"a": object()})

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        workdir.write_json(path, {"a": 2})
    assert workdir.read_json(path) == {"a": 1}


def test_arrays_come_back(tmp_path):
    labels = np.arange(6, dtype=np.float32).reshape(2, 3)
    names = np.array(["a", "ü"])
    workdir.write_arrays(tmp_path / "x.npz", labels=labels, names=names)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["labels"], labels)
        np.testing.assert_array_equal(found["names"], names)
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_lines_are_appended(tmp_path):
    for epoch in (1, 2):
        workdir.append_line(tmp_path / "h.jsonl", {"epoch": epoch, "loss": np.nan})
    lines = (tmp_path / "h.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"epoch": 1, "loss": None},
        {"epoch": 2, "loss": None},
    ]


def test_the_hash_changes_with_one_bit():
    kernel = np.linspace(-1, 1, 6).astype(np.float32)
    params = {"a": {"kernel": kernel, "bias": np.zeros(2, np.float32)}, "b": kernel}
    labels = np.ones((4, 3), np.float32)
    plain = sealed_test.state_hash(params, labels)
    assert len(plain) == 64
    reordered = {"b": kernel, "a": dict(reversed(params["a"].items()))}
    assert sealed_test.state_hash(reordered, labels.copy()) == plain

    def flipped(x, place):
        bits = x.copy().view(np.uint32)
        bits.flat[place] ^= 1
        return bits.view(np.float32)

    negative_zero = np.array([0, -0.0], np.float32)
    others = [
        ({**params, "b": flipped(kernel, 5)}, labels),
        ({"a": {**params["a"], "bias": negative_zero}, "b": kernel}, labels),
        ({"a": params["a"], "c": kernel}, labels),
        (params, flipped(labels, 11)),
        (params, None),
    ]
    found = {sealed_test.state_hash(*other) for other in others}
    assert len(found | {plain}) == 6
