"""What a file is that is no feature file, and what to do with it instead.

Told by its first bytes. Source: the magic numbers of the formats' own documents.
"""

import zipfile
from pathlib import Path

from msa_jax.ground.errors import UserError

HEAD = 1024  # bytes that tell what a file is
_UNPACK = "unpack it first"
_ARRAYS = "and write arrays as an .npz (docs/data.md)"
_TORCH = "a PyTorch file: load it with torch and save NumPy arrays, tensor.numpy()"
# How files by torch.save begin that are no zip archive.
TORCH_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_COLUMNS = f"read it with pandas {_ARRAYS}"
_TABLE = (
    "a table: give the folder that holds it, --from FOLDER (docs/bring_your_own.md)"
)
_FAILED = "the download failed, fetch the file itself"
_STARTS = (
    (b"\x1f\x8b", f"gzip: {_UNPACK}"),
    (b"BZh", f"bzip2: {_UNPACK}"),
    (b"\xfd7zXZ", f"xz: {_UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"zstandard: {_UNPACK}"),
    (b"\x04\x22\x4d\x18", f"lz4: {_UNPACK}"),
    (b"7z\xbc\xaf", f"a 7z archive: {_UNPACK}"),
    (b"Rar!", f"a rar archive: {_UNPACK}"),
    *(
        (b"x" + level, "zlib: joblib compresses so: load it and use pickle.dump")
        for level in (b"\x01", b"\x5e", b"\x9c", b"\xda")
    ),
    (b"ZF", "joblib's old format: load it with joblib and use pickle.dump"),
    (b"\x89HDF", f"HDF5 (.h5, .hdf5, CMU's .csd): read it with h5py {_ARRAYS}"),
    (b"MATLAB 7.3", f"a MATLAB file (HDF5): read it with h5py {_ARRAYS}"),
    (b"MATLAB", f"a MATLAB file: read it with scipy.io.loadmat {_ARRAYS}"),
    (b"\x93NUMPY", ".npy: one array without names: put arrays into one .npz, np.savez"),
    (TORCH_LEGACY, _TORCH),
    (b"PAR1", f"Parquet: {_COLUMNS}"),
    (b"ARROW1", f"Arrow or Feather: {_COLUMNS}"),
    (b"FEA1", f"Feather: {_COLUMNS}"),
    (b"\xd0\xcf\x11\xe0", "an Excel file: save its sheet as 'CSV UTF-8' in a folder"),
    (b"SQLite format 3", f"an SQLite database: {_COLUMNS}"),
    (b"%PDF", "a PDF document"),
    (b"version https://git-lfs", f"a Git LFS pointer: {_FAILED} (git lfs pull)"),
    (b"/annex/objects/", f"a git-annex pointer: {_FAILED} (git annex get)"),
)
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def recognise(head: bytes) -> str | None:
    """Say what a file is and what to do, if its first `HEAD` bytes are no pickle's."""
    for start, what in _STARTS:
        if head.startswith(start):
            return what
    if head.startswith(b"PK"):
        return "a zip archive, damaged or no .npz: fetch it again, or unpack it"
    if head[257:262] == b"ustar" and head[:1] != b"\x80":
        return f"a tar archive: {_UNPACK}"
    if head[8:9] == b"{" and head[4:8] == b"\0\0\0\0":
        return f"safetensors: read it with safetensors.numpy {_ARRAYS}"
    text = as_text(head)
    if text is None:
        return None
    start = text.lstrip("\ufeff").lstrip()
    if start[:1] == "<":
        return f"a web page or XML: {_FAILED}"
    if start[:1] in ("{", "["):
        return f"JSON: read it with json {_ARRAYS}"
    first = start.partition("\n")[0]
    # a pickle of text opcodes begins with short lines, such as "(dp0"
    return _TABLE if any(mark in first for mark in ",;\t") else None


def as_text(head: bytes) -> str | None:
    """Return the beginning of a file as text, None if it is none."""
    codec = "utf-16" if head.startswith(_BOMS[1:]) else "utf-8"
    try:
        text = head.decode(codec)
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not a character cut at the end
            return None
        text = head[: error.start].decode(codec)
    plain = all(c.isprintable() or c in "\t\r\n\ufeff" for c in text)
    return text if plain and text else None


def refuse_other_zip(path: Path) -> None:
    """Refuse a zip archive that holds no .npy files, and say what it is.

    Raises: UserError; zipfile.BadZipFile and OSError if it cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if not names or any(name.endswith(".npy") for name in names):
        return
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        what = _TORCH
    elif any(name.startswith("xl/") for name in names):
        what = "an Excel file: save its sheet as 'CSV UTF-8' in a folder of its own"
    else:
        first = "".join(c if c.isprintable() else "?" for c in names[0][:40])
        what = f"a zip archive of other files ('{first}'): {_UNPACK}"
    raise UserError(f"{path}: not an .npz but {what}")
