"""Figures: every form of one shows the same, and nothing sticks out of it."""

import re

import matplotlib
import pytest
from matplotlib.text import Text

from msa_jax.report import drawing


@pytest.fixture
def figure():
    with matplotlib.rc_context(drawing.STYLE):
        figure, axes = drawing.panels(2)
        for place in axes:
            place.plot([0, 1], [1e6, 2e6], label="seed 1")
            place.set_ylabel("a label that needs\ntwo lines of room")
            place.set_xlabel("epoch")
            place.set_title("train loss")
        drawing.legend_below(figure, axes[0])
        yield figure


def places(figure):
    return [axes.get_position().bounds for axes in figure.axes]


def titles(figure_axes):
    return [x for x in figure_axes.findobj(Text) if x.get_text() == "train loss"]


@pytest.mark.parametrize(
    "first", [drawing.to_png, lambda f: drawing.to_svg(f, "a", "")]
)
def test_a_figure_is_laid_out_once_so_that_nothing_overlaps(figure, first):
    before = places(figure)
    first(figure)
    after = places(figure)
    assert after != before
    drawing.to_svg(figure, "a", "")
    drawing.to_png(figure)
    assert places(figure) == after
    left, right = (axes.get_tightbbox() for axes in figure.axes)
    for axes in figure.axes:
        factor = axes.yaxis.get_offset_text()
        assert factor.get_text() == "1e6"
        words = (*axes.get_yticklabels(), axes.yaxis.label, *axes.texts)
        boxes = [word.get_window_extent() for word in (*words, *titles(axes))]
        assert not factor.get_window_extent().count_overlaps(boxes)
    legend = figure.legends[0].get_tightbbox()
    assert left.x0 >= 0 and left.x1 <= right.x0 and right.x1 <= figure.bbox.width
    assert legend.y1 <= min(left.y0, right.y0)


def test_an_svg_says_what_it_shows_and_keeps_its_ids_apart(figure):
    svg = drawing.to_svg(figure, "loss", "lines <of> two seeds")
    assert 'aria-label="lines &lt;of> two seeds"' in svg
    assert re.findall(r'\bid="', svg) and not re.findall(r'\bid="(?!loss-)', svg)
    assert drawing.INK not in svg and "var(--ink)" in svg
