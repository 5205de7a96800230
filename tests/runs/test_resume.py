"""Which saved state a run goes on from, which it refuses, and that it is exact."""

import shutil

import numpy as np
import pytest
from stopped_runs import compared, left_over, stop, train
from test_checkpoint import damages
from tiny import assert_same
from tiny_runs import data, settings

from msa_jax.ground.errors import UserError
from msa_jax.runs import resume, saver

LATEST = 4  # epochs that the stopped run has done


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, known):
    """A run that died in its fifth epoch, and what one in one piece leaves."""
    base = tmp_path_factory.mktemp("stopped")
    train(base / "whole", known=known)
    stop(base / "run", LATEST + 1, known=known)
    return base / "run", compared(base / "whole")


def identity(folder):
    newest = max(saver.states_folder(folder).iterdir())
    return resume.checkpoint.read_about(newest)["identity"]


def find(folder, this):
    said = []
    found, before = resume.find(folder, this, {"device": "cpu"}, said.append)
    return found, before, said


def test_keeps_two_states_and_every_epoch(stopped):
    folder, _ = stopped
    states = sorted(p.name for p in saver.states_folder(folder).iterdir())
    epochs = sorted(p.name for p in saver.epochs_folder(folder).iterdir())
    assert states == ["000003", "000004"]
    assert epochs == [f"00000{i}.npz" for i in (1, 2, 3, 4)]
    about = resume.checkpoint.read_about(saver.states_folder(folder) / "000004")
    assert set(about["seeds"]) == {"3", "4"} and len(about["epochs"]) == 4


def test_whatever_file_is_damaged_a_good_state_is_used(stopped, tmp_path, capsys):
    """Of the newest state and its epoch: named in a line, the one before is used."""
    source, _ = stopped
    this = identity(source)
    shutil.copytree(source, tmp_path / "good")
    newest, _, _ = find(tmp_path / "good", this)
    shutil.copytree(source, tmp_path / "older")
    shutil.rmtree(tmp_path / "older" / "checkpoint" / "state" / "000004")
    older, before, said = find(tmp_path / "older", this)
    assert newest is not None and older is not None
    assert said == ["resuming after epoch 3"] and len(before.hashes) == 3
    files = [
        path.relative_to(source)
        for path in sorted((source / "checkpoint").rglob("*"))
        if path.is_file() and "000004" in str(path)
    ]
    assert [name.name for name in files] == [
        *("000004.npz", "arrays.bin", "manifest.json")
    ]
    went_back = 0
    for name in files:
        for kind, _ in damages(source / name):
            folder = tmp_path / "run"
            shutil.copytree(source / "checkpoint", folder / "checkpoint")
            dict(damages(folder / name))[kind]()
            found, _, said = find(folder, this)
            assert found is not None
            if len(found.epochs) == LATEST:
                assert said == [f"resuming after epoch {LATEST}"]
                assert_same(found.arrays, newest.arrays)
            else:
                assert len(said) == 2 and said[1] == "resuming after epoch 3", said
                assert "000004" in said[0] and "\n" not in said[0]
                assert_same(found.arrays, older.arrays)
                went_back += 1
            shutil.rmtree(folder)
    assert went_back > 2 * len(files)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["000004", "0000*"])
def test_a_damaged_run_ends_as_if_nothing_had_been(
    stopped, tmp_path, known, capsys, lost
):
    source, expected = stopped
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    for path in saver.states_folder(folder).glob(f"{lost}/manifest.json"):
        path.write_bytes(path.read_bytes()[:-9])
    capsys.readouterr()
    train(folder, known=known)
    said = capsys.readouterr().out
    assert "manifest.json cannot be read" in said
    assert ("resuming after epoch 3" in said) == (lost == "000004")
    assert ("starting with the first epoch" in said) == (lost != "000004")
    assert compared(folder) == expected and left_over(folder) == []


def test_a_damaged_epoch_in_the_middle_starts_again(stopped, tmp_path, known, capsys):
    """Its numbers are in no state; computing them again gives the same."""
    source, expected = stopped
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    (saver.epochs_folder(folder) / "000002.npz").write_bytes(b"gone")
    train(folder, known=known)
    assert "000002.npz is not what was saved" in capsys.readouterr().out
    assert compared(folder) == expected


