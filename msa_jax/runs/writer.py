"""What a training run writes into its workdir, epoch by epoch and at the end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import msa_jax.methods as methods
from msa_jax.data import Dataset, preparation
from msa_jax.data.batches import gather
from msa_jax.data.sealed_test import Frozen, seal
from msa_jax.evaluation import baselines, metrics
from msa_jax.evaluation.statistics import summarise
from msa_jax.ground.files import json_safe
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Examples
from msa_jax.methods import tasks
from msa_jax.runs import checkpoint, shuffled_modalities, workdir
from msa_jax.runs.events import Events
from msa_jax.text.encoders import Encoder
from msa_jax.training import memory, nonfinite
from msa_jax.training.loop import Epoch
from msa_jax.training.splits import Inputs, frozen_features, opened
from msa_jax.training.train import Fitted, Trained

SELECTION = (
    "per seed the epoch with the lowest validation loss ({loss}, "
    "{mean}); training ends {stop} epochs after it; test is read once, afterwards"
)


# Files that some methods lack; one left by an unfinished run would be another's.
DUMPS = "nonfinite_*.npz"
NOT_ALWAYS = ("u_labels.npz", "samples.npz", workdir.LOSSES, workdir.FEATURES)


class Writer:
    """Writes the files of one run; see `report` for who reads them."""

    def __init__(
        self,
        folder: Path,
        config: Any,
        dataset: Dataset,
        inputs: Inputs,
        provenance: dict[str, Any],
    ):
        """Start the run's files; those of an unfinished run there are replaced."""
        self._folder, self._config = folder, config
        self._name, self._card, self._inputs = dataset.name, dataset.card, inputs
        known = ("train", "valid")  # test stays sealed until `finish`
        self._splits = {name: dataset.splits[name] for name in known}
        self._test = seal(dataset.splits["test"])
        self._kind = tasks.metrics_kind(config.task, dataset.card["metrics"])
        self._u_labels: list[np.ndarray] = []
        self._batches: list[dict[str, np.ndarray]] = []
        self._seconds: list[float] = []
        self._dumped: set[int] = set()
        workdir.write_json(folder / workdir.CONFIG, config.to_dict())
        self._provenance = provenance
        workdir.write_json(folder / "provenance.json", self._provenance)
        for name in (workdir.HISTORY, workdir.TIMES):
            (folder / name).write_text("")
        for old in (*(folder / name for name in NOT_ALWAYS), *folder.glob(DUMPS)):
            old.unlink(missing_ok=True)
        logs = folder / "tensorboard"
        self._boards = [Events(logs / f"seed_{s}") for s in config.seeds]

    def epoch(self, epoch: Epoch) -> list[str]:
        """Write an epoch's line of history and its scalars; keep its arrays.

        Returns: a line per seed about what was not finite; its samples are written.
        """
        self._seconds.append(epoch.seconds)
        self._batches.append(epoch.batches)
        if "u_labels" in epoch.recorded:
            self._u_labels.append(epoch.recorded["u_labels"])
        line = {
            "epoch": epoch.number,
            "train": epoch.train,
            "valid": epoch.valid,
            "active": epoch.active,
            "selected": epoch.selected,
            "empty_classes": epoch.recorded.get("empty_classes"),
        }
        workdir.append_line(self._folder / workdir.HISTORY, line)
        spent = {
            "epoch": epoch.number,
            "seconds": epoch.seconds,
            "peak_memory_bytes": memory.highest(),
        }
        workdir.append_line(self._folder / workdir.TIMES, spent)
        for i in np.flatnonzero(epoch.active):
            for part in ("train", "valid"):
                for name, values in getattr(epoch, part).items():
                    tag, value = f"{part}/{name}", float(values[i])
                    if np.isfinite(value):  # tensorboardX warns of every other one
                        self._boards[i].scalar(tag, value, epoch.number)
            self._boards[i].flush()
        return [said for fault in epoch.faults if (said := self._fault(fault))]

    def _fault(self, fault: nonfinite.Fault) -> str:
        """Write the samples of a seed's first fault; say so, or "" for later ones."""
        if fault.lane in self._dumped:
            return ""
        self._dumped.add(fault.lane)
        split = "train" if fault.step else "valid"
        ids = np.asarray(self._splits[split].id, str)
        seed = self._config.seeds[fault.lane]
        said = nonfinite.describe(fault, f"seed {seed}", list(ids))
        index = np.asarray(fault.index, np.int32)
        batch = gather(self._inputs.splits[split], jnp.asarray(index))
        name = f"nonfinite_seed_{seed}.npz"
        workdir.write_arrays(
            self._folder / name,
            what=np.asarray(nonfinite.where(fault)),
            split=np.asarray(split),
            id=ids[index],
            **{k: np.asarray(v) for k, v in vars(batch).items() if v is not None},
        )
        return f"{said}; see {self._folder / name}"

    def finish(
        self,
        trained: Trained,
        shuffled: shuffled_modalities.Answers,
        times: dict[str, Any],
        notes: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Write checkpoint, predictions, losses, features and, last, the results.

        Args:
            trained: from `train.evaluate`.
            shuffled: from `shuffled_modalities.answers`.
            times: what goes into the results as "time".
            notes: what else a reader should know.

        Returns: the results.
        """
        config, folder = self._config, self._folder
        seeds = [str(s) for s in config.seeds]
        fitted, frozen = trained.fitted, trained.fitted.frozen
        checkpoint.save(folder / workdir.BEST, frozen.values)
        task = tasks.make(config.task)
        splits = self._splits | {"test": self._test.open(frozen)}
        test, valid = splits["test"], splits["valid"]
        test_truth, valid_truth = (getattr(x, task.labels) for x in (test, valid))
        workdir.write_arrays(
            folder / "predictions_test.npz",
            id=np.asarray(test.id, str),
            label=test_truth,
            prediction=trained.test_prediction,
        )
        self._write_preparation()
        self._write_samples(trained, splits)
        self._write_losses()
        self._write_features(trained, splits)
        results: dict[str, Any] = {
            "schema": 1,
            "method": config.method,
            "dataset": self._name,
            "seeds": list(config.seeds),
            "task": task.name,
            "selection": SELECTION.format(
                loss=methods.of(config).selects_on or task.loss,
                mean=f"mean over {config.selection.valid_mean}",
                stop=config.selection.early_stop,
            ),
            "metrics_kind": self._kind,
            "selected_epoch": dict(zip(seeds, fitted.selected_epoch, strict=True)),
            "epochs_run": dict(zip(seeds, fitted.epochs_run, strict=True)),
            "valid": self._scores(valid_truth, fitted.valid_prediction),
            "test": self._scores(test_truth, trained.test_prediction),
            "controls": shuffled_modalities.summaries(self._kind, test_truth, shuffled),
            "baselines": self._baselines(splits, test_truth, frozen),
            "state_sha256": dict(zip(seeds, frozen.sha256, strict=True)),
            "notes": [
                *self._inputs.notes,
                *fitted.notes,
                *self._empty_classes(fitted),
                *self._missing_extremes(fitted),
                *notes,
            ],
            "provenance": self._provenance,
        }
        if self._u_labels:
            results |= self._write_u_labels()
        spent: dict[str, float] = {"peak_memory_bytes": memory.highest()}
        if self._seconds:  # it was trained here
            spent["compilation"] = fitted.compilation
            spent["seconds_per_epoch"] = float(np.median(self._seconds))
        results["time"] = times | spent
        workdir.write_json(folder / workdir.RESULTS, results)
        return json_safe(results)

    def _scores(self, truth: np.ndarray, prediction: np.ndarray) -> dict[str, Any]:
        scores = [metrics.score(self._kind, row, truth) for row in prediction]
        return {name: summarise([s[name] for s in scores]) for name in scores[0]}

    def _baselines(
        self, splits: dict[str, Examples], truth: np.ndarray, proof: Frozen
    ) -> dict[str, dict[str, float]]:
        """Score the trivial baselines; write their answers to every sample."""
        inputs, kind = self._inputs, self._kind
        text = frozen_features(inputs.encoder, opened(inputs, proof))
        if text is not None:
            text = (text["train"], text["valid"], text["test"])
        three = splits["train"], splits["valid"], splits["test"]
        found = baselines.answers(*three, kind, text)
        workdir.write_arrays(
            self._folder / workdir.BASELINES,
            name=np.array(list(found)),
            answer=np.stack(list(found.values())),
        )
        return baselines.scores(kind, found, truth)

    def _write_u_labels(self) -> dict[str, Any]:
        """Write the u-labels of every epoch; correlate the last with the truth."""
        train = self._splits["train"]
        value = np.stack(self._u_labels).astype(np.float32)
        arrays = {
            "epoch": np.arange(1, len(value) + 1),
            "value": value,
            "label": train.label,
            "id": np.asarray(train.id, str),
        }
        true = train.unimodal_label
        if true is not None:
            arrays["unimodal_label"] = true
        workdir.write_arrays(self._folder / "u_labels.npz", **arrays)
        if true is None:
            return {}
        found = {
            name: summarise([_corr(seed[i + 1], true[:, i]) for seed in value[-1]])
            for i, name in enumerate(MODALITIES)
        }
        return {"u_labels": {"correlation with the true unimodal sentiment": found}}

    def _write_preparation(self) -> None:
        """Write what `predict` needs in the place of the training data."""
        found, tokenizer = self._inputs.preparation, self._folder / workdir.TOKENIZER
        tokenizer.unlink(missing_ok=True)
        if found.tokenizer is not None:
            workdir.write_json(tokenizer, found.tokenizer)
        workdir.write_json(self._folder / workdir.MODEL, preparation.to_json(found))

    def _write_samples(self, trained: Trained, splits: dict[str, Examples]) -> None:
        """Write what a person needs to look at single samples; see docs/design.md."""
        if trained.test_targets is None:
            return
        arrays: dict[str, np.ndarray] = {}
        for name in ("train", "test"):
            prediction = getattr(trained, f"{name}_targets")
            if prediction is None:
                continue
            split = splits[name]
            source, words = texts(split, self._inputs.encoder)
            arrays |= {
                "text_source": np.asarray(source),
                f"{name}_id": np.asarray(split.id, str),
                f"{name}_text": words,
                f"{name}_label": split.label,
                f"{name}_prediction": prediction,
            }
            if split.unimodal_label is not None:
                arrays[f"{name}_unimodal_label"] = split.unimodal_label
        workdir.write_arrays(self._folder / "samples.npz", **arrays)

    def _write_losses(self) -> None:
        """Write the losses of every training step, a step being one batch."""
        if not self._batches:
            return
        first = next(iter(self._batches[0].values()))
        numbers = np.arange(1, len(self._batches) + 1)
        arrays = {
            name: np.concatenate([epoch[name].T for epoch in self._batches])
            for name in self._batches[0]
        }
        epoch = np.repeat(numbers, first.shape[1])
        workdir.write_arrays(self._folder / workdir.LOSSES, epoch=epoch, **arrays)

    def _write_features(self, trained: Trained, splits: dict[str, Examples]) -> None:
        """Write what the model makes of some samples; nothing if it gives nothing."""
        arrays: dict[str, np.ndarray] = {}
        for split, features in trained.features.items():
            label = splits[split].label[features.index]
            arrays |= {f"{split}_index": features.index, f"{split}_label": label}
            for name, value in features.value.items():
                arrays[f"{split}_{name}"] = value.astype(np.float32)
        if arrays:
            workdir.write_arrays(self._folder / workdir.FEATURES, **arrays)

    def _empty_classes(self, fitted: Fitted) -> list[str]:
        counts = fitted.recorded.get("empty_classes")
        if counts is None:
            return []
        return [
            f"Seed {seed}: {count} class centres had no sample and kept their value."
            for seed, count in zip(self._config.seeds, counts, strict=True)
            if count
        ]

    def _missing_extremes(self, fitted: Fitted) -> list[str]:
        """Say which labels SUGRM's generator took for the ends of the label range."""
        found = fitted.recorded.get("extreme_label")
        low, high = self._card["label_range"]
        if found is None or (found == [high, low]).all():
            return []
        highest, lowest = found[0]
        return [
            f"No training sample has a label at each end of [{low:g}, {high:g}]: the "
            f"label generator took {highest:g} and {lowest:g}, the farthest there are."
        ]


def texts(split: Examples, encoder: Encoder) -> tuple[str, np.ndarray]:
    """Return what was said, as far as the data set tells.

    Returns:
        Where it comes from: "transcript", "tokens" (decoded) or "" (unknown: features,
        or ids of a vocabulary that the encoder does not have); and the texts [n].
    """
    if split.transcript is not None:
        return "transcript", np.asarray(split.transcript, str)
    tokens, tokenizer = split.text, encoder.tokenizer
    # A random encoder made its vocabulary itself, not that of ready-made ids.
    if tokenizer is None or not encoder.pretrained or tokens is None:
        return "", np.full(len(split.id), "")
    if tokens.dtype.kind not in "iu":
        return "", np.full(len(split.id), "")
    rows = [row[0][row[1] > 0].tolist() for row in tokens]
    words = tokenizer.batch_decode(
        rows, skip_special_tokens=True, clean_up_tokenization_spaces=True
    )
    return "tokens", np.asarray(words, str)


def _corr(a: np.ndarray, b: np.ndarray) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
