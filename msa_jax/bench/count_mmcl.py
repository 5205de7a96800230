"""Operations that a training step of MMCL needs; what is counted: `count`."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from msa_jax.bench.count import Need
from msa_jax.errors import UserError
from msa_jax.layers.siamese_cnn import output_steps
from msa_jax.types import PyTree

VIEWS = 2  # in training: the sequence, and what cutoff left of it


def mmcl(
    params: PyTree, lengths: Mapping[str, np.ndarray], batch: int, model: Any
) -> dict[str, Need]:
    """Count one training step at true lengths, by part.

    The gradient goes down to the text's features. Products of the losses' vectors are
    counted once: all pairs of predictions and targets, all pairs of queries.

    Args:
        params: the method's parameters.
        lengths: valid steps of audio and vision, [n] of any samples: their mean counts.
        batch: samples.
        model: `config.model`.

    Raises:
        UserError: convolutions over time, which are not counted.
    """
    if model.cnn_axis != "feature":
        raise UserError(
            f"config.model.cnn_axis = {model.cnn_axis!r}: its operations are not "
            "counted, only those of 'feature'"
        )
    names = ("text_map", "audio_map", "vision_map", "fusion", "score")
    found = {"maps, fusion, score": _once({n: params[n] for n in names}, batch)}
    for m in ("audio", "vision"):
        length = np.asarray(lengths[m], float)
        steps, pairs = length.mean(), np.square(length).mean()
        coding, prediction = params[f"{m}_coding"], params[f"{m}_prediction"]
        lstm = coding["lstm"]
        inputs, states = (
            2.0 * batch * steps * sum(lstm[way][name].size for way in lstm)
            for name in ("input_kernel", "state_kernel")
        )
        found[f"{m} lstm"] = Need(inputs + states, inputs + 2 * states)
        width = 2 * model.sequence_width
        if model.encoder == "transformer":
            each = _matrices(coding["transformer"]) * steps
            each += 2 * model.layers * width * pairs
        else:
            each = _matrices(coding["linear"]) * steps
        encoder = 2.0 * batch * VIEWS * each
        found[f"{m} encoder"] = Need(encoder, 2 * encoder)
        parts = {n: prediction[n] for n in ("bimodal", "predictor")}
        found[f"{m} prediction"] = _once(parts, batch)
        outputs = output_steps(model.width, "cpc")
        stacks = [prediction[n]["stack"] for n in ("cnn", "target_cnn")]
        kernels = sum(
            steps * stack[f"layer_{layer}"]["kernel"].size
            for stack in stacks
            for layer, steps in enumerate(outputs, start=1)
        )
        found[f"{m} convolutions"] = Need(2.0 * batch * kernels, 4.0 * batch * kernels)
        context = 2.0 * batch * outputs[-1] * _matrices(prediction["context"])
        found[f"{m} context"] = Need(context, 2 * context)
        vectors = (2 * batch) ** 2 * model.channels + batch**2 * width
        found[f"{m} losses"] = Need(2.0 * vectors, 4.0 * vectors)
    return found


def _once(parts: PyTree, batch: int) -> Need:
    products = 2.0 * batch * _matrices(parts)
    return Need(products, 2 * products)


def _matrices(parts: PyTree) -> int:
    """Count the numbers in all kernels."""
    return sum(
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(parts)
        if jax.tree_util.keystr(path[-1:], simple=True).endswith("kernel")
    )
