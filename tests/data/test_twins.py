"""Twins of published data sets: true shapes and label counts, invented contents."""

import numpy as np
import pytest
from test_data_plain import present
from test_data_store import command

from msa_jax.data import load_dataset
from msa_jax.data.card import content_sha256
from msa_jax.data.check import known
from msa_jax.data.check.known import KNOWN
from msa_jax.data.made_up import twins
from msa_jax.ground.errors import UserError
from msa_jax.methods import PAPERS
from msa_jax.training import splits


def shapes(examples) -> dict[str, tuple]:
    return {
        m: getattr(examples, m).shape[1:]
        for m in ("text", "audio", "vision")
        if getattr(examples, m) is not None
    }


@pytest.mark.parametrize(
    "name, aligned, expected",
    [
        ("mosi", False, {"text": (3, 50), "audio": (375, 5), "vision": (500, 20)}),
        ("mosi", True, {"text": (3, 50), "audio": (50, 5), "vision": (50, 20)}),
        ("mosei", False, {"text": (3, 50), "audio": (500, 74), "vision": (375, 35)}),
        ("mosei", True, {"text": (3, 50), "audio": (50, 74), "vision": (50, 35)}),
        ("sims", False, {"text": (3, 39), "audio": (400, 33), "vision": (55, 709)}),
        ("simsv2", False, {"text": (3, 50), "audio": (925, 25), "vision": (232, 177)}),
    ],
)
def test_shapes_are_the_published_ones(name, aligned, expected):
    splits = twins.make_twin(name, aligned=aligned, samples=30).splits
    for examples in splits.values():
        assert shapes(examples) == expected
        for modality, shape in expected.items():
            length = getattr(examples, f"{modality}_length")
            assert length.min() >= 1
            assert length.max() == (shape[1] if modality == "text" else shape[0])
        assert (examples.unimodal_label is not None) == name.startswith("sims")


def test_mosi_has_the_published_sizes_and_labels():
    splits = twins.make_twin("mosi", aligned=True).splits
    signs = tuple(
        tuple(int(np.sum(np.sign(splits[s].label) == k)) for k in (-1, 0, 1))
        for s in known.SPLITS
    )
    assert signs == KNOWN["mosi"].signs
    values, counts = np.unique(splits["train"].label, return_counts=True)
    np.testing.assert_allclose(values, np.arange(-15, 16) / 5, atol=1e-6)
    assert counts[[0, 15, 30]].tolist() == [3, 53, 4]
    steps = np.diff(splits["train"].label)
    assert (steps < 0).any() and (steps > 0).any()  # videos hold all kinds of labels
    ids = np.concatenate([e.id for e in splits.values()])
    assert len(set(ids.tolist())) == 2199 and "$_$" in ids[0]


@pytest.mark.parametrize("name", KNOWN)
def test_label_histograms_add_up_to_the_published_counts(name):
    for split in range(3):
        grid, counts = twins.label_histogram(name, split)
        assert counts.sum() == KNOWN[name].sizes[split] and counts.min() >= 0
        assert (grid[0], grid[-1]) == KNOWN[name].label_range
        signs = KNOWN[name].signs
        if signs is not None:
            found = [counts[np.sign(grid) == k].sum() for k in (-1, 0, 1)]
            assert tuple(found) == signs[split]


def test_fewer_samples_keep_the_proportions():
    splits = twins.make_twin("mosi", aligned=True, samples=220).splits
    assert [len(e.id) for e in splits.values()] == [128, 23, 69]
    assert np.mean(splits["train"].label < 0) == pytest.approx(552 / 1284, abs=0.02)


def test_the_same_arguments_give_the_same_bits_and_others_do_not():
    one = content_sha256(twins.make_twin("sims", samples=20).splits)
    assert one == content_sha256(twins.make_twin("sims", samples=20).splits)
    assert one != content_sha256(twins.make_twin("sims", samples=20, seed=1).splits)


