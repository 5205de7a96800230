"""What no run can use is refused before it starts."""

from collections.abc import Container
from typing import Any

from ml_collections import ConfigDict

from msa_jax.errors import UserError
from msa_jax.types import MODALITIES

_CHOICES: dict[str, tuple[Any, ...]] = {
    "method": ("self_mm", "sugrm", "spt", "mmcl", "ucrn"),
    "task": ("sentiment", "two_class", "seven_class", "seven_class_sdk", "emotion"),
    "data.standardise": ("none", "train"),
    "data.padding": ("back", "front"),
    "text.encoder": ("bert", "features"),
    "text.implementation": ("own", "transformers"),
    "text.packing": ("none", "auto", "tokens"),
    "text.pooling": ("first", "mean"),
    "optim.schedule": ("constant", "linear", "plateau"),
    "optim.tail": ("dropped", "stepped"),
    "selection.valid_mean": ("batches", "samples"),
    "mesh.over_seeds": ("auto", "vmap", "map"),
    "on_nonfinite": ("stop", "skip", "abort"),
    "precision": ("highest", "high", "default", "bfloat16"),
}
# Of methods that generate unimodal labels.
_LABEL_CHOICES: dict[str, tuple[Any, ...]] = {
    "loss.weighting": ("disagreement", "equal"),
    "ulgm.rule": ("self_mm", "sugrm", "human"),
    "ulgm.undefined": ("keep", "nan"),
}
_MODEL_CHOICES: dict[str, dict[str, tuple[Any, ...]]] = {
    "self_mm": {
        "sequence": ("lstm", "spt"),
        "recalibrate": ("none", "mean", "masked"),
        "head_layers": (1, 2),
    },
    "sugrm": {
        "sequence": ("spt", "lstm", "transformer"),
        "recalibrate": ("none", "mean", "masked"),
        "feature_layers": (1, 2),
    },
    "spt": {},
    "ucrn": {
        "block": ("paper", "code"),
        "collapse": ("last", "mix"),
        "gate": ("relu", "squeeze"),
        "head": ("two_layer", "residual"),
    },
    "mmcl": {"encoder": ("transformer", "linear"), "cnn_axis": ("feature", "time")},
}
_CONTRAST_CHOICES: dict[str, tuple[Any, ...]] = {
    "contrast.uni": ("prose", "literal", "keys", "simclr"),
    "contrast.cross_reduce": ("mean", "sum"),
    "contrast.align_norm": ("euclidean", "taxicab"),
    "contrast.uniformity": ("wang_isola", "literal", "union", "all_pairs"),
    "contrast.sentiment": ("log_outside_sum", "log_outside_mean", "log_inside"),
    "contrast.sentiment_pool": ("both", "target"),
}
_AT_LEAST: dict[str, float] = {
    "text.max_tokens": 3,
    "optim.batch_size": 1,
    "optim.accumulate_batches": 1,
    "optim.plateau_patience": 0,
    "selection.early_stop": 1,
    "selection.max_epochs": 1,
    "mesh.devices": 0,
    "mesh.data": 1,
    "mesh.seeds_at_once": 0,
}


def check(config: ConfigDict) -> None:
    """Refuse values that no run can use.

    Raises:
        UserError: naming the field, its value and what it may be.
    """
    if config.task != "sentiment" and config.method != "ucrn":
        raise UserError(
            f"config.task = {config.task!r}: {config.method} answers 'sentiment' only; "
            "classes and emotions are UCRN's: configs/ucrn_mosei_emotion.py"
        )
    multitask = "ulgm" in config
    _check_choices(config, _CHOICES | (_LABEL_CHOICES if multitask else {}))
    if "error" in config.loss:
        _check_choices(config, {"loss.error": ("l1", "l2", "huber")})
    of_model = _MODEL_CHOICES[config.method].items()
    _check_choices(config, {f"model.{name}": values for name, values in of_model})
    for path, least in _AT_LEAST.items():
        value = _get(config, path)
        if value < least:
            raise UserError(f"config.{path} = {value!r}: must be at least {least}")
    if config.data.aligned and config.data.padding == "front":
        raise UserError(
            "config.data.padding = 'front' and config.data.aligned = True exclude each "
            "other: aligned lengths count from the first step; change one of them"
        )
    if config.text.remat and config.text.implementation != "own":
        raise UserError(
            "config.text.remat needs our BERT: use --config.text.implementation=own"
        )
    if (group := config.mesh.seeds_at_once) and len(config.seeds) % group:
        raise UserError(
            f"config.mesh.seeds_at_once = {group} does not divide "
            f"{len(config.seeds)} seeds"
        )
    if config.text.packing == "tokens" and (reason := against_packing(config)):
        raise UserError(
            f"config.text.packing = 'tokens' {reason}; change it or use "
            "--config.text.packing=none"
        )
    seeds = config.seeds
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise UserError(
            f"config.seeds = {seeds!r}: give one or more different numbers from 0 up, "
            "for example --config.seeds=1111,1112,1113"
        )
    for name, adam in config.optim.groups.items():
        if not adam.rate > 0 or not adam.decay >= 0:
            raise UserError(
                f"config.optim.groups.{name}: rate {adam.rate} must be above 0 and "
                f"decay {adam.decay} at least 0 (freeze BERT with text.finetune)"
            )
    _check_schedule(config.optim)
    _check_sizes("model", config.model)
    if multitask:
        _check_tasks(config)
    if "spt" in config:
        _check_sizes("spt", config.spt)
        _check_heads("spt.embed", config.spt.embed, "spt.heads", config.spt.heads)
    if config.method == "mmcl":
        _check_mmcl(config)
    if config.method == "ucrn":
        _check_ucrn(config)


