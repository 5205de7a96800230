"""The files of a finished run, as arrays in which NaN stands for "not known"."""

import json
import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from msa_jax.evaluation.metric_names import METRICS
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import TARGETS

SCHEMA = 1  # of results.json


@dataclass(frozen=True)
class History:
    """Curves over epochs, one column per seed."""

    epoch: np.ndarray  # [e], counted from 1
    train: dict[str, np.ndarray]  # name -> [e, s]
    valid: dict[str, np.ndarray]  # name -> [e, s]
    active: np.ndarray  # [e, s] bool: the seed trained in this epoch
    empty_classes: np.ndarray  # [e, s]


@dataclass(frozen=True)
class Predictions:
    """Answers on the test split."""

    label: np.ndarray  # [n], or [n, 6] intensities of emotions
    prediction: np.ndarray  # [s, n], or logits [s, n, k]
    id: np.ndarray | None = None  # [n] str

    @property
    def scores(self) -> bool:
        """Tell whether these are sentiment scores, not logits."""
        return self.prediction.ndim == 2


@dataclass(frozen=True)
class ULabels:
    """Generated labels of the training samples, after each recorded epoch."""

    epoch: np.ndarray  # [e]
    value: np.ndarray  # [e, s, m, n]
    label: np.ndarray  # [n], the multimodal label
    unimodal_label: np.ndarray | None  # [n, 3], the true unimodal sentiments


@dataclass(frozen=True)
class Samples:
    """One split's samples, with the selected parameters' predictions."""

    id: np.ndarray  # [n] str
    text: np.ndarray  # [n] str, empty where unknown
    label: np.ndarray  # [n]
    prediction: np.ndarray  # [s, m, n]; m is 1 where a method predicts fusion only
    unimodal_label: np.ndarray | None  # [n, 3], the true unimodal sentiments
    decoded: bool  # `text` was put together from tokens


@dataclass(frozen=True)
class Steps:
    """Losses of every training step; a step is one batch."""

    epoch: np.ndarray  # [steps], counted from 1
    losses: dict[str, np.ndarray]  # name -> [steps, s], NaN where a seed had ended


@dataclass(frozen=True)
class Features:
    """What the selected parameters make of some samples of a split."""

    index: np.ndarray  # [n], places in the split
    label: np.ndarray  # [n]
    value: dict[str, np.ndarray]  # name -> [s, n, h]


@dataclass(frozen=True)
class Run:
    """All that a report needs; what the work directory lacks is None."""

    workdir: Path
    results: dict[str, Any]
    config: dict[str, Any] | None
    history: History | None
    predictions: Predictions | None
    u_labels: ULabels | None
    samples: dict[str, Samples]  # "train", "test", each only if it was written
    steps: Steps | None = None
    features: dict[str, Features] = field(default_factory=dict)  # like `samples`


def read(workdir: Path) -> Run:
    """Read a work directory.

    Raises: UserError if it has no results, or a file in it cannot be understood.
    """
    path = workdir / "results.json"
    if not path.is_file():
        raise UserError(
            f"no results.json in {workdir}: the run is not finished, or this is not "
            "its work directory (train with python -m msa_jax.main)"
        )
    results = _json(path)
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        raise UserError(f"{path}: not a results file of schema {SCHEMA}")
    missing = {"method", "dataset", "seeds", "metrics_kind", "test"} - results.keys()
    if missing:
        raise UserError(f"{path}: lacks {', '.join(sorted(missing))}; train again")
    if results["metrics_kind"] not in METRICS:
        raise UserError(
            f"{path}: metrics kind {results['metrics_kind']!r} is none of "
            f"{', '.join(METRICS)}"
        )
    seeds = len(results["seeds"])
    for name, cell in results["test"].items():
        if (found := len(cell.get("per_seed", []))) != seeds:
            raise UserError(f"{path}: {name} has {found} values for {seeds} seeds")
    config = workdir / "config.json"
    u_labels = _u_labels(workdir / "u_labels.npz", seeds)
    samples = _samples(workdir / "samples.npz", seeds)
    if u_labels is not None and "train" in samples:
        found, expected = len(samples["train"].label), len(u_labels.label)
        if found != expected:
            raise UserError(
                f"{workdir / 'samples.npz'}: {found} training samples, but "
                f"u_labels.npz has {expected}"
            )
    return Run(
        workdir,
        results,
        _json(config) if config.is_file() else None,
        _history(workdir / "history.jsonl", seeds),
        _predictions(workdir / "predictions_test.npz", seeds),
        u_labels,
        samples,
        _steps(workdir / "losses.npz", seeds),
        _features(workdir / "features.npz", seeds),
    )


def numbers(values: Any) -> np.ndarray:
    """Turn JSON numbers into a float array, null into NaN."""
    return np.asarray(values, np.float64)


def number(value: Any) -> float:
    """Turn a JSON number into a float, null into NaN."""
    return math.nan if value is None else float(value)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None


