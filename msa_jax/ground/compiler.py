"""Whether jax's compiler computes right on a CPU, and what makes it.

Since 0.9, jaxlib hands parts of a program to YNNPACK, a library for CPUs: softmax at
first, products since 0.10.1, sums of them since 0.10.2. From there to the newest that
was tried, some of these parts come out wrong, in silence (docs/dependencies.md). One
flag keeps all of them with XLA's own code, where every version that was tried is right.
"""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # imported by the first line of msa_jax, which should be quick
    import numpy as np

FLAG = "--xla_cpu_experimental_ynn_fusion_type"
_USES_YNNPACK, _UNKNOWN = (0, 9), (0, 13)  # jaxlib's versions; others may lack the flag
_NEWEST_TRIED = (0, 12, 0, 1)
_LOST_EMITTERS = (0, 11, 1)  # jaxlib, the first without that option
_ALLOWED = 1e-4  # of the largest value; rounding of float32 is a hundredth of it here


class Program(NamedTuple):
    """What a compiler got wrong once: a function, its arguments, the right result."""

    name: str
    function: Callable[..., Any]
    arguments: tuple["np.ndarray", ...]
    right: "np.ndarray"


def keep_right() -> None:
    """Set the flag in XLA_FLAGS, after what is there; jax reads it when it starts.

    Raises:
        ImportError: jax computes already, and wrong; or XLA_FLAGS asks for what does.
    """
    if not _USES_YNNPACK <= _version() < _UNKNOWN:
        return
    bridge: Any = sys.modules.get("jax._src.xla_bridge")
    if bridge is not None and bridge.backends_are_initialized():
        if wrong():
            raise ImportError(
                f"jax {jaxlib()} has started without {FLAG}= in XLA_FLAGS and computes "
                "wrong numbers: restart Python (a notebook: its kernel) and import "
                "msa_jax before jax computes anything or lists its devices"
            )
        return
    flags = _flags()
    asked = re.findall(rf"(?:^|\s){FLAG}=(\S*)", flags)
    if any(asked[-1:]):  # the last one counts
        raise ImportError(
            f"XLA_FLAGS asks for {FLAG}={asked[-1]}, with which jaxlib {jaxlib()} "
            "computes wrong numbers: take it out, msa_jax sets it to nothing"
        )
    if not asked:
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}=".strip()


def quickest() -> dict[str, int | bool]:
    """Return the compiler options of a CPU for what runs once: soon compiled, slow."""
    options: dict[str, int | bool] = {"xla_backend_optimization_level": 0}
    if _version() < _LOST_EMITTERS:
        options["xla_cpu_use_fusion_emitters"] = False
    return options


def is_tried() -> bool:
    """Say whether this version of jaxlib is none that nobody has tried yet."""
    return _version() <= _NEWEST_TRIED


def wrong() -> list[str]:
    """Compile and run programs that compilers got wrong; name those that are wrong.

    This starts jax; a few tenths of a second.
    """
    import jax
    import numpy as np

    found = []
    with jax.default_matmul_precision("highest"):  # accelerators, too
        for program in programs():
            result = np.asarray(jax.jit(program.function)(*program.arguments))
            error = np.abs(result - program.right).max()
            if not error <= _ALLOWED * np.abs(program.right).max():
                found.append(program.name)
    return found


def programs() -> tuple[Program, ...]:
    """Return the programs, with results computed by NumPy."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    rng = np.random.default_rng(0)

    def draw(*shape: int) -> "np.ndarray":
        return rng.standard_normal(shape).astype(np.float32)

    # jax #39103 (0.10.2). Squares of whole numbers.
    rows = np.zeros((32769, 3), np.float32)
    rows[:, 0] = np.arange(len(rows))

    def squares(rows):
        return jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2))(rows)

    # 0.10.2 to 0.12.0.1: a product with a constant, as gradients have them.
    square = draw(32, 20, 20)

    def constant_factor(x):
        return jnp.sum((x @ jnp.full_like(x, 0.5)) * x, axis=-1)

    # jax #33479 (to 0.8.1): scattered columns of a constant.
    columns, index = draw(10, 8), np.array([1, 3, 5, 7])

    def scattered():
        def one(x):
            zero = jnp.zeros(10)
            return zero.at[index].set(zero.at[:10].set(x)[index] + 0.5 * zero[index])

        return jax.vmap(one, in_axes=1, out_axes=1)(jnp.asarray(columns))

    placed = np.zeros_like(columns)
    placed[index] = columns[index]

    # What every method trains with: a mean's gradient through a product.
    inputs, weights = draw(1600, 64), draw(64, 32) / 8
    bent = np.tanh(inputs.astype(np.float64) @ weights)

    def gradient(x, w):
        return jax.grad(lambda w: jnp.tanh(x @ w).mean())(w)

    return (
        Program("sums of squared products", squares, (rows,), rows[:, 0] ** 2),
        Program(
            "sums of products with a constant",
            constant_factor,
            (square,),
            (square.sum(-1, keepdims=True) * 0.5 * square).sum(-1),
        ),
        Program("scattered columns", scattered, (), placed),
        Program(
            "gradient of a mean",
            gradient,
            (inputs, weights),
            inputs.T @ (1 - bent**2) / bent.size,
        ),
    )


def jaxlib() -> str:
    """Return the version of jaxlib, which holds the compiler."""
    from jaxlib.version import __version__

    return __version__


def _version() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", jaxlib())[:4]))


def _flags() -> str:
    """Return what XLA_FLAGS holds, or the file that it names.

    Raises:
        ImportError: the file cannot be read.
    """
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if not flags or flags.startswith("-"):
        return flags
    try:
        return Path(flags).read_text().strip()
    except OSError as error:
        raise ImportError(
            f"XLA_FLAGS names the file {flags}, which cannot be read "
            f"({error.strerror}); flags begin with --"
        ) from None