def against_packing(config: ConfigDict) -> str:
    """Say why a run's text cannot be packed (`text.packing`); "" where it can."""
    text = config.text
    if "text" not in reads(config):
        return f"packs text, which {config.method} does not read here"
    for name, needed in (
        ("encoder", "bert"),
        ("finetune", True),
        ("implementation", "own"),
    ):
        if text[name] != needed:
            return f"needs config.text.{name} = {needed!r}, not {text[name]!r}"
    if field := _reads_padding(config):
        return f"leaves out padding, which {config.method} reads with config.{field}"
    return ""


def _reads_padding(config: ConfigDict) -> str:
    """Return the setting that makes a method read BERT's padding, or ""."""
    if config.method == "mmcl":
        return ""
    if config.method == "ucrn":
        read = not config.model.respect_lengths
        return "model.respect_lengths = False" if read else ""
    if config.method != "spt" and config.model.recalibrate == "mean":
        return "model.recalibrate = 'mean'"
    transformer = config.method == "spt" or config.model.sequence == "spt"
    read = transformer and not config.spt.respect_lengths
    return "spt.respect_lengths = False" if read else ""


def _check_choices(config: ConfigDict, choices: dict[str, tuple[Any, ...]]) -> None:
    for path, allowed in choices.items():
        value = _get(config, path)
        if value not in allowed:
            listed = ", ".join(map(str, allowed))
            raise UserError(f"config.{path} = {value!r}: must be one of {listed}")


def _check_schedule(optim: ConfigDict) -> None:
    for name in ("clip_norm", "clip_value"):
        if not 0 <= optim[name] < float("inf"):
            raise UserError(
                f"config.optim.{name} = {optim[name]!r}: must be a number from 0 up "
                "(0: no limit)"
            )
    for name in ("warmup_share", "plateau_factor"):
        if not 0 <= optim[name] < 1:
            raise UserError(f"config.optim.{name} = {optim[name]!r}: must be in [0, 1)")
    if optim.warmup_share and optim.schedule == "plateau":
        raise UserError(
            f"config.optim.warmup_share = {optim.warmup_share!r}: rates warm up under "
            "schedule constant or linear, not under plateau; set one of them"
        )


def _check_tasks(config: ConfigDict) -> None:
    tasks = tuple(config.loss.tasks)
    known = ("fusion", "text", "audio", "vision")
    if set(tasks) - set(known) or "fusion" not in tasks:
        raise UserError(
            f"config.loss.tasks = {tasks!r}: list fusion and any of text, audio, vision"
        )
    if config.method == "self_mm" and config.ulgm.rule == "sugrm":
        widths = {t: config.model[f"{t}_head"] for t in known}
        if len(set(widths.values())) > 1:
            raise UserError(
                "config.ulgm.rule = 'sugrm' measures distances between features of "
                "different targets, so all of config.model.{fusion,text,audio,vision}"
                f"_head must be equal; they are {list(widths.values())}"
            )


