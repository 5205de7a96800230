"""Replays of the metric values that MMSA and Self-MM computed."""

from collections.abc import Mapping

import numpy as np

from msa_jax.evaluation import metrics
from msa_jax.studies.parity.replays.compare import Comparison

NAMES = {
    "mosi": {
        "Has0_acc_2": "acc2_has0",
        "Has0_F1_score": "f1_has0",
        "Non0_acc_2": "acc2_non0",
        "Non0_F1_score": "f1_non0",
        "Mult_acc_3": "acc3",
        "Mult_acc_5": "acc5",
        "Mult_acc_7": "acc7",
        "MAE": "mae",
        "Corr": "corr",
    },
    "sims": {
        "Mult_acc_2": "acc2",
        "Mult_acc_3": "acc3",
        "Mult_acc_5": "acc5",
        "F1_score": "f1",
        "MAE": "mae",
        "Corr": "corr",
    },
}
ROUNDED = 0.501e-4  # the originals round to 4 decimals; ours do not
UNROUNDED = 1e-6  # float32 means of the originals


def values(z: Mapping[str, np.ndarray], table: Comparison) -> None:
    """Compare every metric of one case; its file key names the metrics' kind."""
    kind = "sims" if "Has0_acc_2" not in z["mmsa/keys"] else "mosi"
    ours = metrics.score(kind, z["pred"], z["truth"])
    for code in ("mmsa", "selfmm"):
        # Only Self-MM's SIMS values are unrounded.
        tolerance = UNROUNDED if (code, kind) == ("selfmm", "sims") else ROUNDED
        for key, reference in zip(z[f"{code}/keys"], z[f"{code}/values"], strict=True):
            name = NAMES[kind][str(key)]
            table.add(f"{code}/{key}", ours[name], reference, tolerance)


def all_zero_truth(z: Mapping[str, np.ndarray], table: Comparison) -> None:
    """The originals raise when every label is 0; ours gives NaN for Non0 metrics."""
    del z
    ours = metrics.score("mosi", np.ones(3, np.float32), np.zeros(3, np.float32))
    table.add("Non0_acc_2 is NaN, not an error", ours["acc2_non0"], np.nan, 0.0)
