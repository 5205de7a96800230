"""An export as something that answers: its own files are all that is read.

A StableHLO program is data, but its custom calls name functions of the machine that
runs it, some of which run code that the file holds. Only those that a network's forward
pass can need are let through.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export as jax_export
from safetensors import SafetensorError
from safetensors.numpy import load_file

from msa_jax.data.preparation import Preparation
from msa_jax.evaluation.metric_names import ANSWERS
from msa_jax.ground.errors import UserError
from msa_jax.predict.answers import Predictor
from msa_jax.predict.samples import blank, read_preparation
from msa_jax.runs import workdir

PROGRAM, ENCODER = "forward.stablehlo", "encoder.safetensors"
BATCH = 32  # samples at a time; a program takes any number
DIALECTS = ("builtin", "func", "stablehlo", "chlo", "sdy")
# Checks of shapes, layouts of devices, and the random numbers of CUDA.
CALLS = ("shape_assertion", "Sharding", "cu_threefry2x32_ffi")
REFUSED = ("infeed", "outfeed", "send", "recv")  # what talks to the host


def seed_file(seed: int) -> str:
    """Return the name of the file with a seed's parameters."""
    return f"seed_{seed}.safetensors"


def open_export(folder: Path, seed: int | None) -> Predictor:
    """Open what `export.export` wrote.

    Args:
        folder: of the export.
        seed: whose parameters are wanted; None: every seed's.

    Raises:
        UserError: files are missing, damaged or do not fit, or the program does what
            no forward pass does.
    """
    found = read_preparation(folder)
    seeds = found.seeds if seed is None else (seed,)
    if not set(seeds) <= set(found.seeds):
        listed = ", ".join(map(str, found.seeds))
        raise UserError(f"--seed {seed}: {folder} holds seeds {listed}")
    program = _read_program(folder / PROGRAM)
    encoder = {}
    if found.frozen_sha256 is not None:
        encoder = _read_parameters(folder / ENCODER)
    params = [_read_parameters(folder / seed_file(s)) | encoder for s in seeds]
    _require_fitting(folder, program, found, params)
    call, on_device = jax.jit(program.call), [jax.device_put(p) for p in params]

    def predict(arrays: dict[str, np.ndarray]) -> np.ndarray:
        return np.stack([np.asarray(call(p, arrays)) for p in on_device])

    return Predictor(found, seeds, BATCH, predict)


def _read_program(path: Path) -> jax_export.Exported:
    try:
        program = jax_export.deserialize(bytearray(path.read_bytes()))
        harmful = forbidden(program.mlir_module_serialized)
    except FileNotFoundError:
        raise UserError(f"{path.parent}: no {path.name} in there") from None
    except Exception as error:  # the readers raise many types on damage
        raise UserError(f"{path}: damaged ({type(error).__name__})") from error
    if harmful:
        raise UserError(f"{path}: refused: no forward pass needs {harmful[0]}")
    here = jax_export.default_export_platform()
    if here not in program.platforms:
        listed = ", ".join(program.platforms)
        raise UserError(f"{path}: made for {listed}, this machine is {here}")
    return program


def forbidden(module: bytes) -> list[str]:
    """Return what a StableHLO module does that a forward pass has no need of."""
    from jax.interpreters import mlir
    from jaxlib.mlir import ir
    from jaxlib.mlir.dialects import stablehlo

    found: list[str] = []

    def look(operation: Any) -> None:
        dialect, _, name = operation.name.partition(".")
        if dialect not in DIALECTS or name in REFUSED:
            found.append(operation.name)
        if operation.name == "stablehlo.custom_call":
            target = ir.StringAttr(operation.attributes["call_target_name"]).value
            if target not in CALLS:
                found.append(f"the custom call {target}")
        for region in operation.regions:
            for block in region:
                for inner in block:
                    look(inner.operation)

    with mlir.make_ir_context() as context:
        look(stablehlo.deserialize_portable_artifact(context, module).operation)
    return found


def _read_parameters(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path.parent}: no {path.name} in there") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__})") from error


def _require_fitting(
    folder: Path,
    program: jax_export.Exported,
    found: Preparation,
    params: list[dict[str, np.ndarray]],
) -> None:
    """Refuse a program that takes or gives other arrays than the files beside it."""

    def shapes(arrays: dict[str, Any], skip: int) -> dict[str, tuple]:
        return {k: (tuple(x.shape[skip:]), str(x.dtype)) for k, x in arrays.items()}

    try:
        (taken, inputs), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
        fits = shapes(inputs, 1) == shapes(blank(found), 1)
        fits &= all(shapes(taken, 0) == shapes(of_seed, 0) for of_seed in params)
        names = ANSWERS.get(found.task, ())
        (answer,) = program.out_avals
        fits &= answer.shape[1:] == ((len(names),) if names else ())
        fits &= len({x.shape[0] for x in (answer, *inputs.values())}) == 1
    except (ValueError, TypeError, AttributeError, IndexError):
        fits = False
    if not fits:
        raise UserError(
            f"{folder}: {PROGRAM}, {workdir.MODEL} and parameters do not fit together"
        )
