"""A tensorflow-datasets builder for checked splits (imports TFDS: import lazily)."""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module  # pyright: ignore  (compiled)
from tensorflow_datasets.core import file_adapters
from tensorflow_datasets.core import shuffle as tfds_shuffle

from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Examples

VERSION = "1.0.0"
FIELDS = ("id", "transcript", *MODALITIES, "label", "unimodal_label", "emotion")


class Utterances(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Splits as TFDS examples, in their order, sequences without padding.

    The file format is array_record: TFDS's own default needs TensorFlow.
    """

    VERSION = tfds.core.Version(VERSION)

    def __init__(self, *, name: str, splits: Mapping[str, Examples], **kwargs):
        """Take the name and the splits that other builders find by themselves."""
        self.name = name  # pyright: ignore  (one class serves every data set)
        self._splits = splits
        kwargs.setdefault("file_format", "array_record")
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(_features(self._splits["train"])),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Iterator]:
        return {
            name: self._generate_examples(examples)
            for name, examples in self._splits.items()
        }

    def _generate_examples(self, examples: Examples) -> Iterator[tuple[int, dict]]:
        present = [f for f in FIELDS if getattr(examples, f) is not None]
        for i in range(len(examples.id)):
            row = {}
            for field in present:
                value = getattr(examples, field)[i]
                if field in MODALITIES:
                    if value.dtype == np.int32:  # tokens: [3, t] -> [t, 3]
                        value = value.T
                    value = value[: getattr(examples, f"{field}_length")[i]]
                row[field] = str(value) if value.dtype.kind == "U" else value
            yield i, row


def _features(train: Examples) -> dict:
    """Name every present field; bytes encoding writes 5 times as fast as floats."""
    features = {"id": tfds.features.Text(), "label": tfds.features.Scalar(np.float32)}
    if train.transcript is not None:
        features["transcript"] = tfds.features.Text()
    if train.unimodal_label is not None:
        features["unimodal_label"] = tfds.features.Tensor(shape=(3,), dtype=np.float32)
    if train.emotion is not None:
        features["emotion"] = tfds.features.Tensor(shape=(6,), dtype=np.float32)
    for modality in MODALITIES:
        sequence = getattr(train, modality)
        if sequence is not None:
            tokens = sequence.dtype == np.int32
            features[modality] = tfds.features.Tensor(
                shape=(None, 3 if tokens else sequence.shape[2]),
                dtype=sequence.dtype,
                encoding=tfds.features.Encoding.BYTES,
            )
    return features


def build_files(name: str, splits: Mapping[str, Examples], data_dir: Path) -> Path:
    """Write the splits under `data_dir/name/VERSION` and return that path."""
    before, tempfile.tempdir = tempfile.tempdir, str(data_dir)  # TFDS leaves a folder
    try:
        return _build(name, splits, data_dir)
    finally:
        tempfile.tempdir = before


def _build(name: str, splits: Mapping[str, Examples], data_dir: Path) -> Path:
    builder = Utterances(name=name, splits=splits, data_dir=str(data_dir))
    tfds.disable_progress_bar()
    with _large_splits(), _uncompressed(), contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()
    return Path(builder.data_path)


@contextlib.contextmanager
def _large_splits() -> Iterator[None]:
    """Let TFDS order a split of more than 1000 MiB in memory.

    Its on-disk way needs TensorFlow. The data are in memory anyway.
    """
    limit = tfds_shuffle.MAX_MEM_BUFFER_SIZE
    tfds_shuffle.MAX_MEM_BUFFER_SIZE = 1 << 40
    try:
        yield
    finally:
        tfds_shuffle.MAX_MEM_BUFFER_SIZE = limit


@contextlib.contextmanager
def _uncompressed() -> Iterator[None]:
    """Let TFDS write records as they are.

    Noisy float32 features shrink by a few percent only, and reading them back takes
    half as long. TFDS has no option for it.
    """
    adapter = file_adapters.ArrayRecordFileAdapter
    original = adapter.__dict__["write_examples"]

    def write(cls: type, path: os.PathLike, iterator: Iterator) -> None:
        options = "group_size:1,uncompressed"
        writer = array_record_module.ArrayRecordWriter(os.fspath(path), options)
        for _, example in iterator:
            writer.write(example)
        writer.close()

    setattr(adapter, "write_examples", classmethod(write))  # noqa: B010  (a patch)
    try:
        yield
    finally:
        setattr(adapter, "write_examples", original)  # noqa: B010


def count_examples(path: Path, split: str) -> int:
    """Return how many examples a split has."""
    return tfds.builder_from_directory(str(path)).info.splits[split].num_examples


def read_split(path: Path, split: str) -> Iterator[dict]:
    """Yield the examples of one split one by one, in the order they were written."""
    builder = tfds.builder_from_directory(str(path))
    source = builder.as_data_source(split)  # pyright: ignore  (decorated untyped)
    for i in range(len(source)):  # fetching many at once starts threads: slower
        yield source[i]
