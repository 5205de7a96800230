"""Multimodal sentiment analysis in JAX: methods, data, and numbers you can check.

    import msa_jax as msa

    run = msa.train(msa.config("demo"))
    run.table()

From Python: `config`, `train`, `open_run`, `compare`, `load_dataset`, `prepare`,
`methods`, `Run`, `UserError` (docs/python.md). From a shell: `msa --help`.
"""

__version__ = "0.1.0"

import sys
from typing import TYPE_CHECKING, Any

from msa_jax.ground import compiler, signals

if TYPE_CHECKING:
    from msa_jax.api import (
        Report,
        Run,
        UserError,
        compare,
        load_dataset,
        open_run,
        train,
    )
    from msa_jax.config import config
    from msa_jax.methods import methods
    from msa_jax.prepare import prepare

if signals.started_as_command():
    signals.end_at_once()
try:
    compiler.keep_right()
except ImportError as error:
    if not signals.started_as_command():
        raise
    print("error:", error, file=sys.stderr)
    sys.exit(2)

__all__ = [
    "Report",
    "Run",
    "UserError",
    "compare",
    "config",
    "load_dataset",
    "methods",
    "open_run",
    "prepare",
    "train",
]
_ROOMS = ("config", "methods", "prepare")  # modules that can be called


def __getattr__(name: str) -> Any:
    """Import what is public when it is first asked for: jax takes seconds."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = import_module(f"{__name__}.{name if name in _ROOMS else 'api'}")
    return room if name in _ROOMS else getattr(room, name)


def __dir__() -> list[str]:
    """Return all names, those not imported yet, too."""
    return sorted({*globals(), *__all__})
