"""Samples in, answers out: one JSON object a line, batch by batch."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from msa_jax.data.preparation import Preparation
from msa_jax.evaluation.metric_names import ANSWERS
from msa_jax.predict.json_lines import Item
from msa_jax.predict.samples import missing, prepare_samples, tokenizer_of
from msa_jax.text.tokens import Tokenizer

NOT_FINITE = "the answer is not finite: numbers too far from those of the training"


class Predictor(NamedTuple):
    """What answers, be it a run or an export.

    preparation: how samples become inputs.
    seeds: whose parameters answer.
    size: samples per batch.
    predict: arrays of n samples as prepared -> answers [s, n], or [s, n, k] logits.
    """

    preparation: Preparation
    seeds: tuple[int, ...]
    size: int
    predict: Callable[[dict[str, np.ndarray]], np.ndarray]


class Counts(NamedTuple):
    """How many lines were answered, and how many were bad."""

    answered: int
    bad: int


def answer_all(
    predictor: Predictor,
    items: Iterable[Item],
    write: Callable[[dict[str, Any]], None],
    size: int,
) -> Counts:
    """Answer every item, in order.

    Args:
        predictor: what answers.
        items: from `reading` or `arrays`.
        write: called with each answer.
        size: samples per batch; the last one is filled up, so that one program serves
            all. With 1, each answer is written before the next item is asked for.
    """
    tokenizer = tokenizer_of(predictor.preparation)
    waiting: list[Item] = []
    good = answered = bad = 0

    def flush() -> None:
        nonlocal answered, bad, good
        for line in _batch(predictor, tokenizer, waiting, size):
            answered, bad = answered + ("error" not in line), bad + ("error" in line)
            write(line)
        waiting.clear()
        good = 0

    for item in items:
        waiting.append(item)
        good += item.sample is not None
        if size == 1 or good == size or len(waiting) >= 4 * size:
            flush()
    flush()
    return Counts(answered, bad)


def _batch(
    predictor: Predictor,
    tokenizer: Tokenizer | None,
    items: list[Item],
    size: int,
) -> list[dict[str, Any]]:
    """Return the answers, or errors, of up to `size` samples and any bad items."""
    samples = [item.sample for item in items if item.sample is not None]
    rows = iter(())
    if samples:
        filled = samples + samples[-1:] * (size - len(samples))
        with np.errstate(all="ignore"):  # what is not finite is said below
            prepared = prepare_samples(predictor.preparation, tokenizer, filled)
            found = np.asarray(predictor.predict(prepared.arrays), np.float64)
        rows = zip(np.moveaxis(found, 1, 0), prepared.notes, strict=True)
    lines = []
    for item in items:
        name = {} if item.id is None else {"id": item.id}
        if item.sample is None:
            lines.append({"line": item.line} | name | {"error": item.error})
            continue
        of_seeds, notes = next(rows)
        if not np.isfinite(of_seeds).all():
            lines.append({"line": item.line} | name | {"error": NOT_FINITE})
            continue
        line = (name or {"line": item.line}) | answer(predictor, of_seeds)
        line["missing"] = missing(predictor.preparation, item.sample)
        lines.append(line | ({"notes": notes} if notes else {}))
    return lines


def answer(predictor: Predictor, of_seeds: np.ndarray) -> dict[str, Any]:
    """Return what is said of one sample.

    Args:
        predictor: what answered.
        of_seeds: each seed's answer [s], or logits [s, k].

    Returns: of a sentiment its mean over seeds, their standard deviation (ddof 1, None
        of one seed), each seed's value and the unit. Of classes the one whose mean
        probability is highest, of emotions those whose is above .5, and the same
        numbers of every class's or emotion's probability.
    """
    task = predictor.preparation.task
    if task == "sentiment":
        low, high = predictor.preparation.label_range
        return {
            "prediction": float(of_seeds.mean()),
            "sd": _sd(of_seeds),
            "per_seed": _by_seed(predictor, of_seeds.tolist()),
            "unit": f"label in [{low:g}, {high:g}]",
        }
    names = ANSWERS[task]
    if task == "emotion":
        kind = "emotions"
        probability = 1 / (1 + np.exp(-of_seeds))
        mean = probability.mean(axis=0)
        said: Any = [name for name, p in zip(names, mean, strict=True) if p > 0.5]
    else:
        kind = "classes"
        raised = np.exp(of_seeds - of_seeds.max(axis=1, keepdims=True))
        probability = raised / raised.sum(axis=1, keepdims=True)
        mean = probability.mean(axis=0)
        said = names[int(mean.argmax())]

    def named(values: Iterable[Any]) -> dict[str, Any]:
        return dict(zip(names, values, strict=True))

    return {
        "prediction": said,
        kind: named(mean.tolist()),
        "sd": named(_sd(column) for column in probability.T),
        "per_seed": _by_seed(predictor, [named(row.tolist()) for row in probability]),
    }


def _by_seed(predictor: Predictor, values: Iterable[Any]) -> dict[str, Any]:
    return {str(s): v for s, v in zip(predictor.seeds, values, strict=True)}


def _sd(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None
