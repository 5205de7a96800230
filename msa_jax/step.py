"""One epoch as one compiled program: train, evaluate, select; all seeds at once.

Nothing here knows a method by name, and nothing is a Python loop over steps, samples or
seeds.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from msa_jax import losses, optim
from msa_jax.batching import DROPOUT_STREAM, batches, gather, shuffled
from msa_jax.packing import Sizes, by_size
from msa_jax.seed_axis import Divide, division, over_groups, over_seed_axis
from msa_jax.train_state import split_sharding, state_sharding
from msa_jax.types import Method, Outputs, PyTree, Selection, Split, TrainState

Read = Callable[
    [Outputs], PyTree
]  # what to keep of a batch's outputs, batch axis first
# Traced hyper-parameters -> a lane's method and optimiser.
OfLane = Callable[[dict[str, Array]], tuple[Method, optax.GradientTransformation]]


class Rules(NamedTuple):
    """How an epoch runs and how the best one is chosen; see `config.base`.

    batch_size: samples per batch.
    accumulate: batches whose gradients are summed before a step; the incomplete group
        at the end of an epoch takes part in labels and logged losses only.
    drop_last: leave the ragged last batch out instead of masking it.
    valid_mean: "batches" (mean of batch means) or "samples".
    round_decimals: validation losses are rounded to so many decimals first; None = not.
    min_delta: an epoch is better if its score is at most best - min_delta.
    early_stop: epochs without improvement after which a seed ends.
    on_nonfinite: "skip": an optimiser step whose loss or gradient is not finite is left
        out; else it is taken, and the host ends the seed or the run.
    """

    batch_size: int
    accumulate: int
    drop_last: bool = False
    valid_mean: str = "batches"
    round_decimals: int | None = None
    min_delta: float = 1e-6
    early_stop: int = 8
    on_nonfinite: str = "stop"


class EpochLog(NamedTuple):
    """What one epoch reports per seed, still on the device.

    parts: training losses by name, one value per batch [batches].
    valid_loss: the score that selects.
    valid_prediction: answers for the validation split [n] or [n, outputs].
    recorded: the method's label values worth keeping.
    bad_steps: optimiser steps whose gradient was not finite [steps].
    """

    parts: dict[str, Array]
    valid_loss: Array
    valid_prediction: Array
    recorded: dict[str, Array]
    bad_steps: Array


class Trained(NamedTuple):
    """One epoch of one seed; see `EpochLog`."""

    state: TrainState
    parts: dict[str, Array]
    bad_steps: Array


def train_epoch(
    method: Method,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    split: Split,
    order: Int[Array, "k b"],
    accumulate: int,
    divide: Divide = lambda batch: batch,
    sizes: Sizes | None = None,
    *,
    skip: bool = False,
    going: Bool[Array, ""] | None = None,
) -> Trained:
    """Train one seed for one epoch over the batches of `order`; say what went wrong.

    Within every batch: (1) forward and loss with the stored labels, (2) backward, (3)
    label tables, and after every `accumulate`-th batch (4) one optimiser step on the
    *sum* of the gradients.

    Args:
        skip: where a loss or gradient of an optimiser step is not finite, only the step
            counter moves: parameters, optimiser and label tables stay.
        going: where False the state stays as it is, to the bit; None: it goes on.

    Source: trains/multiTask/SELF_MM.py, do_train.
    """
    epoch = state.epoch + 1
    dropout = jax.random.fold_in(state.key, DROPOUT_STREAM)

    def forward(params, batch, labels, step):
        key = jax.random.fold_in(dropout, step)
        outputs = method.model.apply(
            {"params": params}, batch, train=True, rngs={"dropout": key}
        )
        loss, parts = method.loss(outputs, batch, labels)
        return loss, (outputs, {"loss": loss, **parts})

    def backward(batch, params, labels, step):
        return jax.grad(forward, has_aux=True)(params, batch, labels, step)

    def only_forward(batch, params, labels, step):
        return forward(params, batch, labels, step)[1]

    def unless(bad, new, old):
        # Chosen here and not once at the end, which would keep the old state till then.
        for keep in ([bad] if skip else []) + ([] if going is None else [~going]):
            new = jax.tree.map(lambda a, b, k=keep: jnp.where(k, b, a), new, old)
        return new

    def backward_batch(params, carry, index):
        gradient, labels, step = carry
        batch = divide(gather(split, index))
        run = by_size(sizes, backward)
        grad, (outputs, parts) = run(batch, params, labels, step)
        labels = method.update_labels(labels, outputs, batch, epoch)
        gradient = jax.tree.map(jnp.add, gradient, grad)
        return (gradient, labels, step + 1), parts

    def group(carry, indices):
        params, opt_state, labels, step = before = carry
        zero = jax.tree.map(jnp.zeros_like, params)
        (gradient, labels, step), parts = jax.lax.scan(
            lambda c, index: backward_batch(params, c, index),
            (zero, labels, step),
            indices,
        )
        # What is not finite in one batch's gradient is not in the sum either.
        bad = ~all_finite(gradient)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        wrong = bad | ~jnp.isfinite(parts["loss"]).all()
        moved = unless(wrong, (params, opt_state, labels), before[:3])
        return (*moved, step), (parts, bad)

    def leftover_batch(params, carry, index):
        labels, step = carry
        batch = divide(gather(split, index))
        outputs, parts = by_size(sizes, only_forward)(batch, params, labels, step)
        updated = method.update_labels(labels, outputs, batch, epoch)
        labels = unless(~jnp.isfinite(parts["loss"]), updated, labels)
        return (labels, step + 1), parts

    whole = order.shape[0] // accumulate * accumulate
    groups = order[:whole].reshape(-1, accumulate, order.shape[1])
    carry = (state.params, state.opt_state, state.labels, state.step)
    carry, (parts, bad_steps) = jax.lax.scan(group, carry, groups)
    params, opt_state, labels, step = carry
    parts = jax.tree.map(lambda x: x.reshape(-1), parts)
    if whole < order.shape[0]:
        (labels, step), rest = jax.lax.scan(
            lambda c, index: leftover_batch(params, c, index),
            (labels, step),
            order[whole:],
        )
        parts = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), parts, rest)
    if going is not None:
        step = jnp.where(going, step, state.step)
        epoch = jnp.where(going, epoch, state.epoch)
    state = dataclasses.replace(
        state, step=step, epoch=epoch, params=params, opt_state=opt_state, labels=labels
    )
    return Trained(state, parts, bad_steps)


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Say whether every number of a pytree is finite."""
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()


