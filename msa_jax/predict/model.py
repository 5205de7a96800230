"""A finished run as something that answers; its training data need not be there."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

import msa_jax.methods as methods
from msa_jax.data import intake
from msa_jax.data.batches import gather
from msa_jax.data.intake import FEATURES, Intake
from msa_jax.data.sealed_test import state_hash
from msa_jax.ground.backend import set_up_jax
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Method, PyTree, Split
from msa_jax.methods import network
from msa_jax.predict.answers import Predictor
from msa_jax.predict.stored import read_intake
from msa_jax.runs import finished, workdir
from msa_jax.text import as_json, encoders
from msa_jax.training import epoch_program, step
from msa_jax.training.train_state import make_mesh

FROZEN = "frozen_encoder"  # in front of the names of its parameters


class Live(NamedTuple):
    """A run's network and what it learnt.

    intake: how samples become its inputs.
    config: the run's.
    method: with the module of an untrained text encoder left out.
    seeds: whose variables are here.
    variables: of the network, selected, leading seed axis, NumPy.
    frozen: the untrained text encoder with its parameters; None where there is none.
    """

    intake: Intake
    config: Any
    method: Method
    seeds: tuple[int, ...]
    variables: PyTree
    frozen: tuple[Any, PyTree] | None


def open_live(folder: Path, data_dir: str | None, seed: int | None) -> Live:
    """Open a finished run.

    Args:
        folder: its work directory.
        data_dir: where the data set lies; needed only by runs made before they wrote
            model.json.
        seed: whose parameters are wanted; None: every seed's.

    Raises:
        UserError: the run is not finished, damaged, or lacks what it is made of.
    """
    results, settings = finished.read_results(folder), finished.read_config(folder)
    seeds = tuple(settings.seeds)
    if seed is not None and seed not in seeds:
        listed = ", ".join(map(str, seeds))
        raise UserError(f"--seed {seed}: {folder} was run with seeds {listed}")
    if (folder / workdir.MODEL).is_file():
        found = read_intake(folder)
        variables = finished.read_variables(folder, results)
    else:
        run = finished.open_run(folder, data_dir)
        found, variables = run.inputs.intake, run.variables
    frozen, module = _frozen(folder, settings, found), encoders.FeatureEncoder()
    if frozen is None and found.text != FEATURES:
        if found.encoder is None:
            raise UserError(f"{folder / workdir.MODEL}: names no text encoder")
        module = as_json.module(
            found.encoder, settings.text.implementation, settings.precision
        )
    method = methods.make(settings, module, found.label_range)
    if seed is not None:
        place = seeds.index(seed)
        seeds = (seed,)
        variables = jax.tree.map(lambda x: x[place : place + 1], variables)
    live = Live(found, settings, method, seeds, variables, frozen)
    _require_fitting(folder, live)
    return live


def start(folder: Path, data_dir: str | None = None, seed: int | None = None) -> Live:
    """Open a finished run in a process that computes as the run did.

    Args, Raises: as of `open_live`.
    """
    finished.read_results(folder)  # says so if the run is not finished
    set_up_jax(finished.read_config(folder).precision)
    return open_live(folder, data_dir, seed)


def predictor(live: Live) -> Predictor:
    """Return what answers with the parameters of all seeds, on one device."""
    mesh = make_mesh(1, 1, len(live.seeds))
    over_seeds = epoch_program.layout_of_seeds(live.config.mesh.over_seeds, mesh)
    variables, encode = jax.device_put(live.variables), jax.jit(encoded(live))
    encoder = jax.device_put({} if live.frozen is None else live.frozen[1])

    @functools.cache
    def program(size: int) -> Any:
        return step.make_predict(live.method, size, mesh, over_seeds=over_seeds)

    def predict(arrays: dict[str, np.ndarray]) -> np.ndarray:
        split = split_of(encode(encoder, arrays))
        return np.asarray(program(len(arrays["text"]))(variables, split))

    return Predictor(live.intake, live.seeds, live.config.optim.batch_size, predict)


def encoded(live: Live) -> Any:
    """Return (untrained encoder's parameters, arrays) -> arrays with its states."""

    def encode(params: PyTree, arrays: dict[str, Any]) -> dict[str, Any]:
        if live.frozen is None:
            return arrays
        hidden = live.frozen[0].apply({"params": params}, arrays["text"], train=False)
        return arrays | {"text": hidden}

    return encode


def split_of(arrays: dict[str, Any]) -> Split:
    """Return arrays of `intake.prepare` as a split without labels.

    To a method that reads videos every sample is one of its own.
    """
    n = arrays["text"].shape[0]
    return Split(
        **arrays,
        label=jnp.zeros(n),
        unimodal_label=jnp.full((n, len(MODALITIES)), jnp.nan),
    )


def flat(variables: PyTree) -> dict[str, np.ndarray]:
    """Return one seed's variables under one name each, "params/a/b/kernel"."""
    found: Any = traverse_util.flatten_dict(variables, sep="/")
    return found


def _frozen(folder: Path, settings: Any, found: Intake) -> tuple[Any, PyTree] | None:
    """Load the text encoder that a run did not train, and so did not keep."""
    if found.frozen_sha256 is None:
        return None
    encoder = encoders.computing(
        encoders.load_encoder(settings.text), settings.precision
    )
    now = state_hash(encoder.params, None)
    finished.require_same_encoder(folder, settings, found.frozen_sha256, now)
    return encoder.module, encoder.params


def _require_fitting(folder: Path, live: Live) -> None:
    """Refuse parameters that the method of this version does not have."""

    def init(arrays):
        encoder = {} if live.frozen is None else live.frozen[1]
        split = split_of(encoded(live)(encoder, arrays))
        batch = gather(split, jnp.zeros((1,), jnp.int32))
        return network.start(live.method, jax.random.key(0), batch)

    expected = jax.eval_shape(init, intake.blank(live.intake))
    shapes = [
        {(name, tuple(x.shape[skip:])) for name, x in flat(tree).items()}
        for tree, skip in ((expected, 0), (live.variables, 1))
    ]
    if shapes[0] != shapes[1]:
        odd = sorted(shapes[0] ^ shapes[1])[0][0]
        raise UserError(
            f"{folder / 'checkpoint' / 'best'}: its parameters are not this version's, "
            f"or not those of {workdir.MODEL} ({odd} differs); train again"
        )
