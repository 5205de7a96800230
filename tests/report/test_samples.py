"""Single samples of a run: which are chosen, what is said of them, how it looks."""

import re

import numpy as np
import pytest
from test_report import _Page, fake_run

from msa_jax import report
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Examples
from msa_jax.report import sample_paths, samples
from msa_jax.runs.finished import History, Run, Samples, ULabels
from msa_jax.runs.writer import texts
from msa_jax.text.encoders import Encoder

NAMES = np.array(["b", "a", "d", "c", "e"])
BAD = "<script>alert('x')</script>"


def test_the_widest_come_first_ties_by_id_and_none_without_a_spread():
    one = np.array([[0, 1, 0, 9, 2], [1, 0, 0, 9, -1], [0.5, 0.5, 0, 9, 0]])
    assert samples.widest(one[None], NAMES, 12).tolist() == [4, 1, 0]
    assert samples.widest(one[None], NAMES, 2).tolist() == [4, 1]
    # Seeds are averaged: (1 + 4) / 2, (1 + 1) / 2, (0 + 3) / 2, (0 + 0) / 2, 3 alone.
    other = np.array([[0, 1, 0, 9, np.nan], [4, 0, 3, 9, 0], [2, 0, 1, 9, 0]])
    both = np.stack([one, other])
    assert samples.widest(both, NAMES, 12).tolist() == [4, 0, 2, 1]
    assert samples.widest(np.full((2, 3, 5), np.nan), NAMES, 12).size == 0


@pytest.mark.parametrize(
    "wanted, moved",
    [
        ([10.0, 40.0, 70.0], [10, 40, 70]),
        ([40.0, 40.0, 10.0], [40, 52, 10]),
        ([99.0, 98.0, 97.0], [100, 88, 76]),
        ([-5.0, 0.0, 3.0], [0, 12, 24]),
    ],
)
def test_letters_at_the_curves_do_not_overlap(wanted, moved):
    assert sample_paths.spaced(wanted, 12, 0, 100) == moved


def history(*losses):
    one = np.ones((2, 2))
    return History(np.arange(1.0, 3), dict.fromkeys(losses, one), {}, one > 0, one)


def make_run(rows=4, generated=True, true=False, losses=(), epoch=2):
    """Two seeds, two epochs, three samples; u-labels and scores are simple numbers.

    Text's u-labels are 1 above the label in seed 1, 3 above in seed 2, for sample z;
    half of that for sample x, none for y. Scores: target k of seed s says k + s.
    """
    label = np.array([0.5, 0.0, -1.0])
    value = np.broadcast_to(label, (2, 2, 4, 3)).copy()
    if generated:
        value[1, 0, 1] += [1, 0, 0.5]
        value[1, 1, 1] += [3, 0, 1.5]
    prediction = np.arange(4.0)[:rows, None] + np.arange(2.0)[:, None, None]
    prediction = np.tile(prediction, (1, 1, 3))
    prediction[:, 0, 1] = 9
    unimodal = np.array([[0.1, 0.2, 0.3], [0, 0, 0], [-0.001, np.nan, -2]])
    unimodal = unimodal if true else None
    split = Samples(
        np.array(["z", "y", "x"]),
        np.array(["last", "middle", "first"]),
        label,
        prediction,
        unimodal,
        decoded=False,
    )
    results = {"seeds": [7, 8], "selected_epoch": {"7": epoch, "8": 2}}
    u = ULabels(np.array([1.0, 2.0]), value, label, unimodal)
    found = history(*losses) if losses else None
    run = {"train": split, "test": split}
    made = Run(None, results)  # type: ignore[arg-type]
    made.history, made.u_labels, made.samples = found, u, run
    return made


def test_what_is_said_of_a_training_sample():
    train, _ = samples.parts(make_run(true=True))
    assert [(s.number, s.id, s.text) for s in train.shown] == [
        (1, "z", "last"),
        (2, "x", "first"),
    ]
    assert "The 2 of 3 training samples" in train.rule
    label, generated, predicted = train.shown[0].rows
    assert label.cells == [("0.50", ""), ("0.10", ""), ("0.20", ""), ("0.30", "")]
    # mean of 1.5 and 3.5, and their sample standard deviation
    moved, still = ("2.50", "±1.41"), ("0.50", "±0.00")
    assert generated.cells == [("–", ""), moved, still, still]
    assert predicted.cells == [(f"{k}.50", "±0.71") for k in range(4)]
    # no minus zero, nothing where nobody judged
    cells = train.shown[1].rows[0].cells
    assert cells == [("−1.00", ""), ("0.00", ""), ("–", ""), ("−2.00", "")]


