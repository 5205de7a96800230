"""Every field of a run's configuration, with its unit, its choices and its source.

Config files start from `base()` and change fields one level deep; `check` refuses
values that the types alone do not. Fields on which a paper and its public code differ
are listed in docs/fidelity.md, too.
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from msa_jax.errors import UserError


def base() -> ConfigDict:
    """Return the defaults: Self-MM as the authors' repository runs it on MOSI."""
    c = ConfigDict()
    c.method = "self_mm"
    c.seeds = (1111, 1112, 1113, 1114, 1115)  # the public code's five

    c.data = ConfigDict()
    c.data.name = "mosi"  # as given to `python -m msa_jax.prepare NAME`
    c.data.dir = placeholder(str)  # where prepare put it; default $MSA_DATA or ./data
    c.data.standardise = "none"  # none | train: by the train split's mean and sd
    c.data.aligned = False  # audio and vision lengths = number of text tokens
    # Where audio and vision of fewer steps than the longest get their zeros. back:
    # steps beyond the true length are not seen. front: zeros first, contents last, and
    # every step counts. So MulT's unaligned files (yaohungt/Multimodal-Transformer)
    # are said to be laid out; models that read the last step see contents then.
    c.data.padding = "back"  # back | front
    c.data.drop_last = False  # leave out the ragged last training batch

    c.text = ConfigDict()
    c.text.encoder = "bert"  # bert | features (precomputed vectors)
    c.text.weights = "minilm"  # minilm | a folder | a hub name | random
    c.text.finetune = True  # False: frozen, and its dropout off
    c.text.pooling = "first"  # first ([CLS], Self-MM) | mean (over valid tokens)
    c.text.max_tokens = 50  # raw text beyond this is cut; 39 for SIMS
    c.text.random_width = 32  # of weights = random, for tests
    c.text.random_layers = 2
    c.text.random_heads = 2
    c.text.random_vocabulary = 64  # at least; grows with the words seen in training

    # Fields of methods.self_mm.SelfMM. Source: config/config_regression.py, MOSI.
    c.model = ConfigDict()
    c.model.audio_hidden = 32
    c.model.vision_hidden = 64
    c.model.audio_width = 16
    c.model.vision_width = 32
    c.model.audio_dropout = 0.0
    c.model.vision_dropout = 0.0
    c.model.fusion_head = 128
    c.model.text_head = 64
    c.model.audio_head = 16
    c.model.vision_head = 32
    c.model.fusion_head_dropout = 0.1
    c.model.text_head_dropout = 0.0
    c.model.audio_head_dropout = 0.1
    c.model.vision_head_dropout = 0.1
    c.model.head_layers = 2  # hidden layers per head; the paper says 1, its code 2
    c.model.project_lstm = True  # linear map after the LSTMs; code yes, paper no

    # Readings of ULGM, see ulgm.Rules.
    c.ulgm = ConfigDict()
    c.ulgm.zero_is_positive = True  # Self-MM's code; MMSA and the paper: False
    c.ulgm.scale_distance = False  # paper, Eq. 3 and 4: True
    c.ulgm.epsilon_in_ratio = True  # code; paper: False
    c.ulgm.clip_labels = True  # code; paper: False
    c.ulgm.empty_class = "keep"  # keep | nan (both public codes)

    c.optim = ConfigDict()
    c.optim.batch_size = 32
    c.optim.accumulate_batches = 4  # gradients summed per step; code, not the paper
    c.optim.groups = ConfigDict()
    c.optim.groups.bert = group(5e-5, 1e-3)
    c.optim.groups.bert_no_decay = group(5e-5, 0.0)  # biases and LayerNorm
    c.optim.groups.audio = group(1e-3, 1e-2)
    c.optim.groups.vision = group(1e-4, 1e-3)
    c.optim.groups.other = group(1e-3, 1e-3)

    c.selection = ConfigDict()
    c.selection.early_stop = 8  # epochs without improvement; code, not the paper
    c.selection.max_epochs = 100  # the public code has no maximum
    c.selection.min_delta = 1e-6
    c.selection.valid_mean = "batches"  # batches (public code) | samples
    c.selection.round_decimals = placeholder(int)  # MMSA: 4

    c.mesh = ConfigDict()
    c.mesh.devices = 0  # 0: all there are
    c.mesh.data = 1  # devices that share one seed's batch
    c.mesh.over_seeds = "auto"  # vmap | map | auto: map on one CPU device, else vmap

    c.precision = "highest"  # matmul precision: highest | high | default (fastest)
    return c


def group(rate: float, decay: float) -> ConfigDict:
    """Return one Adam group: learning rate and coupled L2."""
    return ConfigDict({"rate": rate, "decay": decay})


def mmsa(config: ConfigDict) -> None:
    """Change what MMSA does differently on every data set.

    Source: thuiar/MMSA, trains/multiTask/SELF_MM.py (label 0 belongs to no class; the
        validation loss is rounded to 4 decimals).
    """
    config.ulgm.zero_is_positive = False
    config.selection.round_decimals = 4


def paper(config: ConfigDict) -> None:
    """Follow the paper's text where its code differs.

    Source: Self-MM, Eq. 1 to 5 and 8, "Overall Architecture", "Experimental Details".
        It says nothing of accumulation or early stopping: those stay as in the code.
    """
    config.ulgm.zero_is_positive = False
    config.ulgm.scale_distance = True
    config.ulgm.epsilon_in_ratio = False
    config.ulgm.clip_labels = False
    config.model.head_layers = 1
    config.model.project_lstm = False
    for name, rates in config.optim.groups.items():
        rates.rate = 5e-5 if name.startswith("bert") else 1e-3


_CHOICES: dict[str, tuple[Any, ...]] = {
    "method": ("self_mm",),
    "data.standardise": ("none", "train"),
    "data.padding": ("back", "front"),
    "text.encoder": ("bert", "features"),
    "text.pooling": ("first", "mean"),
    "ulgm.empty_class": ("keep", "nan"),
    "selection.valid_mean": ("batches", "samples"),
    "mesh.over_seeds": ("auto", "vmap", "map"),
    "precision": ("highest", "high", "default"),
    "model.head_layers": (1, 2),
}
_AT_LEAST: dict[str, float] = {
    "text.max_tokens": 3,
    "optim.batch_size": 1,
    "optim.accumulate_batches": 1,
    "selection.early_stop": 1,
    "selection.max_epochs": 1,
    "mesh.devices": 0,
    "mesh.data": 1,
}


def check(config: ConfigDict) -> None:
    """Refuse values that no run can use.

    Raises:
        UserError: naming the field, its value and what it may be.
    """
    for path, choices in _CHOICES.items():
        value = _get(config, path)
        if value not in choices:
            allowed = ", ".join(map(str, choices))
            raise UserError(f"config.{path} = {value!r}: must be one of {allowed}")
    for path, least in _AT_LEAST.items():
        value = _get(config, path)
        if value < least:
            raise UserError(f"config.{path} = {value!r}: must be at least {least}")
    if config.data.aligned and config.data.padding == "front":
        raise UserError(
            "config.data.padding = 'front' and config.data.aligned = True exclude each "
            "other: aligned lengths count from the first step; change one of them"
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
    for name, value in config.model.items():
        if name.endswith("dropout"):
            if not 0 <= value < 1:
                raise UserError(f"config.model.{name} = {value!r}: must be in [0, 1)")
        elif not isinstance(value, bool) and value < 1:
            raise UserError(f"config.model.{name} = {value!r}: must be at least 1")


def _get(config: ConfigDict, path: str) -> Any:
    for key in path.split("."):
        config = config[key]
    return config