def test_another_configuration_is_refused_with_the_differences(stopped, tmp_path):
    source, _ = stopped
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    before = sorted(folder.rglob("*"))
    other = settings(**{"optim.batch_size": 4, "selection.max_epochs": 7})
    with pytest.raises(UserError) as refused:
        train(folder, other)
    said = str(refused.value)
    assert "optim.batch_size: 8 there, 4 now" in said
    assert "selection.max_epochs: 6 there, 7 now" in said and "\n" not in said
    assert sorted(folder.rglob("*")) == before  # nothing is lost


def test_data_that_were_replaced_are_refused(stopped, tmp_path, known):
    source, expected = stopped
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    replaced = data(11)
    replaced.card["content_sha256"] = "1" * 64
    with pytest.raises(UserError, match="data set was replaced"):
        train(folder, dataset=replaced)
    this = identity(source)
    for change, said in (
        ({"label_range": [-1, 1]}, r"label range \[-3, 3\], here \[-1, 1\]"),
        ({"encoder_sha256": "1" * 64}, "encoder_sha256: None there, 1111"),
    ):
        with pytest.raises(UserError, match=said):
            find(folder, this | change)
    train(folder, known=known)
    assert compared(folder) == expected


def test_another_preparation_is_refused(stopped):
    source, _ = stopped
    this = identity(source)
    with pytest.raises(UserError, match="encoder: .* there, other now"):
        find(source, this | {"encoder": "other"})
    with pytest.raises(UserError, match="notes"):
        find(source, this | {"notes": ["Trained without audio."]})


def test_what_trained_the_parts_is_noted(stopped, tmp_path):
    source, _ = stopped
    shutil.copytree(source, tmp_path / "run")
    _, before, _ = find(tmp_path / "run", identity(source))
    assert len(before.made_with) == 2
    (note,) = resume.notes(before)
    assert "with a difference in" in note and "git_commit" in note
    assert resume.notes(before._replace(made_with=before.made_with[:1])) == []


def test_other_devices_go_on_and_it_is_noted(stopped, tmp_path, capsys):
    """Two devices take over from one: equal to rounding, which the results say."""
    source, _ = stopped
    shutil.copytree(source, tmp_path / "run")
    other = settings(**{"mesh.devices": 2, "mesh.over_seeds": "vmap"})
    done = train(tmp_path / "run", other)
    assert "resuming after epoch" in capsys.readouterr().out
    assert any("with a difference in devices" in n for n in done["notes"])


def test_a_finished_run_in_the_way_of_a_locked_one(tmp_path, known):
    """A second process that waited its turn finds the results and trains nothing."""
    done = train(tmp_path / "run", known=known)
    assert train(tmp_path / "run", known={"program": None}) == done


LAYOUTS = {
    "two devices": {"mesh.devices": 2, "mesh.over_seeds": "vmap"},
    "groups of seeds, rates that fall": {
        "seeds": (3, 4, 5, 6),
        "mesh.over_seeds": "vmap",
        "mesh.seeds_at_once": 2,
        "optim.schedule": "plateau",
        "optim.plateau_patience": 0,
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_exact_on_devices_in_groups_and_with_schedules(tmp_path, layout):
    asked, known = settings(**LAYOUTS[layout]), {}
    train(tmp_path / "whole", asked, known=known)
    for at in (2, 5):
        stop(tmp_path / "run", at, asked=asked, known=known)
    train(tmp_path / "run", asked, known=known)
    assert compared(tmp_path / "run") == compared(tmp_path / "whole")


def test_a_seed_that_stopped_is_the_same_after_a_kill(tmp_path, known, capsys):
    """One seed ends before the kill: it is idle afterwards and keeps its result."""
    asked, known = settings(**{"selection.early_stop": 1}), {}
    done = train(tmp_path / "whole", asked, known=known)
    run = list(done["epochs_run"].values())
    assert len(set(run)) == 2, run  # else this test shows nothing
    stop(tmp_path / "run", max(run), asked=asked, known=known)
    train(tmp_path / "run", asked, known=known)
    ended = list(done["epochs_run"])[int(np.argmin(run))]
    assert f"(ended already: seeds {ended})" in capsys.readouterr().out
    assert compared(tmp_path / "run") == compared(tmp_path / "whole")
