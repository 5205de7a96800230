"""UCRN's two presets: its paper's text and its first author's code."""

from typing import Any

from ml_collections import ConfigDict

from msa_jax.config.fields import base, group
from msa_jax.errors import UserError

# What changes in each row of the paper's Tables 6 and 7: field -> value.
ROWS: dict[str, dict[str, Any]] = {
    "no_urm": {"model.unimodal_layers": 0},
    "no_crm": {"model.crossmodal_layers": 0},
    "no_sqil": {"model.gate_layers": 0},
    "no_mjs": {"loss.divergence_weight": 0.0},
    "t": {"model.modalities": ("text",)},
    "a": {"model.modalities": ("audio",)},
    "v": {"model.modalities": ("vision",)},
    "ta": {"model.modalities": ("text", "audio")},
    "tv": {"model.modalities": ("text", "vision")},
    "av": {"model.modalities": ("audio", "vision")},
}


def ucrn(preset: str = "paper") -> ConfigDict:
    """Return the defaults of UCRN on CMU-MOSI.

    Args:
        preset: "paper", or "code": the network of the public repository.

    Source: UCRN, section 4 (batch 16 and rate 1e-3 on MOSI, 10 runs); what the paper
        leaves open is the public code's (Redaimao/UCRN@21a6783: clipping, plateau
        schedule, 40 epochs, dropouts).
    Differs: the code keeps the epoch that is best on *test*; here validation chooses.
    """
    c = base()
    c.method = "ucrn"
    c.seeds = tuple(range(1111, 1121))
    c.text.encoder = "features"  # GloVe vectors; bert works, too
    for absent in ("ulgm", "spt"):
        delattr(c, absent)
    code = preset == "code"
    # Fields of methods.ucrn.Ucrn.
    c.model = ConfigDict()
    c.model.modalities = ("text", "audio", "vision")  # others' parts are not built
    c.model.width = 30 if code else 24  # of a modality; a multiple of heads
    c.model.unimodal_layers = 5  # 0: without (Table 6)
    c.model.crossmodal_layers = 5  # 0: without
    c.model.heads = 3
    c.model.block = "code" if code else "paper"  # residual per head, or MulT's layer
    c.model.causal = code
    c.model.scale = code  # inputs times the root of the width
    c.model.collapse = "mix" if code else "last"  # learned mix of steps | last step
    c.model.respect_lengths = not code
    c.model.gate = "squeeze" if code else "relu"
    c.model.gate_layers = 1  # 0: without
    c.model.gate_reduction = 16  # of the squeezing gate
    c.model.head = "residual" if code else "two_layer"
    c.model.absent_maps = code  # idle parameters, as the code counts them
    c.model.text_dropout = 0.25
    c.model.attention_dropout = 0.1  # of text and of the joint stack
    c.model.audio_attention_dropout = 0.0
    c.model.vision_attention_dropout = 0.0
    c.model.relu_dropout = 0.1
    c.model.residual_dropout = 0.1
    c.model.embed_dropout = 0.25
    c.model.output_dropout = 0.5

    c.loss = ConfigDict()
    c.loss.divergence = "code" if code else "paper"  # paper | code
    c.loss.divergence_weight = 1.0  # lambda_m; 0: without
    c.loss.task_weight = 1.0  # lambda_c

    c.optim.batch_size = 32 if code else 16
    c.optim.accumulate_batches = 1
    c.optim.clip_norm = 0.8
    c.optim.schedule = "plateau"  # patience 20, factor .1
    c.optim.groups = ConfigDict()
    c.optim.groups.bert = group(5e-5, 0.0)  # ours: not there with word vectors
    c.optim.groups.bert_no_decay = group(5e-5, 0.0)
    c.optim.groups.other = group(1e-3, 0.0)
    c.selection.max_epochs = 40
    c.selection.early_stop = 40  # none there
    c.selection.min_delta = 0.0
    c.selection.valid_mean = "samples"
    return c


def ucrn_variant(variant: str) -> ConfigDict:
    """Return the configuration that a variant names: words joined by "+", or nothing.

    Words: "paper" or "code" (the preset) and the names in `ROWS`, for example
    "code+no_sqil".

    Raises:
        UserError: an unknown word.
    """
    words = [word for word in variant.split("+") if word]
    config = ucrn("code" if "code" in words else "paper")
    for word in words:
        if word in ROWS:
            for path, value in ROWS[word].items():
                section, field = path.split(".")
                config[section][field] = value
        elif word not in ("paper", "code"):
            raise UserError(
                f"variant {variant!r}: {word!r} must be paper, code or a row of the "
                f"paper's tables ({', '.join(ROWS)}); join words with +"
            )
    return config
