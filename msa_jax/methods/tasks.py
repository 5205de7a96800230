"""What a method may be asked: a sentiment, a class of it, or six emotions.

The loop knows a task by its functions only; `config.task` names one.
"""

from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from msa_jax.ground.types import Batch, Outputs, Split, Task
from msa_jax.methods import losses

CLASSES = 7  # of sentiment, -3 to 3


def make(name: str) -> Task:
    """Return the task of that name.

        sentiment        one score per sample in label units; L1
        two_class        negative against the rest (0 is positive); cross-entropy
        seven_class      labels rounded to -3..3, halves to the even; cross-entropy
        seven_class_sdk  labels' magnitudes rounded up, as the CMU SDK bins them
        emotion          six yes-or-no answers: intensity above 0; binary cross-entropy

    Source: UCRN, section 4.2; jbdel/MOSEI_UMONS (seven_class_sdk, emotion).
    """
    match name:
        case "sentiment":
            return SENTIMENT
        case "two_class":
            return _classes(name, 2, lambda label: (label >= 0).astype(int))
        case "seven_class":
            return _classes(name, CLASSES, partial(seven_classes, rule="rounded"))
        case "seven_class_sdk":
            return _classes(name, CLASSES, partial(seven_classes, rule="sdk"))
        case "emotion":
            return Task(
                name, 6, "emotion", _logits, _emotion_error, "mean cross-entropy"
            )
    raise ValueError(f"unknown task {name!r}")


def loss(
    outputs: Outputs, batch: Batch, labels: Any, *, task: Task
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Return the mean of a task's loss over valid samples, and it as "loss_task"."""
    del labels
    mean = losses.masked_mean(task.error(task.read(outputs), batch), batch.valid)
    return mean, {"loss_task": mean}


def metrics_kind(name: str, of_data: str) -> str:
    """Return what `metrics.score` is to compute; `of_data`: the data set's kind."""
    return of_data if name == SENTIMENT.name else name


def seven_classes(
    label: Float[Array, " n"], rule: Literal["rounded", "sdk"]
) -> Int[Array, " n"]:
    """Return classes 0 to 6 of labels in -3..3; see `make`."""
    if rule == "sdk":
        whole = jnp.sign(label) * jnp.ceil(jnp.abs(label))
    else:
        whole = jnp.round(label)
    return jnp.clip(whole, -3, 3).astype(int) + 3


def _score(outputs: Outputs) -> Float[Array, " b"]:
    return outputs.prediction[0]


def _logits(outputs: Outputs) -> Float[Array, "b k"]:
    return outputs.prediction.T


def _sentiment_error(answer: Array, labelled: Split | Batch) -> Float[Array, " b"]:
    return losses.absolute_error(answer, labelled.label)


def _emotion_error(answer: Array, labelled: Split | Batch) -> Float[Array, " b"]:
    assert labelled.emotion is not None  # `inputs` refuses data without
    return losses.binary_cross_entropy(answer, labelled.emotion > 0).mean(axis=1)


def _classes(name: str, count: int, class_of: Any) -> Task:
    def error(answer: Array, labelled: Split | Batch) -> Float[Array, " b"]:
        return losses.cross_entropy(answer.T, class_of(labelled.label))

    return Task(name, count, "label", _logits, error, "cross-entropy")


# What a network with a row for each class or emotion can be asked.
EVERY = ("sentiment", "two_class", "seven_class", "seven_class_sdk", "emotion")
SENTIMENT = Task(
    "sentiment", 1, "label", _score, _sentiment_error, "L1 of the fusion task"
)
