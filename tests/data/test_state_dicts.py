"""PyTorch's files of weights: what comes out of them, and what is refused."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch_files as torch

from msa_jax.data.read import sandbox, state_dicts, unpickle
from msa_jax.data.read.columns import Budget
from msa_jax.ground.errors import UserError

FORMATS = {"zip": torch.as_zip, "legacy": torch.as_legacy}


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "tfn-mosi.pth"


def read(file: Path, content: bytes, budget: int = 1 << 20):
    file.write_bytes(content)
    return state_dicts.read_state_dict(file, Budget(budget))


def refused(file: Path, content: bytes, **budget: int) -> str:
    with pytest.raises(UserError) as error:
        read(file, content, **budget)
    assert "\n" not in str(error.value)
    return str(error.value)


def state() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "Model.rnn.weight_ih_l0": rng.normal(size=(8, 3)).astype(np.float32),
        "Model.norm.running_var": np.ones(5, np.float32),
        "Model.norm.num_batches_tracked": np.array(7),
        "Model.none": np.zeros((0, 3), np.float32),
    }


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", torch.KINDS)
def test_every_type_comes_out_equal(file, form, dtype):
    x = np.array([[0, 1, 3], [1, 0, 100]]).astype(dtype)
    found = read(file, FORMATS[form]({"a": x, "b": x[0]}))
    assert list(found) == ["a", "b"] and found["a"].dtype == x.dtype
    np.testing.assert_array_equal(found["a"], x)
    np.testing.assert_array_equal(found["b"], x[0])


@pytest.mark.parametrize("form", FORMATS)
def test_a_state_dict_comes_out_equal(file, form):
    found = read(file, FORMATS[form](state()))
    assert found.keys() == state().keys()
    for name, x in state().items():
        assert found[name].shape == x.shape and found[name].dtype == x.dtype
        np.testing.assert_array_equal(found[name], x)


def test_tensors_are_views_of_storages(file):
    """Turned, from the middle, one number many times, and two that share numbers."""
    x = np.arange(12, dtype=np.float32)
    views = {
        "turned": (0, (4, 3), (1, 4)),
        "middle": (5, (2, 2), (3, 1)),
        "repeated": (7, (2, 3), (0, 0)),
        "scalar": (11, (), ()),
    }
    entries = {k: torch.tensor("0", "FloatStorage", 12, *v) for k, v in views.items()}
    found = read(file, torch.zipped(torch.state_dict(entries), {"0": x.tobytes()}))
    np.testing.assert_array_equal(found["turned"], x.reshape(3, 4).T)
    np.testing.assert_array_equal(found["middle"], [[5, 6], [8, 9]])
    np.testing.assert_array_equal(found["repeated"], np.full((2, 3), 7))
    assert found["scalar"].shape == () and found["scalar"] == 11


def test_bfloat16_is_the_upper_half_of_float32(file):
    upper = np.array([0x3FC0, 0xC000], "<u2")  # 1.5 and -2
    entry = torch.tensor("0", "BFloat16Storage", 2, 0, (2,), (1,))
    found = read(
        file, torch.zipped(torch.state_dict({"a": entry}), {"0": upper.tobytes()})
    )["a"]
    assert found.dtype == np.float32 and found.tolist() == [1.5, -2.0]


def test_parameters_are_their_tensors(file):
    entry = torch.tensor("0", "FloatStorage", 1, 0, (1,), (1,))
    wrapped = b"ctorch._utils\n_rebuild_parameter\n(" + entry + b"\x88"
    wrapped += torch.ORDERED + b"tR"
    storages = {"0": np.float32(6).tobytes()}
    found = read(file, torch.zipped(torch.state_dict({"a": wrapped}), storages))
    assert found["a"].tolist() == [6.0]


def one(**changes):
    """A tensor of three numbers, and what is wrong with it."""
    given = {"key": "0", "kind": "FloatStorage", "count": 3, "offset": 0}
    given |= {"shape": (3,), "stride": (1,)} | changes
    return torch.state_dict({"a": torch.tensor(**given)})


THREE = {"0": bytes(12)}
WRONG = {
    "beyond": (torch.zipped(one(shape=(4,)), THREE), "number 3 of 3"),
    "offset": (torch.zipped(one(offset=1), THREE), "number 3 of 3"),
    "stride": (torch.zipped(one(stride=(2,)), THREE), "number 4 of 3"),
    "negative": (torch.zipped(one(offset=-1), THREE), "damaged"),
    "axes": (torch.zipped(one(shape=(3, 1)), THREE), "damaged"),
    "size": (torch.zipped(one(), {"0": bytes(11)}), "11 bytes"),
    "no storage": (torch.zipped(one(), {}), "lacks 'data/0'"),
    "elsewhere": (torch.zipped(one(key="../data.pkl"), THREE), "lacks"),
    "packed": (
        torch.zipped(one(), THREE, zipfile.ZIP_DEFLATED),
        "neither packs nor encrypts",
    ),
    "big endian": (
        torch.zipped(one(), THREE).replace(b"little", b"bigbig"),
        "damaged",  # its checksum
    ),
    "no pickle": (
        torch.zipped(one(), THREE).replace(b"data.pkl", b"data.xyz"),
        "data.pkl",
    ),
    "a list": (torch.zipped(b"\x80\x02].", {}), "no state dict"),
    "nested": (
        torch.zipped(b"\x80\x02}" + torch.word("state_dict") + b"}s.", {}),
        "'state_dict' is no tensor",
    ),
    "empty": (b"", "empty"),
    "features": (pickle.dumps({"train": {}}), "another program"),
    "safetensors": (b"\x02\0\0\0\0\0\0\0{}", "safetensors"),
    "a web page": (b"<html>404</html>", "web page"),
    "another version": (torch.MAGIC + b"\x80\x02K\x01." + torch.MACHINE, "damaged"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_line(file, name):
    content, wanted = WRONG[name]
    assert wanted in refused(file, content)


def test_a_number_that_stands_for_many_is_refused(file):
    many = one(count=1, shape=(1 << 20, 1 << 10), stride=(0, 0))
    assert "'a' unfolds to more" in refused(file, torch.zipped(many, {"0": bytes(4)}))


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("place", ["zip", "legacy", "legacy machine"])
def test_nothing_is_run(file, place):
    canary = file.with_name("canary")
    evil = pickle.dumps(Calls(os.system, f"touch {canary}"), 2)
    content = {
        "zip": torch.zipped(evil, THREE),
        "legacy": torch.MAGIC + torch.VERSION + torch.MACHINE + evil,
        "legacy machine": torch.MAGIC + torch.VERSION + evil,
    }[place]
    assert "wants to call 'posix.system'" in refused(file, content)
    assert not canary.exists()


def test_a_whole_model_is_named_and_refused(file):
    line = refused(file, torch.zipped(b"\x80\x02cMMSA.models.AMIO\nAMIO\n)\x81.", {}))
    assert "MMSA.models.AMIO.AMIO" in line and "state_dict()" in line


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_ends_anywhere_is_refused(file, form):
    content = FORMATS[form](state())
    for end in range(0, len(content), 29):
        refused(file, content[:end])


@pytest.mark.parametrize("form", FORMATS)
def test_flipped_bytes_end_in_arrays_or_one_line(file, form):
    rng, content, bad = np.random.default_rng(0), FORMATS[form](state()), 0
    for _ in range(300):
        broken = bytearray(content)
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            broken[place] = rng.integers(256)
        try:
            read(file, bytes(broken))
        except UserError as error:
            bad += 1
            assert "\n" not in str(error)
    assert bad > 100


def test_features_are_still_read_without_tensors(file):
    file.write_bytes(torch.pickled(state()))
    with pytest.raises(UserError, match="holds PyTorch tensors"):
        unpickle.read_pickle(file)
    file.write_bytes(b"\x80\x02(" + torch.word("storage") + b"tQ.")
    with pytest.raises(UserError, match="persistent id"):
        unpickle.read_pickle(file)


def test_a_child_reads_them_whatever_they_are_called(file):
    named = {"../../x": np.ones(2, np.float32), "/etc/\n": np.zeros(1, np.float32)}
    file.write_bytes(torch.as_zip(named))
    with sandbox.read_weights(file) as found:
        assert {k: v.tolist() for k, v in found.items()} == {
            "../../x": [1, 1],
            "/etc/\n": [0],
        }
    file.write_bytes(b"PK nothing")
    with pytest.raises(UserError, match=r"tfn-mosi.pth: .*zip"):
        with sandbox.read_weights(file):
            pass
