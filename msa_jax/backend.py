"""How jax computes: the precision of products, and where compiled programs are kept."""

import os
from pathlib import Path


def set_up_jax(precision: str) -> None:
    """Choose matmul precision and where compiled programs are kept.

    Args:
        precision: see `config.precision`.
    """
    import jax

    # What bfloat16 means is said in `text.computing`; the rest is as fast as it gets.
    products = "default" if precision == "bfloat16" else precision
    jax.config.update("jax_default_matmul_precision", products)
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = Path.home() / ".cache" / "msa_jax" / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(cache))
