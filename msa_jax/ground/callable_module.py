"""Rooms that are also functions of `msa_jax`: a module that can be called.

`msa_jax.config`, `msa_jax.methods` and `msa_jax.prepare` are modules, and Python binds
a module to its package under its name as soon as anything imports it: a function of the
same name there would be lost.
"""

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def let_call(name: str, function: Callable[..., Any]) -> None:
    """Let the module `name` be called as one of its functions; help shows both.

    Args:
        name: of the module, `__name__`.
        function: what a call does.
    """
    module = sys.modules[name]
    about = {
        "__call__": staticmethod(function),
        "__signature__": inspect.signature(function),
    }
    module.__class__ = type("CallableModule", (ModuleType,), about)
