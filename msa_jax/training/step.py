"""One epoch as one compiled program: train, evaluate, select; all seeds at once.

Nothing here knows a method by name, and nothing is a Python loop over steps, samples or
seeds.
"""

import dataclasses
from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from msa_jax.data.batches import (
    DROPOUT_STREAM,
    batches,
    count,
    cut,
    gather,
    in_order,
    shuffled,
)
from msa_jax.ground.types import (
    Batch,
    Method,
    Outputs,
    Phase,
    PyTree,
    Selection,
    Split,
    TrainState,
)
from msa_jax.methods import losses, network
from msa_jax.training import optim, phases
from msa_jax.training.seed_axis import (
    Divide,
    devices_of_a_program,
    division,
    over_groups,
    over_seed_axis,
    per_device,
)
from msa_jax.training.train_state import split_sharding, state_sharding

Read = Callable[
    [Outputs], PyTree
]  # what to keep of a batch's outputs, batch axis first
# Traced hyper-parameters -> a lane's method and optimiser.
OfLane = Callable[[dict[str, Array]], tuple[Method, optax.GradientTransformation]]


class Rules(NamedTuple):
    """How an epoch runs and how the best one is chosen; see `config.sections`.

    batch_size: samples per batch.
    accumulate: batches whose gradients are summed before a step.
    tail: "dropped": the incomplete group at the end of an epoch takes part in labels,
        statistics and logged losses only; "stepped": it takes a step, too.
    step_every_batch: besides, a step after every batch, on the sum so far of its group.
    clip_value: no entry of that sum is further from 0, after any batch; 0: no limit.
    drop_last: leave the ragged last batch out instead of masking it.
    valid_mean: "batches" (mean of batch means) or "samples".
    round_decimals: validation losses are rounded to so many decimals first; None = not.
    min_delta: an epoch is better if its score is at most best - min_delta.
    early_stop: epochs without improvement after which a seed ends.
    on_nonfinite: "skip": where a loss or gradient of an optimiser step, or of a group's
        steps, is not finite, only the step counter moves; else it is taken, and the
        host ends the seed or the run.
    """

    batch_size: int
    accumulate: int
    drop_last: bool = False
    valid_mean: str = "batches"
    round_decimals: int | None = None
    min_delta: float = 1e-6
    early_stop: int = 8
    on_nonfinite: str = "stop"
    tail: str = "dropped"
    step_every_batch: bool = False
    clip_value: float = 0.0


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
    rules: Rules,
    divide: Divide = lambda batch: batch,
    *,
    going: Bool[Array, ""] | None = None,
) -> Trained:
    """Train one seed for one epoch over the batches of `order`; say what went wrong.

    Phases of a whole epoch pass over the batches first, one after another; then come
    those that share every batch. All passes see the same batches.

    Args:
        going: where False the state stays as it is, to the bit; None: it goes on.

    Differs: MMIM's loader shuffles anew for its second pass.
    """
    epoch = state.epoch + 1
    labels = _where(going, method.begin_labels(state.labels, epoch), state.labels)
    new = dataclasses.replace(state, labels=labels, epoch=epoch)
    stages, logs, bad_steps = phases.passes(method), [], []
    for stage in stages:
        new, parts, bad = train_pass(
            method,
            optimizer,
            new,
            split,
            order,
            rules,
            stage,
            divide,
            going=going,
            relabel=stage is stages[-1],
        )
        logs.append(parts)
        bad_steps.append(bad)
    step, epoch = _where(going, (new.step, epoch), (state.step, state.epoch))
    new = dataclasses.replace(new, step=step, epoch=epoch)
    bad = reduce(jnp.logical_or, bad_steps)
    return Trained(new, phases.together(logs), bad)


