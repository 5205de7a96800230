"""Figures and sentences on generated unimodal labels."""

import numpy as np
import pytest

from msa_jax.report import u_labels
from msa_jax.runs.finished import ULabels


def generated(share):
    """U-labels made of the m-label and a share of the truth, over 2 epochs, 3 seeds."""
    rng = np.random.default_rng(1)
    label, true = rng.normal(size=200), rng.normal(size=(200, 3))
    value = np.broadcast_to(label, (2, 3, 4, 200)).copy()
    value[1, :, 1:] += share * true.T + 0.01 * rng.normal(size=(3, 3, 200))
    return ULabels(np.array([1.0, 2.0]), value, label, true)


@pytest.mark.parametrize(
    "share, words",
    [(0.5, "closer to the truth"), (-0.5, "away from the truth"), (0.0, "can show")],
)
def test_u_labels_are_judged_against_the_m_label(share, words):
    u = generated(share)
    lines = u_labels.sentences(u, [1, 2, 3], {"1": 2, "2": 2, "3": 2})
    assert len(lines) == 3 and all(words in line for line in lines)
    # judged at the epoch a seed kept: epoch 1 holds the m-label itself
    first = u_labels.sentences(u, [1, 2, 3], {"1": 1, "2": 1, "3": 1})
    assert all("difference +0.000" in line for line in first)


def test_true_correlations():
    u = generated(0.5)
    assert u.unimodal_label is not None
    own, multimodal = u_labels.true_correlations(u)
    expected = np.corrcoef(u.value[1, 2, 3], u.unimodal_label[:, 2])[0, 1]
    assert own[1, 2, 2] == pytest.approx(expected)
    expected = np.corrcoef(u.label, u.unimodal_label[:, 0])[0, 1]
    assert multimodal[0] == pytest.approx(expected)
    constant = u.value.copy()
    constant[0, 0, 1] = 1.0
    own, _ = u_labels.true_correlations(u._replace(value=constant))
    assert np.isnan(own[0, 0, 0])


def test_labels_that_are_all_nan_are_drawn_as_nothing():
    u = generated(0.5)
    lost = u._replace(value=np.full_like(u.value, np.nan))
    u_labels.distributions(lost)
    u_labels.snapshots(lost)
    u_labels.shifts(lost, [1, 2, 3])
    u_labels.correlations(lost, [1, 2, 3])
    assert "not defined" in u_labels.sentences(lost, [1, 2, 3], {})[0]


@pytest.mark.parametrize(
    "epochs, shown",
    [
        (1, [1]),
        (4, [1, 2, 3, 4]),
        (8, [1, 2, 4, 5, 7, 8]),
        (26, [1, 6, 11, 16, 21, 26]),
    ],
)
def test_histograms_at_a_few_epochs(epochs, shown):
    u = generated(0.5)
    value = np.repeat(u.value[:1], epochs, axis=0)
    value[-1, :, 2] = 0.25  # audio's labels at the end: all the same
    u = u._replace(epoch=np.arange(1.0, epochs + 1), value=value)
    axes = u_labels.snapshots(u).axes
    assert [a.get_title() for a in axes[: len(shown)]] == [f"epoch {e}" for e in shown]
    assert len(axes) == 3 * len(shown)
    text, audio = axes[len(shown) - 1], axes[2 * len(shown) - 1]
    grey, own = (patch.get_data() for patch in text.patches)
    np.testing.assert_allclose(own.values, grey.values)  # u-labels are the m-labels
    assert own.values.sum() == pytest.approx(100)
    grey, own = (patch.get_data() for patch in audio.patches)
    where = np.flatnonzero(own.values)
    assert own.values[where] == pytest.approx([100])
    assert own.edges[where[0]] <= 0.25 <= own.edges[where[0] + 1]
    assert audio.get_ylim()[1] >= 100
