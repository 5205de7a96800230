"""What a training step of a method needs, part by part."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from msa_jax import bert
from msa_jax.bench import count
from msa_jax.bench.count import Need
from msa_jax.bench.count_mmcl import mmcl
from msa_jax.bench.count_ucrn import ucrn
from msa_jax.bench.shapes import Shape
from msa_jax.types import MODALITIES, Method, PyTree


def of_step(
    name: str,
    config: Any,
    method: Method,
    params: PyTree,
    shape: Shape,
    lengths: Mapping[str, np.ndarray],
    batch: int,
    tables: Any,
    encoder: bert.Shape | None = None,
) -> dict[str, Need]:
    """Count a step by part.

    Args:
        name: of the method, or "spt".
        config: the run's configuration; None for "spt".
        method: the method.
        params: its parameters.
        shape: padded sizes of what it reads.
        lengths: valid steps per modality, [n] of any samples: their mean counts.
        batch: samples.
        tables: label tables of the training samples.
        encoder: of the text, if its step counts, too.
    """
    found = {}
    if encoder is not None:
        found["encoder"] = count.bert(encoder, lengths["text"], batch)
    padded = {m: np.full(1, shape.steps[m]) for m in MODALITIES}
    if name == "mmcl":
        return found | mmcl(params, lengths, batch, config.model)
    if name == "ucrn":
        attended = lengths if config.model.respect_lengths else padded
        return found | ucrn(params, attended, batch, config.model)
    readings = getattr(method.model, "readings", None)
    # The transformer as published reads padding, too.
    if "spt" in params and not (readings and readings.respect_lengths):
        lengths = padded
    own = {k: v for k, v in params.items() if k != "text_encoder"}
    return found | count.step(
        own,
        {m: float(np.mean(lengths[m])) for m in MODALITIES},
        batch,
        readings=readings,
        # Recalibration's weights hang on every input; LSTMs' inputs are data.
        gradient=MODALITIES if name == "sugrm" else ("text",),
        tables=sum(x.size for x in jax.tree.leaves(getattr(tables, "feature", ()))),
    )
