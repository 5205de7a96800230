"""A finished run's folder: its files are read when they are asked for.

In arrays NaN stands for what is not known. What a run leaves: docs/design.md.
"""

import json
import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict, cast

import jax
import numpy as np
from ml_collections import FrozenConfigDict

from msa_jax.data.sealed_test import Frozen, StillSealed, recall
from msa_jax.evaluation.metric_names import METRICS
from msa_jax.evaluation.results_table import Curve
from msa_jax.evaluation.statistics import Summary
from msa_jax.evaluation.wording import numbers
from msa_jax.ground.errors import UserError
from msa_jax.runs import checkpoint, workdir

SCHEMA = 1  # of results.json


class Control(Summary):
    """A metric of shuffled test samples; `change`: minus as it is, paired by seed."""

    change: Summary


class Results(TypedDict):
    """What results.json holds; a number that is not known is None.

    valid, test: metric -> summary over seeds.
    baselines: name -> metric -> value.
    controls: what was shuffled -> metric -> summary.
    u_labels: quantity -> modality -> summary.
    selected_epoch, epochs_run, state_sha256: by seed.
    """

    schema: int
    method: str
    dataset: str
    seeds: list[int]
    metrics_kind: str
    selection: NotRequired[str]
    selected_epoch: NotRequired[dict[str, int]]
    epochs_run: NotRequired[dict[str, int]]
    valid: NotRequired[dict[str, Summary]]
    test: dict[str, Summary]
    baselines: NotRequired[dict[str, dict[str, float | None]]]
    controls: NotRequired[dict[str, dict[str, Control]]]
    u_labels: NotRequired[dict[str, dict[str, Summary]]]
    state_sha256: NotRequired[dict[str, str]]
    notes: NotRequired[list[str]]
    provenance: NotRequired[dict[str, Any]]
    time: NotRequired[dict[str, Any]]


class History(NamedTuple):
    """Curves over epochs, one column per seed."""

    epoch: np.ndarray  # [e], counted from 1
    train: dict[str, np.ndarray]  # name -> [e, s]
    valid: dict[str, np.ndarray]  # name -> [e, s]
    active: np.ndarray  # [e, s] bool: the seed trained in this epoch
    empty_classes: np.ndarray  # [e, s]


class Predictions(NamedTuple):
    """Answers on the test split."""

    label: np.ndarray  # [n], or [n, 6] intensities of emotions
    prediction: np.ndarray  # [s, n], or logits [s, n, k]
    id: np.ndarray | None = None  # [n] str

    @property
    def scores(self) -> bool:
        """Tell whether these are sentiment scores, not logits."""
        return self.prediction.ndim == 2


class ULabels(NamedTuple):
    """Generated labels of the training samples, after each recorded epoch."""

    epoch: np.ndarray  # [e]
    value: np.ndarray  # [e, s, m, n]
    label: np.ndarray  # [n], the multimodal label
    unimodal_label: np.ndarray | None  # [n, 3], the true unimodal sentiments


class Samples(NamedTuple):
    """One split's samples, with the selected parameters' predictions."""

    id: np.ndarray  # [n] str
    text: np.ndarray  # [n] str, empty where unknown
    label: np.ndarray  # [n]
    prediction: np.ndarray  # [s, m, n]; m is 1 where a method predicts fusion only
    unimodal_label: np.ndarray | None  # [n, 3], the true unimodal sentiments
    decoded: bool  # `text` was put together from tokens


class Steps(NamedTuple):
    """Losses of every training step; a step is one batch."""

    epoch: np.ndarray  # [steps], counted from 1
    losses: dict[str, np.ndarray]  # name -> [steps, s], NaN where a seed had ended


class Features(NamedTuple):
    """What the selected parameters make of some samples of a split."""

    index: np.ndarray  # [n], places in the split
    label: np.ndarray  # [n]
    value: dict[str, np.ndarray]  # name -> [s, n, h]