def predict(
    method: Method,
    params: PyTree,
    split: Split,
    size: int,
    divide: Divide = lambda batch: batch,
    *,
    read: Read | None = None,
    sizes: Sizes | None = None,
) -> PyTree:
    """Return what `read` keeps of every sample of a split.

    Args:
        method: the method.
        params: one seed's parameters.
        split: the samples.
        size: samples per batch.
        divide: lays a batch over the devices.
        read: (outputs of a batch) -> arrays whose first axis is the batch; what it
            leaves out is not computed. None: the task's answers.
        sizes: pack the text, see `packing`.

    Returns: the same arrays over all samples, [n, ...].
    """
    read = read or method.task.read
    n = split.label.shape[0]

    def answer(batch, params):
        outputs = method.model.apply({"params": params}, batch, train=False)
        return read(cast(Outputs, outputs))

    def one(index):
        return by_size(sizes, answer)(divide(gather(split, index)), params)

    rows = jax.lax.map(one, batches(jnp.arange(n), size))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:n], rows)


def valid_loss(error: Float[Array, " n"], rules: Rules) -> Float[Array, ""]:
    """Return the validation score, the mean of every sample's loss: lower is better.

    Source: trains/multiTask/SELF_MM.py, do_test (mean of batch means); MMSA rounds it
        to 4 decimals.
    Differs: batches are cut in file order; the public loaders shuffle validation, too,
        which makes the mean of batch means depend on chance.
    """
    if rules.valid_mean == "samples":
        score = error.mean()
    else:
        rows = batches(jnp.arange(error.shape[0]), rules.batch_size)
        valid = rows < error.shape[0]
        kept = error[jnp.minimum(rows, error.shape[0] - 1)]
        score = jax.vmap(losses.masked_mean)(kept, valid).mean()
    return score if rules.round_decimals is None else score.round(rules.round_decimals)


def select(
    selection: Selection,
    params: PyTree,
    score: Float[Array, ""],
    epoch: Int[Array, ""],
    rules: Rules,
) -> Selection:
    """Keep the best epoch's parameters; end the seed after `early_stop` without one.

    A score that is not finite is never better. A seed that has ended selects nothing.

    Source: trains/multiTask/SELF_MM.py (better: <= best - 1e-6).
    """
    better = jnp.isfinite(score) & (score <= selection.score - rules.min_delta)
    better &= selection.active
    best_epoch = jnp.where(better, epoch, selection.epoch)
    return Selection(
        params=jax.tree.map(
            lambda new, old: jnp.where(better, new, old), params, selection.params
        ),
        score=jnp.where(better, score, selection.score),
        epoch=best_epoch,
        active=selection.active & (epoch - best_epoch < rules.early_stop),
    )


