"""Optimisers with a rate and a decay per parameter group, clipping, schedules."""

import math
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from msa_jax.config.sections import Rule
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import PyTree


def group_labels(params: PyTree, group: Callable[[str], str]) -> PyTree:
    """Name every parameter's group, from its path ("a/b/kernel")."""

    def name(path, _):
        return group(jax.tree_util.keystr(path, simple=True, separator="/"))

    return jax.tree_util.tree_map_with_path(name, params)


ADAM = Rule()


def rule_of(config: Any) -> Rule:
    """Read the rule from `config.optim`."""
    return Rule(*(config[name] for name in Rule._fields))


def scale_by_adam(
    b1: float, b2: float, epsilon: float, form: str = "adam"
) -> optax.GradientTransformation:
    """Rescale gradients as Adam or a relative does, with an accurate bias correction.

    Differs from optax.scale_by_adam(ax): those compute 1 - b2**t from a float32 b2,
    which is off by about 1e-5 in most steps; -expm1(t log b2) is right to 3e-7.

    Args:
        b1, b2, epsilon: see `Rule`.
        form: adam | keras (epsilon before the bias correction) | max (Adamax).

    Source: Adam (Kingma and Ba, 2015), Algorithm 1; keras: "epsilon hat" at the end of
        section 2; max: Algorithm 2, epsilon as torch has it.
    """

    def init(params: PyTree) -> optax.ScaleByAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(
        updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, optax.ScaleByAdamState]:
        del params, extra
        count = optax.safe_increment(state.count)
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        if form == "max":
            nu = optax.tree.update_infinity_moment(updates, state.nu, b2, epsilon)
        else:
            nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)

        def rescale(m, v):
            t = jnp.asarray(count, m.dtype)
            m_share, v_share = (-jnp.expm1(t * math.log(b)) for b in (b1, b2))
            if form == "max":
                return m / m_share / v
            if form == "keras":
                return m / m_share * jnp.sqrt(v_share) / (jnp.sqrt(v) + epsilon)
            return m / m_share / (jnp.sqrt(v / v_share) + epsilon)

        return jax.tree.map(rescale, mu, nu), optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def one_group(
    rule: Rule, rate: float | Array, decay: float | Array
) -> optax.GradientTransformation:
    """Build the steps of parameters of one rate and decay; adamw_hf's without decay."""
    adam = partial(scale_by_adam, rule.beta1, rule.beta2, rule.epsilon)
    decayed = optax.add_decayed_weights(decay)
    parts: tuple[optax.GradientTransformation, ...]
    match rule.optimiser:
        case "adam":
            parts = decayed, adam()
        case "adamw":
            parts = adam(), decayed
        case "adamw_hf":
            parts = (adam("keras"),)
        case "adam_keras":
            parts = decayed, adam("keras")
        case "adamax":
            parts = decayed, adam("max")
        case "adadelta":
            parts = decayed, optax.scale_by_adadelta(rule.rho, rule.epsilon)
        case unknown:
            raise ValueError(f"no optimiser {unknown!r}")
    return optax.chain(*parts, optax.scale_by_learning_rate(rate))


