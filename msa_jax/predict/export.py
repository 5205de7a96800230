"""A finished run as StableHLO and safetensors: what is needed to answer elsewhere."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from safetensors.numpy import save

from msa_jax.data import preparation
from msa_jax.data.batches import gather
from msa_jax.data.preparation import FEATURES, Preparation
from msa_jax.ground import files
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import PyTree
from msa_jax.methods import network
from msa_jax.predict.exported import ENCODER, PROGRAM, open_export, seed_file
from msa_jax.predict.model import FROZEN, Live, encoded, flat, predictor
from msa_jax.predict.model import split_of as as_split
from msa_jax.predict.samples import Sample, blank, prepare_samples, tokenizer_of
from msa_jax.report import rendering
from msa_jax.runs import workdir

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
    with files.new_folder(folder) as partial:
        described = _write(live, partial)
        gap = _difference(live, partial)
        if not gap <= TOLERANCE:
            raise UserError(
                f"the export's answers differ by {gap:.1e} from the run's, more than "
                f"{TOLERANCE:g}; nothing was written"
            )
        described["check"] |= {"largest_difference": gap}
        workdir.write_json(partial / workdir.MODEL, described)
        (partial / "README.md").write_text(rendering.render("export.md.j2", described))
    return gap


def _write(live: Live, folder: Path) -> dict[str, Any]:
    """Write program, parameters and description; return the description."""
    encoder = {}
    if live.frozen is not None:
        encoder = storable({FROZEN: live.frozen[1]})
        (folder / ENCODER).write_bytes(save(encoder))
    files = {}
    for i, seed in enumerate(live.seeds):
        params = storable(jax.tree.map(lambda x, i=i: x[i], live.variables))
        files[str(seed)] = seed_file(seed)
        (folder / seed_file(seed)).write_bytes(save(params))
    arrays = blank(live.preparation)
    exported = program(live, params | encoder, arrays)
    (folder / PROGRAM).write_bytes(exported.serialize())
    if live.preparation.tokenizer is not None:
        workdir.write_json(folder / workdir.TOKENIZER, live.preparation.tokenizer)
    described = preparation.to_json(live.preparation._replace(seeds=live.seeds)) | {
        "program": {
            "file": PROGRAM,
            "platforms": list(exported.platforms),
            "jax": jax.__version__,
            "output": _shape(exported.out_avals[0]),
        },
        "inputs": {name: _shape(x) for name, x in arrays.items()},
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


def _shape(x: Any) -> dict[str, Any]:
    return {"shape": ["batch", *map(int, x.shape[1:])], "dtype": str(x.dtype)}


def storable(params: PyTree) -> dict[str, np.ndarray]:
    """Return flat parameters as safetensors stores them.

    It writes the memory of an array as it lies: of a transposed one other numbers.
    """
    return flat(jax.tree.map(lambda x: np.asarray(x, order="C"), params))


def program(
    live: Live, params: PyTree, arrays: dict[str, np.ndarray]
) -> jax_export.Exported:
    """Export the forward function for any batch.

    Args:
        live: the run.
        params: one seed's flat parameters, or their shapes.
        arrays: of one sample, as `prepare_samples` makes them.
    """
    (batch,) = jax_export.symbolic_shape("batch")
    given = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    inputs = {
        name: jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
        for name, x in arrays.items()
    }
    function = jax.jit(forward(live))
    with _without_paths():
        return jax_export.export(function, platforms=PLATFORMS)(given, inputs)


def forward(live: Live) -> Callable[[dict[str, Any], dict[str, Any]], jax.Array]:
    """Return (flat parameters, arrays) -> answers [n] or logits [n, k]."""
    from flax import traverse_util

    def answers(params: dict[str, Any], arrays: dict[str, Any]) -> jax.Array:
        tree = traverse_util.unflatten_dict(params, sep="/")
        split = as_split(encoded(live)(tree.pop(FROZEN, {}), arrays))
        batch = gather(split, jnp.arange(split.label.shape[0]))
        return live.method.task.read(network.answer(live.method, tree, batch))

    return answers


@contextlib.contextmanager
def _without_paths() -> Iterator[None]:
    """Keep the folders of this machine out of a program's notes on its source."""
    before = getattr(jax.config, _SOURCES)
    jax.config.update(_SOURCES, ".*/")
    try:
        yield
    finally:
        jax.config.update(_SOURCES, before)


def _difference(live: Live, folder: Path) -> float:
    """Answer for drawn samples with the run and with its export; NaN is infinite."""
    rng = np.random.default_rng(0)
    there, here = open_export(folder, None), predictor(live)
    samples = [_drawn(live.preparation, rng) for _ in range(_SAMPLES)]
    tokenizer = tokenizer_of(live.preparation)
    arrays = prepare_samples(live.preparation, tokenizer, samples).arrays
    wanted = here.predict(arrays)
    gaps = []
    for size in (1, _SAMPLES):
        parts = [
            there.predict({k: x[i : i + size] for k, x in arrays.items()})
            for i in range(0, _SAMPLES, size)
        ]
        gaps.append(np.abs(np.concatenate(parts, axis=1) - wanted).max())
    return float(np.nan_to_num(np.max(gaps), nan=np.inf))


def _drawn(found: Preparation, rng: np.random.Generator) -> Sample:
    """Draw a sample of the run's sizes, with numbers such as its training had."""

    def rows(m: str) -> np.ndarray:
        steps = int(rng.integers(1, found.steps[m] + 1))
        x = rng.normal(size=(steps, found.width[m]))
        if m in found.columns:
            x = found.columns[m].mean + found.columns[m].std * x
        return x.astype(np.float32)

    if found.text == FEATURES:
        text = rows("text")
    else:
        length = int(rng.integers(1, found.steps["text"] + 1))
        text = np.zeros((3, length), np.int32)
        text[0], text[1] = rng.integers(0, found.vocabulary, length), 1
    return Sample(text, rows("audio"), rows("vision"))
