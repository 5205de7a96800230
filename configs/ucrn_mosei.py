"""UCRN on CMU-MOSEI (EMNLP 2021, Tables 1 to 9).

    python -m msa_jax.prepare mosei --from FILE
    python -m msa_jax.main --config configs/ucrn_mosei.py

Text as word vectors (MulT's and TBJE's pickles: GloVe, 300 wide); token ids or
sentences: --config.text.encoder=bert. Tasks: --config.task=two_class, seven_class,
seven_class_sdk; emotions: configs/ucrn_mosei_emotion.py.

Variants, after a colon, joined by +: `code` (the public repository's network in place
of the paper's); the rows of Table 6: `no_urm` `no_crm` `no_sqil` `no_mjs`; networks for
fewer modalities (Table 7): `t` `a` `v` `ta` `tv` `av`. Figure 2:
`python -m msa_jax.report runs/ucrn_mosei --beside runs/ucrn_mosei_no_sqil+no_mjs`.

Published, ten runs: MAE .60, Corr .68, Acc-2 82.25, F1 82.30, Acc-7 42.76. Not
reproduced here yet: the feature files cannot be had where this was written.
"""

from msa_jax import config as defaults


def get_config(variant=""):
    """Return the configuration of a variant."""
    config = defaults.ucrn_variant(variant)
    config.data.name = "mosei"
    if "code" not in variant.split("+"):
        config.optim.batch_size = 32
        config.optim.groups.other.rate = 2e-3
    return config
