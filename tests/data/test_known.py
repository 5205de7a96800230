"""Known data sets, and the checks that leave a line in the card."""

import re

import numpy as np
import pytest
from test_data_plain import N, save, small, tokens
from test_data_store import command

from msa_jax.data.check import findings, known
from msa_jax.data.check.known import KNOWN, Features, Known
from msa_jax.data.read import plain
from msa_jax.data.scaling import train_columns
from msa_jax.ground.types import Examples

MOSI = KNOWN["mosi"]


def examples(n: int, known_set: Known = MOSI, seed: int = 0, **fields) -> Examples:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 9, n).astype(np.int32)
    low, high = known_set.label_range

    def features(width: int) -> np.ndarray:
        return rng.normal(size=(n, 8, width)).astype(np.float32)

    plain_examples = Examples(
        id=np.array([f"v{seed}_{i}" for i in range(n)]),
        transcript=np.array(["it was a good film"] * n),
        text=None,
        text_length=None,
        audio=features(known_set.audio.width),
        audio_length=lengths,
        vision=features(known_set.vision.width),
        vision_length=lengths[::-1].copy(),
        label=np.linspace(low, high, n).astype(np.float32),
        unimodal_label=np.zeros((n, 3), np.float32) if known_set.unimodal else None,
    )
    return plain_examples._replace(**fields)


def given(array: np.ndarray | None) -> np.ndarray:
    assert array is not None
    return array


def three(sizes=MOSI.sizes, **more) -> dict[str, Examples]:
    return {
        split: examples(n, seed=i, **more)
        for i, (split, n) in enumerate(zip(known.SPLITS, sizes, strict=True))
    }


def compare(splits, name="mosi", sha256=None, label_range=None):
    label_range = label_range or KNOWN[name].label_range
    found = known.compare(name, splits, sha256, label_range)
    return {finding.check: finding for finding in found}


def inspect(splits, name="mosi"):
    found = findings.inspect(name, splits, None, (-3.0, 3.0), {})
    return {finding.check: finding for finding in found}


def test_published_numbers_agree_with_each_other():
    for entry in KNOWN.values():
        if entry.signs is not None:
            assert tuple(sum(counts) for counts in entry.signs) == entry.sizes
        assert all(len(sha) == 64 for sha in entry.files.values())
    assert known.default_label_range("sims") == (-1, 1)
    assert known.default_label_range("mine") == (-3, 3)


def test_a_set_as_published_passes_every_comparison():
    found = known.compare("mosi", three(), None, (-3.0, 3.0))
    assert {f.verdict for f in found} == {"ok"}
    assert [f.line for f in found if f.check == "split sizes"] == [
        "1284/229/686, as published"
    ]


def test_second_hand_numbers_are_called_so():
    found = known.compare("simsv2", three(), None, (-1.0, 1.0))
    lines = [(f.verdict, f.line) for f in found if f.check == "published"]
    assert len(lines) == 1 and lines[0][0] == "warning"
    assert "simsv2: valid and test sizes and the sum are second-hand" in lines[0][1]


def test_other_names_are_not_compared():
    assert known.compare("mine", three((5, 3, 3)), "0" * 64, (-3.0, 3.0)) == []


def test_sizes_widths_range_and_steps_that_differ_are_warnings():
    splits = three((30, 3, 3), known_set=MOSI._replace(audio=Features(8, 74)))
    found = compare(splits)
    assert found["split sizes"].verdict == "warning"
    assert "1284/229/686" in found["split sizes"].line
    widths = [f for f in known.compare("mosi", splits, None, (-3.0, 3.0))]
    widths = [(f.verdict, f.line) for f in widths if f.check == "widths"]
    assert widths == [
        ("warning", "audio 74, published is 5"),
        ("ok", "vision 20, as published"),
    ]
    small_labels = three(known_set=MOSI._replace(label_range=(-1.0, 1.0)))
    assert "another scale" in compare(small_labels)["label range"].line
    other = compare(three(), label_range=(-5.0, 5.0))["label range"]
    assert (other.verdict, other.line) == (
        "warning",
        "-5 to 5, published is -3 to 3",
    )
    long = {
        s: e._replace(audio_length=given(e.audio_length) + 400)
        for s, e in three().items()
    }
    assert "published files at most 375" in compare(long)["longest"].line


def test_swapped_widths_are_an_error():
    swapped = MOSI._replace(audio=MOSI.vision, vision=MOSI.audio)
    found = compare(three(known_set=swapped))["widths"]
    assert found.verdict == "error" and "look swapped" in found.line


