"""Reading pickles without calling anything: what comes out, and what is refused."""

import builtins
import collections
import os
import pickle
import pickletools
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from msa_jax.data.read import pickled, unpickle
from msa_jax.ground.errors import UserError


def read(path: Path, data: bytes):
    path.write_bytes(data)
    return unpickle.read_pickle(path)[0]


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "x.pkl"


VALUES = {
    "floats": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
    "half": np.ones((2, 0, 3), np.float16),
    "strings": np.array(["x", "yé", "中文"]),
    "swapped": np.array(["ab", "c"], ">U2"),
    "bytes": np.array([b"a", b"bc"]),
    "bools": np.array([True, False]),
    "large": np.arange(100_000, dtype=np.float32),
    "scalar": np.float32(2.5),
    "text scalar": np.str_("hi"),
    "list": [1, 2.5, None, True, False, "x", b"y", 10**20, -5, -(2**31), 70000, 300],
    "nested": {"a": [(1, (2, ())), {"b": {3: [[]]}}]},
    "ordered": collections.OrderedDict(a=1, b=2),
    "sets": [{1, "a"}, frozenset([2])],
    "bytearray": bytearray(b"xyz"),
    "long text": "é" * 70_000,
    "quotes": "a'b\\n\n\"",
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", VALUES)
def test_what_python_writes_comes_out_equal(file, name, protocol):
    value = VALUES[name]
    found = read(file, pickle.dumps([value, value], protocol))[1]
    if isinstance(value, np.ndarray):
        assert found.dtype == value.dtype and found.shape == value.shape
        np.testing.assert_array_equal(found, value)
    else:
        assert found == value


def test_python_2_pickles_are_read(file):
    # what Python 2.7 with NumPy 1.16 writes for {'a': np.array([1., 2.], '<f4')}
    data = (
        b"\x80\x02}q\x00U\x01aq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\n"
        b"ndarray\nq\x03K\x00\x85U\x01b\x87Rq\x04(K\x01K\x02\x85cnumpy\ndtype\nq\x05U"
        b"\x02f4K\x00K\x01\x87Rq\x06(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK"
        b"\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x00@tbs."
    )
    np.testing.assert_array_equal(
        read(file, data)["a"], pickle.loads(data, encoding="latin1")["a"]
    )


def test_bytes_after_the_pickle_are_counted(file):
    file.write_bytes(pickle.dumps(1) + b"more")
    assert unpickle.read_pickle(file) == (1, 4)


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def object_array(items: list) -> np.ndarray:
    """One item each, which `np.array` would not keep of arrays of one shape."""
    array = np.empty(len(items), object)
    for i, item in enumerate(items):
        array[i] = item
    return array


def canary(place: Path) -> str:
    return f"open({str(place)!r}, 'w').write('ran')"


def hostile(place: Path) -> dict[str, tuple[bytes, str]]:
    """Pickles that would make a file at `place`, or take all memory or time."""
    shell, code = f"touch {place}", canary(place)
    laughs = ["lol"]
    for _ in range(40):
        laughs = [laughs] * 10
    cycle: list = []
    cycle += [cycle, Calls(os.system, shell)]
    holder = np.empty(1, object)
    holder[0] = Calls(os.system, shell)
    outer = np.empty(1, object)
    outer[0] = [{"a": holder}]
    array = pickle.dumps(np.zeros(3), 2)
    frame = b"\x80\x04"
    dumps = pickle.dumps
    return {
        "os.system": (dumps(Calls(os.system, shell)), "'posix.system'"),
        "protocol 0": (dumps(Calls(os.system, shell), 0), "'posix.system'"),
        "subprocess": (dumps(Calls(subprocess.Popen, shell)), "'subprocess.Popen'"),
        "check_output": (dumps(Calls(subprocess.check_output, shell)), "'subprocess"),
        "eval": (dumps(Calls(eval, code)), "'builtins.eval'"),
        "exec": (dumps(Calls(exec, code)), "'builtins.exec'"),
        "getattr": (
            dumps(Calls(getattr, 1, "real")),
            "'builtins.getattr'",
        ),
        "import": (dumps(Calls(__import__, "os")), "'builtins.__import__'"),
        "open": (dumps(Calls(builtins.open, str(place), "w")), "io.open'"),
        "numpy function": (b"cnumpy\nsave\n.", "'numpy.save'"),
        "numpy load": (b"cnumpy\nload\n.", "'numpy.load'"),
        "numpy runstring": (
            b"cnumpy.testing._private.utils\nrunstring\n.",
            "runstring",
        ),
        "dotted": (frame + b"\x8c\x05numpy\x8c\x0cndarray.dump\x93.", "ndarray.dump"),
        "spaced": (b"cos\nsystem \n.", "'os.system '"),
        "inst": (b"(S'x'\nios\nsystem\n.", "'os.system'"),
        "inst allowed": (b"(ibuiltins\nlist\n.", "instance"),
        "obj": (b"(cbuiltins\nlist\no.", "instance"),
        "newobj": (frame + b"cbuiltins\nlist\n)\x81.", "instance"),
        "newobj_ex": (frame + b"cbuiltins\nlist\n)}\x92.", "instance"),
        "persistent": (b"Pfile\n.", "persistent"),
        "binary persistent": (b"S'x'\nQ.", "persistent"),
        "extension": (b"\x80\x02\x82\x01.", "extension"),
        "out of band": (b"\x80\x05\x97.", "out-of-band"),
        "set state": (b"}(S'a'\nI1\ndb.", "inside of an object"),
        "list state": (b"](S'a'\nI1\ndb.", "inside of an object"),
        "object reducer": (dumps(holder), "'posix.system'"),
        "nested objects": (dumps(outer), "'posix.system'"),
        "in a cycle": (dumps(cycle), "'posix.system'"),
        "object dtype scalar": (
            frame + b"cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\n"
            b"(\x8c\x02O8\x89\x88tRC\x08aaaaaaaa\x86R.",
            "object",
        ),
        "shape": (array.replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85", 1), "claims"),
        "negative shape": (
            array.replace(b"K\x03\x85", b"J\xff\xff\xff\xff\x85", 1),
            "",
        ),
        "empty but vast": (
            dumps(np.zeros((0, 3), "f4"), 2).replace(
                b"K\x03\x86", b"\x8a\x08" + b"\xff" * 7 + b"\x7f\x86"
            ),
            "claims",
        ),
        "no bytes each": (
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U"
            b"\x01b\x87R(K\x01J\xff\xff\xff\x7f\x85cnumpy\ndtype\nU\x02S0K\x00K\x01"
            b"\x87R\x89U\x00tb.",
            "claims",
        ),
        "bytearray of n": (
            b"\x80\x05cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
            "",
        ),
        "bytes of n": (b"\x80\x03cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.", ""),
        "long bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"a", "ends early"),
        "negative bytes": (b"\x80\x02T" + struct.pack("<i", -5) + b"aaaaaa.", ""),
        "long integer": (b"\x80\x02\x8b" + struct.pack("<i", 2**30) + b"a", ""),
        "long digits": (b"I" + b"9" * 5000 + b"\n.", ""),
        "frame": (b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"N.", "ends early"),
        "marks": (b"(" * 5000 + b".", "nested deeper"),
        "dict key": (b"}(]I1\nu.", ""),
        "tuple keys": (b"}" + b")" + b"\x85" * 500_000 + b"Ns.", ""),
        "array as key": (b"}" + array[2:-1] + b"Ns.", ""),
        "odd items": (b"}(I1\nu.", ""),
        "append to tuple": (b")I1\na.", ""),
        "unknown memo": (b"\x80\x02h\x07.", ""),
        "stack underflow": (b"\x80\x02R.", ""),
        "no mark": (b"\x80\x02t.", ""),
        "stop at once": (b".", ""),
        "pending array": (
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x01\x85U"
            b"\x01b\x87R.",
            "",
        ),
        "surrogates": (
            dumps(np.array(["a"])).replace(b"a\0\0\0", b"\0\xd8\0\0"),
            "not Unicode",
        ),
        "torch": (
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n.",
            "'torch._utils._reb",
        ),
        "pandas": (b"\x80\x02cpandas.core.frame\nDataFrame\n.", "'pandas.core.frame.D"),
        "factory that runs": (
            dumps(collections.defaultdict(list)).replace(
                b"\x8c\x04list", b"\x8c\x04eval"
            ),
            "'builtins.eval'",
        ),
        "default called": (b"c__builtin__\nint\n(I1\ntR.", "damaged"),
        "objects of a shape": (
            dumps(object_array([1, 2, 3]), 2).replace(b"K\x03\x85", b"K\x04\x85", 1),
            "damaged",
        ),
        "zeros": (b"\0" * 1000, "not a pickle"),
        "protocol 9": (b"\x80\x09N.", "protocol 9"),
        "empty": (b"", "empty"),
    }


@pytest.mark.parametrize("name", hostile(Path()))
def test_hostile_pickles_are_refused_in_one_line(tmp_path, file, name):
    place = tmp_path / "canary"
    data, wanted = hostile(place)[name]
    start = time.perf_counter()
    with pytest.raises(UserError) as error:
        read(file, data)
    assert time.perf_counter() - start < 5
    assert wanted in str(error.value) and "\n" not in str(error.value)
    assert not place.exists()


OBJECTS = {
    "strings": (
        np.array([["a", "long"], ["", "b"]], object),
        [["a", "long"], ["", "b"]],
    ),
    "Fortran": (
        np.array([["a", "b"], ["c", "d"]], object, order="F"),
        [["a", "b"], ["c", "d"]],
    ),
    "three axes": (
        np.arange(6).reshape(1, 2, 3).astype(object),
        [[[0, 1, 2], [3, 4, 5]]],
    ),
    "no axis": (np.array({"a": 1}, object), {"a": 1}),
    "none": (np.empty((0, 3), object), []),
    "mixed": (
        object_array([None, 1.5, [{"a": [2]}], (3,)]),
        [None, 1.5, [{"a": [2]}], (3,)],
    ),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", OBJECTS)
def test_object_arrays_are_the_lists_that_they_are(file, name, protocol):
    array, wanted = OBJECTS[name]
    assert read(file, pickle.dumps([array, array], protocol)) == [wanted, wanted]


def test_arrays_in_object_arrays_are_read(file):
    inner = object_array([np.ones((2, 3)), np.zeros((4, 3))])
    found = read(file, pickle.dumps(object_array([inner, np.arange(2)])))
    assert [a.shape for a in found[0]] == [(2, 3), (4, 3)] and found[1].tolist() == [
        0,
        1,
    ]


def test_an_object_array_in_itself_is_no_list(file):
    cycle = object_array([1, 2])
    cycle[1] = cycle
    found = read(file, pickle.dumps(cycle))
    assert found[0] == 1 and isinstance(found[1], pickled.Pending)


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(2, "i4,f4"),
        np.zeros(2, "M8[D]"),
        np.zeros(2, complex),
        np.zeros(2, np.longdouble),
        np.zeros(2, [("a", object)]),
        np.datetime64("2026-01-01"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_of_other_dtypes_are_named_and_not_read(file, value, protocol):
    found = read(file, pickle.dumps({"a": value, "b": 1}, protocol))
    assert isinstance(found["a"], pickled.Other) and found["b"] == 1


def test_fields_make_another_dtype_of_a_known_one():
    kind = pickled.Kind("f4")
    kind.set_state((3, "<", None, ("a",), {"a": (kind, 0)}, -1, -1, 0))
    assert isinstance(kind.dtype(), pickled.Other)
    assert pickled.make_array((2,), kind, False, b"12345678") is not None


def test_counters_and_dicts_with_a_default_are_dicts(file):
    for factory in (list, int, None, dict, str):
        table = collections.defaultdict(factory, a=[1])
        for protocol in range(6):
            found = read(file, pickle.dumps(table, protocol))
            assert type(found) is dict and found == {"a": [1]}
    assert read(file, pickle.dumps(collections.Counter("aab"))) == {"a": 2, "b": 1}


def test_shared_and_cyclic_lists_are_read_without_unfolding(file):
    laughs = ["lol"]
    for _ in range(100):
        laughs = [laughs] * 10
    assert len(read(file, pickle.dumps(laughs))) == 10
    cycle: list = []
    cycle.append(cycle)
    found = read(file, pickle.dumps(cycle))
    assert found[0] is found


def test_the_numbers_of_opcodes_and_of_memo_entries_are_limited(file, monkeypatch):
    monkeypatch.setattr(unpickle, "MAX_OPCODES", 100)
    with pytest.raises(UserError, match="more than 100 opcodes"):
        read(file, b"(" + b"N0" * 100 + b"t.")
    monkeypatch.setattr(unpickle, "MAX_MEMO", 10)
    with pytest.raises(UserError, match="memo"):
        read(file, b"\x80\x04N" + b"\x94" * 20 + b".")


def sample() -> bytes:
    """A small file with most of what files hold."""
    table = {
        "id": ["a$_$1", "b$_$2"],
        "raw_text": np.array(["hi", "you"], object),
        "audio": np.arange(12.0).reshape(2, 3, 2),
        "audio_lengths": [3, np.int64(1)],
        "labels": np.array([[[1.0]], [[2.0]]], np.float32),
    }
    return pickle.dumps({"train": table, "test": table})


def test_a_file_that_ends_anywhere_is_refused(file):
    data = sample()
    for end in range(0, len(data), 7):
        with pytest.raises(UserError):
            read(file, data[:end])


def test_flipped_bytes_end_in_values_or_one_line(file):
    rng, data = np.random.default_rng(0), sample()
    refused = 0
    for _ in range(1500):
        broken = bytearray(data)
        for place in rng.integers(len(data), size=rng.integers(1, 4)):
            broken[place] = rng.integers(256)
        try:
            read(file, bytes(broken))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
    assert 100 < refused < 1500


def test_every_opcode_is_known_or_refused():
    codes = {ord(opcode.code) for opcode in pickletools.opcodes}
    known = {code for code in range(256) if unpickle._HANDLERS[code]}
    assert codes - known == {ord(".")}  # STOP, in the loop itself
