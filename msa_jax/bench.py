"""Time methods' training steps and epochs, and count their operations.

    python -m msa_jax.bench --method sugrm,mmcl --against torch
    python -m msa_jax.bench --method self_mm --encoder bert-base --against torch
    python -m msa_jax.bench --method ucrn --aligned --seeds 1,5,10 --json speed.json
    python -m msa_jax.bench --compile-only v5e-8 --seeds 8 --mesh-data 2

One step is forward, loss, backward (down to the text features where the configuration
trains what makes them), generated labels and update, on noise with the shapes of a data
set: once with every sequence at full length, once with the lengths that its synthetic
twin has. With --encoder a step is what
training runs, BERT included, at the twin's lengths. With --against torch, formulations
of the same computation in PyTorch (extra [bench]) take turns with ours in this process
(in a checkout, which has them in benchmarks/torch_sides). With --seeds whole epochs are
timed, too: every batch, validation (a tenth of train), selection. "ours / this"
compares our fastest step with the row's.

With --compile-only nothing is run: the program of an epoch is compiled for an
accelerator that need not be here (docs/performance.md). What it takes is said per chip
(memory, kernels, bytes, what is sent), or why the compiler refuses it: then the exit
code is 1. JAX_OPTIMIZATION_LEVEL=O0 before the command saves most of a TPU compiler's
time.
"""

import json
import os
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from msa_jax.config import cli
from msa_jax.ground import files
from msa_jax.studies.bench import options as flags
from msa_jax.studies.bench import targets


def main() -> int:
    """Parse the command line, measure, print; return the exit code."""
    options = flags.parse(__doc__)
    # Before anything imports jax.
    if options.compile_only:
        targets.set_up()
    else:
        options.threads = flags.limit_threads(options.threads)
    options.method = flags.methods_of(options)
    if options.compile_only:
        return compile_ahead(options)
    rows, about = run(options)
    from msa_jax.studies.bench import table

    table.show(rows, about)
    if options.json:
        content = json.dumps({**about, "rows": rows}, indent=2)
        files.write(options.json, content.encode())
    return 0


def compile_ahead(options: Any) -> int:
    """Compile for an accelerator that is not here; return the exit code."""
    from msa_jax.studies.bench import compile_only

    rows, fit = compile_only.run(options)
    if options.json:
        files.write(options.json, json.dumps({"rows": rows}, indent=2).encode())
    return 0 if fit else 1


def run(options: Any) -> tuple[list[dict], dict[str, Any]]:
    """Measure; return all rows, and what holds for all of them."""
    import jax

    from msa_jax.ground import backend
    from msa_jax.studies.bench import (
        against,
        epochs,
        measure,
        shapes,
        steps,
        whole_step,
    )

    if options.against:
        against.require(options.method, options.threads)
    backend.set_up_jax("highest")
    jax.config.update("jax_enable_compilation_cache", False)
    shape = shapes.of_dataset(options.dataset_shape, aligned=options.aligned)
    peak = measure.matmul_peak()
    rows = []
    for name in options.method:
        timed = steps if options.encoder == "none" else whole_step
        rows += timed.run(options, name, shape, peak)
        if options.seeds:
            rows += epochs.run(options, name, shape)
    return rows, _about(options, peak)


def _about(options: Any, peak: float) -> dict[str, Any]:
    import jax

    packages = ["jax", "jaxlib", "flax"] + ["torch"] * bool(options.against)
    chosen = {k: v for k, v in vars(options).items() if k not in ("json", "config")}
    return {
        **chosen,
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "matmul_peak_gflop_per_second": peak / 1e9,
        "versions": {name: metadata.version(name) for name in packages},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


if __name__ == "__main__":
    cli.run(main)
