"""Runs as small as they get, their test split, and answers to it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import FrozenConfigDict

from msa_jax import report
from msa_jax.data import load_dataset
from msa_jax.ground.types import Examples
from msa_jax.methods import PAPERS
from msa_jax.predict import __main__ as command
from msa_jax.runs import run

SEEDS = (3, 4)
SIZE = 12


def small_config(data_dir: Path, **text: Any) -> FrozenConfigDict:
    """Self-MM with a random BERT, one epoch; `text`: fields of config.text."""
    config = PAPERS["self_mm"].config()
    config.seeds = SEEDS
    config.data.name, config.data.dir = "synthetic_tiny", str(data_dir)
    config.data.standardise = "train"
    config.text.update({"weights": "random", "packing": "none", "max_tokens": 12})
    config.text.update({"random_width": 8, "random_layers": 1} | text)
    for name in ("audio_hidden", "vision_hidden", "audio_width", "vision_width"):
        config.model[name] = 3
    for target in ("fusion", "text", "audio", "vision"):
        config.model[f"{target}_head"] = 4
    config.optim.batch_size = SIZE
    config.optim.accumulate_batches = 1
    config.selection.max_epochs = 1
    config.mesh.devices = 1
    return FrozenConfigDict(config)


def train(base: Path, **text: Any) -> tuple[Path, Examples]:
    """Train a run, take its data away; return its folder and its test split."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "set_up_jax", lambda precision: None)
        patch.setattr(report, "write_report", lambda folder: None)
        (base / "run").mkdir()
        run.complete_run(small_config(base / "data", **text), base / "run")
    test = load_dataset("synthetic_tiny", base / "data").splits["test"]
    (base / "data").rename(base / "elsewhere")
    return base / "run", test


def jsonl(path, test, rows=None):
    """Write samples of a split as lines."""
    with path.open("w") as file:
        for i in range(len(test.id)) if rows is None else rows:
            line = {"id": str(test.id[i]), "text": str(test.transcript[i])}
            for m in ("audio", "vision"):
                length = getattr(test, f"{m}_length")[i]
                line[m] = getattr(test, m)[i, :length].tolist()
            file.write(json.dumps(line) + "\n")
    return str(path)


def answered(predictor, path, out):
    """Return the answers to a file, and how many were good and bad."""
    counts = command.answer(predictor, str(path), str(out))
    return [json.loads(line) for line in out.read_text().splitlines()], counts


def own(run):
    with np.load(run[0] / "predictions_test.npz") as arrays:
        return arrays["id"], arrays["prediction"]


def of_seeds(lines):
    return np.array([[line["per_seed"][str(s)] for line in lines] for s in SEEDS])
