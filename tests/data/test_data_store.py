"""Writing and loading data sets, the built-in sets, and the prepare command."""

import json
import signal

import numpy as np
import pytest
from test_data_plain import N, present, save, small, tokens

from msa_jax import prepare
from msa_jax.config import cli
from msa_jax.data import builder, load_dataset, store
from msa_jax.data.card import content_sha256
from msa_jax.data.made_up import lexicon, synthetic
from msa_jax.data.read import plain
from msa_jax.ground import lock
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Examples

pytestmark = pytest.mark.usefixtures("undrawn")


def command(*argv: str) -> int:
    """Run prepare as the command line does; return its exit code."""
    with pytest.raises(SystemExit) as raised:
        cli.run(lambda: prepare.main(argv))
    assert isinstance(raised.value.code, int)
    return raised.value.code


@pytest.fixture(scope="module")
def made() -> dict[str, Examples]:
    return synthetic.make_splits("synthetic")


def prepare_small(tmp_path, *more: str, arrays=None) -> int:
    file = tmp_path / "small.npz"
    save(file, arrays or small())
    return command("small", f"--from={file}", f"--data_dir={tmp_path / 'd'}", *more)


def assert_same(one, other):
    for field, a, b in zip(one._fields, one, other, strict=True):
        if a is None or b is None:
            assert a is b, field
        else:
            assert a.dtype.kind == b.dtype.kind and a.shape == b.shape, field
            np.testing.assert_array_equal(a, b, err_msg=field)


def token_arrays() -> dict[str, np.ndarray]:
    arrays = {k: v for k, v in small().items() if k not in ("transcript", "vision")}
    for key in ("label_text", "label_audio", "label_vision"):
        arrays[key] = np.linspace(-1, 1, N).astype(np.float32)
    return arrays | {"text_bert": tokens()}


def feature_arrays() -> dict[str, np.ndarray]:
    text = np.random.default_rng(1).normal(size=(N, 7, 4)).astype(np.float32)
    return {"text": text} | {k: small()[k] for k in ("id", "split", "label")}


@pytest.mark.parametrize("arrays", [small(), token_arrays(), feature_arrays()])
def test_loading_gives_back_every_bit(tmp_path, capsys, arrays):
    arrays["label"][0] = np.float32(0.1) * 3  # not a short decimal
    if "vision" in arrays:
        arrays["vision"][0, 0] = [1e-42, -0.0, 3e38, 0.1, -1 / 3]
    assert prepare_small(tmp_path, arrays=arrays) == 0
    wanted, _ = plain.to_splits(arrays, (-3, 3))
    dataset = load_dataset("small", tmp_path / "d")
    for name, examples in wanted.items():
        assert_same(dataset.splits[name], examples)
    assert dataset.card == json.loads(
        (tmp_path / "d" / "small" / "1.0.0" / "card.json").read_text()
    )
    assert capsys.readouterr().err == ""


def test_card_says_what_is_there(tmp_path, capsys):
    arrays = small() | {"extra": np.zeros(3)}
    arrays["id"][4:] = ["a_8", "a_9"]  # a video of train in test
    arrays["audio"][:, :, 1] = np.where(arrays["audio"][:, :, 1] != 0, 2.5, 0)
    arrays["vision"][:5, 0] = 0  # front padding
    assert prepare_small(tmp_path, arrays=arrays) == 0
    card = load_dataset("small", tmp_path / "d").card
    assert card["size"] == {"train": 3, "valid": 1, "test": 2}
    assert card["metrics"] == "mosi" and card["label_range"] == [-3, 3]
    assert card["audio"]["constant_columns"] == [1]
    assert card["audio"]["length"]["train"] == [1, 2, 3]
    assert card["audio"]["padding_found"] == "back"
    assert card["vision"]["padding_found"] == "front"
    assert "vision: front padding was moved to the back" in card["assumptions"]
    assert card["text"]["words"]["train"] == [1, 2, 2]
    assert card["shared"]["videos"]["train and test"] == 1
    assert any("train and test share 1 videos" in line for line in card["warnings"])
    assert card["unused_arrays"] == ["extra"]
    assert card["label"]["histogram"]["train"] == [1, *[0] * 4, 1, *[0] * 4, 1]
    assert "train and test share 1 videos" in " ".join(capsys.readouterr().out.split())


