"""Networks that MMSA trained as finished runs; its answers are the reference's."""

import hashlib
import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import jax
import mmsa_config
import numpy as np
import pytest
import tiny
import torch_files
from ml_collections import FrozenConfigDict

from msa_jax import from_mmsa, methods, prepare, report
from msa_jax.ground import backend, files
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.methods import PAPERS
from msa_jax.methods.torch_names import to_torch
from msa_jax.predict import __main__ as predict
from msa_jax.predict.model import open_live, predictor
from msa_jax.report import comparison
from msa_jax.runs import finished, reopened
from msa_jax.studies.from_mmsa import weights
from msa_jax.studies.parity import replay, schema
from msa_jax.text import encoders

# Self-MM's reference arrays are older, with a stand-in for BERT: a test of its own.
BROUGHT = [name for name, paper in PAPERS.items() if paper.mmsa and name != "self_mm"]
KNOWN = 19  # of the reference's 20 samples: one holds NaN, which no data set may


def reference(shared: Path, name: str) -> schema.Case:
    """Return the first case of a method's reference arrays."""
    with np.load(shared / "goldens" / f"{name}.npz") as z:
        return schema.cases(dict(z))[0]


def saved(case: schema.Case) -> dict[str, np.ndarray]:
    """Return the weights as MMSA saves them, inside its wrapper."""
    return {f"Model.{name}": x for name, x in case.under("w/").items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("from_mmsa")


@pytest.fixture(scope="module")
def case(shared) -> schema.Case:
    return reference(shared, "tfn")


@pytest.fixture(scope="module")
def rows(case) -> np.ndarray:
    finite = [np.isfinite(case.need(f"in/{m}")) for m in MODALITIES]
    infinite = np.isneginf(case.need("in/audio"))  # MMSA sets these to 0, and so do we
    kept = [x.all(axis=(1, 2)) for x in (finite[0], finite[1] | infinite, finite[2])]
    return np.flatnonzero(np.all(kept, axis=0))


@pytest.fixture(scope="module")
def given(folder, case, rows) -> list[str]:
    """Prepare the data set, write weights and configuration; return the flags."""
    assert len(rows) == KNOWN
    np.savez(
        folder / "features.npz",
        id=[f"v{row}_0" for row in rows],
        split=["train"] * 5 + ["valid"] * 4 + ["test"] * (KNOWN - 9),
        label=case.need("in/label")[rows],
        **{m: case.need(f"in/{m}")[rows] for m in MODALITIES},
    )
    data = ["--data_dir", str(folder / "data")]
    file = ["--from", str(folder / "features.npz"), "--padding", "every_step"]
    prepare.main(["mosi", *file, *data])
    whole = mmsa_config.whole()
    hp = {name: value.item() for name, value in case.under("hp/").items()}
    own = whole["tfn"]["datasetParams"]["mosi"]
    own |= {"hidden_dims": [hp[f"{m}_hidden"] for m in MODALITIES], "batch_size": 4}
    own |= {"text_out": hp["text_width"], "post_fusion_dim": hp["fusion_head"]}
    (folder / "tiny.json").write_text(json.dumps(whole))
    (folder / "tfn-mosi.pth").write_bytes(torch_files.as_zip(saved(case)))
    return ["--config", str(folder / "tiny.json"), *data]


def command(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["from_mmsa", *arguments])
        patch.setattr(backend, "set_up_jax", lambda precision: None)
        patch.setattr(report, "write_report", lambda folder: folder)
        from_mmsa.command()


@pytest.fixture(scope="module")
def run(folder, given) -> Path:
    file = ["--weights", str(folder / "tfn-mosi.pth")]
    command(*file, "--to", str(folder / "runs" / "mine"), *given)
    return folder / "runs" / "mine"


@pytest.fixture(scope="module")
def expected(case, rows) -> np.ndarray:
    return case.need("out/fusion")[rows][9:]


def test_test_is_answered_as_pytorch_did(run, expected):
    with np.load(run / "predictions_test.npz") as found:
        assert found["prediction"].shape == (1, len(expected))
        np.testing.assert_allclose(found["prediction"][0], expected, atol=1e-6)


def test_new_samples_are_answered_as_pytorch_did(run, folder, case, rows, expected):
    """From the folder alone: the data set is elsewhere."""
    lines = [
        {"id": str(row)} | {m: case.need(f"in/{m}")[row].tolist() for m in MODALITIES}
        for row in rows[9:]
    ]
    path, out = folder / "new.jsonl", folder / "answers.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    (folder / "data").rename(folder / "elsewhere")
    try:
        live = predictor(open_live(run, None, None))
        assert predict.answer(live, str(path), str(out)).bad == 0
    finally:
        (folder / "elsewhere").rename(folder / "data")
    found = [json.loads(line)["prediction"] for line in out.read_text().splitlines()]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_it_is_a_finished_run_that_says_where_it_is_from(run, folder):
    opened = reopened.reopen(run, str(folder / "data"))
    assert opened.files.results["seeds"] == [1115] and opened.label.shape == (10,)
    digest = hashlib.sha256((folder / "tfn-mosi.pth").read_bytes()).hexdigest()
    origin = {"file": "tfn-mosi.pth", "sha256": digest}
    assert opened.files.results["provenance"]["converted_from"] == origin
    said = opened.files.results["notes"][-1]
    assert "Converted from tfn-mosi.pth" in said and digest in said
    assert "No epoch was run here" in said and "1115 is assumed" in said
    assert "by MMSA, elsewhere" in opened.files.results["selection"]
    assert "seconds_per_epoch" not in opened.files.results["time"]
    assert not (run / "losses.npz").exists()
    assert list(run.parent.iterdir()) == [run]  # no half of it lies beside it


def test_it_is_compared_with_other_runs(run, folder):
    other = folder / "other"
    shutil.copytree(run, other, dirs_exist_ok=True)
    found = comparison.build([run, other])
    assert [row["name"] for row in found["parts"][0]["rows"]] == ["mine", "other"]
    assert finished.open_folder(run).predictions.scores


def refused(folder: Path, given: list[str], content: bytes | None, *more: str) -> str:
    """Give a file; return the line about it. No folder is left."""
    file = folder / "bad" / "tfn-mosi.pth"
    file.parent.mkdir(exist_ok=True)
    if content is not None:
        file.write_bytes(content)
    target = folder / "bad" / "run"
    with pytest.raises(UserError) as error:
        command("--weights", str(file), "--to", str(target), *given, *more)
    assert list(file.parent.iterdir()) == ([file] if content is not None else [])
    file.unlink(missing_ok=True)
    return str(error.value)


def test_other_files_are_refused_and_nothing_is_left(folder, given, case):
    class Shell:
        def __reduce__(self):
            return os.system, (f"touch {folder / 'canary'}",)

    good = torch_files.as_zip(saved(case))
    hostile = torch_files.zipped(pickle.dumps(Shell(), 2), {})
    other = saved(case)
    del other["Model.post_fusion_layer_2.weight"]
    for content, wanted in (
        (torch_files.as_zip(other), "its network is not tfn with these sizes"),
        (hostile, "refused: it wants to call 'posix.system'"),
        (good[:-100], "a damaged zip archive"),
    ):
        assert wanted in refused(folder, given, content)
    assert not (folder / "canary").exists()
    assert "no such file" in refused(folder, given, None)
    seeds = refused(folder, given, good, "--config.seeds=1,2")
    assert "name one" in seeds
    missing = refused(folder, given, good, "--config.data.name=mosi_2")
    assert "no data set 'mosi_2'" in missing
    assert "not yet" in refused(folder, given, good, "--model", "mult")
    assert "unknown config field" in refused(folder, given, good, "--config.text_out=3")


def test_a_folder_that_is_there_stays(run, folder, given):
    before = {path: path.read_bytes() for path in run.glob("*.json")}
    file = ["--weights", str(folder / "tfn-mosi.pth")]
    with pytest.raises(UserError, match="is there already"):
        command(*file, "--to", str(run), *given)
    assert {path: path.read_bytes() for path in run.glob("*.json")} == before


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    target = tmp_path / "runs" / "new"
    with pytest.raises(KeyboardInterrupt), files.new_folder(target) as partial:
        (partial / "results.json").write_text("{}")
        assert not target.exists()
        raise KeyboardInterrupt
    assert list(target.parent.iterdir()) == []
    with files.new_folder(target) as partial:
        (partial / "results.json").write_text("{}")
    assert list(target.parent.iterdir()) == [target]
    assert (target / "results.json").read_text() == "{}"


def settings_and_method(case: schema.Case, name: str):
    config, _ = replay.settings_of(case, PAPERS[name])
    settings = FrozenConfigDict(config)
    return settings, methods.make(settings, replay.text_encoder(case), (-3.0, 3.0))


@pytest.mark.parametrize("name", BROUGHT)
def test_every_method_takes_the_state_dict_of_its_reference(shared, name):
    case = reference(shared, name)
    settings, method = settings_and_method(case, name)
    split, file = replay.split_of(case, "", np.float32), Path(f"{name}-mosi.pth")
    found = weights.variables_of(file, saved(case), settings, method, split)
    back = to_torch(PAPERS[name].torch, jax.tree.map(lambda x: x[0], found))
    state = case.under("w/")
    for key, value in back.items():
        np.testing.assert_array_equal(value, state[key])
    lost = state.keys() - back.keys()
    assert all("num_batches_tracked" in key or "encoder.out_" in key for key in lost)


def test_other_networks_are_refused(case):
    settings, method = settings_and_method(case, "tfn")
    split, state = replay.split_of(case, "", np.float32), saved(case)
    name = "Model.post_fusion_layer_2.weight"
    for broken, wanted in (
        ({k: v for k, v in state.items() if k != name}, "no 'post_fusion_layer_2.wei"),
        (state | {name: state[name][1:]}, r"shape \(8, 7\), expected \(8, 8\)"),
        (state | {"Model.more": np.zeros(1)}, "no parameter asks for more"),
        (state | {name: state[name] * np.nan}, f"{name} is not finite"),
    ):
        with pytest.raises(UserError, match=wanted):
            weights.variables_of(Path("x.pth"), broken, settings, method, split)


def test_a_bert_comes_along():
    """Names as `transformers` has them: what nothing here computes with is left out."""
    config = PAPERS["self_mm"].config()
    config.text.update({"weights": "random", "random_width": 8, "random_layers": 1})
    method = tiny.make_self_mm(encoders.load_encoder(config.text, ["a b"]).module)
    split = tiny.make_split(3).replace(text=np.ones((3, 3, 4), np.int32))
    params = jax.device_get(tiny.make_params(method, split))
    state = {
        f"Model.{k}": v for k, v in to_torch(PAPERS["self_mm"].torch, params).items()
    }
    bert = "Model.text_model.model."
    state[f"{bert}pooler.dense.weight"] = np.zeros((8, 8))
    state[f"{bert}embeddings.position_ids"] = np.arange(512)[None]
    given = Path("self_mm-mosi.pth"), state, FrozenConfigDict(config), method, split
    found = weights.variables_of(*given)
    tiny.assert_same(jax.tree.map(lambda x: x[0], found["params"]), params)


def test_what_mmsa_never_saves_is_said(shared):
    """Graph-MFN's nodes lie outside its state dict; its answers cannot be had back."""
    case = reference(shared, "graph_mfn")
    settings, method = settings_and_method(case, "graph_mfn")
    split = replay.split_of(case, "", np.float32)
    state = {k: v for k, v in saved(case).items() if "unregistered" not in k}
    with pytest.raises(UserError, match="MMSA does not save all networks of graph_mfn"):
        weights.variables_of(Path("x.pth"), state, settings, method, split)
