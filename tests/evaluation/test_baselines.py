import math

import numpy as np
import pytest

from msa_jax.evaluation import boosting, pooling
from msa_jax.evaluation.baselines import (
    ALPHAS,
    AUDIO_VISION,
    BAG_OF_WORDS,
    BOOSTING,
    FROZEN_TEXT,
    LOGISTIC,
    MAJORITY,
    MEAN,
    NAMES,
    RIDGE,
    answers,
    in_order,
    majority,
    ridge,
    scores,
)
from msa_jax.evaluation.classifiers import questions
from msa_jax.evaluation.metrics import score
from msa_jax.evaluation.pooling import words
from msa_jax.ground.types import Examples


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


def baselines(train, valid, test, kind, frozen=None):
    """Score every trivial baseline on test."""
    asked = questions(kind)
    truth = getattr(test, "label" if asked is None else asked.labels)
    return scores(kind, answers(train, valid, test, kind, frozen), truth)


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
    assert list(found) == [MEAN, MAJORITY]
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
    assert list(found) == [MEAN, MAJORITY, FROZEN_TEXT]
    assert found[FROZEN_TEXT]["mae"] < 0.02
    given = baselines(*splits, kind="mosi", frozen=tuple(pooled))
    assert given[FROZEN_TEXT]["mae"] == pytest.approx(
        found[FROZEN_TEXT]["mae"], rel=0.01
    )


def test_wordless_texts_leave_the_bag_out():
    empty = [examples([1.0, -1.0], np.array(["", "..."])) for _ in range(3)]
    assert list(baselines(*empty, kind="sims")) == [MEAN, MAJORITY]


def test_words():
    assert words("I DON'T like it, 2 much") == ["i", "don't", "like", "it", "2", "much"]
    assert words("我很好 ok") == ["我", "很", "好", "ok"]


def test_real_mosi_floors(shared):
    path = shared / "data" / "mosi_real.npz"
    if not path.is_file():
        pytest.skip("real MOSI is not in ../shared/data")
    names = ("audio", "audio_length", "vision", "vision_length")
    with np.load(path, allow_pickle=False) as data:
        arrays = {name: data[name] for name in ("split", "label", "transcript", *names)}
    parts = []
    for name in ("train", "valid", "test"):
        mine = {k: v[arrays["split"] == name] for k, v in arrays.items()}
        part = examples(mine["label"], mine["transcript"])
        parts.append(part._replace(**{k: mine[k] for k in names}))
    found = baselines(*parts, kind="mosi")
    assert list(found) == [MEAN, MAJORITY, BAG_OF_WORDS, AUDIO_VISION]
    assert found[MEAN]["mae"] == pytest.approx(1.343, abs=5e-4)
    # Most of train is positive, most of test negative.
    assert found[MAJORITY]["acc2_has0"] == pytest.approx(0.394, abs=5e-4)
    assert found[BAG_OF_WORDS]["mae"] == pytest.approx(1.005, abs=0.015)
    assert found[BAG_OF_WORDS]["corr"] == pytest.approx(0.54, abs=0.03)
    assert found[AUDIO_VISION]["mae"] == pytest.approx(1.293, abs=0.01)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["mosi", "sims"])
def test_majority_has_the_best_accuracy_of_all_constants(kind, seed):
    rng = np.random.default_rng(seed)
    values = [-1, -0.4, 0, 0, 0.2, 0.8]
    chance = rng.dirichlet(np.ones(6))
    label = rng.choice(values, 25 + seed % 2, p=chance).astype(np.float32)
    found = majority(label, zero_is_positive=kind == "mosi")

    def reached(constant):
        got = score(kind, np.full(len(label), constant, np.float32), label)
        keys = ("acc2_has0", "acc2_non0") if kind == "mosi" else ("acc2",)
        return [got[key] for key in keys if not math.isnan(got[key])]

    best = [max(each) for each in zip(*map(reached, (-0.1, 0, 0.1)), strict=True)]
    assert reached(found) == best
    mean, median = label.mean(), np.median(label)
    if reached(median) == best:  # no other constant has a lower mean absolute error
        assert found == median
        assert np.abs(label - found).mean() <= np.abs(label - mean).mean() + 1e-6


def test_majority_where_the_two_accuracies_disagree():
    # Has0: 5 of 8 are not negative; Non0: 3 of 4 are negative. Only 0 does both.
    label = np.array([-1, -1, -1, 0, 0, 0, 0, 2], np.float32)
    assert majority(label, zero_is_positive=True) == 0
    # Most of those that are not 0 are positive: the least of them.
    label = np.array([-1, 0, 0, 0, 0.5, 2], np.float32)
    assert majority(label, zero_is_positive=True) == 0.5
    assert majority(label, zero_is_positive=False) == 0
    assert majority(np.zeros(3, np.float32), zero_is_positive=True) == 0