def test_each_seed_counts_at_the_epoch_it_kept():
    train, _ = samples.parts(make_run(epoch=1))
    assert train.shown[0].rows[1].cells[1] == ("2.00", "±2.12")  # 0.5 and 3.5
    path = train.shown[0].path
    assert path is not None
    box, text = sample_paths.BOX, path.curves[0]
    assert [x for x, _ in text.kept] == [box.left, box.right]
    assert text.kept[0][1] == path.label_y > text.kept[1][1]


def test_paths_follow_the_labels():
    path = samples.parts(make_run())[0].shown[0].path
    assert path is not None
    box, (low, high) = sample_paths.BOX, path.limits
    # from the lowest label of the shown samples to the highest u-label
    assert (low, high) == pytest.approx((-1 - 0.06 * 4.5, 3.5 + 0.06 * 4.5))

    def height(value):
        return box.bottom - (value - low) / (high - low) * (box.bottom - box.top)

    points = [
        list(map(float, p.split())) for p in re.split("[ML]", path.curves[0].mean)[1:]
    ]
    assert [x for x, _ in points] == [box.left, box.right]
    assert [y for _, y in points] == pytest.approx([height(0.5), height(2.5)], abs=0.06)
    assert len(path.curves[0].seeds) == 2 and path.curves[0].true_y is None
    assert "text from 0.50 to 2.50, audio from 0.50 to 0.50" in path.words


def test_a_curve_is_broken_where_a_label_is_lost():
    value = np.zeros((4, 1, 4, 1))
    value[2, 0, 1], value[0, 0, 2] = np.nan, np.nan
    u = ULabels(np.arange(1.0, 5), value, np.ones(1), None)
    (path,) = sample_paths.paths_of(u, np.array([0]), [2])
    pens = ["".join(re.findall("[ML]", curve.mean)) for curve in path.curves]
    assert pens == ["MLM", "MLL", "MLLL"] and "audio" not in path.words
    assert [len(curve.kept) for curve in path.curves] == [0, 1, 1]


def test_nothing_generated_yet():
    train, test = samples.parts(make_run(generated=False))
    assert train.shown == [] and "nothing had been generated" in train.rule
    assert len(test.shown) == 3


def test_test_samples_disagree_by_their_predictions():
    run = make_run()
    scores = run.samples["test"].prediction
    scores[:, 3, 2] += 1  # vision of x: 2 apart elsewhere, 3 here
    _, test = samples.parts(run)
    assert [s.id for s in test.shown] == ["x", "y", "z"]
    assert test.targets == ("fusion", "text", "audio", "vision")
    assert all(s.path is None and len(s.rows) == 2 for s in test.shown)


def test_fusion_alone_has_no_unimodal_columns():
    train, test = samples.parts(make_run(rows=1))
    assert test.targets == ("fusion",) and "largest error" in test.rule
    assert [s.id for s in test.shown] == ["y", "x", "z"]  # errors 9, 1.5, 0.5
    assert test.shown[0].rows[1].cells == [("9.00", "±0.00")]
    assert train.shown[0].rows[2].cells[1:] == [("–", "")] * 3


def test_heads_that_never_had_a_loss_say_nothing():
    run = make_run(losses=("loss", "loss_fusion", "loss_vision"))
    train, test = samples.parts(run)
    cells = train.shown[0].rows[2].cells
    assert cells == [("0.50", "±0.71"), ("–", ""), ("–", ""), ("3.50", "±0.71")]
    assert test.targets == ("fusion", "vision") and "largest error" in test.rule
    # An unknown history hides nothing.
    assert "audio" in samples.parts(make_run(losses=("loss",)))[1].targets


def add_samples(folder, seeds=5, rows=4, change=None):
    """Write samples.npz beside `fake_run`'s files; texts are strangers' texts."""
    rng = np.random.default_rng(2)
    arrays = {"text_source": np.asarray("tokens")}
    for split in ("train", "test"):
        arrays |= {
            f"{split}_id": np.array([f"{BAD}|{i:02d}" for i in range(40)]),
            f"{split}_text": np.array([f'{BAD}</svg> a | "b"\n{"long " * 99}'] * 40),
            f"{split}_label": rng.normal(size=40),
            f"{split}_prediction": rng.normal(size=(seeds, rows, 40)),
        }
    arrays |= change or {}
    arrays = {k: v for k, v in arrays.items() if v is not None}
    np.savez(folder / "samples.npz", **arrays)


