"""One clip without label and split, as MMSA-FET writes it: what `predict` answers.

Source: github.com/thuiar/MMSA-FET, FeatureExtractionTool.run_single: a dict of audio,
vision and text [steps, width], text_bert [tokens, 3] or [3, tokens], and the tool's
settings.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from msa_jax.data import checks
from msa_jax.data.clips import one_array
from msa_jax.data.columns import Budget, Layout, numbers, sentences
from msa_jax.ground.errors import UserError

_SEQUENCES = ("audio", "vision", "text", "text_bert")


def is_one(tree: Any) -> bool:
    """Tell whether this is a dict of sequences without splits."""
    return isinstance(tree, dict) and bool({*_SEQUENCES} & tree.keys())


def recognise(trees: Mapping[str, Any], budget: Budget) -> Layout:
    """Turn the contents of one file, by its name, into a layout of one row.

    A clip is as long as its arrays: nothing of one that stands alone is padding.

    Raises:
        UserError: it holds no clip, or sequences of another shape.
    """
    ((stem, tree),) = trees.items()
    if not is_one(tree):
        keys = checks.listed(tree) if isinstance(tree, dict) else type(tree).__name__
        raise UserError(
            "a pickle, but not of one clip, a dict of audio, vision, text or text_bert "
            f"as MMSA-FET writes it; found: {keys or 'nothing'}"
        )
    table: dict[str, Any] = {"id": [stem]}
    for key in _SEQUENCES:
        if tree.get(key) is not None:
            array = _sequence(key, tree[key], budget)
            if len(array):  # a face that is never seen: the modality is missing
                table[key] = array[None]
                if key != "text_bert":  # its mask says how long it is
                    table[f"{key}_length"] = np.array([len(array)])
    said = tree.get("raw_text")
    if isinstance(said, np.ndarray):
        said = said.reshape(-1)
    elif not isinstance(said, list | tuple):
        said = [said]
    said = " ".join(sentences("raw_text", said, budget)).strip()
    if said:
        table["transcript"] = [said]
    unused = [str(key) for key in tree if key not in table and key != "raw_text"]
    return Layout("one clip of MMSA-FET", {"clip": table}, (), tuple(unused))


def _sequence(key: str, value: Any, budget: Budget) -> np.ndarray:
    """Return [steps, width], of tokens [3, tokens]."""
    array = one_array(key, numbers(key, value, budget))
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.ndim != 2:
        raise UserError(f"'{key}' has shape {array.shape}, not [steps, width]")
    if key == "text_bert" and len(array) != 3 and array.shape[1] == 3:
        return array.T
    return array