def _history(path: Path, seeds: int) -> History | None:
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        if not rows:
            return None
        shape = (len(rows), seeds)
        none_empty = [0] * seeds
        history = History(
            numbers([row["epoch"] for row in rows]),
            _columns([row["train"] for row in rows], shape),
            _columns([row["valid"] for row in rows], shape),
            np.asarray([row["active"] for row in rows], bool).reshape(shape),
            numbers([row.get("empty_classes", none_empty) for row in rows]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a history of {seeds} seeds ({error!r})") from None
    return history


def _columns(rows: list[dict[str, list]], shape: tuple[int, int]):
    """Stack each named quantity over epochs; an epoch without it is NaN."""
    names = dict.fromkeys(name for row in rows for name in row)
    nothing = [None] * shape[1]
    return {
        name: numbers([row.get(name, nothing) for row in rows]).reshape(shape)
        for name in names
    }


def _predictions(path: Path, seeds: int) -> Predictions | None:
    arrays = _npz(path)
    if arrays is None:
        return None
    try:
        label, prediction = numbers(arrays["label"]), numbers(arrays["prediction"])
    except KeyError as error:
        raise UserError(f"{path}: lacks the array {error}") from None
    n = label.shape[0] if label.ndim else 0
    shape = (seeds, n, *prediction.shape[2:3])
    if prediction.shape != shape or (label.ndim == 2 and shape[1:] != label.shape):
        raise UserError(f"{path}: prediction is {prediction.shape}, expected {shape}")
    names = arrays.get("id")
    if names is not None and names.shape != (n,):
        raise UserError(f"{path}: id is {names.shape}, expected ({n},)")
    return Predictions(label, prediction, names)


def _u_labels(path: Path, seeds: int) -> ULabels | None:
    arrays = _npz(path)
    if arrays is None:
        return None
    try:
        epoch, value, label = arrays["epoch"], arrays["value"], arrays["label"]
    except KeyError as error:
        raise UserError(f"{path}: lacks the array {error}") from None
    expected = (len(epoch), seeds, len(TARGETS), len(label))
    if value.shape != expected:
        raise UserError(f"{path}: value is {value.shape}, expected {expected}")
    true = arrays.get("unimodal_label")
    if true is not None and true.shape != (len(label), len(TARGETS) - 1):
        raise UserError(f"{path}: unimodal_label is {true.shape}, expected (n, 3)")
    return ULabels(numbers(epoch), value, numbers(label), true)


def _samples(path: Path, seeds: int) -> dict[str, Samples]:
    arrays = _npz(path) or {}
    found = {}
    for split in ("train", "test"):
        mine = _of_split(arrays, split)
        if not mine:
            continue
        try:
            names, text, label, prediction = (
                mine[name] for name in ("id", "text", "label", "prediction")
            )
        except KeyError as error:
            raise UserError(f"{path}: {split} lacks the array {error}") from None
        n = len(label)
        rows = prediction.shape[1] if prediction.ndim == 3 else 0
        true = mine.get("unimodal_label")
        shapes = {"id": names.shape, "text": text.shape, "prediction": prediction.shape}
        expected = {"id": (n,), "text": (n,), "prediction": (seeds, rows, n)}
        if true is not None:
            shapes["unimodal_label"] = true.shape
            expected["unimodal_label"] = (n, len(TARGETS) - 1)
        if shapes != expected or rows not in (1, len(TARGETS)):
            raise UserError(
                f"{path}: arrays of {split} do not fit {n} samples and {seeds} seeds "
                f"({', '.join(f'{k} {v}' for k, v in shapes.items())})"
            )
        decoded = str(arrays.get("text_source", "")) == "tokens"
        found[split] = Samples(names, text, numbers(label), prediction, true, decoded)
    return found


def _steps(path: Path, seeds: int) -> Steps | None:
    arrays = _npz(path)
    if arrays is None:
        return None
    losses = {name: value for name, value in arrays.items() if name != "epoch"}
    if "epoch" not in arrays or not losses:
        raise UserError(f"{path}: lacks the array 'epoch', or every loss")
    expected = (len(arrays["epoch"]), seeds)
    for name, value in losses.items():
        if value.shape != expected:
            raise UserError(f"{path}: {name} is {value.shape}, expected {expected}")
    return Steps(arrays["epoch"], losses)


def _features(path: Path, seeds: int) -> dict[str, Features]:
    arrays = _npz(path) or {}
    found = {}
    for split in ("train", "test"):
        mine = _of_split(arrays, split)
        if not mine:
            continue
        try:
            index, label = mine.pop("index"), numbers(mine.pop("label"))
        except KeyError as error:
            raise UserError(f"{path}: {split} lacks the array {error}") from None
        for name, value in mine.items():
            if value.ndim != 3 or value.shape[:2] != (seeds, len(label)):
                raise UserError(
                    f"{path}: {split}_{name} is {value.shape}, expected "
                    f"({seeds}, {len(label)}, width)"
                )
        found[split] = Features(index, label, mine)
    return found


def _of_split(arrays: dict[str, np.ndarray], split: str) -> dict[str, np.ndarray]:
    """Return the arrays of one split, by their names without it."""
    start = f"{split}_"
    return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}


def _npz(path: Path) -> dict[str, np.ndarray] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable npz file ({error})") from None
