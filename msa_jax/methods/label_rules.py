"""Which label tables a method keeps, chosen by `config.ulgm.rule`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from msa_jax.data.batches import shuffled
from msa_jax.ground.types import Method, PyTree, Split
from msa_jax.methods import multitask, tasks, ulgm, ulgm_distance
from msa_jax.methods.ulgm import Rules


class LabelRule(NamedTuple):
    """The label functions of a `types.Method`."""

    init: Callable[..., PyTree]
    update: Callable[..., PyTree]
    recorded: Callable[[PyTree], dict[str, Array]]


def make(
    config: Any,
    widths: dict[str, int],
    label_range: tuple[float, float],
    batch_size: int,
) -> LabelRule:
    """Choose the rule.

    Args:
        config: `config.ulgm`.
        widths: features per target.
        label_range: lowest and highest label of the data set.
        batch_size: samples per training batch.
    """
    rules = Rules(label_range=label_range, **config)
    match config.rule:
        case "self_mm":
            return relative(rules, widths)
        case "sugrm":
            return distance(rules, widths["fusion"], batch_size)
        case "human":
            return human()
        case other:
            raise ValueError(f"unknown rule {other!r}")


def human_labels(config: Any) -> dict[str, str]:
    """Say what `Paper.needs` of the data: labels that people gave, where it uses them.

    Args:
        config: the run's configuration.
    """
    if config.ulgm.rule != "human":
        return {}
    return {
        "unimodal_label": "human unimodal labels, which config.ulgm.rule = 'human' "
        "asks for; prepare a file that has them (docs/bring_your_own.md) or generate "
        "them: --config.ulgm.rule=self_mm"
    }


def method(
    network: Any,
    rule: LabelRule,
    loss: Callable[..., Any],
    group: Callable[..., str],
) -> Method:
    """Put a network with a `text_encoder`, label functions, loss and groups together.

    Args:
        network: the module.
        rule: its label functions.
        loss: see `types.Method`.
        group: parameter path -> optimiser group.
    """
    return Method(
        task=tasks.SENTIMENT,
        model=network,
        loss=loss,
        init_labels=rule.init,
        update_labels=rule.update,
        groups=group,
        label_values=rule.recorded,
    )


def relative(rules: Rules, widths: dict[str, int]) -> LabelRule:
    """Keep tables of Self-MM's generator; `widths`: features per target."""

    def init(split: Split, key):
        del key
        return ulgm.init_tables(split.label, widths)

    def update(labels, outputs, batch, epoch):
        return ulgm.update_tables(
            labels, outputs.feature, batch.index, batch.valid, epoch, rules
        )

    return LabelRule(init, update, _generated)


def distance(rules: Rules, width: int, batch_size: int) -> LabelRule:
    """Keep tables of SUGRM's generator; `width`: features of every target."""

    def init(split: Split, key):
        # Epoch 0's order stands for the pass in which the public code starts labels.
        order = shuffled(key, jnp.zeros((), jnp.int32), split.label.shape[0])
        return ulgm_distance.init_tables(split.label, width, order, batch_size, rules)

    def update(labels, outputs, batch, epoch):
        return ulgm_distance.update_tables(
            labels, outputs.feature, batch.index, batch.valid, epoch, rules
        )

    def recorded(labels):
        return _generated(labels) | {"extreme_label": labels.extreme_label}

    return LabelRule(init, update, recorded)


def human() -> LabelRule:
    """Keep human unimodal labels: nothing is generated, nothing changes."""

    def init(split: Split, key):
        del key
        return multitask.human_tables(split.label, split.unimodal_label)

    def update(labels, outputs, batch, epoch):
        del outputs, batch, epoch
        return labels

    return LabelRule(init, update, lambda labels: {})


def _generated(labels) -> dict[str, Array]:
    return {"u_labels": labels.value, "empty_classes": labels.empty_classes}
