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
        "model.block": "code",
        "model.causal": True,
        "model.scale": True,
        "model.collapse": "mix",
        "model.respect_lengths": False,
        "model.gate": "squeeze",
        "model.gate_layers": 1,
        "model.head": "residual",
        "loss.divergence": "code",
    },
}


def require_written(name: str, config: Any) -> None:
    """Refuse to compare a configuration that PyTorch's side would not compute.

    Raises:
        UserError: naming the field and the value that it must have.
    """
    for path, value in _WRITTEN[name].items():
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
