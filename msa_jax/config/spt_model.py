"""The defaults of the standalone SP-Transformer."""

from ml_collections import ConfigDict

from msa_jax.config.fields import base, group


def standalone_spt() -> ConfigDict:
    """Return the defaults of SP-Transformer as its public code runs it.

    One task and no generated labels: it has no `ulgm`, and of `loss` only the error.

    Source: SP-Transformer's code (Cheng et al., EMNLP 2021), its command's defaults.
    """
    c = base()
    c.method = "spt"
    c.seeds = (777,)
    c.text.encoder = "features"  # GloVe vectors, 300 wide; bert works, too
    c.model = ConfigDict()  # fields of methods.spt.Spt
    c.model.output_dropout = 0.1
    c.spt.relu_dropout = 0.1
    c.spt.residual_dropout = 0.1
    # Embedding .3, 8 heads, E 32, 4 rounds, S 5 as in `fields.spt`; the command's
    # attention dropout of .2 is declared and never applied.
    c.loss = ConfigDict()
    c.loss.error = "l1"  # l1 | l2 | huber
    delattr(c, "ulgm")
    c.optim.batch_size = 250
    c.optim.accumulate_batches = 1
    c.optim.clip_norm = 1.0
    c.optim.schedule = "plateau"  # patience 20, factor .1
    c.optim.groups = ConfigDict()
    c.optim.groups.bert = group(5e-5, 0.0)  # ours: not there with word vectors
    c.optim.groups.bert_no_decay = group(5e-5, 0.0)
    c.optim.groups.spt = group(5e-4, 0.0)
    c.optim.groups.other = group(5e-4, 0.0)
    c.selection.max_epochs = 50
    c.selection.early_stop = 50  # none there
    c.selection.min_delta = 0.0
    c.selection.valid_mean = "samples"
    return c
