"""How jax computes and compiles: precision, options, where programs are kept."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msa_jax.ground import compiler
from msa_jax.ground.errors import UserError


def compiler_options(platform: str, *, quick: bool) -> dict[str, Any] | None:
    """Return what jax's compiler is told; see `config.compilation`.

    Args:
        platform: "cpu", "gpu" or "tpu"; the last two compile in one way.
        quick: compile quickly rather than to fast code.
    """
    return compiler.quickest() if quick and platform == "cpu" else None


def by_platform(*given: Any, cpu: Callable, default: Callable) -> Any:
    """Call one of two functions that compute the same: `cpu` on a CPU, else `default`.

    As `jax.lax.platform_dependent`, which traces both and leaves the choice to the
    compiler; where a program says what devices it is for, only the one that is wanted
    is traced.
    """
    import jax

    kind = device_kind()
    if kind is None:
        return jax.lax.platform_dependent(*given, cpu=cpu, default=default)
    return (cpu if kind == "cpu" else default)(*given)


def device_kind() -> str | None:
    """Return what the program that is traced is for (`use_abstract_mesh`), if known."""
    import jax

    device = jax.sharding.get_abstract_mesh().abstract_device
    return device and device.device_kind


def divides_batches() -> bool:
    """Say whether the program that is traced spreads each batch over devices."""
    import jax

    return jax.sharding.get_abstract_mesh().shape.get("data", 1) > 1


def set_up_jax(precision: str) -> None:
    """Choose matmul precision and where compiled programs are kept.

    Args:
        precision: see `config.precision`.

    Raises:
        UserError: a version of jaxlib that nobody has tried computes wrong numbers.
    """
    import jax

    # What bfloat16 means is said in `text.computing`; the rest is as fast as it gets.
    products = "default" if precision == "bfloat16" else precision
    jax.config.update("jax_default_matmul_precision", products)
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = Path.home() / ".cache" / "msa_jax" / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(cache))
        # jax keeps what took a second to compile: answering test is just below.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    if not compiler.is_tried() and (wrong := compiler.wrong()):
        raise UserError(
            f"jaxlib {compiler.jaxlib()} computes wrong numbers here "
            f"({', '.join(wrong)}): install the versions of constraints.txt, or try "
            f"XLA_FLAGS={compiler.FLAG}="
        )
