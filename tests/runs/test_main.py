"""The entry point as a user calls it: subprocesses, files, exit codes, errors."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ml_collections import FrozenConfigDict

from msa_jax import main
from msa_jax.ground.errors import UserError
from msa_jax.methods import PAPERS
from msa_jax.runs import workdir

# Its fixture is the suite's one run of everything: BERT, recurrence, data, report.
pytestmark = pytest.mark.long(90)
ROOT = Path(__file__).parents[2]
SMOKE = ["--config", "configs/smoke.py"]


def call(*arguments, module="main"):
    """Run `python -m msa_jax.MODULE` in the checkout."""
    command = [sys.executable, "-m", f"msa_jax.{module}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def without_time(folder):
    results = json.loads((folder / "results.json").read_text())
    del results["time"]
    return json.dumps(results, sort_keys=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with one data set whose texts are longer than any encoder."""
    folder = tmp_path_factory.mktemp("data")
    n, rng = 9, np.random.default_rng(0)
    np.savez(
        folder / "long.npz",
        id=[f"v{i}_0" for i in range(n)],
        split=["train", "valid", "test"] * 3,
        transcript=["word " * 700] * n,
        audio=rng.normal(size=(n, 4, 3)).astype(np.float32),
        vision=rng.normal(size=(n, 4, 3)).astype(np.float32),
        label=np.linspace(-3, 3, n, dtype=np.float32),
    )
    done = call(
        "long_text",
        "--from",
        folder / "long.npz",
        "--data_dir",
        folder,
        module="prepare",
    )
    assert done.returncode == 0, done.stderr
    return folder