class Run:
    """A finished run; what its folder lacks is None, or empty.

    Reading raises a `UserError` that names the file where it is damaged, or of other
    seeds than `results`.
    """

    def __init__(self, folder: Path, results: Results):
        """Keep what `open_folder` has read."""
        self.folder, self.results = folder, results

    @cached_property
    def config(self) -> dict[str, Any] | None:
        """Return its configuration as it was written."""
        path = self.folder / workdir.CONFIG
        return workdir.read_json(path) if path.is_file() else None

    @cached_property
    def settings(self) -> FrozenConfigDict:
        """Return its configuration, checked, as one of this version."""
        import msa_jax.methods as methods  # every paper: slow to import

        path = self.folder / workdir.CONFIG
        try:
            settings = FrozenConfigDict(methods.completed(workdir.read_json(path)))
            methods.check(settings)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: not a configuration of this version ({error}); train again"
            ) from error
        return settings

    @cached_property
    def history(self) -> History | None:
        """Return what every epoch left."""
        path, seeds = self.folder / workdir.HISTORY, len(self.results["seeds"])
        if not path.is_file():
            return None
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines if line.strip()]
            if not rows:
                return None
            shape, none_empty = (len(rows), seeds), [0] * seeds
            return History(
                numbers([row["epoch"] for row in rows]),
                _columns([row["train"] for row in rows], shape),
                _columns([row["valid"] for row in rows], shape),
                np.asarray([row["active"] for row in rows], bool).reshape(shape),
                numbers([row.get("empty_classes", none_empty) for row in rows]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: not a history of {seeds} seeds ({error!r})"
            ) from None

    @cached_property
    def predictions(self) -> Predictions | None:
        """Return its answers on test."""
        arrays = self._arrays("predictions_test.npz")
        if not arrays:
            return None
        wide = any(
            np.ndim(arrays.get(k, 0)) == d for k, d in (("label", 2), ("prediction", 3))
        )
        label = "n k" if np.ndim(arrays.get("label", 0)) == 2 else "n"
        answers = "s n k" if wide else "s n"
        path = self.folder / "predictions_test.npz"
        self._require(path, arrays, {"label": label, "prediction": answers, "id?": "n"})
        label, prediction = numbers(arrays["label"]), numbers(arrays["prediction"])
        return Predictions(label, prediction, arrays.get("id"))

    @cached_property
    def u_labels(self) -> ULabels | None:
        """Return the labels that were generated while it trained."""
        arrays = self._arrays("u_labels.npz")
        if not arrays:
            return None
        axes = {
            "epoch": "e",
            "label": "n",
            "value": "e s 4 n",
            "unimodal_label?": "n 3",
        }
        self._require(self.folder / "u_labels.npz", arrays, axes)
        true = arrays.get("unimodal_label")
        epoch, label = numbers(arrays["epoch"]), numbers(arrays["label"])
        return ULabels(epoch, arrays["value"], label, true)

    @cached_property
    def samples(self) -> dict[str, Samples]:
        """Return the samples of "train" and "test", each only if it was written."""
        path, arrays = self.folder / "samples.npz", self._arrays("samples.npz")
        decoded, found = str(arrays.get("text_source", "")) == "tokens", {}
        for split, mine in _by_split(arrays).items():
            rows = 1 if np.shape(mine.get("prediction", 0))[1:2] == (1,) else 4
            axes = {"label": "n", "id": "n", "text": "n", "prediction": f"s {rows} n"}
            axes["unimodal_label?"] = "n 3"
            sizes = {}
            if split == "train" and self.u_labels is not None:
                sizes["n"] = len(self.u_labels.label)
            self._require(path, mine, axes, split, **sizes)
            found[split] = Samples(
                mine["id"],
                mine["text"],
                numbers(mine["label"]),
                mine["prediction"],
                mine.get("unimodal_label"),
                decoded,
            )
        return found

    @cached_property
    def steps(self) -> Steps | None:
        """Return the losses of every training step."""
        path, arrays = self.folder / workdir.LOSSES, self._arrays(workdir.LOSSES)
        if not arrays:
            return None
        if "epoch" not in arrays or len(arrays) < 2:
            raise UserError(f"{path}: lacks the array 'epoch', or every loss")
        epoch = arrays.pop("epoch")
        axes = {"epoch": "e"} | dict.fromkeys(arrays, "e s")
        self._require(path, {**arrays, "epoch": epoch}, axes)
        return Steps(epoch, arrays)

    @cached_property
    def features(self) -> dict[str, Features]:
        """Return features of samples of "train" and "test", like `samples`."""
        path, found = self.folder / workdir.FEATURES, {}
        for split, mine in _by_split(self._arrays(workdir.FEATURES)).items():
            places = {"index": "n", "label": "n"}
            axes = places | dict.fromkeys(mine.keys() - places.keys(), "s n any")
            self._require(path, mine, axes, split)
            index, label = mine.pop("index"), numbers(mine.pop("label"))
            found[split] = Features(index, label, mine)
        return found

    def lane(self, seed: int) -> int:
        """Return where a seed stands among the run's."""
        return self.results["seeds"].index(seed)

    def curve(self, seed: int) -> Curve | None:
        """Return a seed's losses over the epochs it trained; None without a history."""
        history, lane = self.history, self.lane(seed)
        if history is None or "loss" not in history.valid:
            return None
        on, train = history.active[:, lane], history.train.get("loss")
        return {
            "epoch": history.epoch[on].astype(int).tolist(),
            "valid_loss": history.valid["loss"][on, lane].tolist(),
            "train_loss": [] if train is None else train[on, lane].tolist(),
            "selected": (self.results.get("selected_epoch") or {}).get(str(seed)),
        }

    def selection(self) -> Frozen:
        """Read the selected variables: leading seed axis, NumPy; with their hashes.

        Raises:
            UserError: the checkpoint is missing, damaged or not the one of `results`.
        """
        path = self.folder / workdir.BEST
        if not path.is_dir():
            raise UserError(f"no {path}: train again")
        try:
            with checkpoint.quiet():
                variables = jax.tree.map(np.asarray, checkpoint.load(path))
            if "params" not in variables:  # from before there were other collections
                variables = {"params": variables}
            last = None if self.u_labels is None else self.u_labels.value[-1]
            hashes = self.results.get("state_sha256") or {}
            known = tuple(hashes.get(str(s), "") for s in self.results["seeds"])
            return recall(variables, last, known)
        except UserError:
            raise
        except StillSealed as error:
            raise UserError(
                f"{path} and u_labels.npz do not hold what {workdir.RESULTS} says "
                "(state_sha256 differs); train again"
            ) from error
        except Exception as error:  # orbax and its readers raise many types on damage
            raise UserError(
                f"{path} is damaged ({type(error).__name__}); train again"
            ) from error

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        path = self.folder / name
        if not path.is_file():
            return {}
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            said = json.dumps(str(error))
            raise UserError(f"{path}: cannot be read ({said}); train again") from None

    def _require(
        self,
        path: Path,
        arrays: Mapping[str, np.ndarray],
        axes: Mapping[str, str],
        split: str = "",
        **sizes: int,
    ) -> None:
        """Refuse arrays that are missing or of other shapes.

        Args:
            path: of their file.
            arrays: by name, of a split without it.
            axes: name -> "s 4 n": seeds, a size, or a letter whose size the first
                array says that has it; "any" fits every size. "name?" may be missing.
            split: of the arrays.
            sizes: of letters, known before.
        """
        sizes["s"] = len(self.results["seeds"])
        for name, wanted in axes.items():
            array = arrays.get(name.rstrip("?"))
            if array is None:
                if name.endswith("?"):
                    continue
                where = f"{split} lacks" if split else "lacks"
                raise UserError(f"{path}: {where} the array {name!r}; train again")
            words = wanted.split()
            if array.ndim == len(words):
                own = zip(words, array.shape, strict=True)
                sizes = {w: n for w, n in own if w.isalpha() and w != "any"} | sizes
            known = [int(w) if w.isdigit() else sizes.get(w, w) for w in words]
            fits = [w in ("any", n) for w, n in zip(known, array.shape, strict=False)]
            if array.ndim != len(words) or not all(fits):
                whole = f"{split}_{name.rstrip('?')}" if split else name.rstrip("?")
                said = ", ".join(map(str, known)) + "," * (len(known) == 1)
                raise UserError(f"{path}: {whole} is {array.shape}, expected ({said})")


def open_folder(folder: Path) -> Run:
    """Open a finished run.

    Raises:
        UserError: there are no results, or they are none of this version.
    """
    path = folder / workdir.RESULTS
    if not path.is_file():
        raise UserError(
            f"no {workdir.RESULTS} in {folder}: the run is not finished, or this is "
            "not its work directory (train with python -m msa_jax.main)"
        )
    results = workdir.read_json(path)
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
    return Run(folder, cast(Results, results))


def open_own(folder: Path) -> Run:
    """Open a finished run to answer with; see `require_own`.

    Raises:
        UserError: like `open_folder`, or its inputs were altered.
    """
    run = open_folder(folder)
    require_own(folder, run.results, "give the run it was made from")
    return run


def require_own(folder: Path, results: Any, advice: str) -> None:
    """Refuse a run whose inputs were not those of its data set (`workdir.ALTERED`).

    Args:
        folder: of the run.
        results: its results.json.
        advice: what can be done, the end of a sentence.

    Raises:
        UserError: they were altered.
    """
    for note in results.get("notes", ()):
        if note.startswith(workdir.ALTERED):
            said = f"{note[0].lower()}{note[1:].rstrip('.')}"
            raise UserError(f"{folder}: {said}; {advice}")


def _columns(rows: list[dict[str, list]], shape: tuple[int, int]):
    """Stack each named quantity over epochs; an epoch without it is NaN."""
    names = dict.fromkeys(name for row in rows for name in row)
    nothing = [None] * shape[1]
    return {
        name: numbers([row.get(name, nothing) for row in rows]).reshape(shape)
        for name in names
    }


def _by_split(arrays: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays of each split that has any, by their names without it."""
    found = {
        split: {
            name.removeprefix(f"{split}_"): value
            for name, value in arrays.items()
            if name.startswith(f"{split}_")
        }
        for split in ("train", "test")
    }
    return {split: mine for split, mine in found.items() if mine}
