"""MMCL on CMU-MOSEI (Findings of EMNLP 2022, Tables 1 to 5).

    python -m msa_jax.prepare mosei --from FILE
    python -m msa_jax.main --config configs/mmcl_mosei.py \\
        --config.text.weights=bert-base-uncased

Files of Table 1 (aligned) and Table 3 (unaligned) are told apart by their steps. No
file at hand? `python -m msa_jax.prepare mosei --synthetic` makes one up, of true size
(--samples 400 for a quick look).

Variants, after a colon, joined by +: `aligned` or `unaligned`, to insist on one kind of
file; and the rows of Table 2 (`linear` `no_uni` `no_icl` `no_cross`
`no_align` `no_uniform` `no_scl` `no_contrast`) and of Table 4 (`a` `v` `t` `av` `ta`
`tv`), for example `configs/mmcl_mosei.py:unaligned+no_contrast`. Table 5:
--config.weights.uni=.6 and so on. The grids searched: configs/sweeps/mmcl.py.

Published, five runs: aligned MAE .537, Corr .765, Acc-2 84.8 / 85.9, Acc-7 53.6;
unaligned .538, .765, 84.5 / 85.7, 53.4. Not reproduced here yet: the feature files
cannot be had where this was written, and the authors published no code.
"""

from msa_jax import config as defaults


def get_config(variant=""):
    """Return the configuration of a variant."""
    config = defaults.mmcl()
    config.data.name = "mosei"
    config.text.packing = "auto"
    return defaults.mmcl_variant(config, variant)