def test_metrics_follow_the_label_range(tmp_path, capsys):
    arrays = small()
    arrays["label"] /= 3
    assert prepare_small(tmp_path, "--label_range=-1,1", arrays=arrays) == 0
    assert load_dataset("small", tmp_path / "d").card["metrics"] == "sims"
    again = ("--label_range=-1,1", "--metrics=mosi")
    assert prepare_small(tmp_path, *again, arrays=arrays) == 2
    assert "metrics differs" in capsys.readouterr().err


def test_preparing_again(tmp_path, capsys):
    assert prepare_small(tmp_path) == 0
    assert prepare_small(tmp_path) == 0
    assert "exists already" in capsys.readouterr().out
    other = small()
    other["label"][0] = 1
    assert prepare_small(tmp_path, arrays=other) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert load_dataset("small", tmp_path / "d").splits["train"].label[0] == -3
    assert prepare_small(tmp_path, "--overwrite", arrays=other) == 0
    assert load_dataset("small", tmp_path / "d").splits["train"].label[0] == 1
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["small"]


def test_a_failed_write_leaves_the_old_set_and_nothing_else(tmp_path, monkeypatch):
    assert prepare_small(tmp_path) == 0
    other = small()
    other["label"][0] = 1

    def full(card):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "card_markdown", full)
    assert prepare_small(tmp_path, "--overwrite", arrays=other) == 2
    assert load_dataset("small", tmp_path / "d").splits["train"].label[0] == -3
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["small"]

    monkeypatch.undo()
    rename = store.os.rename

    def rename_but_the_new(a, b):
        if (
            "incomplete" not in str(a)
            and str(a).count(".small.")
            and "aced" not in a.name
        ):
            full(None)
        rename(a, b)

    monkeypatch.setattr(store.os, "rename", rename_but_the_new)
    assert prepare_small(tmp_path, "--overwrite", arrays=other) == 2
    assert load_dataset("small", tmp_path / "d").splits["train"].label[0] == -3


def names(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", ["build", "before", "between", "after"])
def test_a_signal_while_writing_leaves_one_whole_set(
    tmp_path, monkeypatch, capsys, number, code, moment
):
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_DFL)  # not ignored
    assert prepare_small(tmp_path) == 0
    files = names(tmp_path / "d" / "small" / "1.0.0")
    assert "card.html" in files
    other = small()
    other["label"][0] = 1
    rename, path = store.os.rename, tmp_path / "d" / "small" / "1.0.0"

    def and_signal(a, b):
        new = b == path and a.name != "replaced"
        if new:
            assert names(a) == files  # one rename brings everything
        if moment == "before" and a == path or moment == "between" and new:
            signal.raise_signal(number)
        rename(a, b)
        if moment == "after" and new:
            signal.raise_signal(number)

    if moment == "build":
        build = builder.build_files
        monkeypatch.setattr(
            builder, "build_files", lambda *a: (build(*a), signal.raise_signal(number))
        )
    else:
        monkeypatch.setattr(store.os, "rename", and_signal)
    assert prepare_small(tmp_path, "--overwrite", arrays=other) == code
    assert names(tmp_path / "d") == ["small"]
    assert names(tmp_path / "d" / "small" / "1.0.0") == files
    found = load_dataset("small", tmp_path / "d").splits["train"].label[0]
    assert found == (1 if moment == "after" else -3)


def test_what_killed_processes_left_is_swept_away(tmp_path, capsys):
    assert prepare_small(tmp_path) == 0
    folder = tmp_path / "d"
    for name in (".small.dead", ".small.busy", ".small2.dead"):
        (folder / name / "small").mkdir(parents=True)
    busy = lock.lock_folder(folder / ".small.busy")  # by a process that lives: this one
    assert busy is not None
    assert prepare_small(tmp_path) == 0
    assert names(folder) == [".small.busy", ".small2.dead", "small"]
    store.os.close(busy)
    # killed between two renames: the old set lies aside only
    (folder / "small" / "1.0.0").rename(folder / ".small.busy" / "replaced")
    assert prepare_small(tmp_path) == 0
    assert "exists already" in capsys.readouterr().out
    assert names(folder) == [".small2.dead", "small"]
    load_dataset("small", folder)


