import math

import numpy as np
import pytest

from msa_jax.experiment.baselines import (
    ALPHAS,
    BAG_OF_WORDS,
    FROZEN_TEXT,
    MEAN,
    baselines,
    ridge,
    words,
)
from msa_jax.types import Examples


def examples(label, transcript=None, text=None, length=None):
    n = len(label)
    return Examples(
        id=np.array([str(i) for i in range(n)]),
        transcript=transcript,
        text=text,
        text_length=length,
        audio=None,
        audio_length=None,
        vision=None,
        vision_length=None,
        label=np.asarray(label, np.float32),
        unimodal_label=None,
    )


def spoken(n, seed):
    """Sentences whose label is the number of good minus bad words, plus noise."""
    rng = np.random.default_rng(seed)
    vocabulary = np.array(["good", "bad", "film", "the", "plot"])
    ids = rng.integers(0, 5, (n, 6))
    label = (ids == 0).sum(1) - (ids == 1).sum(1) + 0.1 * rng.normal(size=n)
    transcript = np.array([" ".join(vocabulary[row]) for row in ids])
    return ids, transcript, label.astype(np.float32)


def test_mean_predictor_uses_train_only():
    found = baselines(
        examples([0.0, 1.0]), examples([9.0]), examples([2.0, 1.0]), "mosi"
    )
    assert list(found) == [MEAN]
    assert found[MEAN]["mae"] == pytest.approx(1.0)
    assert math.isnan(found[MEAN]["corr"])


def test_words_and_token_ids_give_the_same_bag():
    by_word, by_token = [], []
    for seed, n in enumerate((80, 30, 30)):
        ids, transcript, label = spoken(n, seed)
        mask = np.ones_like(ids)
        text = np.stack([ids, mask, 0 * ids], axis=1).astype(np.int32)
        padded = np.concatenate([text, np.zeros_like(text)], axis=2)
        by_word.append(examples(label, transcript))
        by_token.append(examples(label, text=padded, length=np.full(n, 6)))
    first = baselines(*by_word, kind="mosi")
    second = baselines(*by_token, kind="mosi")
    assert first[BAG_OF_WORDS]["mae"] < 0.6 * first[MEAN]["mae"]
    for name, value in first[BAG_OF_WORDS].items():
        # the iterative solver stops at 1e-6; the columns are in another order
        assert second[BAG_OF_WORDS][name] == pytest.approx(value, abs=1e-3)
    assert str(baselines(*by_word, kind="mosi")) == str(
        first
    )  # to the bit, NaN included


def test_ridge_equals_the_closed_form_and_valid_chooses():
    rng = np.random.default_rng(3)
    x = [rng.normal(size=(n, 20)) for n in (25, 15, 10)]
    weight = rng.normal(size=20)
    y = [part @ weight + 3 * rng.normal(size=len(part)) for part in x]
    mean, offset = x[0].mean(0), y[0].mean()
    answers = []
    for alpha in ALPHAS:
        a = x[0] - mean
        solved = np.linalg.solve(a.T @ a + alpha * np.eye(20), a.T @ (y[0] - offset))
        answers.append([(part - mean) @ solved + offset for part in x])
    chosen = min(answers, key=lambda p: np.abs(p[1] - y[1]).mean())
    assert chosen is not answers[0] and chosen is not answers[-1]
    np.testing.assert_allclose(ridge(x, y[:2]), chosen[2], rtol=1e-5, atol=1e-5)


def test_frozen_features_are_scaled_by_train_and_padding_is_ignored():
    rng = np.random.default_rng(5)
    splits, pooled = [], []
    for n in (60, 30, 30):
        length = rng.integers(1, 6, n)
        text = rng.normal(size=(n, 5, 4)).astype(np.float32)
        text[..., 3] = 1.0  # a constant column must not divide by zero
        kept = np.arange(5) < length[:, None]
        mean = (text * kept[..., None]).sum(1) / length[:, None]
        text[~kept] = 1e6
        splits.append(examples(mean[:, 0] * 3, text=text, length=length))
        pooled.append(1000 * mean)
    found = baselines(*splits, kind="mosi")
    assert list(found) == [MEAN, FROZEN_TEXT]
    assert found[FROZEN_TEXT]["mae"] < 0.02
    given = baselines(*splits, kind="mosi", frozen=tuple(pooled))
    assert given[FROZEN_TEXT]["mae"] == pytest.approx(
        found[FROZEN_TEXT]["mae"], rel=0.01
    )


def test_wordless_texts_leave_the_bag_out():
    empty = [examples([1.0, -1.0], np.array(["", "..."])) for _ in range(3)]
    assert list(baselines(*empty, kind="sims")) == [MEAN]


def test_words():
    assert words("I DON'T like it, 2 much") == ["i", "don't", "like", "it", "2", "much"]
    assert words("我很好 ok") == ["我", "很", "好", "ok"]


def test_real_mosi_floors(shared):
    path = shared / "data" / "mosi_real.npz"
    if not path.is_file():
        pytest.skip("real MOSI is not in ../shared/data")
    with np.load(path, allow_pickle=False) as data:
        split, label, said = data["split"], data["label"], data["transcript"]
    parts = [
        examples(label[split == name], said[split == name])
        for name in ("train", "valid", "test")
    ]
    found = baselines(*parts, kind="mosi")
    assert found[MEAN]["mae"] == pytest.approx(1.343, abs=5e-4)
    assert found[BAG_OF_WORDS]["mae"] == pytest.approx(1.005, abs=0.015)
    assert found[BAG_OF_WORDS]["corr"] == pytest.approx(0.54, abs=0.03)
