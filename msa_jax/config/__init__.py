"""Every field of a run's configuration, with its unit, its choices and its source.

Config files start from a method's defaults (`base` is Self-MM's) and change fields one
level deep; `check` refuses values that the types alone do not. Fields on which a paper
and its public code differ are listed in docs/fidelity.md, too.
"""

from msa_jax.config.checks import against_packing, check, reads, require
from msa_jax.config.fields import base, group
from msa_jax.config.mmcl import mmcl, mmcl_variant
from msa_jax.config.self_mm import mmsa, paper
from msa_jax.config.spt_model import standalone_spt
from msa_jax.config.sugrm import paper_sugrm, sugrm
from msa_jax.config.traced import is_traced, traced_values, with_values
from msa_jax.config.ucrn import ucrn, ucrn_variant

__all__ = [
    "against_packing",
    "base",
    "check",
    "group",
    "is_traced",
    "mmcl",
    "mmcl_variant",
    "mmsa",
    "paper",
    "paper_sugrm",
    "reads",
    "require",
    "standalone_spt",
    "sugrm",
    "traced_values",
    "ucrn",
    "ucrn_variant",
    "with_values",
]
