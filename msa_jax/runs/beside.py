"""What all processes of a run do side by side; process 0, `main`, also writes."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import FrozenConfigDict

from msa_jax import data
from msa_jax.data import Dataset, store
from msa_jax.ground import hosts
from msa_jax.ground.backend import set_up_jax
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import TrainState
from msa_jax.methods import tasks
from msa_jax.runs import records, shuffled_test
from msa_jax.training import train
from msa_jax.training.boards import Epoch
from msa_jax.training.inputs import Inputs, make_inputs
from msa_jax.training.learning import Saved
from msa_jax.training.train import Fitted, Trained
from msa_jax.training.train_state import make_mesh

Keep = Callable[[TrainState, Epoch], None]


class Ready(NamedTuple):
    """What a run trains on: the data, as inputs, and the devices."""

    dataset: Dataset
    inputs: Inputs
    mesh: Mesh


def load(settings: FrozenConfigDict, change: Callable[[Inputs], Inputs]) -> Ready:
    """Read the data set and lay the devices out.

    Args:
        settings: the configuration.
        change: what else is done to the inputs.
    """
    where = store.data_dir(settings.data.dir)
    dataset = data.load(settings.data.name, where)
    inputs = change(make_inputs(dataset, settings))
    layout = settings.mesh
    mesh = make_mesh(layout.devices, layout.data, len(settings.seeds))
    return Ready(dataset, inputs, mesh)


def begin(ready: Ready, saved: Saved | None) -> None:
    """Let the other processes begin where this one, the first, does."""
    if hosts.several():
        hosts.share(lambda: _packed(ready, saved))


def run(settings: FrozenConfigDict) -> int:
    """Take part in what process 0 runs until it is done; return the exit code."""
    set_up_jax(settings.precision)
    ready = load(settings, lambda inputs: inputs)
    while got := hosts.share(dict):
        saved = _unpacked(ready, got)
        fitted = fit(settings, ready, saved, *_IDLE)
        evaluate(settings, ready, fitted)
    return 0


def fit(
    settings: FrozenConfigDict,
    ready: Ready,
    saved: Saved | None,
    on_epoch: Callable[[Epoch], None],
    keep: Keep,
    say: Callable[[str], None],
) -> Fitted:
    """Train and select; see `train.fit`."""

    def keep_whole(state: TrainState, epoch: Epoch) -> None:
        # All processes take part in copying it, whether they save it or not.
        keep(hosts.to_host(state) if hosts.several() else state, epoch)

    card = ready.dataset.card
    return train.fit(
        settings,
        ready.inputs.splits["train"],
        ready.inputs.splits["valid"],
        ready.inputs.encoder,
        ready.mesh,
        tuple(card["label_range"]),
        tasks.metrics_kind(settings.task, card["metrics"]),
        on_epoch,
        say=say,
        saved=saved,
        keep=keep_whole,
    )


def evaluate(
    settings: FrozenConfigDict, ready: Ready, fitted: Fitted
) -> tuple[Trained, shuffled_test.Answers]:
    """Answer test with the selected parameters, as it is and with others' inputs."""
    trained = train.evaluate(settings, fitted, ready.inputs, ready.mesh)
    return trained, shuffled_test.answers(
        settings, fitted, ready.inputs.test, ready.mesh
    )


def _idle(*given: Any) -> None:
    """Do nothing: process 0 shows, writes and says."""
    del given


_IDLE = (_idle, _idle, _idle)


def _packed(ready: Ready, saved: Saved | None) -> dict[str, np.ndarray]:
    about = store.identity(ready.dataset.card)
    found = {"about": _bytes(json.dumps(about).encode())}
    if saved is not None:
        found |= {f"state/{name}": x for name, x in saved.arrays.items()}
        found |= {f"epoch/{e.number}": _bytes(records.pack(e)) for e in saved.epochs}
    return found


def _unpacked(ready: Ready, got: dict[str, np.ndarray]) -> Saved | None:
    there = json.loads(got["about"].tobytes())
    other = store.difference(there, store.identity(ready.dataset.card))
    if other:
        raise UserError(
            f"data set {ready.dataset.name} of process {jax.process_index()} is not "
            f"that of process 0 ({other}); prepare it from the same file on all "
            "machines"
        )
    if len(got) == 1:
        return None
    parts = [(*name.split("/", 1), x) for name, x in got.items() if name != "about"]
    arrays = {name: x for part, name, x in parts if part == "state"}
    epochs = [
        records.unpack(int(name), x.tobytes())
        for part, name, x in parts
        if part == "epoch"
    ]
    return Saved(arrays, epochs)


def _bytes(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8)
