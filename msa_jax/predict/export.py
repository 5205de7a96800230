"""A finished run as StableHLO and safetensors: what is needed to answer elsewhere."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from safetensors.numpy import save

from msa_jax import intake, workdir
from msa_jax.batching import gather
from msa_jax.errors import UserError
from msa_jax.predict.exported import ENCODER, PROGRAM, open_export, seed_file
from msa_jax.predict.model import FROZEN, Live, encoded, flat, predictor
from msa_jax.predict.model import split_of as as_split
from msa_jax.report import rendering
from msa_jax.types import PyTree

TOLERANCE = 1e-5
PLATFORMS = ("cpu", "cuda", "tpu")
_SAMPLES = 8  # of the check
_SOURCES = "jax_hlo_source_file_canonicalization_regex"  # what is cut off file names


def export(live: Live, folder: Path) -> float:
    """Write a run's export; it appears whole, and only if it answers as the run does.

    Args:
        live: the run.
        folder: must not be there, or be empty.

    Returns: the largest difference between its answers, read back, and the run's.
    Raises:
        UserError: `folder` is in use, or the difference is above `TOLERANCE`.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--export {folder}: is there already; give an empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = folder.parent / f".{folder.name}.{os.getpid()}"
    made.mkdir()
    try:
        described = _write(live, made)
        gap = _difference(live, made, described["program"]["batch"])
        if not gap <= TOLERANCE:
            raise UserError(
                f"the export's answers differ by {gap:.1e} from the run's, more than "
                f"{TOLERANCE:g}; nothing was written"
            )
        described["check"] |= {"largest_difference": gap}
        workdir.write_json(made / workdir.MODEL, described)
        (made / "README.md").write_text(rendering.render("export.md.j2", described))
        os.rename(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return gap


def _write(live: Live, folder: Path) -> dict[str, Any]:
    """Write program, parameters and description; return the description."""
    encoder = {}
    if live.frozen is not None:
        encoder = flat({FROZEN: jax.tree.map(np.asarray, live.frozen[1])})
        (folder / ENCODER).write_bytes(save(encoder))
    files = {}
    for i, seed in enumerate(live.seeds):
        params = flat(
            jax.tree.map(lambda x, i=i: np.ascontiguousarray(x[i]), live.params)
        )
        files[str(seed)] = seed_file(seed)
        (folder / seed_file(seed)).write_bytes(save(params))
    arrays = intake.blank(live.intake)
    program, batch = _program(live, params | encoder, arrays)
    (folder / PROGRAM).write_bytes(program.serialize())
    if live.intake.tokenizer is not None:
        workdir.write_json(folder / workdir.TOKENIZER, live.intake.tokenizer)
    answer = program.out_avals[0]
    described = intake.to_json(live.intake._replace(seeds=live.seeds)) | {
        "program": {
            "file": PROGRAM,
            "batch": batch,
            "platforms": list(program.platforms),
            "jax": jax.__version__,
            "output": _shape(answer, 0),
        },
        "inputs": {name: _shape(x, 0) for name, x in arrays.items()},
        "parameters": files,
        "encoder_parameters": ENCODER if encoder else None,
        "check": {
            "allowed": TOLERANCE,
            "samples": _SAMPLES,
            "platform": jax.default_backend(),
        },
    }
    workdir.write_json(folder / workdir.MODEL, described)
    return described


def _shape(x: Any, batch_axis: int) -> dict[str, Any]:
    shape = ["batch" if i == batch_axis else int(n) for i, n in enumerate(x.shape)]
    return {"shape": shape, "dtype": str(x.dtype)}


def _program(
    live: Live, params: PyTree, arrays: dict[str, np.ndarray]
) -> tuple[jax_export.Exported, int | None]:
    """Export the forward function, for any batch or, failing that, for a batch of 1.

    Returns: the program, and its batch; None is any.
    """
    function = jax.jit(forward(live))
    given = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    for batch in (None, 1):
        n = jax_export.symbolic_shape("b")[0] if batch is None else batch
        inputs = {
            name: jax.ShapeDtypeStruct((n, *x.shape[1:]), x.dtype)
            for name, x in arrays.items()
        }
        try:
            with _without_paths():
                made = jax_export.export(function, platforms=PLATFORMS)(given, inputs)
            return made, batch
        except Exception:  # shapes that a method computes with raise many types
            if batch is not None:
                raise
    raise AssertionError("unreachable")


def forward(live: Live) -> Callable[[dict[str, Any], dict[str, Any]], jax.Array]:
    """Return (flat parameters, arrays) -> answers [n] or logits [n, k]."""
    from flax import traverse_util

    def answers(params: dict[str, Any], arrays: dict[str, Any]) -> jax.Array:
        tree = traverse_util.unflatten_dict(params, sep="/")
        split = as_split(encoded(live)(tree.pop(FROZEN, {}), arrays))
        batch = gather(split, jnp.arange(split.label.shape[0]))
        outputs: Any = live.method.model.apply({"params": tree}, batch, train=False)
        return live.method.task.read(outputs)

    return answers


class _without_paths:
    """Keep the folders of this machine out of a program's notes on its source."""

    def __enter__(self):
        self._before = getattr(jax.config, _SOURCES)
        jax.config.update(_SOURCES, ".*/")

    def __exit__(self, *_):
        jax.config.update(_SOURCES, self._before)


def _difference(live: Live, folder: Path, batch: int | None) -> float:
    """Answer for drawn samples with the run and with its export; NaN is infinite."""
    rng = np.random.default_rng(0)
    there, here = open_export(folder, None), predictor(live)
    samples = [_drawn(live.intake, rng) for _ in range(_SAMPLES)]
    tokenizer = intake.make_tokenizer(live.intake)
    arrays = intake.prepare(live.intake, tokenizer, samples).arrays
    wanted = here.predict(arrays)
    sizes = {1, _SAMPLES} if batch is None else {batch}
    gaps = []
    for size in sizes:
        parts = [
            there.predict({k: x[i : i + size] for k, x in arrays.items()})
            for i in range(0, _SAMPLES, size)
        ]
        gaps.append(np.abs(np.concatenate(parts, axis=1) - wanted).max())
    return float(np.nan_to_num(np.max(gaps), nan=np.inf))


def _drawn(found: intake.Intake, rng: np.random.Generator) -> intake.Sample:
    """Draw a sample of the run's sizes, with numbers such as its training had."""

    def rows(m: str) -> np.ndarray:
        steps = int(rng.integers(1, found.steps[m] + 1))
        x = rng.normal(size=(steps, found.width[m]))
        if m in found.columns:
            x = found.columns[m].mean + found.columns[m].std * x
        return x.astype(np.float32)

    if found.text == intake.FEATURES:
        text = rows("text")
    else:
        length = int(rng.integers(1, found.steps["text"] + 1))
        text = np.zeros((3, length), np.int32)
        text[0], text[1] = rng.integers(0, found.vocabulary, length), 1
    return intake.Sample(text, rows("audio"), rows("vision"))