def decay_after_step(
    share: Callable[[PyTree], PyTree], schedule: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Let a schedule scale steps, then take a share off the weights they lead to.

    Args:
        share: parameters -> rate times decay of each; the schedule scales it, too.
        schedule: from `make_schedule`.
    """

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        del extra
        scaled: Any
        scaled, state = schedule.update((updates, share(params)), state, params)

        def shrunk(step, weight, lost):
            return step - lost * (weight + step)

        return jax.tree.map(shrunk, scaled[0], params, scaled[1]), state

    return optax.GradientTransformation(schedule.init, update)


def clip_by_norm(limit: float) -> optax.GradientTransformation:
    """Shrink gradients whose joint Euclidean norm is above a limit.

    Source: torch.nn.utils.clip_grad_norm_ (factor limit / (norm + 1e-6), at most 1).
    """

    def clip(updates: PyTree, params: PyTree | None) -> PyTree:
        del params
        factor = jnp.minimum(1, limit / (optax.tree.norm(updates) + 1e-6))
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), updates)

    return optax.stateless(clip)


class Plateau(NamedTuple):
    """What a plateau schedule remembers in the optimiser state.

    best: lowest validation loss that counted.
    waited: epochs since.
    scale: what all rates are multiplied by now.
    patience, factor: the rule; data, so that `after_epoch` needs nothing else.
    """

    best: Float[Array, ""]
    waited: Int[Array, ""]
    scale: Float[Array, ""]
    patience: Int[Array, ""]
    factor: Float[Array, ""]

    def observe(self, score: Float[Array, ""]) -> "Plateau":
        """Take an epoch's loss: better means by more than a ten-thousandth of it.

        After more than `patience` epochs without a better one rates are multiplied by
        `factor` and the count starts anew; a loss that is not finite is never better.

        Source: torch.optim.lr_scheduler.ReduceLROnPlateau (threshold 1e-4, relative).
        Differs: no smallest change of a rate (there 1e-8).
        """
        score = score.astype(self.best.dtype)
        better = jnp.isfinite(score) & (score < self.best * (1 - 1e-4))
        waited = jnp.where(better, 0, self.waited + 1)
        spent = waited > self.patience
        return self._replace(
            best=jnp.where(better, score, self.best),
            waited=jnp.where(spent, 0, waited),
            scale=jnp.where(spent, self.scale * self.factor, self.scale),
        )


def scale_on_plateau(patience: int, factor: float) -> optax.GradientTransformation:
    """Multiply updates by a scale that `after_epoch` lowers; see `Plateau`."""

    def init(params: PyTree) -> Plateau:
        dtype = jnp.result_type(*jax.tree.leaves(params))
        return Plateau(
            best=jnp.full((), jnp.inf, dtype),
            waited=jnp.zeros((), jnp.int32),
            scale=jnp.ones((), dtype),
            patience=jnp.full((), patience, jnp.int32),
            factor=jnp.full((), factor, dtype),
        )

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, Plateau]:
        del params, extra
        return jax.tree.map(lambda u: u * state.scale.astype(u.dtype), updates), state

    return optax.GradientTransformation(init, update)


def after_epoch(opt_state: PyTree, score: Float[Array, ""]) -> PyTree:
    """Let the plateau schedule of an optimiser state, if it has one, see a score.

    Args:
        opt_state: one seed's.
        score: the epoch's validation loss.
    """

    def is_plateau(node):
        return isinstance(node, Plateau)

    return jax.tree.map(
        lambda node: node.observe(score) if is_plateau(node) else node,
        opt_state,
        is_leaf=is_plateau,
    )


def warmed_up(steps: int, warmup: float, *, decay: bool) -> Callable[[Any], Array]:
    """Return the factor of all rates at an optimiser step, counted from 0.

    From 0 it rises linearly to 1 at step `warmup`; with `decay` it then falls linearly
    to 0 at step `steps`.

    Source: transformers.get_(linear|constant)_schedule_with_warmup.
    """

    def factor(step) -> Array:
        step = jnp.asarray(step, float)
        falling = jnp.maximum(0, steps - step) / max(1, steps - warmup)
        rising = step / max(1, warmup)
        return jnp.where(step < warmup, rising, falling if decay else 1.0)

    return factor


def cosine(epochs: int, warmup: float, steps_per_epoch: int) -> Callable[[Any], Array]:
    """Return the factor of all rates at an optimiser step, equal within an epoch.

    Over `warmup` epochs it rises linearly from 0 to 1; then it stays for an epoch and
    falls along half a cosine that would reach 0 `epochs` - `warmup` epochs later.
    Without warm-up it starts at 1.

    Source: ALMT's code (a GradualWarmupScheduler before torch's CosineAnnealingLR).
    """
    start = math.floor(warmup) + 1 if warmup else 0

    def factor(step) -> Array:
        epoch = jnp.asarray(step // steps_per_epoch, float)
        falling = jnp.cos(jnp.pi * (epoch - start) / (epochs - warmup)) / 2 + 0.5
        return jnp.where(epoch < start, epoch / (warmup or 1), falling)

    return factor


def make_schedule(
    config: Any, steps: int, epochs: int
) -> optax.GradientTransformation | None:
    """Build the schedule of all rates; None where they never change.

    Args:
        config: `config.optim`: schedule, warmup_share, plateau_patience, _factor.
        steps: optimiser steps of the longest possible run.
        epochs: of that run.
    """
    if config.schedule == "plateau":
        return scale_on_plateau(config.plateau_patience, config.plateau_factor)
    if config.schedule == "cosine":
        warmup = config.warmup_share * epochs
        return optax.scale_by_schedule(cosine(epochs, warmup, steps // epochs))
    warmup = round(config.warmup_share * steps)
    decay = config.schedule == "linear"
    if not warmup and not decay:
        return None
    return optax.scale_by_schedule(warmed_up(steps, warmup, decay=decay))


def make_optimizer(
    groups: Mapping[str, Any],
    group: Callable[[str], str],
    *,
    clip_norm: float = 0.0,
    schedule: optax.GradientTransformation | None = None,
    rule: Rule = ADAM,
) -> optax.GradientTransformation:
    """Build one optimiser per group of `config.optim.groups`.

    Args:
        groups: name -> mapping with `rate` and `decay`.
        group: parameter path -> name; "frozen" parameters never change.
        clip_norm: the joint norm of all trainable gradients is at most this, before
            decay is added; 0: no limit.
        schedule: from `make_schedule`; None: rates never change.
        rule: of all groups.

    Raises:
        UserError: a parameter's group is not in `groups`.
    """

    def labels(params):
        named = group_labels(params, group)
        missing = set(jax.tree.leaves(named)) - set(groups) - {"frozen"}
        if missing:
            raise UserError(
                f"config.optim.groups: no group {sorted(missing)[0]!r}; the method "
                f"needs {sorted(set(jax.tree.leaves(named)))}"
            )
        return named

    transforms: dict[Hashable, optax.GradientTransformation] = {
        name: one_group(rule, g["rate"], g["decay"]) for name, g in groups.items()
    }
    transforms["frozen"] = optax.set_to_zero()
    parts: list[optax.GradientTransformation]
    parts = [optax.multi_transform(transforms, labels)]
    if clip_norm:

        def trainable(params):
            return jax.tree.map(lambda name: name != "frozen", labels(params))

        parts.insert(0, optax.masked(clip_by_norm(clip_norm), trainable))
    if rule.optimiser == "adamw_hf":
        lost = {n: jnp.asarray(g["rate"] * g["decay"]) for n, g in groups.items()}
        lost["frozen"] = jnp.zeros(())

        def share(params):
            def cast(w, name):
                return lost[name].astype(w.dtype)

            return jax.tree.map(cast, params, labels(params))

        parts.append(decay_after_step(share, schedule or optax.identity()))
    elif schedule is not None:
        parts.append(schedule)
    return parts[0] if len(parts) == 1 else optax.chain(*parts)


def from_settings(
    config: Any, group: Callable[[str], str], steps: int, epochs: int
) -> optax.GradientTransformation:
    """Build the optimiser that a configuration describes.

    Args:
        config: `config.optim`.
        group: see `make_optimizer`.
        steps: optimiser steps of the longest possible run.
        epochs: of that run.
    """
    return make_optimizer(
        config.groups,
        group,
        clip_norm=config.clip_norm,
        schedule=make_schedule(config, steps, epochs),
        rule=rule_of(config),
    )