def test_tokens_look_like_those_of_bert():
    train = twins.make_twin("mosi", aligned=True, samples=60).splits["train"]
    ids, mask, segments = np.moveaxis(present(train.text), 1, 0)
    last = present(train.text_length) - 1
    rows = np.arange(len(ids))
    assert (ids[:, 0] == 101).all() and (ids[rows, last] == 102).all()
    np.testing.assert_array_equal(mask.sum(1), train.text_length)
    assert not segments.any() and not ids[mask == 0].any()
    assert present(train.text).dtype == np.int32 and 1000 < ids.max() < 30522


def test_aligned_steps_are_zero_at_the_ends_and_padding_is_zero():
    splits = twins.make_twin("mosi", aligned=True, samples=40).splits
    train = splits["train"]
    np.testing.assert_array_equal(train.audio_length, train.text_length)
    for x, n in zip(present(train.vision), present(train.vision_length), strict=True):
        assert not x[0].any() and not x[n - 1 :].any() and x[1 : n - 1].all()


@pytest.mark.parametrize("name, chinese", [("mosi", False), ("sims", True)])
def test_sentences_are_in_the_language_of_the_set(name, chinese):
    splits = twins.make_twin(name, samples=20, text="sentences").splits
    text = "".join(present(splits["train"].transcript).tolist())
    assert splits["train"].text is None
    assert any(c > "\u4e00" for c in text) == chinese


def test_each_modality_carries_the_label_weakly():
    splits = twins.make_twin("mosi", samples=400).splits
    train = splits["train"]
    for modality in ("audio", "vision"):
        length = getattr(train, f"{modality}_length")
        means = getattr(train, modality).sum(1) / length[:, None]
        best = max(abs(np.corrcoef(c, train.label)[0, 1]) for c in means.T)
        assert 0.3 < best < 0.99


def test_prepare_marks_the_twin_and_writes_it(tmp_path, capsys):
    flags = ("--synthetic", "--samples=40", f"--data_dir={tmp_path}")
    assert command("mosi", *flags) == 0
    out = capsys.readouterr().out
    assert "SYNTHETIC" in out and "Assumptions" in out
    data = load_dataset("mosi", tmp_path)
    assert data.card["synthetic"] and data.card["source"]["twin_of"] == "mosi"
    assert data.card["label_range"] == [-3, 3]
    assert shapes(data.splits["valid"])["vision"] == (500, 20)
    assert "SYNTHETIC" in (tmp_path / "mosi" / "1.0.0" / "card.html").read_text()
    assert command("mosi", *flags) == 0  # nothing changes
    assert "unchanged" in capsys.readouterr().out
    assert command("mosi", "--synthetic", f"--data_dir={tmp_path}", "--samples=50") == 2
    assert "another 'mosi'" in capsys.readouterr().err


def test_results_of_synthetic_data_say_so(tmp_path):
    config = PAPERS["self_mm"].config()
    config.text.weights = "random"
    config.text.random_vocabulary = 30522
    data = load_dataset("synthetic_tiny", tmp_path)
    notes = splits.make_inputs(data, config).notes
    assert notes[0].startswith("SYNTHETIC data: synthetic_tiny was made by this pro")
    real = data._replace(card=data.card | {"synthetic": False})
    assert not any("SYNTH" in note for note in splits.make_inputs(real, config).notes)


def test_sims_twin_has_the_metrics_of_sims(tmp_path, capsys):
    flags = ("--synthetic", "--samples=20", "--check_only", f"--data_dir={tmp_path}")
    assert command("sims", *flags) == 0
    out = capsys.readouterr().out
    assert "metrics as for sims" in out and "labels in [-1, 1]" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("mine", "--synthetic"), "no twin of 'mine'; there are mosi, mosei, sims"),
        (("synthetic", "--synthetic"), "is built in"),
        (("sims", "--synthetic", "--aligned"), "no aligned files of sims"),
        (("mosi", "--synthetic", "--samples=9"), "take 10 or more"),
        (("mosi", "--synthetic", "--samples=2200"), "mosi has 2199 samples"),
        (("mosi", "--synthetic", "--from=x.npz"), "leave --from out"),
        (("mosi", "--synthetic", "--label_range=-1,1"), "leave --label_range out"),
        (("mosi", "--samples=20"), "go with --synthetic"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, capsys):
    assert command(*arguments, f"--data_dir={tmp_path}") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_names_without_a_published_set_are_refused():
    with pytest.raises(UserError, match="no twin of"):
        twins.make_twin("other")


