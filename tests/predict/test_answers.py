"""What is said of classes and emotions."""

import numpy as np
import pytest

from msa_jax.predict import answers
from msa_jax.predict.answers import Predictor
from msa_jax.predict.json_lines import Item
from msa_jax.predict.samples import Sample
from tests.preparations import SENTENCES

SEEDS = (3, 4)


def logits_of(task, values):
    """Return the answer to one sample whose logits are these, [s, k]."""
    intake = SENTENCES._replace(task=task)
    predictor = Predictor(intake, SEEDS, 1, lambda arrays: np.zeros(0))
    return answers.answer(predictor, np.asarray(values, np.float64))


def test_classes_are_probabilities():
    found = logits_of("two_class", [[0, np.log(3)], [np.log(9), 0]])
    assert found["per_seed"]["3"] == pytest.approx(
        {"negative": 0.25, "not negative": 0.75}
    )
    assert found["classes"] == pytest.approx({"negative": 0.575, "not negative": 0.425})
    assert found["prediction"] == "negative"
    assert found["sd"]["negative"] == pytest.approx(0.65 / np.sqrt(2))
    sure = logits_of("seven_class", [[0, 0, 0, 0, 0, 800.0, 0]] * 2)
    assert sure["prediction"] == "2" and sure["classes"]["2"] == 1


def test_emotions_are_those_above_one_half():
    found = logits_of("emotion", [[5, -5, 0.1, 0, 1, -1], [5, -5, 0.1, 0, -3, 4]])
    assert found["prediction"] == ["happy", "anger", "fear"]
    assert found["emotions"]["surprise"] == 0.5
    assert found["per_seed"]["3"]["happy"] == pytest.approx(1 / (1 + np.exp(-5)))


def test_an_answer_that_is_not_finite_is_none():
    """A diverged seed, or features far from any of the training."""
    found = np.array([[1.0, np.nan, 3.0], [1.0, 2.0, np.inf]])
    predictor = Predictor(SENTENCES, SEEDS, 3, lambda arrays: found)
    items = [Item(i, name, Sample("good")) for i, name in enumerate("abc", 1)]
    lines = []
    assert answers.answer_all(predictor, items, lines.append, 3) == (1, 2)
    assert lines[0]["prediction"] == 1 and lines[0]["id"] == "a"
    wanted = [
        {"line": i, "id": x, "error": answers.NOT_FINITE}
        for i, x in ((2, "b"), (3, "c"))
    ]
    assert lines[1:] == wanted


def test_batches_are_filled_up_and_order_is_kept():
    """One shape of arrays for all batches; many bad lines do not pile up."""
    sizes = []

    def predict(arrays):
        sizes.append(len(arrays["text"]))
        return np.stack([arrays["text_length"], arrays["text_length"]]).astype(float)

    predictor = Predictor(SENTENCES, SEEDS, 4, predict)
    good = [Item(i, i, Sample("good " * (i % 3))) for i in range(1, 7)]
    bad = [Item(i, i, None, "bad") for i in range(7, 40)]
    items, seen = [*good[:2], *bad, *good[2:]], []
    assert answers.answer_all(predictor, items, seen.append, 4) == (6, 33)
    assert [line.get("id") for line in seen] == [item.id for item in items]
    assert set(sizes) == {4} and len(sizes) == 2
    assert [x["prediction"] for x in seen if "error" not in x] == [3, 4, 2, 3, 4, 2]