def train_pass(
    method: Method,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    split: Split,
    order: Int[Array, "k b"],
    rules: Rules,
    stage: tuple[Phase, ...],
    divide: Divide = lambda batch: batch,
    *,
    going: Bool[Array, ""] | None = None,
    relabel: bool = True,
) -> Trained:
    """Pass once over the batches of epoch `state.epoch` with some phases.

    Within every batch: (1) forward and each phase's loss with the stored labels, (2)
    backward, (3) label tables, and after every `rules.accumulate`-th batch (4) one
    optimiser step of each phase, in order, on the *sum* of its gradients. So all
    gradients are those at the weights before any of a batch's steps.

    Args:
        stage: from `phases.passes`.
        relabel: whether label tables are updated.

    Source: trains/multiTask/SELF_MM.py, do_train.
    """
    dropout = jax.random.fold_in(state.key, DROPOUT_STREAM)

    def apply(params, batch, labels, statistics, step):
        key = jax.random.fold_in(dropout, step)
        variables = {"params": params, **statistics}
        outputs, statistics = network.learn(method, variables, batch, key)
        return outputs, statistics

    def backward(batch, params, labels, statistics, step):
        def forward(own, phase):
            whole = phases.put(params, own)
            outputs, moved = apply(whole, batch, labels, statistics, step)
            loss, parts = phase.loss(outputs, batch, labels)
            return loss, (outputs, moved, (loss, parts))

        gradients, losses = {}, []
        for phase in stage:
            own = phases.moved(method, phase, params)
            gradients[phase.name], (outputs, moved, loss) = jax.grad(
                forward, has_aux=True
            )(own, phase)
            losses.append(loss)
        return gradients, (outputs, moved, phases.logged(stage, losses))

    def only_forward(batch, params, labels, statistics, step):
        outputs, statistics = apply(params, batch, labels, statistics, step)
        losses = [phase.loss(outputs, batch, labels) for phase in stage]
        return outputs, statistics, phases.logged(stage, losses)

    def unless(bad, new, old):
        # Chosen here and not once at the end, which would keep the old state till then.
        skip = [bad] if rules.on_nonfinite == "skip" else []
        for keep in skip + ([] if going is None else [~going]):
            new = jax.tree.map(lambda a, b, k=keep: jnp.where(k, b, a), new, old)
        return new

    def relabelled(labels, outputs, batch):
        if not relabel:
            return labels
        return method.update_labels(labels, outputs, batch, state.epoch)

    def add_batch(params, carry, index):
        gradients, labels, statistics, step = carry
        batch = divide(gather(split, index, method.videos))
        run = method.on_batch(backward)
        more, (outputs, statistics, parts) = run(
            batch, params, labels, statistics, step
        )
        labels = relabelled(labels, outputs, batch)
        gradients = jax.tree.map(jnp.add, gradients, more)
        if limit := rules.clip_value:
            gradients = jax.tree.map(lambda g: g.clip(-limit, limit), gradients)
        return (gradients, labels, statistics, step + 1), parts

    def move(gradients, params, opt_state):
        return phases.update(method, stage, optimizer, gradients, opt_state, params)

    def batch_and_step(carry, index):
        moving, carry = carry
        carry, parts = add_batch(moving[0], carry, index)
        return (move(carry[0], *moving), carry), parts

    def group(carry, indices, *, step_at_end=True):
        params, opt_state, labels, statistics, step = before = carry
        start = (phases.zeros(method, stage, params), labels, statistics, step)
        if rules.step_every_batch:
            carry = (params, opt_state), start
            carry, parts = jax.lax.scan(batch_and_step, carry, indices)
            (params, opt_state), summed = carry
        else:
            summed, parts = jax.lax.scan(
                lambda c, index: add_batch(params, c, index), start, indices
            )
        gradients, labels, statistics, step = summed
        # What is not finite in one batch's gradient is not in the sum either.
        bad = ~all_finite(gradients)
        if step_at_end:
            params, opt_state = move(gradients, params, opt_state)
        wrong = bad | ~jnp.isfinite(parts["loss"]).all()
        new = (params, opt_state, labels, statistics)
        return (*unless(wrong, new, before[:4]), step), (parts, bad)

    def leftover_batch(params, carry, index):
        labels, statistics, step = carry
        batch = divide(gather(split, index, method.videos))
        run = method.on_batch(only_forward)
        outputs, moved, parts = run(batch, params, labels, statistics, step)
        new = relabelled(labels, outputs, batch), moved
        wrong = ~jnp.isfinite(parts["loss"])
        return (*unless(wrong, new, (labels, statistics)), step + 1), parts

    accumulate = rules.accumulate
    whole = order.shape[0] // accumulate * accumulate
    groups = order[:whole].reshape(-1, accumulate, order.shape[1])
    carry = (
        state.params,
        state.opt_state,
        state.labels,
        state.statistics,
        state.step,
    )
    carry, (parts, bad_steps) = jax.lax.scan(group, carry, groups)
    parts = jax.tree.map(lambda x: x.reshape(-1), parts)
    if whole < order.shape[0]:
        if rules.tail == "stepped" or rules.step_every_batch:
            at_end = rules.tail == "stepped"
            carry, (rest, bad) = group(carry, order[whole:], step_at_end=at_end)
            bad_steps = jnp.append(bad_steps, bad)
        else:
            params, opt_state, *others = carry
            others, rest = jax.lax.scan(
                lambda c, index: leftover_batch(params, c, index),
                tuple(others),
                order[whole:],
            )
            carry = params, opt_state, *others
        parts = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), parts, rest)
    params, opt_state, labels, statistics, step = carry
    state = dataclasses.replace(
        state,
        step=step,
        params=params,
        opt_state=opt_state,
        labels=labels,
        statistics=statistics,
    )
    return Trained(state, parts, bad_steps)