EMOTIONAL = ("mosei_emotion", "mosei_tbje")


@pytest.mark.parametrize(
    "name, expected",
    [
        (EMOTIONAL[0], {"text": (50, 300), "audio": (500, 74), "vision": (375, 35)}),
        (EMOTIONAL[1], {"text": (60, 300), "audio": (60, 80), "vision": (60, 512)}),
    ],
)
def test_twins_with_emotions_have_word_vectors(name, expected):
    splits = twins.make_twin(name, samples=30).splits
    for examples in splits.values():
        assert shapes(examples) == expected
        assert present(examples.emotion).shape == (len(examples.id), 6)
        text, length = present(examples.text), present(examples.text_length)
        assert text.dtype == np.float32 and length.max() == expected["text"][0]
        past = np.arange(text.shape[1]) >= length[:, None]
        assert not text[past].any() and text[~past].all()


def test_emotions_occur_as_often_as_published():
    rng = np.random.default_rng(0)
    strength = rng.uniform(-1, 1, 1000)
    felt, intensity = twins.draw_emotions(rng, strength)
    assert (intensity > 0).sum(axis=0).tolist() == [520, 250, 210, 100, 170, 80]
    # whole thirds up to 3; what is felt most is written down as strongest
    np.testing.assert_allclose(3 * intensity, np.round(3 * intensity), atol=1e-6)
    assert intensity.max() == 3 and intensity.min() == 0
    for e in range(6):
        order = np.argsort(felt[:, e])
        assert (np.diff(intensity[order, e]) >= 0).all()
    happy, sad, *_ = [np.corrcoef(strength, column)[0, 1] for column in felt.T]
    assert 0.4 < happy < 0.6 and -0.5 < sad < -0.3
    few = twins.draw_emotions(rng, strength[:2]).intensity > 0
    assert (few.sum(axis=0) == 1).all()  # both answers, however few samples


def test_every_modality_shows_emotions_weakly():
    """One modality: correlation 1 / sqrt(1 + 1.5^2) with what is felt, three: more."""
    rng = np.random.default_rng(1)
    felt = rng.normal(size=(4000, 6)).astype(np.float32)
    one, two, three = (twins._seen(rng, felt)[:, 3] for _ in range(3))
    alone = np.corrcoef(one, felt[:, 3])[0, 1]
    assert alone == pytest.approx(1 / np.hypot(1, 1.5), abs=0.05)
    assert np.corrcoef(one + two + three, felt[:, 3])[0, 1] > alone + 0.15
    train = twins.make_twin("mosei_tbje", samples=400).splits["train"]
    for modality in ("text", "audio", "vision"):
        length = present(getattr(train, f"{modality}_length"))
        means = present(getattr(train, modality)).sum(1) / length[:, None]
        found = present(train.emotion)[:, 3]  # surprise: sentiment says nothing of it
        best = max(abs(np.corrcoef(c, found)[0, 1]) for c in means.T)
        assert 0.15 < best < 0.6


def test_a_twin_with_emotions_is_written_and_loaded(tmp_path, capsys):
    flags = ("--synthetic", "--samples=30", f"--data_dir={tmp_path}")
    assert command("mosei_emotion", *flags) == 0
    out = capsys.readouterr().out
    assert "present in train: happy 11, sad 5" in out and "second-hand" in out
    data = load_dataset("mosei_emotion", tmp_path)
    assert data.card["source"]["text"] == "features"
    assert data.card["metrics"] == "mosi" and data.card["emotion"]["largest"] <= 3
    made = twins.make_twin("mosei_emotion", samples=30).splits
    for split, examples in made.items():
        np.testing.assert_array_equal(data.splits[split].emotion, examples.emotion)


def test_word_vectors_for_any_twin(tmp_path):
    flags = ("--synthetic", "--samples=20", f"--data_dir={tmp_path}")
    assert command("mosei", *flags, "--text=features", "--aligned") == 0
    train = load_dataset("mosei", tmp_path).splits["train"]
    assert shapes(train) == {"text": (50, 300), "audio": (50, 74), "vision": (50, 35)}
    assert train.emotion is None
