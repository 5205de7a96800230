"""Operations that a training step needs, from formulas, and what the device can do.

Counted are the multiplications and additions of matrix products and of attention (two
for each pair of numbers). Norms, softmax, activations, dropout and Adam are not: the
share of the peak that follows is a lower bound of how busy the device is.
"""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from msa_jax.bert import Shape
from msa_jax.layers.spt import PAIRS, Readings
from msa_jax.layers.windows import Sampling
from msa_jax.types import MODALITIES, PyTree

ONCE = "heads"  # the part of all matrices that are applied once per sample


class Need(NamedTuple):
    """Operations of one part of a step."""

    forward: float
    backward: float

    @property
    def total(self) -> float:
        """Both passes."""
        return self.forward + self.backward


def step(
    params: PyTree,
    steps: Mapping[str, float],
    batch: int,
    *,
    readings: Readings | None,
    gradient: tuple[str, ...],
    tables: int = 0,
) -> dict[str, Need]:
    """Count one training step by part.

    Args:
        params: the method's parameters. Those of the sparse phased transformer stand
            under "spt", of an LSTM under "<modality>_lstm"; every other matrix is
            applied once per sample.
        steps: time steps that count per modality, mean over the samples.
        batch: samples.
        readings: of the transformer, where there is one.
        gradient: modalities whose sequence needs a gradient, too.
        tables: numbers in ULGM's feature buffers (read once for two class means).
    """
    found: dict[str, Need] = {}

    def add(part: str, forward: float, backward: float) -> None:
        old = found.get(part, Need(0, 0))
        found[part] = Need(old.forward + forward, old.backward + backward)

    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if leaf.ndim != 2 or name.startswith("spt/"):
            continue
        part, products = name.partition("/")[0], 2.0 * leaf.size * batch
        modality = part.removesuffix("_lstm")
        if modality in MODALITIES and part.endswith("_lstm"):
            products *= steps[modality]
            once = "input_kernel" in name and modality not in gradient
            add(part, products, products * (1 if once else 2))
        else:
            part = ONCE if part.endswith("_head_net") else part
            add(part, products, 2 * products)
    if readings is not None and "spt" in params:
        widths = {
            m: params["spt"][f"input_{m}"]["key_kernel"].shape[0] for m in MODALITIES
        }
        for part, need in spt(readings, steps, widths, gradient).items():
            add(f"spt {part}", need.forward * batch, need.backward * batch)
    if tables:
        add("ulgm", 2.0 * 2 * tables, 0)
    return found


def bert(shape: Shape, lengths: np.ndarray, batch: int) -> Need:
    """Count a step of BERT at true lengths; all of its layers are trained.

    Args:
        shape: of the encoder.
        lengths: tokens of any sentences, [n]: their mean counts.
        batch: sentences.
    """
    width, length = shape.hidden_size, np.asarray(lengths, float)
    matrices = 4 * width**2 + 2 * width * shape.intermediate_size
    each = 2 * matrices * length.mean() + 4 * width * np.square(length).mean()
    forward = float(batch * shape.num_hidden_layers * each)
    return Need(forward, 2 * forward)


def spt(
    readings: Readings,
    steps: Mapping[str, float],
    widths: Mapping[str, int],
    gradient: tuple[str, ...] = MODALITIES,
    *,
    per_entry: bool = False,
) -> dict[str, Need]:
    """Count the sparse phased transformer for one sample, all rounds.

    Args:
        readings: sizes and windows.
        steps: per modality.
        widths: of the inputs.
        gradient: inputs that need a gradient.
        per_entry: project keys and values once per window entry and round, as the
            public code does, not once per position (input attention: once in all).
    """
    embed, rounds = readings.embed, readings.rounds
    hidden = {m: -(-steps[m] // readings.input.stride) for m in MODALITIES}
    square = 2.0 * embed * embed

    def around(queries: float, window: Sampling) -> float:
        """Query and output maps, scores and mixtures, feed-forward."""
        attention = 4.0 * embed * window.width
        return queries * (2 * square + attention + 8 * square)

    def context(queries: float, keys: float, window: Sampling) -> float:
        return 2 * square * (queries * window.width if per_entry else keys)

    inputs = Need(0, 0)
    for m in MODALITIES:
        positions = steps[m]
        if per_entry:
            positions = rounds * hidden[m] * readings.input.width
        maps = 2.0 * positions * widths[m] * 2 * embed
        rest = rounds * around(hidden[m], readings.input)
        back = maps * (2 if m in gradient else 1) + 2 * rest
        inputs = Need(inputs.forward + maps + rest, inputs.backward + back)
    cross = sum(
        around(hidden[q], readings.cross)
        + context(hidden[q], hidden[k], readings.cross)
        for a, b in PAIRS
        for q, k in ((a, b), (b, a))
    )
    own = sum(
        around(hidden[m], readings.own) + context(hidden[m], hidden[m], readings.own)
        for m in MODALITIES
    )
    return {
        "input": inputs,
        "cross": Need(rounds * cross, 2 * rounds * cross),
        "self": Need(rounds * own, 2 * rounds * own),
    }


def matmul_peak(size: int = 1536, repeats: int = 5) -> float:
    """Return the device's best measured rate of a float32 product, per second."""
    x = jnp.full((size, size), 0.5)
    product: Any = jax.jit(jnp.matmul).lower(x, x).compile()
    jax.block_until_ready(product(x, x))
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(product(x, x))
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best
