"""Robustness of a finished run: numbers, one program, its page, a user's mistakes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from ml_collections import FrozenConfigDict
from tiny import make_heads, make_proof

from msa_jax import config as defaults
from msa_jax import methods, report
from msa_jax import robustness as command
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.methods import PAPERS
from msa_jax.runs import checkpoint, reopened, run, workdir
from msa_jax.studies import controls
from msa_jax.studies.robustness import (
    measure,
    page,
    passes,
    reduced,
    tables,
)
from msa_jax.training.splits import opened

ROOT = Path(__file__).parents[2]
SEEDS = (3, 4)


def small_config(data_dir, **model):
    """Self-MM on features, as small as it gets, one epoch."""
    config = PAPERS["self_mm"].config()
    config.seeds = SEEDS
    config.data.name, config.data.dir = "tiny_features", str(data_dir)
    config.text.encoder = "features"
    for name in ("audio_hidden", "vision_hidden", "audio_width", "vision_width"):
        config.model[name] = 3
    for target in ("fusion", "text", "audio", "vision"):
        config.model[f"{target}_head"] = 4
    config.optim.batch_size = 8
    config.optim.accumulate_batches = 1
    config.selection.max_epochs = 1
    config.mesh.devices = 1
    return FrozenConfigDict(config)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A finished run of the tiny method, trained in this process, without a report."""
    folder = tmp_path_factory.mktemp("robustness")
    n, rng = 60, np.random.default_rng(0)
    label = np.clip(rng.normal(size=n), -3, 3).astype(np.float32)

    def sequence(steps, width):
        x = rng.normal(size=(n, steps, width)).astype(np.float32)
        return x + label[:, None, None]

    np.savez(
        folder / "tiny.npz",
        id=[f"v{i}_0" for i in range(n)],
        split=["train", "train", "valid", "test"] * 15,
        text=sequence(5, 6),
        audio=sequence(4, 3),
        vision=sequence(6, 2),
        label=label,
    )
    given = ["tiny_features", "--from", str(folder / "tiny.npz")]
    done = subprocess.run(
        [sys.executable, "-m", "msa_jax.prepare", *given, "--data_dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "set_up_jax", lambda precision: None)
        patch.setattr(report, "write_report", lambda folder: None)
        patch.setattr(methods, "make", lambda *_: make_heads())
        (folder / "run").mkdir()
        run.complete_run(small_config(folder), folder / "run")
        yield folder / "run"


@pytest.fixture(scope="module")
def measured(run_folder):
    """What the command wrote, and what it wrote when run again (the page but once)."""
    written = measure.measure_run(run_folder, None, 2, False).parent / "results.json"
    texts = [written.read_text()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "write_robustness", lambda *_: None)
        measure.measure_run(run_folder, None, 2, False)
    texts.append(written.read_text())
    return written.parent, [json.loads(text) for text in texts]


def test_drop_is_the_papers():
    # UCRN, section 4.4: 84.36 with three modalities, 83.35 with two.
    found = tables.drop(84.36, 83.35, lower_is_better=False)
    assert found == pytest.approx(1.197, abs=5e-4)
    # TBJE: better without vision, so the drop is negative (Table 4: -1.10).
    assert tables.drop(81.5, 82.4, lower_is_better=False) == pytest.approx(
        -1.104, abs=1e-3
    )
    # MAE rises from .8 to 1: 25 % worse, not -25 %.
    assert tables.drop(0.8, 1.0, lower_is_better=True) == pytest.approx(25)
    assert np.isnan(tables.drop(0.0, 0.3, lower_is_better=False))
    assert np.isnan(tables.drop(-0.1, 0.3, lower_is_better=False))
    assert np.isnan(tables.drop(0.8, float("nan"), lower_is_better=False))


def test_area_is_the_mean_height():
    assert tables.area([0, 0.5, 1], [1, 1, 1]) == pytest.approx(1)
    assert tables.area([0, 0.9], [0.8, 0.4]) == pytest.approx(0.6)
    # Unequal steps: (.5 x 4 + 2 x 3 + ...) by hand; order does not matter.
    assert tables.area([0, 1, 3], [5, 3, 1]) == pytest.approx((4 * 1 + 2 * 2) / 3)
    assert tables.area([3, 0, 1], [1, 5, 3]) == pytest.approx(8 / 3)


def test_every_kind_and_level_is_a_row():
    rows = passes.make_rows(MODALITIES, 5)
    table = passes.tabulate(rows, MODALITIES)
    assert len(rows) == 7 + 5 + 5 * (9 + 9 + 9 + 5 + 9) == len(table.kind)
    assert np.bincount(table.kind).tolist() == [7, 46, 46, 46, 26, 46]
    assert len({(r.kind, r.kept, r.level, r.repeat) for r in rows}) == len(rows)
    assert rows[0].kept == MODALITIES and not table.absent[0].any()
    assert table.absent[6].tolist() == [True, True, False]  # vision alone is left
    assert not table.absent[7:].any()
    assert (table.severity[:7] == 0).all()
    by_level = dict(zip([(r.kind, r.level) for r in rows], table.severity, strict=True))
    assert by_level["frames", 0.9] == np.float32(0.9)
    assert by_level["gaussian", 20.0] == pytest.approx(0.1)
    assert by_level["gaussian", None] == 0


@pytest.mark.parametrize(
    ("read", "noisy", "left_out"),
    [
        (("text",), ("audio", "vision"), {"bernoulli", "gaussian"}),
        (("audio", "vision"), MODALITIES, {"tokens"}),
        (("text", "audio"), ("audio", "vision"), set()),
    ],
)
def test_kinds_that_touch_nothing_that_is_read_are_left_out(read, noisy, left_out):
    rows = passes.make_rows(read, 1, noisy)
    kinds = {row.kind for row in rows} - {passes.COMBINATIONS}
    assert kinds == {kind.name for kind in passes.KINDS} - left_out
    for kind in passes.KINDS:
        assert set(passes.touched(kind, read, noisy)) <= set(read)


def test_combinations_of_a_run_that_reads_two():
    read = ("text", "vision")
    assert passes.kept_combinations(read) == [read, ("text",), ("vision",)]
    table = passes.tabulate(passes.make_rows(read, 1)[:3], read)
    assert not table.absent[:, 1].any()  # audio is not read: nothing to take away


@pytest.mark.long(60)
def test_rows_do_what_they_say(run_folder):
    split = reopened.reopen(run_folder).test
    rows = [
        passes.Pass("combinations", ("text", "vision")),
        passes.Pass("tokens", MODALITIES, 0.9),
        passes.Pass("bernoulli", MODALITIES, 0.5),
        passes.Pass("bernoulli", MODALITIES, 0.5, 1),
        passes.Pass("modalities", MODALITIES, 0.5),
    ]
    table = passes.tabulate(rows, MODALITIES)
    run = jax.jit(lambda row: passes.corrupted(split, row, 0))
    made = [run(passes.Passes(*(x[i] for x in table))) for i in range(len(rows))]
    assert not made[0].audio.any()
    np.testing.assert_array_equal(made[0].text, split.text)
    assert 0.8 < np.mean(np.asarray(made[1].text) == 0) < 1
    np.testing.assert_array_equal(made[1].audio, split.audio)
    added = np.asarray(made[2].vision - split.vision)
    np.testing.assert_allclose(np.unique(added.round(4)), [0, 1])
    assert 0.4 < added.mean() < 0.6
    assert (np.asarray(made[2].vision) != np.asarray(made[3].vision)).any()
    whole = np.asarray(made[4].text == split.text).all(axis=(1, 2))
    gone = np.asarray(made[4].text == 0).all(axis=(1, 2))
    assert (whole ^ gone).all() and whole.any() and gone.any()


@pytest.mark.long(60)
def test_zero_corruption_is_the_runs_own_result(measured, run_folder):
    _, (found, _) = measured
    own = json.loads((run_folder / "results.json").read_text())["test"]
    assert found["zero_corruption"] == {
        "passes": 6,
        "largest_difference": 0,
        "equals_own_test_result": True,
    }
    assert found["full"] == own
    for kind in found["kinds"]:
        assert kind["levels"][0]["level"] is None
        assert kind["levels"][0]["test"] == own
        assert kind["levels"][0]["drop"]["mae"]["per_seed"] == [0, 0]


def test_a_difference_is_found(run_folder):
    run = reopened.reopen(run_folder)
    rows = passes.make_rows(MODALITIES, 1)[:2]
    off = np.stack([run.prediction + np.float32(0.25), run.prediction * 9])
    wrong = tables.Evaluated(rows, off, "")
    passes_, largest = tables.largest_difference(run, wrong)
    assert passes_ == 1 and largest == pytest.approx(0.25, rel=1e-5)


def test_numbers_hang_together(measured, run_folder):
    folder, (found, _) = measured
    assert found["passes"] == 12 + 2 * 41 and found["repeats"] == 2
    for kind, levels in zip(found["kinds"], (9, 9, 9, 5, 9), strict=True):
        assert len(kind["levels"]) == 1 + levels
        cell = kind["levels"][-1]
        for metric in ("mae", "acc2_has0"):
            whole = found["full"][metric]["per_seed"]
            value, drop = cell["test"][metric], cell["drop"][metric]
            assert (
                len(value["per_seed"]) == len(SEEDS)
                and value["ci95"][0] <= value["mean"]
            )
            sign = -1 if metric == "mae" else 1
            expected = [
                sign * 100 * (w - v) / w
                for w, v in zip(whole, value["per_seed"], strict=True)
            ]
            np.testing.assert_allclose(drop["per_seed"], expected, atol=1e-9)
        heights = [c["test"]["mae"]["per_seed"][1] for c in kind["levels"]]
        steps = kind["levels"][1 if kind["decibels"] else 0 :]
        mean = np.mean(
            [
                (a["test"]["mae"]["per_seed"][1] + b["test"]["mae"]["per_seed"][1]) / 2
                for a, b in zip(steps, steps[1:], strict=False)
            ]
        )
        assert kind["area"]["test"]["mae"]["per_seed"][1] == pytest.approx(mean)
        if kind["name"] != "tokens":
            assert max(heights) > min(heights)
    kept = [tuple(row["kept"]) for row in found["combinations"]]
    assert kept == passes.kept_combinations(MODALITIES)


def test_draws_are_averaged():
    draws = [{"mae": [1.0, 2.0]}, {"mae": [3.0, float("nan")]}]
    found = tables.mean_of_draws(draws)["mae"]
    assert found[0] == 2 and np.isnan(found[1])


def test_twice_is_the_same(measured):
    _, (one, two) = measured
    del one["time"], two["time"]
    assert one == two


def test_one_program_serves_every_row(run_folder, monkeypatch):
    programs, make = [], measure.make_program

    def remember(*arguments):
        programs.append(make(*arguments))
        return programs[0]

    monkeypatch.setattr(measure, "make_program", remember)
    run = reopened.reopen(run_folder)
    rows = passes.make_rows(defaults.reads(run.files.settings), 1)
    found = list(measure.predictions(run, rows, 0))
    assert programs[0]._cache_size() == 1 and len(programs) == 1
    assert len(found) == 7 and len(rows) == 53
    assert np.concatenate(found).shape == (53, len(SEEDS), len(run.label))


def test_page_stands_alone(measured):
    folder, _ = measured
    html, markdown = [(folder / f"robustness.{k}").read_text() for k in ("html", "md")]
    assert "equal the run&#39;s own test result exactly" in html
    for title in (
        "Missing modalities",
        "Gaussian noise added",
        "Area under each curve",
    ):
        assert f"<h2>{title}</h2>" in html and f"## {title}" in markdown
    assert html.count("<svg ") == 6 and "http://" not in html.replace(
        "http://www.w3.org/", ""
    )
    assert "trained without" not in html
    names = {path.stem for path in (folder / "figures").glob("*.png")}
    assert names == {"combinations", *(kind.name for kind in passes.KINDS)}
    assert "text + audio: " not in markdown and "| text + audio |" in markdown


@pytest.mark.long(60)
def test_retrained_networks_stand_beside(measured, run_folder, tmp_path, monkeypatch):
    folder, _ = measured
    copied = tmp_path / "run"
    shutil.copytree(run_folder, copied)
    trained, train = [], run.complete_run

    def only_text(settings, where, change):
        trained.append(where.name)
        if where.name != "text":  # the others as if they had been trained before
            shutil.copytree(run_folder, where, dirs_exist_ok=True)
            return None
        return train(settings, where, change)

    monkeypatch.setattr(reduced, "complete_run", only_text)
    written = measure.measure_run(copied, None, 1, True)
    assert len(trained) == 6
    found = json.loads((written.parent / "results.json").read_text())
    whole, reduced_text = found["combinations"][0], found["combinations"][4]
    assert "retrained" not in whole and reduced_text["kept"] == ["text"]
    folder = reduced.folder_of(copied / "robustness", ("text",))
    own = json.loads((folder / "results.json").read_text())
    assert reduced_text["retrained"]["test"]["mae"] == own["test"]["mae"]
    assert any(
        note == "Trained without audio and vision, to measure robustness."
        for note in own["notes"]
    )
    others = SimpleNamespace(name="tiny", card={"content_sha256": "0" * 64})
    with pytest.raises(UserError, match="retrained.* was trained on another 'tiny'"):
        measure._add_retrained(SimpleNamespace(dataset=others), written.parent, found)
    html = written.read_text()
    assert "text, trained without" in html and "text, zeroed at test" in html
    # Again: nothing is trained; and a reduced run is not measured by itself.
    trained.clear()
    monkeypatch.setattr(page, "write_robustness", lambda *_: None)
    measure.measure_run(copied, None, 1, True)
    assert trained == []
    with pytest.raises(UserError, match="trained without audio and vision"):
        reopened.reopen(folder)


def test_inputs_are_zeroed_in_every_split(run_folder):
    inputs = reopened.reopen(run_folder).inputs
    less, proof = controls.zeroed(inputs, ("text", "vision"), 0), make_proof()
    before = opened(inputs, proof)
    assert len(before) == 3
    for name, split in opened(less, proof).items():
        assert not split.text.any() and not split.vision.any()
        np.testing.assert_array_equal(split.audio, before[name].audio)
        np.testing.assert_array_equal(split.label, before[name].label)


def test_a_method_that_names_its_modalities_is_reduced_by_its_config():
    config = FrozenConfigDict(PAPERS["mmcl"].config())
    found = controls.reduced_config(config, ("text", "audio"))
    assert defaults.reads(config) == MODALITIES
    assert defaults.reads(found) == ("text", "audio")


def damage_checkpoint(folder):
    shutil.rmtree(folder / "checkpoint" / "best" / "d")


def change_checkpoint(folder):
    path = folder / "checkpoint" / "best"
    tree = checkpoint.load(path)
    checkpoint.save(path, jax.tree.map(lambda x: np.asarray(x) * 1.5, tree))


def rename_method(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"self_mm"', '"self_m"', 1))


def forget_a_field(folder):
    path = folder / "config.json"
    values = json.loads(path.read_text())
    del values["optim"]["batch_size"]
    path.write_text(json.dumps(values))


def other_data(folder):
    path = folder / "results.json"
    values = json.loads(path.read_text())
    values["provenance"]["data_sha256"] = "0" * 64
    path.write_text(json.dumps(values))


def other_labels(folder):
    path = folder / "results.json"
    values = json.loads(path.read_text())
    values["provenance"]["label_range"] = [-1.0, 1.0]
    path.write_text(json.dumps(values))


def other_weights(folder):
    path = folder / "model.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"frozen_sha256": "0" * 64}))


def trained_on_others(folder):
    path = folder / "results.json"
    values = json.loads(path.read_text())
    values["notes"].append(f"{workdir.TRAINED_SHUFFLED} of the same split.")
    path.write_text(json.dumps(values))


MISTAKES = {
    "a control": (trained_on_others, "audio and vision of other samples"),
    "unfinished": (lambda f: (f / "results.json").unlink(), "not finished"),
    "no checkpoint": (lambda f: shutil.rmtree(f / "checkpoint"), "no .*best: train"),
    "damaged": (damage_checkpoint, "is damaged"),
    "other parameters": (change_checkpoint, "state_sha256 differs"),
    "unknown method": (rename_method, "must be one of self_mm"),
    "old config": (forget_a_field, "not a configuration of this version"),
    "other data": (other_data, "trained on another 'tiny_features'"),
    "other labels": (other_labels, r"label range \[-1.0, 1.0\], here \[-3.0, 3.0\]"),
    "other weights": (other_weights, "are not the weights that the run encoded its"),
    "no answers": (
        lambda f: (f / "predictions_test.npz").unlink(),
        "no predictions_test",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_written(mistake, run_folder, tmp_path):
    break_it, expected = MISTAKES[mistake]
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    shutil.rmtree(folder / "robustness", ignore_errors=True)
    break_it(folder)
    with pytest.raises(UserError, match=expected) as raised:
        measure.measure_run(folder, None, 1, False)
    assert "\n" not in str(raised.value)
    assert not (folder / "robustness").exists()


def test_absent_data_are_one_line(run_folder, tmp_path):
    with pytest.raises(UserError, match="no data set 'tiny_features'"):
        measure.measure_run(run_folder, str(tmp_path), 1, False)


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ([], "give one work directory"),
        (["here", "--workdir", "there"], "give one work directory"),
        (["nowhere"], "no results.json in nowhere"),
        (["nowhere", "--repeats", "0"], "must be at least 1"),
        (["nowhere", "--retrian"], "did you mean --retrain"),
    ],
)
def test_a_wrong_command_is_one_line(arguments, expected, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["robustness", *arguments])
    with pytest.raises(UserError, match=expected):
        command.command()