def test_sums_name_the_published_file():
    (mosi,) = [s for f, s in MOSI.files.items() if "unaligned" in f]
    assert compare(three(), sha256=mosi)["SHA-256"].verdict == "ok"
    assert compare(three(), "mosei", sha256=mosi)["SHA-256"].verdict == "error"
    assert compare(three(), sha256="0" * 64)["SHA-256"].verdict == "warning"
    other = known.compare("mine", three((3, 3, 3)), mosi, (-3.0, 3.0))
    assert [f.verdict for f in other] == ["warning"]
    assert "call the data set mosi" in other[0].line


def test_unimodal_labels_are_missed():
    splits = three(KNOWN["sims"].sizes, known_set=KNOWN["sims"])
    assert "unimodal labels" not in compare(splits, "sims")
    splits["train"] = splits["train"]._replace(unimodal_label=None)
    assert compare(splits, "sims")["unimodal labels"].verdict == "warning"


def test_duplicates_are_found_even_where_only_the_padding_differs():
    splits = three((6, 4, 4))
    assert inspect(splits)["duplicates"].verdict == "ok"
    train, test = splits["train"], splits["test"]
    for field in ("audio", "vision"):
        getattr(test, field)[2] = getattr(train, field)[1]
        getattr(test, f"{field}_length")[2] = getattr(train, f"{field}_length")[1]
        getattr(test, field)[2, getattr(train, f"{field}_length")[1] :] = 9
    found = inspect(splits)["duplicates"]
    assert found.verdict == "warning"
    assert found.line == (
        "1 samples repeat others under another id, as 'v0_1' (train) and 'v2_2' "
        "(test); 1 of them stand in two splits"
    )
    last = given(train.audio_length)[1] - 1
    given(test.audio)[2, last] += 1  # differs in its last step only
    assert inspect(splits)["duplicates"].verdict == "ok"


@pytest.mark.parametrize(
    "name, sentence, verdict",
    [
        ("mosi", "it was a good film", "ok"),
        ("mosi", "这部电影很好看", "error"),
        ("sims", "这部电影 NBA 很好看", "ok"),
        ("sims", "it was a good film", "error"),
        ("mine", "这部电影很好看", "ok"),
    ],
)
def test_text_is_in_the_language_of_the_set(name, sentence, verdict):
    splits = three((4, 3, 3))
    splits = {
        s: e._replace(transcript=np.array([sentence] * len(e.id)))
        for s, e in splits.items()
    }
    assert inspect(splits, name)["language"].verdict == verdict


@pytest.mark.parametrize(
    "name, largest, first, verdict",
    [
        ("mosi", 30521, 101, "ok"),
        ("mosi", 30522, 101, "warning"),
        ("sims", 21127, 101, "ok"),
        ("sims", 21128, 101, "warning"),
        ("mine", 999, 0, "warning"),
    ],
)
def test_token_ids_are_held_against_the_usual_vocabulary(name, largest, first, verdict):
    splits = {}
    for split, e in three((4, 3, 3)).items():
        text = np.full((len(e.id), 3, 8), largest, np.int32)
        text[:, 0, 0] = first
        length = np.full(len(e.id), 8, np.int32)
        splits[split] = e._replace(transcript=None, text=text, text_length=length)
    assert inspect(splits, name)["token ids"].verdict == verdict


def test_alignment_is_told_by_the_lengths():
    splits = three((6, 4, 4))
    assert inspect(splits)["alignment"].line.startswith("unaligned")
    same = {s: e._replace(vision_length=e.audio_length) for s, e in splits.items()}
    assert inspect(same)["alignment"].line.startswith("audio and vision are al")
    # text of as many steps at most, but of other lengths
    words = np.zeros((len(splits["train"].id), 9, 3), np.float32)
    for added, wanted in ((1, "unaligned: text has its own"), (0, "aligned: their")):
        text = {
            s: e._replace(
                text=words[: len(e.id)], text_length=given(e.audio_length) + added
            )
            for s, e in same.items()
        }
        assert inspect(text)["alignment"].line.startswith(wanted)