def _check_mmcl(config: ConfigDict) -> None:
    model = config.model
    _check_choices(config, _CONTRAST_CHOICES)
    _check_sizes("weights", config.weights)
    named = "model.sequence_width x 2", 2 * model.sequence_width
    _check_heads(*named, "model.heads", model.heads)
    _check_modalities(model)
    if not model.cutoff < 1:
        raise UserError(f"config.model.cutoff = {model.cutoff!r}: must be in [0, 1)")
    if model.cnn_axis == "feature" and model.width < 159:
        raise UserError(
            f"config.model.width = {model.width}: the convolutions need at least 159 "
            "features; or let them run over time: --config.model.cnn_axis=time"
        )
    for name in ("temperature", "align_power", "kappa"):
        if not 0 < config.contrast[name] < float("inf"):
            raise UserError(
                f"config.contrast.{name} = {config.contrast[name]!r}: must be above 0"
            )


def _check_ucrn(config: ConfigDict) -> None:
    model = config.model
    _check_choices(config, {"loss.divergence": ("paper", "code")})
    _check_heads("model.width", model.width, "model.heads", model.heads)
    _check_modalities(model)
    for name in ("divergence_weight", "task_weight"):
        if not 0 <= config.loss[name] < float("inf"):
            raise UserError(
                f"config.loss.{name} = {config.loss[name]!r}: must be at least 0"
            )


def _check_modalities(model: ConfigDict) -> None:
    present = tuple(model.modalities)
    known = {"text", "audio", "vision"}
    if not present or set(present) - known or len(set(present)) < len(present):
        raise UserError(
            f"config.model.modalities = {present!r}: list any of text, audio, vision"
        )


def _check_heads(what: str, width: int, of: str, heads: int) -> None:
    if width % heads:
        raise UserError(
            f"config.{what} = {width}: must be a multiple of config.{of} = {heads}"
        )


def _check_sizes(section: str, values: ConfigDict) -> None:
    for name, value in values.items():
        if isinstance(value, bool | str):
            if name.endswith("letters") and set(str(value)) - set("SPR"):
                raise UserError(
                    f"config.{section}.{name} = {value!r}: any of the letters S, P, R"
                )
        elif isinstance(value, tuple):
            continue
        elif name.endswith("dropout"):
            if not 0 <= value < 1:
                raise UserError(
                    f"config.{section}.{name} = {value!r}: must be in [0, 1)"
                )
        elif isinstance(value, float):
            if not value >= 0:
                raise UserError(
                    f"config.{section}.{name} = {value!r}: must be at least 0"
                )
        elif name.endswith("_layers") and section == "model":
            if value < 0:
                raise UserError(
                    f"config.{section}.{name} = {value!r}: must be at least 0"
                )
        elif value < 1:
            raise UserError(f"config.{section}.{name} = {value!r}: must be at least 1")


def _get(config: ConfigDict, path: str) -> Any:
    for key in path.split("."):
        config = config[key]
    return config


def reads(settings: Any) -> tuple[str, ...]:
    """Return the modalities that the method reads, in the order of `MODALITIES`.

    Nothing that a run computes depends on the others: a data set may lack them.
    """
    named = settings.model.get("modalities")
    return tuple(m for m in MODALITIES if named is None or m in named)


def require(settings: Any, dataset: str, there: Container[str]) -> None:
    """Refuse a data set that lacks what a run reads.

    Args:
        settings: the configuration.
        dataset: name of the data set.
        there: what it has of `MODALITIES`, "emotion" and "unimodal_label".

    Raises:
        UserError: what is missing, and what can be used instead.
    """
    absent = [m for m in MODALITIES if m not in there]
    wanted = [m for m in reads(settings) if m in absent]
    if wanted:
        variant = "".join(m[0] for m in MODALITIES if m not in absent)
        instead = f"; UCRN and MMCL can do without {' and '.join(absent)}: --config "
        instead += f"configs/ucrn_mosi_real.py:{variant} or --config "
        instead += f"configs/mmcl_mosi_real.py:{variant}"
        raise UserError(
            f"data set {dataset} has no {' and no '.join(wanted)}, which "
            f"{settings.method} reads{instead if variant else ''}"
        )
    if settings.task == "emotion" and "emotion" not in there:
        raise UserError(
            f"data set {dataset} has no emotions, which config.task = 'emotion' "
            "asks for; prepare a file that has them (docs/layouts.md), or a twin: "
            "python -m msa_jax.prepare mosei_emotion --synthetic"
        )
    rule = settings.ulgm.rule if "ulgm" in settings else None
    if rule == "human" and "unimodal_label" not in there:
        raise UserError(
            f"data set {dataset} has no human unimodal labels, which "
            "config.ulgm.rule = 'human' asks for; prepare a file that has them "
            "(docs/bring_your_own.md) or generate them: --config.ulgm.rule=self_mm"
        )
