"""PyTorch's sides: files in benchmarks/torch_sides, beside the package.

A method's is called after the file that the method has in `methods`.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from msa_jax import methods
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Batch, Method, PyTree
from msa_jax.studies.bench.measure import Side, repeated
from msa_jax.studies.bench.shapes import Shape
from msa_jax.text import bert

CHECKOUT = Path(__file__).parents[3]
FOLDER = "benchmarks/torch_sides"


def require(names: Sequence[str], threads: int) -> None:
    """Let PyTorch use so many threads.

    Raises:
        UserError: it is not installed, or a method is not written in it.
    """
    for name in names:
        _file(name)
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise UserError(
            "--against torch needs PyTorch: pip install 'msa_jax[bench]'"
        ) from None
    torch.set_num_threads(threads)


def require_written(name: str, config: Any) -> None:
    """Refuse to compare a configuration that PyTorch's side would not compute.

    Raises:
        UserError: naming the field and the value that it must have.
    """
    for path, value in _module(_file(name)).written(config).items():
        section, field = path.split(".")
        if config[section].get(field, value) != value:
            raise UserError(
                f"--against torch: config.{path} = {config[section][field]!r} is not "
                f"written in PyTorch here, only {value!r}; change it (--config FILE) "
                "or leave out --against"
            )


def sides(
    name: str,
    config: Any,
    method: Method,
    params: PyTree,
    shape: Shape,
    label: Any,
    batches: Sequence[Batch],
    encoder: bert.Shape | None = None,
) -> dict[str, Side]:
    """Return a method's formulations in PyTorch, as competitors by name.

    Args:
        name: of the method.
        config: the run's configuration; see `require_written`.
        method: ours.
        params: its parameters.
        shape: sizes of what it reads.
        label: of all training samples, [n].
        batches: a call runs all of them; text as features, or tokens with an encoder.
        encoder: of the text.
    """
    own = {k: v for k, v in params.items() if k != "text_encoder"}
    written = _module(_file(name)).formulations(
        config, method, own, shape, np.array(label)
    )
    formulation = _module("formulation")
    inputs = [formulation.tensors(batch) for batch in batches]
    found = {}
    for side, made in written.items():
        text = None
        if encoder is not None:
            groups = config.optim.groups
            text = _module("bert").formulation(encoder, params, groups)
        one = formulation.side(made, inputs, text, to_text=config.text.finetune)
        found[side] = repeated(one, len(inputs))
    return found


def _file(name: str) -> str:
    """Return the name of a method's file.

    Raises:
        UserError: there is none.
    """
    folder = CHECKOUT / FOLDER
    if not folder.is_dir():
        raise UserError(
            f"--against torch: no folder {FOLDER} beside the package; it comes with a "
            "checkout: run the command from one"
        )
    paper = methods.PAPERS[name]
    file = next(
        file
        for file, module in vars(methods).items()
        if isinstance(module, ModuleType)
        and any(value is paper for value in vars(module).values())
    )
    if not (folder / f"{file}.py").is_file():
        raise UserError(
            f"--against torch: {name} is not written in PyTorch (no {FOLDER}/{file}.py)"
            "; leave out --against, or write it as its neighbours are"
        )
    return file


def _module(name: str) -> Any:
    # An installed package may be found elsewhere than where the command is run.
    if str(CHECKOUT) not in sys.path:
        sys.path.insert(0, str(CHECKOUT))
    return importlib.import_module(f"{FOLDER.replace('/', '.')}.{name}")
