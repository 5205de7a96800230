"""What some columns need beside training: parameter counts, drops under corruption."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from msa_jax.runs import workdir
from msa_jax.studies.reproduce import special_cells, wanted_runs
from msa_jax.studies.reproduce.wanted_runs import Wanted

REPEATS = 5  # draws of each random corruption


def measure(wanted: Sequence[Wanted], seeds: Sequence[int], data_dir: str) -> None:
    """Measure what is missing, into the folders of configurations and runs."""
    for want in wanted:
        if want.folder is None or want.recipe is None:
            continue
        if "parameters" in want.readings:
            path = want.folder / special_cells.PARAMETERS
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                count = parameters(want.recipe.settings, data_dir)
                workdir.write_json(path, {"parameters": count})
        if "drop" in want.readings:
            there = wanted_runs.finished_seeds(want.folder)
            for folder in dict.fromkeys(there[s] for s in seeds if s in there):
                _corrupt(folder, data_dir)


def parameters(settings: ConfigDict, data_dir: str) -> int:
    """Count the parameters of a configuration's network, the text encoder's included.

    Nothing is trained; shapes alone are computed.
    """
    import jax
    import jax.numpy as jnp

    import msa_jax.methods as methods
    from msa_jax.data import load
    from msa_jax.data.batches import gather
    from msa_jax.ground.backend import set_up_jax
    from msa_jax.methods import network
    from msa_jax.training.inputs import make_inputs

    set_up_jax(settings.precision)
    dataset = load(settings.data.name, data_dir)
    inputs = make_inputs(dataset, FrozenConfigDict(settings))
    label_range = tuple(dataset.card["label_range"])
    method = methods.make(settings, inputs.encoder.module, label_range)

    def init(split: Any) -> Any:
        batch = gather(split, jnp.zeros((1,), jnp.int32))
        return network.start(method, jax.random.key(0), batch)["params"]

    shapes = jax.eval_shape(init, inputs.splits["train"])
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def _corrupt(folder: Path, data_dir: str) -> None:
    """Measure a run under missing modalities and noise, unless that is done."""
    if (folder / special_cells.ROBUSTNESS).is_file():
        return
    from msa_jax.studies.robustness.measure import measure

    print(f"robustness of {folder}")
    measure(folder, data_dir, REPEATS, retrain=False)
