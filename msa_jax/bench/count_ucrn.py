"""Operations that a training step of UCRN needs; what is counted: `count`."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from msa_jax.bench.count import Need
from msa_jax.types import MODALITIES, PyTree


def ucrn(
    params: PyTree,
    lengths: Mapping[str, np.ndarray],
    batch: int,
    model: Any,
    gradient: tuple[str, ...] = ("text",),
) -> dict[str, Need]:
    """Count one training step by part; either preset.

    Args:
        params: the method's parameters.
        lengths: steps that are attended to, [n] of any samples: their mean counts. All
            padded steps where the network does not respect lengths.
        batch: samples.
        model: `config.model`.
        gradient: modalities whose sequence needs a gradient, too.
    """
    found: dict[str, Need] = {}
    alone = np.ones(1)
    for m in (*MODALITIES, "crossmodal"):
        if f"{m}_stack" not in params:
            continue
        length = np.asarray(lengths.get(m, alone), float)
        # A causal query sees the steps up to its own.
        pairs = length * (length + 1) / 2 if model.causal else length**2
        kernels = {
            k: x for k, x in params[f"{m}_stack"]["layers"].items() if "ker" in k
        }
        count, width = kernels["output_kernel"].shape[:2]
        matrices = sum(x.size for x in kernels.values())
        each = 2 * matrices * length.mean() + 4 * count * width * pairs.mean()
        found[f"{m}_stack"] = Need(batch * each, 2 * batch * each)
        if m in MODALITIES:
            maps = 2.0 * params[f"{m}_kernel"].size * length.mean() * batch
            found[f"{m}_map"] = Need(maps, maps * (2 if m in gradient else 1))
    once = sum(x.size for x in jax.tree.leaves(params["head"]) if x.ndim == 2)
    found["head"] = Need(2.0 * once * batch, 4.0 * once * batch)
    return found
