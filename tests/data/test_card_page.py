"""The data card as a page."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from test_data_plain import N, save, small
from test_data_store import command, feature_arrays, prepare_small, token_arrays

from msa_jax.data import load_dataset, store
from msa_jax.ground.errors import UserError
from msa_jax.report import card_page


@pytest.fixture(scope="module")
def built_in(tmp_path_factory) -> tuple[dict, str]:
    """Return card and page of the small built-in set."""
    folder = tmp_path_factory.mktemp("data")
    card = load_dataset("synthetic_tiny", folder).card
    return card, card_page.render(card)


def text_of(page: str) -> str:
    parts: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            parts.append(data)

    Reader().feed(page)
    return " ".join(" ".join(parts).split())


def test_every_check_is_a_line_with_its_verdict(built_in):
    card, page = built_in
    text = text_of(page)
    assert len(card["checks"]) > 5
    for check in card["checks"]:
        line = f"{check['verdict']} {check['check']} {check['line']}"
        assert " ".join(line.split()) in text


def test_synthetic_data_are_marked(built_in, tmp_path, capsys):
    card, page = built_in
    assert card["synthetic"] and "SYNTHETIC." in text_of(page)
    assert prepare_small(tmp_path) == 0
    folder = tmp_path / "d" / "small" / "1.0.0"
    assert not store.read_card(folder)["synthetic"]
    assert "SYNTHETIC" not in (folder / "card.html").read_text()
    assert "SYNTHETIC" not in (folder / "card.md").read_text()


def test_the_page_needs_nothing_else_and_draws_four_figures(built_in):
    _, page = built_in
    assert re.findall(r'(?:src|href)="(?!#)[^"]*"', page) == []
    assert "@import" not in page and "<script" not in page
    assert page.count("<figure>") == 4  # labels, of modalities, lengths, columns
    assert page.count('role="img"') == 4 and "mathdefault" not in page


@pytest.mark.parametrize(
    "arrays, figures", [(token_arrays(), 4), (feature_arrays(), 3), (small(), 3)]
)
def test_token_ids_features_and_extreme_values_are_drawn(tmp_path, arrays, figures):
    """Of unimodal labels, where they are there; lengths and columns of any modality."""
    if "vision" in arrays:
        arrays["vision"][0, 0] = [1e-42, -0.0, 3e38, 0.1, -1 / 3]
    assert prepare_small(tmp_path, arrays=arrays) == 0
    page = (tmp_path / "d" / "small" / "1.0.0" / "card.html").read_text()
    assert page.count("<figure>") == page.count('role="img"') == figures


def test_names_from_a_file_are_text_and_not_markup(tmp_path, capsys):
    arrays = small() | {"<script>alert(1)</script>": np.zeros(3)}
    file = tmp_path / "<b>x.npz"
    save(file, arrays)
    assert command("small", f"--from={file}", f"--data_dir={tmp_path}") == 0
    page = (tmp_path / "small" / "1.0.0" / "card.html").read_text()
    assert "<script>" not in page and "<b>" not in page
    assert "<script>alert(1)</script>" in text_of(page)


@pytest.mark.usefixtures("undrawn")
def test_warnings_of_reading_stand_beside_the_checks(tmp_path, capsys):
    arrays = small()
    arrays["transcript"][3] = ""
    assert prepare_small(tmp_path, arrays=arrays) == 0
    page = (tmp_path / "d" / "small" / "1.0.0" / "card.html").read_text()
    assert "warning reading text: 1 transcripts are empty" in text_of(page)


@pytest.mark.usefixtures("undrawn")
def test_normaliser_statistics_are_those_of_train(tmp_path, capsys):
    assert prepare_small(tmp_path) == 0
    data = load_dataset("small", tmp_path / "d")
    train = data.splits["train"]
    assert train.audio is not None and train.audio_length is not None
    steps = np.concatenate(
        [x[:n] for x, n in zip(train.audio, train.audio_length, strict=True)]
    ).astype(np.float64)
    entry = data.card["normaliser"]["audio"]
    np.testing.assert_allclose(entry["mean"], steps.mean(0), atol=1e-12)
    np.testing.assert_allclose(entry["std"], steps.std(0), atol=1e-12)
    np.testing.assert_allclose(entry["low"], steps.min(0), rtol=1e-6)
    np.testing.assert_allclose(entry["high"], steps.max(0), rtol=1e-6)


def test_length_histograms_count_every_sample(built_in):
    card, _ = built_in
    for modality in ("text", "audio", "vision"):
        histogram = card[modality]["histogram"]
        assert {s: sum(c) for s, c in histogram["counts"].items()} == card["size"]
        lengths = card[modality].get("length", card[modality].get("words"))
        assert max(most for _, _, most in lengths.values()) <= histogram["edges"][-1]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("steps, high", [(5, 3), (3, 3), (5, 1)])
def test_label_bins_are_even_for_the_grids_of_the_field(tmp_path, steps, high):
    grid = np.arange(-high * steps, high * steps + 1) / steps
    n = len(grid)
    split = np.array(["train"] * n + ["valid", "test"])
    arrays = {
        "id": np.array([f"a_{i}" for i in range(n + 2)]),
        "split": split,
        "label": np.append(grid, [0, 0]),
        "transcript": np.array(["三个字，two words"] * (n + 2)),
    }
    flags = (f"--label_range={-high},{high}", f"--data_dir={tmp_path}")
    save(tmp_path / "x.npz", arrays)
    assert command("small", f"--from={tmp_path / 'x.npz'}", *flags) == 0
    card = load_dataset("small", tmp_path).card
    counts = card["label"]["histogram"]["train"]
    assert sum(counts) == n and counts == counts[::-1] and min(counts) > 0
    assert card["text"]["words"]["train"] == [5, 5, 5]


@pytest.mark.parametrize("absent", ["audio", "vision", "transcript"])
def test_a_modality_may_be_absent(tmp_path, capsys, absent):
    arrays = {k: v for k, v in small().items() if not k.startswith(absent)}
    arrays["emotion"] = np.eye(6)[np.arange(N) % 6]
    assert prepare_small(tmp_path, arrays=arrays) == 0
    page = text_of((tmp_path / "d" / "small" / "1.0.0" / "card.html").read_text())
    name = "text" if absent == "transcript" else absent
    assert f"{name} absent" in page and "Emotions present in train: happy" in page


def test_a_folder_that_cannot_be_written_is_named(built_in, tmp_path):
    card, _ = built_in
    with pytest.raises(UserError, match="cannot write .*card.html"):
        card_page.write_card_page(card, tmp_path / "absent")


def test_very_many_constant_columns_are_counted(tmp_path):
    audio = np.ones((N, 4, 100), np.float32)
    arrays = small() | {"audio": audio, "audio_length": np.full(N, 4)}
    assert prepare_small(tmp_path, arrays=arrays) == 0
    text = (store.dataset_path("small", tmp_path / "d") / "card.md").read_text("utf-8")
    assert "| 0, 1, 2, 3, 4 and 95 more |" in text
