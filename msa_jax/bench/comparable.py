"""Which configurations our PyTorch formulations compute."""

from typing import Any

from msa_jax.errors import UserError

# What the formulations compute: of every field here, this value and no other.
_SPT = {"spt.dense": False, "spt.respect_lengths": False, "spt.attention_dropout": 0.0}
_LABELS = {
    "loss.tasks": ("fusion", "text", "audio", "vision"),
    "loss.error": "l1",
    "loss.weighting": "disagreement",
}
_WRITTEN: dict[str, dict[str, Any]] = {
    "sugrm": _SPT
    | _LABELS
    | {
        "model.sequence": "spt",
        "model.recalibrate": "mean",
        "model.feature_layers": 2,
        "ulgm.rule": "sugrm",
    },
    "self_mm": _LABELS
    | {
        "model.sequence": "lstm",
        "model.recalibrate": "none",
        "model.head_layers": 2,
        "model.project_lstm": True,
        "ulgm.rule": "self_mm",
    },
    "ucrn": {
        "model.modalities": ("text", "audio", "vision"),
        "model.gate_layers": 1,
    },
    "mmcl": {
        "text.pooling": "first",
        "model.encoder": "transformer",
        "model.cnn_axis": "feature",
        "model.modalities": ("text", "audio", "vision"),
        "loss.error": "l1",
        "contrast.uni": "prose",
        "contrast.uni_normalise": True,
        "contrast.cross_reduce": "mean",
        "contrast.align_power": 2.0,
        "contrast.align_norm": "euclidean",
        "contrast.uniformity": "wang_isola",
        "contrast.sentiment": "log_outside_sum",
        "contrast.sentiment_self": False,
        "contrast.sentiment_pool": "both",
    },
}
# UCRN's two networks, by config.model.block.
_UCRN: dict[str, dict[str, Any]] = {
    "code": {
        "model.causal": True,
        "model.scale": True,
        "model.collapse": "mix",
        "model.respect_lengths": False,
        "model.gate": "squeeze",
        "model.head": "residual",
        "loss.divergence": "code",
    },
    "paper": {
        "model.causal": False,
        "model.scale": False,
        "model.collapse": "last",
        "model.respect_lengths": True,
        "model.gate": "relu",
        "model.head": "two_layer",
        "loss.divergence": "paper",
    },
}


def require_written(name: str, config: Any) -> None:
    """Refuse to compare a configuration that PyTorch's side would not compute.

    Raises:
        UserError: naming the field and the value that it must have.
    """
    needed = _WRITTEN[name]
    if name == "ucrn":
        needed = needed | _UCRN[config.model.block]
    for path, value in needed.items():
        section, field = path.split(".")
        if section in config and field in config[section]:
            found = config[section][field]
            if found != value:
                raise UserError(
                    f"--against torch: config.{path} = {found!r} is not written in "
                    f"PyTorch here, only {value!r}; change it or leave out --against"
                )
    for field, letters in config.spt.items() if name == "sugrm" else ():
        if field.endswith("letters") and set(letters) - {"S"}:
            raise UserError(
                f"--against torch: config.spt.{field} = {letters!r}: only letter S is "
                "written in PyTorch here; change it or leave out --against"
            )