def test_single_steps_and_constant_columns_are_seen():
    splits = three((40, 4, 4))
    given(splits["train"].audio)[:, :, :2] = 7
    given(splits["train"].audio)[0, 0, 4] = -2000
    columns = train_columns(splits)
    found = findings.inspect("mosi", splits, None, (-3.0, 3.0), columns)
    lines = {f.line: f.verdict for f in found}
    assert lines["audio: 2 of 5 never change in train"] == "warning"
    assert lines["vision: 0 of 20 never change in train"] == "ok"
    scales = [(f.verdict, f.line) for f in found if f.check == "feature scale"]
    assert scales[0][0] == "warning" and scales[1][0] == "ok"
    assert scales[0][1].startswith("audio: columns of train reach 2,000 (1 of 5")
    assert re.fullmatch(r"vision: columns of train reach \d\.\d+", scales[1][1])
    assert inspect(splits)["lengths"].verdict == "ok"
    given(splits["train"].audio_length)[:20] = 1
    found = findings.inspect("mosi", splits, None, (-3.0, 3.0), {})
    assert found[0].verdict == "warning"  # warnings before what is well
    assert any("42 % have a single step" in f.line for f in found)


def test_prepare_stops_at_an_error_after_the_card(tmp_path, capsys):
    arrays = small()
    arrays["transcript"] = np.array(["好看"] * N)
    file = tmp_path / "x.npz"
    save(file, arrays)
    assert command("mosi", f"--from={file}", f"--data_dir={tmp_path / 'd'}") == 2
    out, error = capsys.readouterr()
    assert "Data card: mosi" in out and "checks failed" in out
    assert error.startswith("error: language: 100 % of the letters are Chinese")
    assert error.count("\n") == 1 and not (tmp_path / "d").exists()


def test_sims_needs_no_label_range(tmp_path, capsys):
    arrays = {k: v for k, v in small().items() if k != "transcript"}
    file = tmp_path / "x.npz"
    save(file, arrays | {"text_bert": tokens()})
    assert command("sims", f"--from={file}", f"--data_dir={tmp_path}") == 2
    assert "must be in [-1, 1]" in capsys.readouterr().err
    label = (arrays["label"] / 3).astype(np.float32)
    save(file, arrays | {"text_bert": tokens(), "label": label})
    assert command("sims", f"--from={file}", f"--data_dir={tmp_path}") == 0


def test_emotions_are_read_and_checked():
    arrays = small()
    arrays["emotion"] = np.zeros((N, 6))
    splits, _ = plain.to_splits(arrays, (-3.0, 3.0))
    assert splits["train"].emotion is not None
    assert splits["train"].emotion.dtype == np.float32
    arrays["emotion"][1, 2] = -1
    with pytest.raises(plain.UserError, match="'emotion' of sample .* is -1"):
        plain.to_splits(arrays, (-3.0, 3.0))
    arrays["emotion"] = np.zeros((N, 5))
    with pytest.raises(plain.UserError, match=r"\[samples, 6\]"):
        plain.to_splits(arrays, (-3.0, 3.0))


def test_a_set_with_emotions_misses_them_and_knows_the_files_of_mosei():
    mosei = KNOWN["mosei"]
    (published,) = [s for f, s in mosei.files.items() if "unaligned" in f]
    splits = three(mosei.sizes, known_set=mosei)
    found = compare(splits, "mosei_emotion", sha256=published)
    assert found["SHA-256"].verdict == "ok"
    assert found["emotions"].verdict == "warning"
    assert "--emotions" in found["emotions"].line
    rated = {
        s: e._replace(emotion=np.zeros((len(e.id), 6), np.float32))
        for s, e in splits.items()
    }
    assert "emotions" not in compare(rated, "mosei_emotion")
    # nobody published sums of TBJE's files: nothing to compare with
    assert "SHA-256" not in compare(rated, "mosei_tbje", sha256="0" * 64)


def test_labels_of_one_value_are_a_warning():
    assert inspect(three())["labels"] == (
        "labels",
        "ok",
        "they differ in every split",
    )
    splits = three()
    zeros = np.zeros_like(splits["test"].label)
    splits["test"] = splits["test"]._replace(label=zeros)
    found = inspect(splits)["labels"]
    assert found.verdict == "warning"
    n = len(zeros)
    assert found.line.startswith(
        f"'label' is 0 in all {n} samples of test: Corr has no"
    )
    assert "(Non0)" in found.line
    splits["test"] = splits["test"]._replace(label=zeros + 1)
    assert "is 1 in all" in inspect(splits)["labels"].line
    assert "Non0" not in inspect(splits)["labels"].line


def test_unimodal_labels_of_one_value_are_a_warning():
    splits = three()
    for name, part in splits.items():
        own = np.stack([part.label, part.label, 0 * part.label + 2], axis=1)
        splits[name] = part._replace(unimodal_label=own)
    line = inspect(splits)["labels"].line
    assert "'label_vision' is 2 in all" in line and "'label_text'" not in line
