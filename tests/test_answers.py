"""What is said of classes and emotions."""

import numpy as np
import pytest

from msa_jax.predict import answers
from msa_jax.predict.answers import Predictor
from tests.intakes import SENTENCES

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
