"""Epochs come back to the bit, or are known to be damaged."""

import json

import numpy as np
import pytest

from msa_jax.runs import records, workdir
from msa_jax.runs.checkpoint import Damaged
from msa_jax.training import loop
from msa_jax.training.loop import Epoch
from msa_jax.training.nonfinite import Fault


def epoch(number=3, **changes) -> Epoch:
    rng = np.random.default_rng(number)
    made = Epoch(
        number=number,
        seconds=0.1 + number,
        batches={"loss": rng.normal(size=(2, 5)).astype(np.float32)},
        train={"loss": np.array([0.5, np.nan], np.float32)},
        valid={"loss": np.array([np.inf, -0.0], np.float32), "acc2": np.ones(2)},
        active=np.array([True, False]),
        selected=np.array([True, False]),
        recorded={"u_labels": rng.normal(size=(2, 4, 3)).astype(np.float32)},
        prediction=rng.normal(size=(2, 3)).astype(np.float32),
        faults=(Fault(1, number, 7, "gradient", (4, 2)),),
        ended=(1,),
    )
    return made._replace(**changes)


def flat(of: Epoch) -> dict[str, object]:
    found = {}
    for name, value in of._asdict().items():
        for key, item in (value if isinstance(value, dict) else {"": value}).items():
            if isinstance(item, np.ndarray):
                item = item.dtype, item.shape, item.tobytes()
            found[f"{name} {key}"] = item
    return found


def test_an_epoch_comes_back_to_the_bit(tmp_path):
    made = epoch(active=np.array([True, True]))  # no two fields alike
    sha256 = records.write(tmp_path / "epochs", made)
    found = records.read(tmp_path / "epochs", 3, sha256)
    assert flat(found) == flat(made)
    workdir.append_line(tmp_path / "a", made.valid)
    workdir.append_line(tmp_path / "b", found.valid)
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()


def test_the_same_epoch_has_the_same_hash_but_for_its_seconds(tmp_path):
    a, b = (records.write(tmp_path, epoch()) for _ in range(2))
    assert a == b != records.write(tmp_path, epoch(seconds=9.9))


@pytest.mark.parametrize("how", ["cut", "flip", "remove"])
def test_damage_is_named(tmp_path, how):
    sha256 = records.write(tmp_path, epoch())
    path = records.path_of(tmp_path, 3)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    match how:
        case "cut":
            path.write_bytes(content[:-10])
        case "flip":
            path.write_bytes(content)
        case "remove":
            path.unlink()
    with pytest.raises(Damaged, match="000003.npz"):
        records.read(tmp_path, 3, sha256)


def test_the_epoch_of_another_run_is_refused(tmp_path):
    """A whole file, which no reader of its format would find odd."""
    sha256 = records.write(tmp_path, epoch())
    records.write(tmp_path, epoch(seconds=9.9))
    with pytest.raises(Damaged, match="is not what was saved"):
        records.read(tmp_path, 3, sha256)


def test_epochs_add_up():
    one = epoch(
        1,
        active=np.array([True, True]),
        selected=np.array([True, True]),
        faults=(),
        ended=(),
    )
    two, three = epoch(2), epoch(3, selected=np.array([False, False]), ended=())
    tally = loop.tally_of(2, [one, two, three])
    assert tally.epochs_run.tolist() == [3, 1]
    assert tally.failed_in.tolist() == [0, 2]
    assert tally.valid_prediction is not None
    np.testing.assert_array_equal(tally.valid_prediction[0], two.prediction[0])
    np.testing.assert_array_equal(tally.valid_prediction[1], one.prediction[1])
    assert tally.recorded is three.recorded and len(tally.faults) == 2
    assert loop.tally_of(2, [one]).valid_prediction is not one.prediction
    json.dumps(tally.faults)  # plain numbers
