"""Adam with coupled L2 and a rate per parameter group, clipping, schedules."""

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from msa_jax.errors import UserError
from msa_jax.types import PyTree


def group_labels(params: PyTree, group: Callable[[str], str]) -> PyTree:
    """Name every parameter's group, from its path ("a/b/kernel")."""

    def name(path, _):
        return group(jax.tree_util.keystr(path, simple=True, separator="/"))

    return jax.tree_util.tree_map_with_path(name, params)


def scale_by_adam(
    b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-8
) -> optax.GradientTransformation:
    """Rescale gradients as Adam does, with an accurate bias correction.

    Differs from optax.scale_by_adam: that computes 1 - b2**t from a float32 b2, which
    is off by about 1e-5 in most steps; -expm1(t log b2) is right to 3e-7.

    Source: Adam (Kingma and Ba, 2015), Algorithm 1.
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
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)

        def rescale(m, v):
            t = jnp.asarray(count, m.dtype)
            m_share, v_share = (-jnp.expm1(t * math.log(b)) for b in (b1, b2))
            return m / m_share / (jnp.sqrt(v / v_share) + epsilon)

        return jax.tree.map(rescale, mu, nu), optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def adam_coupled_l2(
    rate: float | Array, decay: float | Array
) -> optax.GradientTransformation:
    """Adam whose decay is added to the gradient *before* the moments.

    With a zero gradient the normalised decay still moves every weight by about `rate`
    per step towards 0: that is what happens to Self-MM's unimodal heads while their
    loss weight is 0. AdamW would not do this.

    Source: torch.optim.Adam(weight_decay=...), betas .9 and .999, epsilon 1e-8.
    """
    return optax.chain(
        optax.add_decayed_weights(decay),
        scale_by_adam(),
        optax.scale_by_learning_rate(rate),
    )


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
        kind = jnp.result_type(*jax.tree.leaves(params))
        return Plateau(
            best=jnp.full((), jnp.inf, kind),
            waited=jnp.zeros((), jnp.int32),
            scale=jnp.ones((), kind),
            patience=jnp.full((), patience, jnp.int32),
            factor=jnp.full((), factor, kind),
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


def warmed_up(steps: int, warmup: int, *, decay: bool) -> Callable[[Any], Array]:
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


def make_schedule(config: Any, steps: int) -> optax.GradientTransformation | None:
    """Build the schedule of all rates; None where they never change.

    Args:
        config: `config.optim`: schedule, warmup_share, plateau_patience, _factor.
        steps: optimiser steps of the longest possible run.
    """
    if config.schedule == "plateau":
        return scale_on_plateau(config.plateau_patience, config.plateau_factor)
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
) -> optax.GradientTransformation:
    """Build one Adam per group of `config.optim.groups`.

    Args:
        groups: name -> mapping with `rate` and `decay`.
        group: parameter path -> name; "frozen" parameters never change.
        clip_norm: the joint norm of all trainable gradients is at most this, before
            decay is added; 0: no limit.
        schedule: from `make_schedule`; None: rates never change.

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
        name: adam_coupled_l2(g["rate"], g["decay"]) for name, g in groups.items()
    }
    transforms["frozen"] = optax.set_to_zero()
    parts: list[optax.GradientTransformation]
    parts = [optax.multi_transform(transforms, labels)]
    if clip_norm:

        def trainable(params):
            return jax.tree.map(lambda name: name != "frozen", labels(params))

        parts.insert(0, optax.masked(clip_by_norm(clip_norm), trainable))
    if schedule is not None:
        parts.append(schedule)
    return parts[0] if len(parts) == 1 else optax.chain(*parts)