def test_scratch_swept_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    lock_folder, seen = lock.lock_folder, []

    def too_late(folder, **kwargs):
        seen.append(folder)
        if len(seen) == 1:
            folder.rmdir()
        return lock_folder(folder, **kwargs)

    monkeypatch.setattr(lock, "lock_folder", too_late)
    with store._scratch("x", tmp_path) as folder:
        assert folder.is_dir() and len(seen) == 2
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "more, message",
    [
        (["--check_onl"], "did you mean --check_only?"),
        (["--label_range", "1,1"], "LO must be below HI"),
        (["--label_range", "-1,1"], "write --label_range=LO,HI"),
        (["--label_range=a,1"], "write it as LO,HI"),
        (["--label_range=nan,1"], "LO must be below HI"),
        (["--metrics=f1"], "invalid choice"),
        (["--wrong"], "unknown flag --wrong"),
    ],
)
def test_command_line_mistakes_are_one_line(tmp_path, capsys, more, message):
    code = prepare_small(tmp_path, *more)
    error = capsys.readouterr().err
    assert code == 2 and message in error and error.count("\n") == 1


def test_check_only_writes_nothing(tmp_path, capsys):
    assert prepare_small(tmp_path, "--check_only") == 0
    assert "nothing written" in capsys.readouterr().out
    assert not (tmp_path / "d").exists()


def test_names_files_and_folders_are_checked(tmp_path, capsys):
    def error(*argv: str) -> str:
        assert command(*argv) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        return message

    file = tmp_path / "small.npz"
    save(file, small())
    assert "may only hold" in error("../x", f"--from={file}")
    assert "--from FILE" in error("x")
    assert "no such file" in error("x", f"--from={tmp_path / 'y.npz'}")
    assert "built in" in error("synthetic", f"--from={file}")
    where = f"--data_dir={file / 'sub'}"  # below a file: cannot be made
    assert "cannot write to data_dir" in error("x", f"--from={file}", where)
    assert "cannot write to data_dir" in error("synthetic_tiny", where)