def make_epoch(
    method: Method,
    optimizer: optax.GradientTransformation,
    rules: Rules,
    mesh: Mesh,
    *,
    over_seeds: str,
    at_once: int = 0,
    of_lane: OfLane | None = None,
    sizes: Sizes | None = None,
    lie: TrainState | None = None,
) -> Callable[[TrainState, Split, Split], tuple[TrainState, EpochLog]]:
    """Compile-ready program of one epoch for all seeds of a state.

    Seeds that have stopped keep their state to the bit.

    Args:
        method: the method.
        optimizer: from `optim.make_optimizer`.
        rules: batch size, accumulation, selection.
        mesh: from `train_state.make_mesh`.
        over_seeds: "vmap" (accelerators: seeds in parallel) or "map" (CPU: in turn).
        at_once: with "vmap", how many seeds of a device step side by side, a divisor
            of their number; the others wait. 0: all.
        of_lane: what makes a lane's own method and optimiser of its `state.hyper`, of
            the same shapes as the given ones; None: all lanes have those.
        sizes: pack the text, see `packing`.
        lie: how the state lies on the devices, from `train_state.state_shardings`;
            None: as `state_sharding` says.
    """
    divide, columns = division(mesh, rules.batch_size)
    of_state = lie or state_sharding(mesh)
    shared = method, optimizer

    alone = over_seeds == "map"  # a lane that has ended is then not run at all

    @partial(jax.jit, inline=True)  # traced once, though `ended` asks for its shapes
    def run(state, train, valid):
        method, optimizer = of_lane(state.hyper) if of_lane else shared
        n = train.label.shape[0]
        going = None if alone else state.selection.active
        order = shuffled(state.key, state.epoch + 1, n)
        rows = batches(
            order, rules.batch_size, columns=columns, drop_last=rules.drop_last
        )
        state, parts, bad_steps = train_epoch(
            method,
            optimizer,
            state,
            train,
            rows,
            rules.accumulate,
            divide,
            sizes,
            skip=rules.on_nonfinite == "skip",
            going=going,
        )
        prediction = predict(method, state.params, valid, columns, divide, sizes=sizes)
        score = valid_loss(method.task.error(prediction, valid), rules)
        chosen = select(state.selection, state.params, score, state.epoch, rules)
        opt_state = optim.after_epoch(state.opt_state, score)
        log = EpochLog(parts, score, prediction, {}, bad_steps)
        if going is not None:
            log = jax.tree.map(lambda x: jnp.where(going, x, 0).astype(x.dtype), log)
            opt_state = jax.tree.map(
                # A leaf that no schedule has touched is its own old value.
                lambda new, old: new if new is old else jnp.where(going, new, old),
                opt_state,
                state.opt_state,
            )
        state = dataclasses.replace(state, selection=chosen, opt_state=opt_state)
        return state, log._replace(recorded=method.label_values(state.labels))

    def ended(state, train, valid):
        shapes = jax.eval_shape(run, state, train, valid)[1]
        log = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        return log._replace(recorded=method.label_values(state.labels))

    program = over_groups(run, ended, over_seeds, at_once, mesh.shape["seed"])

    def all_seeds(state, train, valid):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # what layers see
            return program(state, train, valid)

    return jax.jit(
        all_seeds,
        donate_argnums=0,
        in_shardings=(of_state, split_sharding(mesh), split_sharding(mesh)),
        out_shardings=(of_state, state_sharding(mesh)),
    )


def make_predict(
    method: Method,
    batch_size: int,
    mesh: Mesh,
    *,
    over_seeds: str,
    read: Read | None = None,
    sizes: Sizes | None = None,
    lie: PyTree = None,
) -> Callable[[PyTree, PyTree], PyTree]:
    """Compile-ready program that predicts splits with every seed's parameters.

    Several in one program compile in little more time than one: what they compute of a
    batch is compiled once.

    Args:
        method, batch_size, read, sizes: see `predict`.
        mesh: from `train_state.make_mesh`.
        over_seeds: see `make_epoch`.
        lie: how the parameters lie on the devices; None: as `state_sharding` says.

    Returns: (parameters, split, or a pytree of them) -> of every split what `read`
        keeps, see `predict`, [s, n, ...].
    """
    divide, columns = division(mesh, batch_size)

    def one_seed(params, splits):
        def of_split(split):
            return predict(
                method, params, split, columns, divide, read=read, sizes=sizes
            )

        return jax.tree.map(of_split, splits, is_leaf=lambda x: isinstance(x, Split))

    return jax.jit(
        over_seed_axis(one_seed, over_seeds),
        in_shardings=(lie or state_sharding(mesh), split_sharding(mesh)),
        out_shardings=state_sharding(mesh),
    )