def _where(going: Bool[Array, ""] | None, new: PyTree, old: PyTree) -> PyTree:
    """Return the new values where a seed goes on, else the old ones."""
    if going is None:
        return new
    # What nothing has touched is its own old value.
    return jax.tree.map(lambda a, b: a if a is b else jnp.where(going, a, b), new, old)


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Say whether every number of a pytree is finite."""
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()


def answering(
    method: Method, read: Read | None
) -> Callable[[Batch, network.Variables], PyTree]:
    """Return what answers a batch; see `predict`. Batches alike are traced once."""
    read = read or method.task.read

    @partial(jax.jit, inline=True)
    def answer(batch, variables):
        return read(network.answer(method, variables, batch))

    return answer


def predict(
    method: Method,
    variables: network.Variables,
    split: Split,
    size: int,
    divide: Divide = lambda batch: batch,
    *,
    read: Read | None = None,
    answer: Callable[[Batch, network.Variables], PyTree] | None = None,
) -> PyTree:
    """Return what `read` keeps of every sample of a split.

    Args:
        method: the method.
        variables: one seed's, see `network`.
        split: the samples.
        size: samples per batch; videos, where the method reads those.
        divide: lays a batch over the devices.
        read: (outputs of a batch) -> arrays whose first axis is the batch; what it
            leaves out is not computed. None: the task's answers.
        answer: from `answering`, with `read`, where several splits are predicted.

    Returns: the same arrays over all samples, [n, ...].
    """
    answer = answer or answering(method, read)

    def one(index):
        batch = divide(gather(split, index, method.videos))
        return method.on_batch(answer)(batch, variables)

    index = cut(split, jnp.arange(count(split, method.videos)), size, method.videos)
    return in_order(split, jax.lax.map(one, index), index, method.videos)


def judged(
    method: Method,
    variables: network.Variables,
    split: Split,
    size: int,
    divide: Divide = lambda batch: batch,
) -> tuple[Array, Float[Array, " n"]]:
    """Return the answers to a validation split, and each sample's loss that selects.

    Args: see `predict`.
    """
    if method.valid_error is None:
        answers = predict(method, variables, split, size, divide)
        return answers, method.task.error(answers, split)

    def read(outputs):
        return outputs.prediction.T

    every = predict(method, variables, split, size, divide, read=read)
    outputs = Outputs(every.T, {})
    return method.task.read(outputs), method.valid_error(outputs, split)


def valid_loss(
    error: Float[Array, " n"], rules: Rules, rows: Int[Array, "k b"] | None = None
) -> Float[Array, ""]:
    """Return the validation score, the mean of every sample's loss: lower is better.

    Args:
        error: of every sample.
        rules: whose mean.
        rows: batches of samples, padded with n; None: in file order.

    Source: trains/multiTask/SELF_MM.py, do_test (mean of batch means); MMSA rounds it
        to 4 decimals.
    Differs: batches are cut in file order; the public loaders shuffle validation, too,
        which makes the mean of batch means depend on chance.
    """
    if rules.valid_mean == "samples":
        score = error.mean()
    else:
        if rows is None:
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
    statistics: dict[str, PyTree] | None = None,
) -> Selection:
    """Keep the best epoch's variables; end the seed after `early_stop` without one.

    A score that is not finite is never better. A seed that has ended selects nothing.

    Source: trains/multiTask/SELF_MM.py (better: <= best - 1e-6).
    """
    better = jnp.isfinite(score) & (score <= selection.score - rules.min_delta)
    better &= selection.active
    best_epoch = jnp.where(better, epoch, selection.epoch)
    chosen, running = jax.tree.map(
        lambda new, old: jnp.where(better, new, old),
        (params, statistics or {}),
        (selection.params, selection.statistics),
    )
    return Selection(
        params=chosen,
        statistics=running,
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
        videos, size = method.videos, rules.batch_size
        going = None if alone else state.selection.active
        order = shuffled(state.key, state.epoch + 1, count(train, videos))
        rows = cut(
            train, order, size, videos, columns=columns, drop_last=rules.drop_last
        )
        state, parts, bad_steps = train_epoch(
            method, optimizer, state, train, rows, rules, divide, going=going
        )
        variables = network.variables(state)
        prediction, error = judged(method, variables, valid, columns, divide)
        rows = cut(valid, jnp.arange(count(valid, videos)), size, videos)
        score = valid_loss(error, rules, rows)
        chosen = select(
            state.selection,
            state.params,
            score,
            state.epoch,
            rules,
            state.statistics,
        )
        opt_state = optim.after_epoch(state.opt_state, score)
        log = EpochLog(parts, score, prediction, {}, bad_steps)
        if going is not None:
            log = jax.tree.map(lambda x: jnp.where(going, x, 0).astype(x.dtype), log)
            opt_state = _where(going, opt_state, state.opt_state)
        state = dataclasses.replace(state, selection=chosen, opt_state=opt_state)
        return state, log._replace(recorded=method.label_values(state.labels))

    def ended(state, train, valid):
        shapes = jax.eval_shape(run, state, train, valid)[1]
        log = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        return log._replace(recorded=method.label_values(state.labels))

    devices = devices_of_a_program(mesh)
    program = over_groups(run, ended, over_seeds, at_once, devices)
    return jax.jit(
        per_device(program, mesh),
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
    lie: PyTree = None,
    options: dict[str, Any] | None = None,
) -> Callable[[PyTree, PyTree], PyTree]:
    """Compile-ready program that predicts splits with every seed's variables.

    Several in one program compile in little more time than one: what they compute of a
    batch is compiled once.

    Args:
        method, batch_size, read: see `predict`.
        mesh: from `train_state.make_mesh`.
        over_seeds: see `make_epoch`.
        lie: how the variables lie on the devices; None: as `state_sharding` says.
        options: of the compiler, see `backend.compiler_options`.

    Returns: (variables, split, or a pytree of them) -> of every split what `read`
        keeps, see `predict`, [s, n, ...].
    """
    divide, columns = division(mesh, batch_size)
    answer = answering(method, read)

    def one_seed(variables, splits):
        def of_split(split):
            return predict(method, variables, split, columns, divide, answer=answer)

        return jax.tree.map(of_split, splits, is_leaf=lambda x: isinstance(x, Split))

    return jax.jit(
        per_device(over_seed_axis(one_seed, over_seeds), mesh),
        in_shardings=(lie or state_sharding(mesh), split_sharding(mesh)),
        out_shardings=state_sharding(mesh),
        compiler_options=options,
    )