def test_missing_and_damaged_sets_are_told(tmp_path):
    with pytest.raises(UserError, match="python -m msa_jax.prepare mosi --from FILE"):
        load_dataset("mosi", tmp_path / "d")
    assert prepare_small(tmp_path) == 0
    path = tmp_path / "d" / "small" / "1.0.0"
    card = (path / "card.json").read_text()
    (path / "card.json").write_text(card.replace('"content_sha256": "', '"x": "'))
    with pytest.raises(UserError, match="content_sha256 differs"):
        load_dataset("small", tmp_path / "d")
    (path / "card.json").write_text(card[:50])
    with pytest.raises(UserError, match=r"card.json is missing or damaged"):
        load_dataset("small", tmp_path / "d")
    (path / "card.json").write_text(card)
    shard = next(path.glob("small-train*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is damaged"):
        load_dataset("small", tmp_path / "d")
    shard.unlink()
    with pytest.raises(UserError, match="is damaged"):
        load_dataset("small", tmp_path / "d")
    assert prepare_small(tmp_path, "--overwrite") == 0
    load_dataset("small", tmp_path / "d")


@pytest.mark.parametrize(
    ("asked", "own"),
    [("MOSI", "mosi"), ("My Films-2", "my_films_2"), ("../x", "x"), ("…", "NAME")],
)
def test_a_name_that_cannot_be_gets_one_that_can(tmp_path, capsys, asked, own):
    with pytest.raises(UserError) as raised:
        load_dataset(asked, tmp_path / "d")
    said = str(raised.value)
    assert f"--config.data.name={own}; make it" in said
    assert f"python -m msa_jax.prepare {own} --from FILE" in said
    if own != "NAME":  # what is advised is no mistake of its own
        no_file = f"--from={tmp_path / 'no'}"
        assert command(own, no_file, f"--data_dir={tmp_path / 'd'}") == 2
        assert "may only hold" not in capsys.readouterr().err
        store.dataset_path(own, tmp_path / "d").mkdir(parents=True)
        with pytest.raises(UserError, match=f"name={own}, which is there$"):
            load_dataset(asked, tmp_path / "d")


def test_synthetic_is_made_on_demand_and_twice_the_same(tmp_path):
    dataset = load_dataset("synthetic_tiny", tmp_path / "d")
    made = synthetic.make_splits("synthetic_tiny")
    for name, examples in dataset.splits.items():
        np.testing.assert_array_equal(examples.audio, made[name].audio)
        np.testing.assert_array_equal(examples.transcript, made[name].transcript)
    assert content_sha256(made) == dataset.card["content_sha256"]
    other = synthetic.make_splits("synthetic_tiny", seed=1)
    assert content_sha256(other) != dataset.card["content_sha256"]
    path = tmp_path / "d" / "synthetic_tiny" / "1.0.0" / "card.json"
    path.write_text(path.read_text().replace('"built_in": ', '"built_in": 9'))
    assert (
        load_dataset("synthetic_tiny", tmp_path / "d").card == dataset.card
    )  # made again


def test_synthetic_holds_what_it_promises(made):
    videos: list[set[str]] = []
    for name, count in (("train", 600), ("valid", 150), ("test", 250)):
        examples = made[name]
        assert len(examples.id) == count == len(set(examples.id.tolist()))
        videos.append({i.rsplit("_", 1)[0] for i in examples.id.tolist()})
        words = [len(line.split()) for line in present(examples.transcript).tolist()]
        assert min(words) >= 6 and max(words) <= 20
        assert np.abs(examples.label).max() <= 3
        mixed = examples.unimodal_label @ np.array(synthetic.MIXTURE)
        # rounding to .2 and noise of deviation .1
        assert np.abs(mixed - examples.label).max() < 0.1 + 4.5 * 0.1
        np.testing.assert_allclose(examples.label * 5, np.round(examples.label * 5))
        for modality in ("audio", "vision"):
            values = getattr(examples, modality)
            length = getattr(examples, f"{modality}_length")
            assert not values[np.arange(values.shape[1]) >= length[:, None]].any()
            assert len(set(length.tolist())) > 20
    assert not (videos[0] & videos[1] or videos[0] & videos[2] or videos[1] & videos[2])
    hidden = np.corrcoef(present(made["train"].unimodal_label).T)
    assert np.all(hidden[np.triu_indices(3, 1)] > 0.5) and hidden[0, 1] < 0.7


@pytest.mark.parametrize("modality, best_column", [("audio", 0.6), ("vision", 0.5)])
def test_sentiment_hides_in_several_columns(made, modality, best_column):
    row = ("text", "audio", "vision").index(modality)

    def pooled(name):
        examples = made[name]
        length = getattr(examples, f"{modality}_length")[:, None]
        mean = getattr(examples, modality).sum(axis=1) / length
        hidden = present(examples.unimodal_label)[:, row]
        return np.c_[mean, np.ones(len(mean))], hidden

    features, hidden = pooled("train")
    columns = np.corrcoef(features[:, :-1].T, hidden)[-1, :-1]
    assert np.abs(columns).max() < best_column
    weights = np.linalg.lstsq(features, hidden, rcond=None)[0]
    features, hidden = pooled("test")
    assert 0.7 < np.corrcoef(features @ weights, hidden)[0, 1] < 0.95


def score_by_hand(sentence: str) -> float:
    """Find the graded words of a sentence and add them up, from the lexicon alone."""
    grades = {w: g for g, words in lexicon.ADJECTIVES.items() for w in words}
    grades |= {w: g for g, pairs in lexicon.VERBS.items() for p in pairs for w in p}
    factors = dict(lexicon.ADJECTIVE_FACTORS + lexicon.VERB_FACTORS)
    factors["of"] = factors["kind of"]
    words = sentence.split()
    places = [i for i, word in enumerate(words) if word in grades]
    scores = []
    for i in places:
        factor = factors.get(words[i - 1], 1.0)
        factor = lexicon.NEGATION if words[i - 1] == "not" else factor
        scores.append(float(np.clip(grades[words[i]] * factor, -3, 3)))
    if len(scores) == 1:
        return scores[0]
    assert len(scores) == 2, sentence
    between = set(words[places[0] : places[1]])
    weight = 2 if between & set(lexicon.JOINED_TO_SECOND) else 1
    return (scores[0] + weight * scores[1]) / (1 + weight)


def test_words_decide_the_sentiment_of_a_sentence(made):
    for examples in made.values():
        truth = present(examples.unimodal_label)[:, 0]
        for line, score in zip(present(examples.transcript), truth, strict=True):
            assert abs(score_by_hand(str(line)) - score) < 1e-3, line


def test_names_in_a_file_cannot_garble_the_terminal(tmp_path, capsys):
    arrays = small() | {"un\x1bused": np.zeros(3)}
    save(tmp_path / "evil\x1b[31m.npz", arrays)
    file = str(tmp_path / "evil\x1b[31m.npz")
    assert prepare.main(["evil", "--from", file, "--check_only"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "un?used" in shown and "evil?[31m.npz" in shown
