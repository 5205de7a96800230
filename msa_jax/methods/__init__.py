"""The methods, one file each; `make` picks one by its config."""

from typing import Any

from flax import linen as nn

from msa_jax.methods import mmcl, self_mm, spt, sugrm, ucrn
from msa_jax.types import Method


def make(
    config: Any, text_encoder: nn.Module, label_range: tuple[float, float]
) -> Method:
    """Assemble the method that `config.method` names.

    Args:
        config: the run's configuration, see `config.base`.
        text_encoder: module from `text.load_encoder`.
        label_range: lowest and highest label of the data set.
    """
    match config.method:
        case "self_mm":
            return self_mm.make(config, text_encoder, label_range)
        case "sugrm":
            return sugrm.make(config, text_encoder, label_range)
        case "spt":
            return spt.make(config, text_encoder)
        case "mmcl":
            return mmcl.make(config, text_encoder)
        case "ucrn":
            return ucrn.make(config, text_encoder)
        case other:
            raise ValueError(f"unknown method {other!r}")
