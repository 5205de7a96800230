"""Files that are no feature files: what they are, and what to do, in one line."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from test_data_store import command

from msa_jax.data.read import containers, sources, unpickle
from msa_jax.ground.errors import UserError


def tar(name: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return stream.getvalue()


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ones(3))
    return stream.getvalue()


MAT = b"MATLAB 5.0 MAT-file Platform: posix".ljust(124) + b"\0\1IM" + b"\0" * 900
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 357834816\n"
FILES = {
    "hdf5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 2000, "read it with h5py and write arrays"),
    "web page": (b"\n<!DOCTYPE html><html>", "the download failed, fetch the file"),
    "git lfs": (LFS, "the download failed, fetch the file itself (git lfs pull)"),
    "table": (
        b"id,split,label\na_1,train,1\n",
        "--from FOLDER (docs/bring_your_own.md)",
    ),
    "clip_id": (b"clip_id,label\na_1,1\n", "a table: give the folder that holds it"),
    "spreadsheet": ("\ufeffid;label\nä;1\n".encode(), "a table: give the folder"),
    "tabs": ("id\tlabel\n1\t2\n".encode("utf-16"), "a table: give the folder"),
    "mat": (MAT, "a MATLAB file: read it with scipy.io.loadmat"),
    "mat 7.3": (b"MATLAB 7.3 MAT-file, Platform", "read it with h5py"),
    "json": (b' {"train": {}}', "JSON: read it with json"),
    "json lines": (b"[1, 2]\n[3, 4]\n", "JSON: read it with json"),
    "old torch": (
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
        "a PyTorch file: load it with torch and save NumPy arrays, tensor.numpy()",
    ),
    "gzip": (gzip.compress(b"x", mtime=0), "gzip: unpack it first"),
    "bzip2": (b"BZh91AY", "bzip2: unpack it first"),
    "xz": (b"\xfd7zXZ\0", "xz: unpack it first"),
    "zstandard": (b"\x28\xb5\x2f\xfd", "zstandard: unpack it first"),
    "zlib": (b"x\x9c\x01", "joblib compresses so"),
    "tar": (tar("train.pkl"), "a tar archive: unpack it first"),
    "broken zip": (b"PK\x03\x04aaaa", "a zip archive, damaged or no .npz"),
    "parquet": (b"PAR1\x15", "read it with pandas"),
    "feather": (b"ARROW1\0\0", "read it with pandas"),
    "old excel": (b"\xd0\xcf\x11\xe0", "save its sheet as 'CSV UTF-8'"),
    "npy": (npy(), "put arrays into one .npz"),
    "safetensors": (b"\x10" + b"\0" * 7 + b'{"a":{}}', "safetensors"),
    "empty": (b"", "the file is empty: was it fully downloaded?"),
    "words": (b"see the readme\n", "a text file: features are an .npz, a pickle"),
    "damaged": (bytes(range(200, 250)), "damaged one (ValueError at byte 1): fetch"),
    "pandas": (b"\x80\x02cpandas.core.frame\nDataFrame\n.", "arrays, .to_numpy()"),
    "torch tensor": (b"\x80\x02ctorch._utils\n_rebuild\n.", "tensor.numpy()"),
    "joblib": (b"\x80\x03cjoblib.numpy_pickle\nA\n.", "save it with pickle.dump"),
    "sparse": (b"\x80\x03cscipy.sparse._csr\ncsr_matrix\n.", ".toarray()"),
    "masked": (b"\x80\x03cnumpy.ma.core\n_mareconstruct\n.", "numpy.asarray(array)"),
    "a class": (b"\x80\x03c__main__\nSet\n.", "save dicts, lists and NumPy arrays"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_container_has_its_line(tmp_path, name):
    data, wanted = FILES[name]
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UserError) as error:
        unpickle.read_pickle(tmp_path / "x")
    assert wanted in str(error.value) and "\n" not in str(error.value)


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return path


@pytest.mark.parametrize(
    "names, wanted",
    [
        (("archive/data.pkl", "archive/version"), "a PyTorch file: load it with torch"),
        (("[Content_Types].xml", "xl/workbook.xml"), "save its sheet as 'CSV UTF-8'"),
        (("data/train.pkl", "b"), "other files ('data/train.pkl'): unpack it first"),
    ],
)
def test_archives_that_are_no_npz(tmp_path, names, wanted):
    path = zipped(tmp_path / "x.npz", *names)
    with pytest.raises(UserError) as error, sources.open_source(path):
        pass
    assert str(error.value).startswith(f"{path}: not an .npz but") and (
        wanted in str(error.value)
    )


def test_archives_of_arrays_and_pickles_are_none_of_these(tmp_path):
    np.savez(tmp_path / "x.npz", id=np.ones(2))
    containers.refuse_other_zip(tmp_path / "x.npz")
    for start in (b"\x80\x04\x95", b"(dp0\nVtrain\n", b"}q\0(U\x05train", b"]q\0"):
        assert containers.recognise(start) is None


def test_a_line_cut_inside_a_character_is_still_text():
    text = ("a," + "é" * 800).encode()[: containers.HEAD - 1]
    assert containers.as_text(text) is not None
    assert containers.as_text(b"a\xff" + b"b" * 50) is None


def test_folders_without_features_say_what_is_in_them(tmp_path):
    (tmp_path / "a.hdf5").write_bytes(b"x")
    with pytest.raises(UserError, match="nor a table of clips.*found: a.hdf5"):
        with sources.open_source(tmp_path):
            pass
    np.savez(tmp_path / "x.npz", id=np.ones(2))
    with pytest.raises(UserError, match="give the file itself: --from .*x.npz"):
        with sources.open_source(tmp_path):
            pass


def test_prepare_says_it_and_writes_nothing(tmp_path, capsys):
    (tmp_path / "x.csd").write_bytes(FILES["hdf5"][0])
    arguments = (f"--from={tmp_path / 'x.csd'}", f"--data_dir={tmp_path / 'd'}")
    assert command("x", *arguments) == 2
    error = capsys.readouterr().err
    assert "x.csd: not a pickle but HDF5" in error and error.count("\n") == 1
    assert not (tmp_path / "d").exists()
