"""A finished run as something that answers; its training data need not be there."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

import msa_jax.methods as methods
from msa_jax.data.preparation import FEATURES, Preparation
from msa_jax.data.sealed_test import state_hash
from msa_jax.ground.backend import set_up_jax
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Method, PyTree, Split
from msa_jax.methods import network
from msa_jax.predict.answers import Predictor
from msa_jax.predict.samples import blank, read_preparation
from msa_jax.runs import workdir
from msa_jax.runs.finished import Run, open_own
from msa_jax.runs.reopened import reopen, require_fitting, require_same_encoder
from msa_jax.text import as_json, encoders
from msa_jax.training import step
from msa_jax.training.train_state import devices_of, make_mesh

FROZEN = "frozen_encoder"  # in front of the names of its parameters


class Live(NamedTuple):
    """A run's network and what it learnt.

    preparation: how samples become its inputs.
    config: the run's.
    method: with the module of an untrained text encoder left out.
    seeds: whose variables are here.
    variables: of the network, selected, leading seed axis, NumPy.
    frozen: the untrained text encoder with its parameters; None where there is none.
    """

    preparation: Preparation
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
    run = open_own(folder)
    settings = run.settings
    seeds = tuple(settings.seeds)
    if seed is not None and seed not in seeds:
        listed = ", ".join(map(str, seeds))
        raise UserError(f"--seed {seed}: {folder} was run with seeds {listed}")
    if (folder / workdir.MODEL).is_file():
        found = read_preparation(folder)
        variables = run.selection().variables
    else:
        whole = reopen(folder, data_dir)
        found, variables = whole.inputs.preparation, whole.variables
    frozen, module = _frozen(run, found), encoders.FeatureEncoder()
    if frozen is None and found.text != FEATURES:
        if found.encoder is None:
            raise UserError(f"{folder / workdir.MODEL}: names no text encoder")
        module = as_json.make_encoder(
            found.encoder, settings.text.implementation, settings.precision
        )
    method = methods.make(settings, module, found.label_range)
    if seed is not None:
        place = seeds.index(seed)
        seeds = (seed,)
        variables = jax.tree.map(lambda x: x[place : place + 1], variables)
    live = Live(found, settings, method, seeds, variables, frozen)

    def split(arrays: dict[str, Any]) -> Split:
        encoder = {} if frozen is None else frozen[1]
        return split_of(encoded(live)(encoder, arrays))

    expected = network.shapes(method, jax.eval_shape(split, blank(found)))
    require_fitting(folder, expected, variables)
    return live


def open_configured(
    folder: Path, data_dir: str | None = None, seed: int | None = None
) -> Live:
    """Open a finished run in a process that computes as the run did.

    Args, Raises: as of `open_live`.
    """
    set_up_jax(open_own(folder).settings.precision)
    return open_live(folder, data_dir, seed)


def predictor(live: Live) -> Predictor:
    """Return what answers with the parameters of all seeds, on one device."""
    devices = devices_of(live.config, make_mesh(1, 1, len(live.seeds)))
    variables, encode = jax.device_put(live.variables), jax.jit(encoded(live))
    encoder = jax.device_put({} if live.frozen is None else live.frozen[1])

    @functools.cache
    def program(size: int) -> Any:
        how = devices.over_seeds
        return step.make_predict(live.method, size, devices.mesh, over_seeds=how)

    def predict(arrays: dict[str, np.ndarray]) -> np.ndarray:
        split = split_of(encode(encoder, arrays))
        return np.asarray(program(len(arrays["text"]))(variables, split))

    return Predictor(
        live.preparation, live.seeds, live.config.optim.batch_size, predict
    )


def encoded(live: Live) -> Any:
    """Return (untrained encoder's parameters, arrays) -> arrays with its states."""

    def encode(params: PyTree, arrays: dict[str, Any]) -> dict[str, Any]:
        if live.frozen is None:
            return arrays
        hidden = live.frozen[0].apply({"params": params}, arrays["text"], train=False)
        return arrays | {"text": hidden}

    return encode


def split_of(arrays: dict[str, Any]) -> Split:
    """Return arrays of `prepare_samples` as a split without labels.

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


def _frozen(run: Run, found: Preparation) -> tuple[Any, PyTree] | None:
    """Load the text encoder that a run did not train, and so did not keep."""
    if found.frozen_sha256 is None:
        return None
    encoder = encoders.load_encoder(run.settings.text)
    encoder = encoders.computing(encoder, run.settings.precision)
    now = state_hash(encoder.params, None)
    require_same_encoder(run, found.frozen_sha256, now)
    return encoder.module, encoder.params
