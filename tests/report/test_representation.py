"""The fused representation: shares of neighbours, t-SNE, two runs side by side."""

import json
import re

import numpy as np
import pytest
from test_report import _Page, fake_run

from msa_jax import report
from msa_jax.ground.errors import UserError
from msa_jax.report import __main__ as command
from msa_jax.report import embedding, representation
from msa_jax.runs.finished import open_folder

SEEDS = (7, 8)


def two_clusters(count=11, width=3):
    """Return clusters of `count` vectors, far apart."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2 * count, width)).astype(np.float32)
    vectors[count:] += 100
    return vectors


def test_shares_of_clusters():
    """In a cluster of 11, the 10 nearest are the others of the cluster."""
    vectors, label = two_clusters(), np.r_[np.full(11, -0.5), np.full(11, 2.0)]
    assert embedding.same_sign_share(vectors, label) == 1
    mixed = np.tile(np.r_[np.full(6, 1.0), np.full(5, -1.0)], 2)
    found = embedding.same_sign_share(vectors, mixed)
    assert found == pytest.approx((6 * 5 + 5 * 4) / (11 * 10))
    neutral = np.tile(np.r_[np.full(6, 1.0), np.zeros(5)], 2)  # a sign of its own
    assert embedding.same_sign_share(vectors, neutral) == pytest.approx(found)


def test_share_by_chance():
    label = np.array([3.0, 1, 2, -1, -2, 0])
    assert embedding.chance_share(label) == pytest.approx((3 * 2 + 2 * 1) / (6 * 5))
    # Where everybody is a neighbour, chance is all there is.
    vectors = two_clusters(3)
    found = embedding.same_sign_share(vectors, label)
    assert found == pytest.approx(embedding.chance_share(label))


def test_places_are_the_same_twice_and_keep_clusters():
    vectors = two_clusters(16)
    places = embedding.tsne(vectors)
    assert places.shape == (32, 2)
    np.testing.assert_array_equal(places, embedding.tsne(vectors))
    assert embedding.same_sign_share(places, np.repeat([-1.0, 1], 16)) == 1
    assert embedding.perplexity(31) == 10 and embedding.perplexity(2000) == 30


def test_what_cannot_be_placed():
    good = two_clusters(5)
    assert embedding.can_embed(good)
    lost = good.copy()
    lost[3, 1] = np.nan
    for bad in (good[:9], good[:, :1], np.ones((20, 4)), lost, good[:, :0]):
        assert not embedding.can_embed(bad)


def features(n=24, seeds=2, **changes):
    """Return the arrays of features.npz; fused features are two clusters."""
    rng = np.random.default_rng(1)
    arrays = {}
    for split in ("train", "test"):
        label = np.repeat([-1.0, 1], n // 2).astype(np.float32)
        fused = rng.normal(size=(seeds, n, 4)) + 100 * (label > 0)[:, None]
        arrays |= {
            f"{split}_index": np.arange(n),
            f"{split}_label": label,
            f"{split}_fusion": fused.astype(np.float32),
            f"{split}_audio": rng.normal(size=(seeds, n, 2)).astype(np.float32),
        }
    arrays |= changes
    return {name: value for name, value in arrays.items() if value is not None}


def make_run(folder, config=None, **changes):
    folder.mkdir()
    fake_run(folder, SEEDS, u=False)
    for name in ("history.jsonl", "predictions_test.npz"):  # figures cost time
        (folder / name).unlink()
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    np.savez(folder / "features.npz", **features(**changes))
    return folder


def test_alone_in_the_report(tmp_path):
    folder = make_run(tmp_path / "one")
    page = _Page(report.write_report(folder).read_text())
    assert "t-SNE of the fused representation" in page.text
    # 12 a cluster: all 10 neighbours have the sign, by chance 11 of 23 would.
    said = "10 nearest training samples 100 % have a label of the same sign"
    assert f"{said}; by chance 48 % would." in page.text
    assert "24 training samples, seed 7 only" in page.text and "differ" not in page.text
    before = (folder / "report.html").read_bytes()
    report.write_report(folder)
    assert (folder / "report.html").read_bytes() == before
    kept = open_folder(folder).features
    for name, value in features().items():
        split, _, rest = name.partition("_")
        mine = kept[split]
        found = {"index": mine.index, "label": mine.label}.get(rest)
        found = mine.value[rest] if found is None else found
        np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 8},
        {"train_fusion": None},
        {"train_fusion": np.ones((2, 24, 4))},
        {k: None for k in features() if k.startswith("train")},
    ],
)
def test_nothing_is_drawn_of_what_cannot_be_placed(tmp_path, changes: dict):
    folder = make_run(tmp_path / "one", **changes)
    assert "t-SNE" not in report.write_report(folder).read_text()


def test_two_runs_side_by_side(tmp_path):
    config = {f"field_{i}": i for i in range(9)} | {"same": 1}
    noise = np.random.default_rng(2).normal(size=(2, 24, 4))
    one = make_run(tmp_path / "full", config, train_index=np.arange(0, 48, 2))
    other = make_run(
        tmp_path / "no_contrast",
        {f"field_{i}": -i for i in range(8)} | {"same": 1},
        train_index=np.arange(0, 48, 2),
        train_fusion=noise,
    )
    page = _Page(report.write_report(one, beside=other).read_text())
    assert re.search(r"samples 100 % in full and [3-6]\d % in no_contrast", page.text)
    assert "24 evenly spaced training samples" in page.text
    # field_0 is 0 in both, field_8 is lacking there
    assert "differ (full / no_contrast): field_1 1 / -1; field_2 2 / -2" in page.text
    assert "field_6 6 / -6; and 2 more." in page.text
    # a folder's name is no markup
    assert "(full / no\\_contrast)" in (one / "report.md").read_text()
    assert not (other / "report.html").exists()
    runs = [open_folder(one), open_folder(other)]
    titles = [axes.get_title() for axes in representation.figure(runs).axes[:2]]
    assert titles == ["full", "no_contrast"]
    said = representation.caption([runs[0], runs[0]])
    assert said.endswith("The configurations of both runs are the same.")


def test_a_panel_per_feature_where_modalities_have_their_own(tmp_path):
    rng = np.random.default_rng(3)
    more = {
        f"{split}_{m}": rng.normal(size=(2, 24, 3)).astype(np.float32)
        for split in ("train", "test")
        for m in ("text", "audio", "vision")
    }
    one = make_run(tmp_path / "full", **more)
    other = make_run(tmp_path / "no_gate", **more)
    runs = [open_folder(one), open_folder(other)]
    features_drawn = ["text", "audio", "vision", "fusion"]
    assert representation.drawn_features(runs) == features_drawn
    axes = representation.figure(runs).axes
    assert [a.get_title() for a in axes[:8]] == 2 * features_drawn
    assert [a.get_ylabel() for a in axes[:8]] == [
        *("full", "", "", ""),
        *("no_gate", "", "", ""),
    ]
    np.testing.assert_allclose(
        axes[1].collections[0].get_array(), features()["train_label"]
    )
    said = representation.sentences(runs)
    assert len(said) == 4 and said[0].startswith("full: of each training sample's 10")
    assert "% by vision and 100 % by fusion have a label of the same sign" in said[0]
    assert said[3].startswith("no_gate: of each test sample's")
    alone = representation.sentences(runs[:1])
    assert alone[0].startswith("Of each training sample's 10 nearest")
    caption = representation.caption(runs[:1])
    assert "the features of text, audio and vision alone and of fusion" in caption
    # beside a run with fewer features only what both have is drawn
    fewer = make_run(tmp_path / "fused")
    assert representation.drawn_features([runs[0], open_folder(fewer)]) == ["fusion"]
    broken = make_run(tmp_path / "flat", **more | {"train_text": np.ones((2, 24, 3))})
    assert representation.drawn_features([open_folder(broken)]) == [
        "audio",
        "vision",
        "fusion",
    ]


def test_many_samples_are_thinned_where_there_are_several_panels():
    n, few = 2400, representation.MOST
    several = ["text", "audio", "fusion"]
    assert len(representation.drawn_samples(n, several)) == few == 1000
    assert len(representation.drawn_samples(n, ["fusion"])) == n
    kept = representation.drawn_samples(n, several)
    assert kept[0] == 0 and set(np.diff(kept)) == {2, 3}


def test_names_of_runs_in_folders_alike(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        make_run(tmp_path / name / "run")
    runs = [open_folder(tmp_path / name / "run") for name in ("a", "b")]
    assert representation.names(runs) == ["a/run", "b/run"]
    assert representation.names(runs[:1]) == ["run"]


@pytest.mark.parametrize(
    "change, words",
    [
        ("itself", "that is the same run"),
        ("no run", "no results.json in"),
        ("another dataset", "a run on mosei, this one is on demo"),
        ({"train_fusion": None}, "no fused features (features.npz)"),
        ({"n": 8}, "no fused features (features.npz)"),
        ({"train_index": np.arange(24) + 1}, "training samples are not those"),
        ({"train_label": np.ones(24)}, "training samples are not those"),
    ],
)
def test_runs_that_cannot_be_compared(tmp_path, change, words):
    here = make_run(tmp_path / "here")
    arrays = change if isinstance(change, dict) else {}
    there = make_run(tmp_path / "there", **arrays)
    if change == "itself":
        there = here
    elif change == "no run":
        there = tmp_path
    elif change == "another dataset":
        results = json.loads((there / "results.json").read_text())
        results["dataset"] = "mosei"
        (there / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        report.write_report(here, beside=there)
    assert "\n" not in str(caught.value)
    assert not (here / "report.html").exists() and not (here / "figures").exists()


def test_a_run_of_an_older_version_is_named(tmp_path):
    here, there = make_run(tmp_path / "here"), make_run(tmp_path / "there")
    (here / "features.npz").unlink()
    with pytest.raises(UserError, match=r"/here: no fused features"):
        report.write_report(here, beside=there)
    assert "t-SNE" not in report.write_report(here).read_text()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"train_label": None}, "train lacks the array 'label'"),
        ({"test_fusion": np.ones((2, 3, 4))}, "test_fusion is (2, 3, 4), expected"),
        ({"test_fusion": np.ones((3, 24, 4))}, "expected (2, 24, any)"),
        ({"train_audio": np.ones((2, 24))}, "train_audio is (2, 24)"),
    ],
)
def test_broken_features_are_named(tmp_path, changes, words):
    folder = make_run(tmp_path / "one", **changes)
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        report.write_report(folder)
    assert "features.npz" in str(caught.value)


def test_command(tmp_path, refused):
    here, there = make_run(tmp_path / "here"), make_run(tmp_path / "there", n=8)
    message = refused(command.main, here, "--beside", there)
    assert len(message.splitlines()) == 1 and "there: no fused features" in message
