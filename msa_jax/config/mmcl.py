"""MMCL's defaults, the rows of its tables and the grids its authors searched."""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from msa_jax.config.fields import base, group
from msa_jax.errors import UserError

# What changes in each row of the paper's ablations (Table 2, then Table 4): field ->
# value. Table 5's rows are values of config.weights.{uni,sentiment,cross}.
ROWS: dict[str, dict[str, Any]] = {
    "linear": {"model.encoder": "linear"},  # "rp Transformer"
    "no_uni": {"weights.uni": 0.0},
    "no_icl": {"weights.cross": 0.0, "weights.align": 0.0, "weights.uniform": 0.0},
    "no_cross": {"weights.cross": 0.0},
    "no_align": {"weights.align": 0.0},
    "no_uniform": {"weights.uniform": 0.0},
    "no_scl": {"weights.sentiment": 0.0},
    "no_contrast": {
        f"weights.{name}": 0.0
        for name in ("uni", "sentiment", "cross", "align", "uniform")
    },
    "a": {"model.modalities": ("audio",)},
    "v": {"model.modalities": ("vision",)},
    "t": {"model.modalities": ("text",)},
    "av": {"model.modalities": ("audio", "vision")},
    "ta": {"model.modalities": ("text", "audio")},
    "tv": {"model.modalities": ("text", "vision")},
}


def mmcl() -> ConfigDict:
    """Return the defaults of MMCL on CMU-MOSEI.

    The paper has no public code; what it leaves open is argued in docs/fidelity.md.

    Source: MMCL, section 4, appendix A.1, Table 5.
    """
    c = base()
    c.method = "mmcl"
    for absent in ("ulgm", "spt"):
        delattr(c, absent)
    c.data.aligned = placeholder(bool)  # the paper uses both kinds of files
    # Fields of methods.mmcl.Mmcl.
    c.model = ConfigDict()
    c.model.sequence_width = 64  # of each LSTM direction; 2 x this divides by heads
    c.model.cutoff = 0.2  # share of channels cut off in the second view
    c.model.encoder = "transformer"  # transformer | linear (Table 2)
    c.model.layers = 3
    c.model.heads = 8
    c.model.width = 768  # common width of text, audio, vision; at least 159
    c.model.cnn_axis = "feature"  # feature | time: what the convolutions run along
    c.model.channels = 256  # of the convolutions; width of predictions and targets
    c.model.context_width = 128  # of the LSTM over the convolutions' output
    c.model.fusion_width = 256
    c.model.dropout = 0.1  # grid: .1, .6
    c.model.modalities = ("text", "audio", "vision")  # the others are zeros (Table 4)

    c.loss = ConfigDict()
    c.loss.error = "l1"  # l1 | l2 | huber

    # Weights of the total loss, Eq. 10; a term of weight 0 is not computed.
    c.weights = ConfigDict()
    c.weights.uni = 0.7  # mu
    c.weights.sentiment = 1.0  # eta
    c.weights.cross = 1.0  # alpha
    c.weights.align = 0.75  # beta
    c.weights.uniform = 0.1  # gamma

    # Readings of the formulas, see contrastive_total.Readings and contrastive.
    c.contrast = ConfigDict()
    c.contrast.temperature = 0.1  # grid: .05, .1, .7
    c.contrast.uni = "prose"  # prose | literal (Eq. 4) | keys (MoCo) | simclr
    c.contrast.uni_normalise = True
    c.contrast.cross_reduce = "mean"  # mean | sum, over the three pairings
    c.contrast.align_power = 2.0  # lambda, 1 or 2
    c.contrast.align_norm = "euclidean"  # euclidean | taxicab
    c.contrast.uniformity = "wang_isola"  # wang_isola | literal | union | all_pairs
    c.contrast.kappa = 2.0
    c.contrast.sentiment = "log_outside_sum"  # ... | log_outside_mean | log_inside
    c.contrast.sentiment_self = False  # the anchor among its own candidates
    c.contrast.sentiment_pool = "both"  # both (targets and predictions) | target

    c.optim.accumulate_batches = 1
    c.optim.clip_norm = 1.0
    c.optim.schedule = "linear"
    c.optim.warmup_share = 0.1
    c.optim.groups = ConfigDict()
    c.optim.groups.bert = group(5e-5, 0.0)
    c.optim.groups.bert_no_decay = group(5e-5, 0.0)
    c.optim.groups.other = group(1e-3, 0.0)  # MOSI: 5e-3
    c.selection.early_stop = 10
    c.selection.max_epochs = 40
    c.selection.valid_mean = "samples"
    return c


def mmcl_variant(config: ConfigDict, variant: str) -> ConfigDict:
    """Change a configuration as a variant says: words joined by "+", or nothing.

    Words: "aligned" or "unaligned" (Table 3), and the names in `ROWS`; for example
    "unaligned+no_contrast".

    Raises:
        UserError: an unknown word.
    """
    for word in filter(None, variant.split("+")):
        if word in ("aligned", "unaligned"):
            config.data.aligned = word == "aligned"
        elif word in ROWS:
            for path, value in ROWS[word].items():
                section, field = path.split(".")
                config[section][field] = value
        else:
            raise UserError(
                f"variant {variant!r}: {word!r} must be aligned, unaligned or a row of "
                f"the paper's tables ({', '.join(ROWS)}); join words with +"
            )
    return config
