"""Runs the trials of a search: those that share a program share its compilation.

A lane is one seed of one trial. On a CPU lanes run in turn, so a trial at a time costs
nothing; elsewhere several trials train in parallel, up to so many lanes. No test split
comes in here.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import FrozenConfigDict

import msa_jax.methods as methods
from msa_jax.config import reads, with_values
from msa_jax.data import Dataset
from msa_jax.ground import hosts
from msa_jax.ground.types import Split, TrainState
from msa_jax.methods import tasks
from msa_jax.studies.search import Group, Trial
from msa_jax.text.encoders import Encoder
from msa_jax.training import loop
from msa_jax.training.loop import Epoch, Tally
from msa_jax.training.program import make_program
from msa_jax.training.splits import make_inputs
from msa_jax.training.train_state import devices_of, make_mesh

MOST_LANES = 16


class Seen(NamedTuple):
    """What a search sees of a data set.

    notes: what a reader should know of the preparation.
    """

    train: Split
    valid: Split
    encoder: Encoder
    label_range: tuple[float, float]
    metrics_kind: str
    notes: list[str]


Look = Callable[[Any], Seen]  # configuration -> what its trials see


class Outcome(NamedTuple):
    """A finished trial; tuples have one entry per seed.

    valid_loss: of the selected epoch; None for a seed that met a loss that was not
        finite, even if it had selected an epoch before.
    selected_epoch: from 1; 0 where none was selected.
    epochs_run: how many it trained.
    seconds: its share of the time that its lanes took together, compilation included.
    """

    trial: Trial
    valid_loss: tuple[float | None, ...]
    selected_epoch: tuple[int, ...]
    epochs_run: tuple[int, ...]
    seconds: float

    @property
    def score(self) -> float | None:
        """The mean over seeds; None if a seed diverged: the others would flatter."""
        known = [x for x in self.valid_loss if x is not None]
        return float(np.mean(known)) if len(known) == len(self.valid_loss) else None

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over seeds; None for one seed or no score."""
        if self.score is None or len(self.valid_loss) < 2:
            return None
        return float(np.std(np.asarray(self.valid_loss, float), ddof=1))


def looking(dataset: Dataset) -> Look:
    """Return what prepares a data set as a configuration says; test stays behind.

    Trials that read the same inputs, one after the other, share them.
    """
    made: dict[str, Seen] = {}
    card = dataset.card

    def look(config: Any) -> Seen:
        needs = dict(methods.of(config).needs(config))
        read = config.data.to_dict(), config.text.to_dict(), needs, reads(config)
        key = json.dumps(read, sort_keys=True)
        if key not in made:
            made.clear()
            inputs = make_inputs(dataset, config)
            made[key] = Seen(
                train=inputs.splits["train"],
                valid=inputs.splits["valid"],
                encoder=inputs.encoder,
                label_range=tuple(card["label_range"]),
                metrics_kind=tasks.metrics_kind(config.task, card["metrics"]),
                notes=inputs.notes,
            )
        return made[key]

    return look


def run_group(
    config: Any,
    group: Group,
    seen: Seen,
    most_lanes: int = MOST_LANES,
) -> Iterator[Epoch | Outcome]:
    """Train the trials of a group; yield each epoch, and each trial that is finished.

    Args:
        config: with the group's values in fields that are not traced.
        group: trials that one program can run.
        seen: what they train and are validated on.
        most_lanes: that run together, where lanes run in parallel.
    """
    seeds, layout = tuple(config.seeds), config.mesh
    clock = time.perf_counter()
    devices = devices_of(config)
    together = 1
    if devices.over_seeds == "vmap":
        together = min(len(group.trials), max(1, most_lanes // len(seeds)))
        mesh = make_mesh(layout.devices, layout.data, len(seeds) * together)
        devices = devices._replace(mesh=mesh)
    program = make_program(
        config,
        seen.train,
        seen.valid,
        seen.encoder,
        devices,
        seen.label_range,
        lanes=together * len(seeds),
    )
    for start in range(0, len(group.trials), together):
        block = group.trials[start : start + together]
        # The last block is filled up with idle lanes: another shape would compile anew.
        filled = block + block[-1:] * (together - len(block))
        values = [program.values | t.values for t in filled]
        state = program.start(
            seeds * together,
            {
                field: np.repeat([v[field] for v in values], len(seeds))
                for field in program.values
            },
            idle=(together - len(block)) * len(seeds),
        )
        tally = loop.tally_of(len(state.step))
        steps = loop.epochs(program, state, tally, seen.metrics_kind)
        for state, tally, epoch in steps:
            yield epoch
            loop.require_finite(program, epoch)
        seconds = (time.perf_counter() - clock) / len(block)
        yield from _outcomes(block, len(seeds), state, tally, seconds)
        clock = time.perf_counter()


def config_of(config: Any, group: Group) -> FrozenConfigDict:
    """Return the configuration that a group's program is compiled for."""
    return FrozenConfigDict(with_values(config, group.trials[0].values))


def _outcomes(
    block: Sequence[Trial],
    seeds: int,
    state: TrainState,
    tally: Tally,
    seconds: float,
) -> list[Outcome]:
    chosen = hosts.to_host(state.selection)
    bad = (tally.failed_in > 0) | (chosen.epoch == 0) | ~np.isfinite(chosen.score)
    loss = [None if b else float(x) for b, x in zip(bad, chosen.score, strict=True)]
    found = []
    for i, trial in enumerate(block):
        own = slice(i * seeds, (i + 1) * seeds)
        found.append(
            Outcome(
                trial=trial,
                valid_loss=tuple(loss[own]),
                selected_epoch=tuple(chosen.epoch[own].tolist()),
                epochs_run=tuple(tally.epochs_run[own].tolist()),
                seconds=seconds,
            )
        )
    return found
