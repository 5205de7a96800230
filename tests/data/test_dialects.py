"""Every layout of the field, written from known arrays, comes out of `load` equal."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import (
    SPLITS,
    Arrays,
    bracketed,
    clips,
    every,
    fet,
    mmsa,
    mult,
    sims,
    split,
    tbje,
)

from msa_jax import prepare
from msa_jax.data import load_dataset
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Examples

pytestmark = pytest.mark.usefixtures("undrawn")


def dump(path: Path, tree: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(tree, protocol))
    return path


def prepared(source: Path, *options: str, name: str = "set") -> Any:
    place = source.parent / f"data_{len(list(source.parent.iterdir()))}"
    arguments = [name, "--from", str(source), "--data_dir", str(place), *options]
    assert prepare.main(arguments) == 0
    return load_dataset(name, place)


def same(found: np.ndarray | None, wanted: np.ndarray) -> None:
    """Compare sequences up to padding at the back."""
    assert found is not None
    steps = found.shape[1]
    np.testing.assert_array_equal(found, wanted[:, :steps])
    assert not wanted[:, steps:].any()


def check(found: Examples, data: Arrays, *, lengths: bool = True) -> None:
    np.testing.assert_array_equal(found.label, data["label"])
    for modality in ("audio", "vision"):
        same(getattr(found, modality), data[modality])
        if lengths:
            wanted = data[f"{modality}_length"]
            np.testing.assert_array_equal(getattr(found, f"{modality}_length"), wanted)


@pytest.mark.parametrize("write", [mmsa, fet, sims])
@pytest.mark.parametrize("protocol", [2, 5])
def test_mmsa_files(tmp_path, write: Callable[[Arrays], Arrays], protocol):
    data = every()
    tree = {name: write(arrays) for name, arrays in data.items()}
    dataset = prepared(dump(tmp_path / "x.bin", tree, protocol))
    for name, arrays in data.items():
        found = dataset.splits[name]
        check(found, arrays)
        assert found.id.tolist() == [i.replace("_", "$_$") for i in arrays["id"]]
        assert found.transcript is None
        tokens = found.text
        assert tokens is not None and tokens.dtype == np.int32
        np.testing.assert_array_equal(
            tokens, arrays["text_bert"][:, :, : tokens.shape[2]]
        )
        if write is sims:
            assert found.unimodal_label is not None
            np.testing.assert_array_equal(found.unimodal_label[:, 0], arrays["label"])
        else:
            assert found.unimodal_label is None
    assert dataset.card["source"]["layout"].startswith("MMSA pickle")
    assert "annotations" in dataset.card["unused_arrays"]
    told = " ".join(dataset.card["assumptions"])
    assert "'text_bert' is read, 'text' is not" in told
    assert ("unimodal labels are all NaN" in told) == (write is fet)


def test_mmsa_without_lengths_or_tokens(tmp_path):
    data = every()
    tree = {name: mmsa(arrays, lengths=False) for name, arrays in data.items()}
    for arrays in tree.values():
        del arrays["text_bert"], arrays["text"]
    dataset = prepared(dump(tmp_path / "x.pkl", tree))
    for name, arrays in data.items():
        check(dataset.splits[name], arrays)
        assert dataset.splits[name].transcript.tolist() == arrays["raw_text"]


def test_mmsa_word_features_are_read_where_there_are_no_tokens(tmp_path):
    tree = {name: mmsa(arrays) for name, arrays in every().items()}
    for name, arrays in tree.items():
        del arrays["text_bert"]
        arrays["text"] = split(name)["text"]
    dataset = prepared(dump(tmp_path / "x.pkl", tree))
    same(dataset.splits["valid"].text, split("valid")["text"])


def test_front_padding_with_stored_lengths_of_one(tmp_path, capsys):
    data = every()
    for arrays in data.values():
        for i, n in enumerate(arrays["audio_length"]):
            arrays["audio"][i] = np.roll(arrays["audio"][i], -n, axis=0)
    tree = {name: mmsa(arrays) for name, arrays in data.items()}
    for arrays in tree.values():  # as MMSA counts: up to the first step of zeros
        used = arrays["audio"].any(axis=2)
        arrays["audio_lengths"] = [
            7 if line.all() else max(1, int(line.argmin())) for line in used
        ]
    file = dump(tmp_path / "x.pkl", tree)
    dataset = prepared(file)
    for name in SPLITS:
        check(dataset.splits[name], split(name))
    warnings = " ".join(dataset.card["warnings"])
    assert "lengths contradict the zeros in front" in warnings
    stored = prepared(file, "--padding", "as_stored")
    assert (
        stored.splits["train"].audio_length.tolist() == (tree["train"]["audio_lengths"])
    )


@pytest.mark.parametrize("change", ["front", "transposed"])
def test_tokens_in_other_arrangements(tmp_path, change):
    tree = {name: mmsa(arrays) for name, arrays in every().items()}
    for arrays in tree.values():
        tokens = arrays["text_bert"].copy()
        if change == "front":
            for i, line in enumerate(tokens):
                tokens[i] = np.roll(line, -int(line[1].sum()), axis=1)
            arrays["text_bert"] = tokens
        else:
            arrays["text_bert"] = tokens.transpose(0, 2, 1)
    dataset = prepared(dump(tmp_path / "x.pkl", tree))
    for name in SPLITS:
        found = dataset.splits[name].text
        wanted = split(name)["text_bert"]
        np.testing.assert_array_equal(found, wanted[:, :, : found.shape[2]])
    wanted = "moved to the back" if change == "front" else "transposed"
    assert any(f"{wanted}" in line for line in dataset.card["assumptions"])


def test_mult_files(tmp_path):
    data = every()
    data["train"]["audio"][2, 0, 3] = -np.inf
    tree = {name: mult(arrays) for name, arrays in data.items()}
    dataset = prepared(dump(tmp_path / "mosi_data_noalign.pkl", tree, 2))
    data["train"]["audio"][2, 0, 3] = 0
    for name, arrays in data.items():
        check(dataset.splits[name], arrays, lengths=False)
        same(dataset.splits[name].text, arrays["text"])
    assert dataset.splits["train"].id[1] == "train0_1.5-1.9"
    assert dataset.card["source"]["layout"] == "MulT pickle"
    assert any("1 values of -inf" in line for line in dataset.card["warnings"])


def test_mag_bert_lists(tmp_path):
    data = every()
    tree = {
        "train": clips(data["train"]),
        "dev": clips(data["valid"]),
        "test": clips(data["test"]),
    }
    dataset = prepared(dump(tmp_path / "mosi.pkl", tree))
    for name, arrays in data.items():
        found = dataset.splits[name]
        assert found.id.tolist() == arrays["id"]
        assert found.transcript.tolist() == arrays["raw_text"]
        same(found.vision, arrays["vision"][:, :4])
        np.testing.assert_array_equal(found.label, arrays["label"])
    assert dataset.card["source"]["layout"] == "MAG-BERT tuple lists"


def test_misa_folder(tmp_path):
    data, folder = every(), tmp_path / "misa"
    folder.mkdir()
    for name, stem in zip(SPLITS, ("train", "dev", "test"), strict=True):
        dump(folder / f"{stem}.pkl", clips(data[name], misa=True))
    dataset = prepared(folder)
    for name, arrays in data.items():
        found = dataset.splits[name]
        assert found.transcript.tolist() == arrays["raw_text"]
        np.testing.assert_array_equal(found.emotion, arrays["emotion"])
        np.testing.assert_array_equal(found.label, arrays["label"])
    assert any("7 columns" in line for line in dataset.card["assumptions"])


def test_word_numbers_without_a_dictionary_are_not_text(tmp_path):
    data = every()
    tree = {n: clips(a, words=[5, 6]) for n, a in data.items()}
    dataset = prepared(dump(tmp_path / "x.pkl", tree))
    assert dataset.splits["train"].transcript is None
    assert any("dictionary" in line for line in dataset.card["assumptions"])


def test_tbje_folder(tmp_path):
    data, folder = every(), tmp_path / "MOSEI"
    folder.mkdir()
    for name, arrays in data.items():
        for role, tree in tbje(arrays).items():
            dump(folder / f"{name}_{role}.p", tree)
    dataset = prepared(folder)
    for name, arrays in data.items():
        found = dataset.splits[name]
        check(found, arrays)
        assert found.id.tolist() == arrays["id"]
        assert found.transcript.tolist() == arrays["raw_text"]
        np.testing.assert_array_equal(found.emotion, arrays["emotion"])
    assert any("1 clips are not in every" in n for n in dataset.card["assumptions"])


@pytest.mark.parametrize("nested", [False, True])
def test_emotions_are_joined_by_id(tmp_path, nested):
    data = every()
    file = dump(tmp_path / "x.pkl", {n: mmsa(a) for n, a in data.items()})
    table: Arrays = {}
    for arrays in data.values():
        for sample, values in zip(arrays["id"], arrays["emotion"], strict=True):
            video, clip = sample.rsplit("_", 1)
            if nested:
                table.setdefault(video, {})[clip] = values
            else:
                table[bracketed(sample)] = values
    second = dump(tmp_path / "emotions.pkl", table)
    dataset = prepared(file, "--emotions", str(second))
    for name, arrays in data.items():
        np.testing.assert_array_equal(dataset.splits[name].emotion, arrays["emotion"])
    table.pop(next(iter(table)))
    dump(second, table)
    with pytest.raises(UserError, match="of train have no emotions"):
        prepared(file, "--emotions", str(second))


def test_real_mosi_as_each_layout(tmp_path, shared):
    with np.load(shared / "data" / "mosi_real.npz") as archive:
        real = {key: archive[key] for key in archive.files}
    data = {}
    for name in SPLITS:
        rows = np.flatnonzero(real["split"] == name)[:120]
        data[name] = {key: value[rows] for key, value in real.items()}
        data[name]["raw_text"] = data[name]["transcript"].tolist()
        data[name]["id"] = data[name]["id"].tolist()
    own = ("id", "raw_text", "audio", "vision", "audio_length", "vision_length")
    names = {"audio_length": "audio_lengths", "vision_length": "vision_lengths"}
    trees = {
        "mmsa": {
            n: {names.get(k, k): a[k] for k in own} | {"regression_labels": a["label"]}
            for n, a in data.items()
        },
        "mult": {
            n: {
                "text": np.ones((len(a["id"]), 2, 3), np.float32),
                "labels": a["label"][:, None, None],
                "audio": a["audio"],
                "vision": a["vision"],
                "id": a["id"],
            }
            for n, a in data.items()
        },
    }
    for layout, tree in trees.items():
        dataset = prepared(dump(tmp_path / f"{layout}.pkl", tree))
        for name, arrays in data.items():
            found = dataset.splits[name]
            assert found.id.tolist() == arrays["id"]
            check(found, arrays, lengths=layout == "mmsa")


def test_mmsa_fet_with_object_arrays(tmp_path):
    """What its `align` holds is built, and read by nobody; clips keep their lengths."""
    data = every()
    tree = {name: fet(arrays) for name, arrays in data.items()}
    for arrays, source in zip(tree.values(), data.values(), strict=True):
        n = len(source["id"])
        align, clips_ = np.empty(n, object), np.empty(n, object)
        for i in range(n):
            align[i] = [{"text": "so", "start": 0.5}] * i
            clips_[i] = source["audio"][i, : source["audio_length"][i]]
        arrays["align"], arrays["audio"] = align, clips_
        del arrays["audio_lengths"]
    dataset = prepared(dump(tmp_path / "x.pkl", tree))
    for name, arrays in data.items():
        check(dataset.splits[name], arrays)
    assert "align" in dataset.card["unused_arrays"]


@pytest.mark.parametrize("steps, width", [(4, 0), (0, 5)])
def test_clips_without_acoustic_values(tmp_path, steps, width):
    tree = {
        name: [((c[0][0], c[0][1], np.zeros((steps, width))), *c[1:]) for c in clips(a)]
        for name, a in every().items()
    }
    dataset = prepared(dump(tmp_path / "x.pkl", tree))
    assert dataset.splits["train"].audio is None
    assert dataset.card["audio"] is None
    assert any(line.startswith("audio: of shape") for line in dataset.card["warnings"])
