"""Replays of reference arrays older than schema 2, a module for each kind of file.

Files of schema 2 need none: `parity.replay` is one for all methods.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from msa_jax.studies.parity.replays import (
    metric_values,
    mmcl,
    self_mm,
    sugrm,
    sugrm_labels,
    ucrn,
)
from msa_jax.studies.parity.replays.compare import Comparison

Arrays = Mapping[str, np.ndarray]


class Replay(NamedTuple):
    """How one kind of older file is replayed, known by the start of its name."""

    name: str
    run: Callable[..., None]
    floats: bool  # replayed in each precision with its tolerance; False: exact
    scenarios: bool = True  # the first part of each key is a scenario


def _metrics(arrays: Arrays, table: Comparison) -> None:
    zero = table.where[1] == "error_all_zero_truth"
    (metric_values.all_zero_truth if zero else metric_values.values)(arrays, table)


REPLAYS = (
    Replay("selfmm_ulgm", self_mm.ulgm_steps, True),
    Replay("selfmm_forward", self_mm.forward, True),
    Replay("selfmm_train", self_mm.whole_training, True),
    Replay("spt", sugrm.spt, True, scenarios=False),
    Replay("sugrm_mrm", sugrm.recalibration, True, scenarios=False),
    Replay("sugrm_forward", sugrm.forward, True, scenarios=False),
    Replay("sugrm_train", sugrm.whole_training, True, scenarios=False),
    Replay("sugrm_ulgm", sugrm_labels.steps, True),
    Replay("mmcl_", mmcl.replay, True, scenarios=False),
    Replay("ucrn_", ucrn.replay, True, scenarios=False),
    Replay("metrics", _metrics, False),
)