def smoke(folder, data):
    done = call(*SMOKE, "--workdir", folder, f"--config.data.dir={data}")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data):
    """A run and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    return folder, smoke(folder, data)


def test_the_memory_line_is_within_a_quarter_of_the_peak(finished):
    folder, printed = finished
    said = re.search(r"^memory: about ([\d.]+) ([MG])B at most", printed, re.M)
    assert said is not None
    taken = json.loads((folder / "results.json").read_text())["time"]
    peak = taken["peak_memory_bytes"]
    lines = (folder / "times.jsonl").read_text().splitlines()
    rising = [json.loads(line)["peak_memory_bytes"] for line in lines]
    assert sorted(rising) == rising and 2e8 < rising[0] <= rising[-1] <= peak
    line = float(said[1]) * {"M": 1e6, "G": 1e9}[said[2]]
    assert abs(line / peak - 1) < 0.25, (line, peak)


def test_writes_everything(finished):
    folder, printed = finished
    for name in (
        "results.json config.json provenance.json history.jsonl report.html report.md "
        "predictions_test.npz baselines_test.npz u_labels.npz samples.npz losses.npz "
        "features.npz checkpoint/best tensorboard/seed_1"
    ).split():
        assert (folder / name).exists(), name
    assert "MAE" in printed and str(folder / "report.html") in printed
    assert "note: SYNTHETIC data" in printed.partition("epoch")[0]
    results = json.loads((folder / "results.json").read_text())
    assert results["seeds"] == [1, 2]
    assert set(results["state_sha256"]) == {"1", "2"}
    mae = results["test"]["mae"]
    assert len(mae["per_seed"]) == 2 and mae["mean"] == pytest.approx(
        np.mean(mae["per_seed"])
    )
    with (
        np.load(folder / "baselines_test.npz") as z,
        np.load(folder / "predictions_test.npz") as p,
    ):
        assert sorted(z["name"]) == sorted(results["baselines"])
        for name, answer in zip(z["name"], z["answer"], strict=True):
            error = np.abs(answer - p["label"]).mean()
            assert results["baselines"][name]["mae"] == pytest.approx(error, rel=1e-6)
    assert set(results["controls"]) == {
        f"{what} shuffled across test samples"
        for what in ("audio and vision", "audio", "vision", "text")
    }
    for cells in results["controls"].values():
        found = cells["mae"]
        gaps = np.subtract(found["per_seed"], mae["per_seed"])
        np.testing.assert_allclose(found["change"]["per_seed"], gaps, atol=1e-6)
        assert any(gaps)
    assert "Does it use audio and vision?" in (folder / "report.html").read_text()
    # The numbers in results.json are those of the predictions beside it.
    with np.load(folder / "predictions_test.npz") as z:
        error = np.abs(z["prediction"] - z["label"]).mean(axis=1)
    np.testing.assert_allclose(mae["per_seed"], error, rtol=1e-6)
    with np.load(folder / "u_labels.npz") as z:
        assert z["value"].shape[1:3] == (2, 4)
        # Epoch 1 leaves u-labels at the human labels.
        np.testing.assert_array_equal(z["value"][0], np.tile(z["label"], (2, 4, 1)))
        assert (z["value"][-1, :, 1:] != z["label"]).any()


def test_shows_single_samples(finished):
    folder, _ = finished
    with np.load(folder / "samples.npz") as z, np.load(folder / "u_labels.npz") as u:
        assert z["text_source"] == "transcript"
        assert z["train_prediction"].shape == (2, 4, len(u["label"]))
        np.testing.assert_array_equal(z["train_id"], u["id"])
        fusion, words = z["test_prediction"][:, 0], z["train_text"]
        # Each split has the predictions of its own samples, head by head.
        assert len({row.tobytes() for row in z["test_prediction"][0]}) == 4
    with np.load(folder / "predictions_test.npz") as z:
        np.testing.assert_array_equal(fusion, z["prediction"])
    html, markdown = [(folder / f"report.{k}").read_text() for k in ("html", "md")]
    title = "Samples on which the modalities disagree most"
    assert title in html and f"## {title}" in markdown
    shown = sum(f">{text}</p>" in html for text in set(words))
    assert shown >= 10 and html.count('class="path"') == 12
    assert (folder / "figures" / "sample_paths.png").exists()


def test_keeps_losses_of_every_step_and_features(finished):
    folder, _ = finished
    lines = (folder / "history.jsonl").read_text().splitlines()
    history = [json.loads(line) for line in lines]
    with np.load(folder / "losses.npz") as z:
        # 96 samples in batches of 16; both seeds run to the end of the last epoch.
        np.testing.assert_array_equal(z["epoch"], np.repeat([1, 2, 3, 4], 6))
        assert set(z) == {"epoch"} | set(history[0]["train"])
        for name, mean in history[1]["train"].items():
            of_epoch = z[name][z["epoch"] == 2]
            np.testing.assert_allclose(of_epoch.mean(axis=0), mean, rtol=1e-5)
    with np.load(folder / "features.npz") as z, np.load(folder / "samples.npz") as s:
        for split, n in (("train", 96), ("test", 32)):
            np.testing.assert_array_equal(z[f"{split}_index"], np.arange(n))
            np.testing.assert_array_equal(z[f"{split}_label"], s[f"{split}_label"])
            assert z[f"{split}_fusion"].shape == (2, n, 16)
            assert z[f"{split}_audio"].dtype == np.float32


@pytest.mark.slow
def test_twice_is_byte_identical(finished, data, tmp_path):
    (one, _), two = finished, tmp_path / "two"
    smoke(two, data)
    assert without_time(one) == without_time(two)
    files = ("predictions_test", "u_labels", "samples", "losses", "features")
    for name in (f"{file}.npz" for file in files):
        with np.load(one / name) as a, np.load(two / name) as b:
            for key in a:
                assert a[key].tobytes() == b[key].tobytes(), (name, key)


def test_again_says_already_done(finished, data):
    folder, _ = finished
    before = (folder / "results.json").read_bytes()
    again = call(*SMOKE, "--workdir", folder, f"--config.data.dir={data}")
    assert again.returncode == 0
    assert "already done" in again.stdout and "MAE" in again.stdout
    assert (folder / "results.json").read_bytes() == before


def test_another_config_in_a_finished_workdir_is_refused(finished, data, refused):
    changed = f"--config.data.dir={data}", "--config.optim.batch_size=8"
    message = refused(main.command, *SMOKE, "--workdir", finished[0], *changed)
    assert "optim.batch_size: 16 there, 8 now" in message


def test_a_run_on_altered_inputs_is_not_shown_as_the_one_asked_for(tmp_path):
    c = PAPERS["self_mm"].config()
    c.data.dir = str(tmp_path / "none")
    workdir.write_json(tmp_path / workdir.CONFIG, c.to_dict())
    results = {"notes": [f"{workdir.TRAINED_WITHOUT}audio and vision, as a control."]}
    workdir.write_json(tmp_path / workdir.RESULTS, results)
    with pytest.raises(UserError, match="trained without audio and vision.*--workdir"):
        main._show(FrozenConfigDict(c), tmp_path)


MISTAKES = {
    "unknown key": (["--config.optim.batchsize=8"], "did you mean"),
    "wrong type": (["--config.optim.batch_size=many"], "batch_size"),
    "unknown choice": (["--config.text.pooling=max"], "must be one of first, mean"),
    "no seeds": (["--config.seeds=1,1"], "config.seeds"),
    "missing data": (["--config.data.name=MOSI"], "python -m msa_jax.prepare mosi"),
    "no weights": (["--config.text.weights=/nowhere/at/all"], "no such folder"),
    "no width": (["--config.model.text_head=0"], "must be at least 1"),
    "no step": (["--config.optim.accumulate_batches=99"], "one optimiser step"),
    "long text": (
        ["--config.data.name=long_text", "--config.text.max_tokens=600"],
        "text has 600 tokens, but the encoder",
    ),
    "bad mesh": (["--config.mesh.devices=99"], "config.mesh"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(mistake, tmp_path, data, refused):
    flags, expected = MISTAKES[mistake]
    folder = tmp_path / "run"
    message = refused(
        main.command, *SMOKE, "--workdir", folder, f"--config.data.dir={data}", *flags
    )
    assert expected in message
    errors = [x for x in message.splitlines() if x.startswith("error:")]
    assert len(errors) == 1 and message.strip().splitlines()[-1] == errors[0]
    assert not (folder / "results.json").exists()


def test_unwritable_workdir(tmp_path, refused):
    (tmp_path / "file").write_text("in the way")
    message = refused(main.command, *SMOKE, "--workdir", tmp_path / "file" / "run")
    assert "cannot write there" in message


@pytest.mark.parametrize("module", ["main", "prepare", "report", "parity"])
def test_help_has_an_example(module):
    done = call("--help", module=module)
    assert done.returncode == 0
    assert f"python -m msa_jax.{module} " in done.stdout