def test_strangers_texts_are_text(tmp_path):
    fake_run(tmp_path)
    add_samples(tmp_path)
    html = report.write_report(tmp_path).read_text()
    assert "<script" not in html and html.count("</svg>") == html.count("<svg ")
    page = _Page(html)
    assert page.stack == [] and "nan" not in page.text.lower().split()
    assert len(page.ids) == len(set(page.ids))
    assert page.text.count(f'{BAD}</svg> a | "b" long') == 18
    assert html.count('class="path"') == 12 and "Texts were put together" in page.text
    said = [text.strip() for text in page.words if text.startswith(f"{BAD}</svg>")]
    assert {len(text) for text in said} == {320} and said[0].endswith("long lo…")
    markdown = (tmp_path / "report.md").read_text()
    rows = [line for line in markdown.splitlines() if line.count("alert") > 1]
    assert len(rows) == 18
    bars = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert bars == {3 + 1 + 8, 3 + 1 + 5} and not re.search(r"(?<!\\)<script", markdown)
    png = (tmp_path / "figures" / "sample_paths.png").read_bytes()
    assert png.startswith(b"\x89PNG") and "figures/sample_paths.png" in markdown


@pytest.mark.parametrize("rows", [1, 4])
def test_without_u_labels_only_test_is_shown(tmp_path, rows):
    fake_run(tmp_path, seeds=(1,), u=False)
    none = {f"train_{k}": None for k in ("id", "text", "label", "prediction")}
    add_samples(tmp_path, 1, rows, none)
    page = _Page(report.write_report(tmp_path).read_text())
    assert "modalities disagree most" not in page.text and "u-label" not in page.text
    title = "predictions disagree most" if rows == 4 else "largest errors"
    assert title in page.text and "± their" not in page.text
    assert not (tmp_path / "figures" / "sample_paths.png").exists()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"test_text": None}, "test lacks the array 'text'"),
        ({"test_id": np.array(["a"])}, "test_id is (1,), expected (40,)"),
        ({"train_prediction": np.ones((5, 2, 40))}, "expected (5, 4, 40)"),
        ({"train_prediction": np.ones((4, 4, 40))}, "expected (5, 4, 40)"),
        ({"train_unimodal_label": np.ones((40, 2))}, "unimodal_label is (40, 2)"),
        (
            {
                **{f"train_{k}": np.array(["a"]) for k in ("id", "text")},
                "train_label": np.ones(1),
                "train_prediction": np.ones((5, 4, 1)),
            },
            "train_label is (1,), expected (40,)",
        ),
    ],
)
def test_samples_that_do_not_fit_are_named(tmp_path, change, words):
    fake_run(tmp_path)
    add_samples(tmp_path, change=change)
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        report.write_report(tmp_path)
    assert "samples.npz" in str(caught.value) and "\n" not in str(caught.value)


class Words:
    """A tokenizer of four words."""

    def batch_decode(self, rows, **options):
        assert options["skip_special_tokens"]
        return [" ".join("[CLS] good bad film".split()[i] for i in row) for row in rows]


def examples(**given):
    empty = dict.fromkeys(Examples._fields)
    return Examples(**{**empty, "id": np.array(["a", "b"]), **given})  # type: ignore


def encoder(params):
    return Encoder(None, params, Words(), 9, 9, "", params is not None)  # type: ignore[arg-type]


def test_texts_of_transcripts_tokens_and_features():
    raw = examples(transcript=np.array(["one", "two"], object))
    assert [
        x if isinstance(x, str) else x.tolist() for x in texts(raw, encoder({}))
    ] == [
        "transcript",
        ["one", "two"],
    ]
    ids, mask = [[1, 3, 0], [2, 3, 1]], [[1, 1, 0], [1, 1, 1]]
    tokens = np.stack([ids, mask, np.zeros((2, 3))], axis=1).astype(np.int32)
    source, found = texts(examples(text=tokens), encoder({}))
    assert source == "tokens" and found.tolist() == ["good film", "bad film good"]
    # ids of another vocabulary than the one a random encoder made up
    for text, params in ((tokens, None), (tokens[..., None].astype(np.float32), {})):
        source, found = texts(examples(text=text), encoder(params))
        assert source == "" and found.tolist() == ["", ""]
