"""What replays of whole training runs share."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from msa_jax.data.batches import batches
from msa_jax.ground.names import TARGETS
from msa_jax.ground.types import Method, PyTree, Selection, Split, TrainState
from msa_jax.methods import network
from msa_jax.methods.torch_names import Names, from_torch, to_torch
from msa_jax.studies.parity.replays.compare import Comparison
from msa_jax.training import optim, step
from msa_jax.training.train_state import new_state

Arrays = Mapping[str, np.ndarray]


class StubEncoder(nn.Module):
    """The references' stand-in for BERT: embedding, linear map, LayerNorm."""

    vocabulary: int
    width: int

    @nn.compact
    def __call__(self, tokens: jax.Array, *, train: bool) -> jax.Array:
        """Return one vector per token."""
        x = nn.Embed(self.vocabulary, self.width, name="emb")(tokens[:, 0])
        x = nn.Dense(self.width, name="proj")(x)
        # The textbook variance: the fast one differs from PyTorch's in the last bits.
        norm = nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name="LayerNorm")
        return norm(x)


def replay(
    z: Arrays,
    table: Comparison,
    dtype: type,
    tolerance: float,
    method: Method,
    groups: Mapping[str, Any],
    params: PyTree,
    names: Names,
    settled: Callable[[str, int], np.ndarray] | None = None,
) -> list[TrainState]:
    """Replay training: every loss, u-label, validation loss and weight, and the stop.

    Args:
        z: the reference's arrays.
        table: where comparisons go.
        dtype: of the replay.
        tolerance: see `Comparison.add`.
        method: without dropout.
        groups: rates and decays by parameter group.
        params: at the start.
        names: the reference's, of the parameters.
        settled: (name, length) -> which entries of a vector are compared; None = all.

    Returns:
        The state after each epoch.
    """
    optimizer = optim.make_optimizer(groups, method.groups)
    hp = under(z, "hp/")
    run = step.Rules(
        batch_size=int(hp["batch_size"]),
        accumulate=int(hp["update_epochs"]),
        early_stop=int(hp["early_stop"]),
    )
    train, valid = split(z, "train", dtype), split(z, "valid", dtype)
    start = {"params": params}
    state = new_state(method, optimizer, start, train, jax.random.key(0))

    @jax.jit
    def epoch(state, order):
        rows = batches(order, run.batch_size)
        state, parts, _ = step.train_epoch(method, optimizer, state, train, rows, run)
        variables = network.variables(state)
        prediction = step.predict(method, variables, valid, run.batch_size)
        return state, parts, step.valid_loss(method.task.error(prediction, valid), run)

    states, parts, scores = [], [], []
    for order in z["orders"][1:]:  # [0] is the label initialisation pass
        state, losses, score = epoch(state, jnp.asarray(order, jnp.int32))
        states.append(state)
        parts.append(losses)
        scores.append(score)
    for row, t in enumerate(TARGETS):
        losses = np.concatenate([p[f"loss_{t}"] for p in parts])
        table.add(f"loss_{t}", losses, z[f"loss_{t}"], tolerance)
        labels = np.stack([s.labels.value[row] for s in states])
        table.add(f"label_{t}", labels, z[f"label_{t}"], tolerance)
    table.add("val_loss", np.stack(scores), z["val_loss"], tolerance)
    after = [to_torch(names, states[e - 1].params) for e in (2, len(states))]
    for name in under(z, "w_init/Model."):
        ours = np.stack([w[name] for w in after])
        reference = z[f"w_after/Model.{name}"]
        if settled is not None and ours.ndim == 2:
            kept = settled(name, ours.shape[1])
            ours, reference = ours[:, kept], reference[:, kept]
        table.add(f"w_after/{name}", ours, reference, tolerance)
    best, stopped = _scripted_stop(z["scripted_val_for_early_stop"], run)
    if "best_epoch" in z:
        table.add("best_epoch", best, z["best_epoch"], 0.0)
    table.add("last_epoch", stopped, len(z["scripted_val_for_early_stop"]), 0.0)
    return states


def _scripted_stop(scores: np.ndarray, run: step.Rules) -> tuple[int, int]:
    """Feed validation scores to the selection rule: (best epoch, last epoch)."""
    zero = jnp.zeros((), jnp.int32)
    chosen = Selection({}, jnp.asarray(jnp.inf), zero, jnp.ones((), bool))
    for epoch, score in enumerate(scores, start=1):
        chosen = step.select(chosen, {}, jnp.asarray(score), jnp.asarray(epoch), run)
        if not chosen.active:
            return int(chosen.epoch), epoch
    return int(chosen.epoch), len(scores) + 1


def split(z: Arrays, name: str, dtype: type) -> Split:
    """Read a split; no sample has human unimodal labels."""
    text = z[f"{name}/text"]
    label = jnp.asarray(z[f"{name}/y"], dtype)
    return Split(
        text=jnp.asarray(text, jnp.int32),
        text_length=jnp.asarray(text[:, 1].sum(-1), jnp.int32),
        audio=jnp.asarray(z[f"{name}/audio"], dtype),
        audio_length=jnp.asarray(z[f"{name}/al"], jnp.int32),
        vision=jnp.asarray(z[f"{name}/vision"], dtype),
        vision_length=jnp.asarray(z[f"{name}/vl"], jnp.int32),
        label=label,
        unimodal_label=jnp.full((label.shape[0], 3), jnp.nan, dtype),
    )


def load(
    names: Names,
    state: Arrays,
    dtype: type,
    module: nn.Module,
    *args: Any,
    **kwargs: Any,
) -> PyTree:
    """Read a module's parameters from a PyTorch state dict.

    Args:
        names: see `from_torch`.
        state: the arrays.
        dtype: of the parameters.
        module: whose they are.
        args, kwargs: what it is called with.
    """
    init = partial(module.init, **kwargs)
    shapes = jax.eval_shape(init, jax.random.key(0), *args)["params"]
    like = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, dtype), shapes)
    return jax.tree.map(jnp.asarray, from_torch(names, state, like))


def under(z: Arrays, prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays whose key starts with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in z.items() if k.startswith(prefix)}
