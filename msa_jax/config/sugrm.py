"""SUGRM's defaults and its paper's readings."""

from ml_collections import ConfigDict

from msa_jax.config.fields import base, group


def sugrm() -> ConfigDict:
    """Return the defaults of SUGRM as its public code runs it on MOSI.

    Source: skystarhyw/SUGRM, config/config_regression.py and trains/multiTask; paper:
        Table 7 (the same but where a comment says otherwise).
    """
    c = base()
    c.method = "sugrm"
    # Fields of methods.sugrm.Sugrm.
    c.model = ConfigDict()
    c.model.sequence = "spt"  # spt | lstm | transformer (Table 4)
    c.model.recalibrate = "mean"  # none | mean (over padding, too) | masked
    c.model.squeeze = 4  # MRM's bottleneck: the sum of the widths divided by this
    c.model.width = 32  # of the common feature space
    c.model.output_dropout = 0.3
    c.model.feature_layers = 2  # code: Linear-ReLU-Linear; paper: 1, Linear-ReLU
    c.ulgm.rule = "sugrm"
    c.optim.groups = ConfigDict()
    c.optim.groups.bert = group(5e-5, 1e-3)
    c.optim.groups.bert_no_decay = group(5e-5, 0.0)  # biases and LayerNorm
    c.optim.groups.spt = group(5e-4, 1e-3)  # hard-coded there; the paper: 1e-2
    c.optim.groups.other = group(1e-2, 1e-3)
    return c


def paper_sugrm(config: ConfigDict) -> None:
    """Follow SUGRM's text where its code differs.

    Source: SUGRM, sections 3.2 and 3.3, Table 7.
    """
    config.model.feature_layers = 1
    config.ulgm.zero_is_positive = False
    config.ulgm.repeat_extremes = False
    config.ulgm.clip_labels = False
    config.spt.attention_dropout = config.spt.relu_dropout
    config.spt.input_letters = "SPR"
    config.optim.groups.spt.rate = config.optim.groups.other.rate