def test_means_and_deviations_by_hand(monkeypatch):
    monkeypatch.setattr(pooling, "_AT_ONCE", 2)
    x = np.array([[1, 3, 9], [5, 9, 9], [2, 4, 6]], np.float32)[..., None]
    mean, sd = pooling.mean_and_sd(x, np.array([2, 1, 3]))
    assert mean.tolist() == [[2], [5], [4]]
    np.testing.assert_allclose(sd[:, 0], [1, 0, math.sqrt(8 / 3)])
    far = pooling.within_reach([np.array([-50.0, 3, 11])])[0]
    assert far.tolist() == [-10, 3, 10]


def seen_and_heard(n, seed, bend=False):
    """Label: mean of audio; or (`bend`) whether a column of vision is far from 0."""
    rng = np.random.default_rng(seed)
    length = rng.integers(2, 6, n).astype(np.int32)
    audio = rng.normal(size=(n, 5, 3)).astype(np.float32)
    vision = rng.normal(size=(n, 5, 2)).astype(np.float32)
    far = rng.choice([-4, 0, 0, 4], n).astype(np.float32)
    vision[..., 0] += far[:, None]
    kept = (np.arange(5) < length[:, None])[..., None]
    label = (audio * kept).sum(1)[:, 0] / length
    if bend:
        label = np.where(far == 0, -1, 1) + 0.1 * rng.normal(size=n)
    audio[~kept[..., 0]] = vision[~kept[..., 0]] = 1e6  # padding is not read
    text = rng.normal(size=(n, 1, 4)).astype(np.float32)
    split = examples(label, text=text, length=np.ones(n, np.int32))
    return split._replace(
        audio=audio, audio_length=length, vision=vision, vision_length=length
    )


def test_audio_and_vision_are_read_where_text_says_nothing():
    splits = [seen_and_heard(n, i) for i, n in enumerate((200, 60, 60))]
    found = baselines(*splits, kind="mosi")
    assert list(found) == [
        MEAN,
        MAJORITY,
        FROZEN_TEXT,
        AUDIO_VISION,
        RIDGE,
        BOOSTING,
    ]
    assert found[AUDIO_VISION]["mae"] < 0.05 and found[RIDGE]["mae"] < 0.05
    assert found[FROZEN_TEXT]["mae"] > 0.9 * found[MEAN]["mae"]
    assert found[BOOSTING]["mae"] < 0.5 * found[MEAN]["mae"]


def test_trees_see_what_lines_do_not():
    splits = [seen_and_heard(n, i, bend=True) for i, n in enumerate((300, 80, 80))]
    for kind, key in (("mosi", "acc2_has0"), ("two_class", "acc2_has0")):
        found = baselines(*splits, kind=kind)
        assert found[BOOSTING][key] > 0.95
        linear = found[RIDGE if kind == "mosi" else LOGISTIC]
        assert linear[key] < 0.7
    assert str(found) == str(baselines(*splits, kind=kind))  # to the bit


def test_nothing_is_learnt_from_test():
    """Fewer test samples, or other labels: the answers to the rest stay."""
    splits = [seen_and_heard(n, i) for i, n in enumerate((120, 40, 40))]
    every = answers(*splits, kind="mosi")
    few = splits[2]._replace(
        **{
            name: value[:7]
            for name, value in splits[2]._asdict().items()
            if value is not None
        }
    )
    few = few._replace(label=-few.label)
    for name, answer in answers(splits[0], splits[1], few, kind="mosi").items():
        assert answer.dtype == np.float32 and every[name].shape == (40,)
        np.testing.assert_allclose(answer, every[name][:7], atol=1e-5)


def test_valid_chooses_the_number_of_trees(monkeypatch):
    """As fitting with every number of trees, one after the other, would."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    rules = boosting.RULES | {
        "max_iter": 12,
        "n_iter_no_change": 12,
        "learning_rate": 0.4,
    }
    monkeypatch.setattr(boosting, "RULES", rules)
    rng = np.random.default_rng(2)
    x = [rng.normal(size=(n, 4)) for n in (150, 30, 20)]
    y = [part[:, 0] ** 2 + 2.2 * rng.normal(size=len(part)) for part in x]
    with threadpool_limits(1):
        fits = [
            HistGradientBoostingRegressor(
                **(rules | {"max_iter": count, "early_stopping": False})
            ).fit(x[0], y[0])
            for count in range(1, 13)
        ]
    losses = [np.abs(fit.predict(x[1]) - y[1]).mean() for fit in fits]
    best = int(np.argmin(losses))
    assert 0 < best < 11  # else nothing is chosen
    found = boosting.scores(x, y[:2])
    np.testing.assert_allclose(found, fits[best].predict(x[2]), rtol=1e-6)


def test_order():
    found = in_order({"x": 1, RIDGE: 2, MEAN: 3})
    assert list(found.items()) == [(MEAN, 3), (RIDGE, 2), ("x", 1)]
    assert len(set(NAMES)) == len(NAMES)
