"""From a method, a data set and a budget to the configuration of a run."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

import msa_jax.methods as methods
from msa_jax.config import fields
from msa_jax.ground.names import MODALITIES
from msa_jax.studies.table_spec import Ours

ALIASES = {"demo": "synthetic"}  # what people call the built-in set
SMALL_EPOCHS, SMALL_STOP = 10, 3


class Recipe(NamedTuple):
    """How a row is trained on a data set.

    settings: the whole configuration, seeds included.
    file: the config file that it starts from.
    differs: how it departs from the published setting, a sentence each.
    """

    settings: ConfigDict
    file: str
    differs: tuple[str, ...]


def recipe(
    ours: Ours,
    card: Mapping[str, Any],
    *,
    budget: str = "full",
    task: str = "sentiment",
    aligned: bool | None = None,
    change: Callable[[ConfigDict], None] = lambda settings: None,
) -> Recipe:
    """Put a row's configuration together.

    The method's own values for the data set are taken; where it has none, those for
    plain arrays, `mosi_real`.

    Args:
        ours: method and changes of the row.
        card: the data card of the data set.
        budget: "full": as that file says; "small": the text encoder is frozen, at most
            10 epochs, 3 without a better one: minutes instead of hours.
        task: `config.task`.
        aligned: whether the paper used aligned files; None where that does not matter.
        change: what the user sets on top, before the row's own changes.

    Raises:
        UserError: there is no such method, no run can use the configuration, or the
            data set lacks what it reads.
    """
    settings, file, differs = _own(ours.method, card["name"])
    settings.task = task
    if aligned and not differs:
        settings.data.aligned = True
    differs += _text(settings, card)
    if budget == "small":
        differs.append(_make_small(settings))
    change(settings)
    fields.change(settings, ours.changes)
    methods.check(settings)
    parts = (*MODALITIES, "emotion", "unimodal_label")
    there = {part for part in parts if card.get(part, True) is not None}
    methods.require(settings, card["name"], there)
    return Recipe(settings, file, tuple(differs))


def _own(method: str, dataset: str) -> tuple[ConfigDict, str, list[str]]:
    """Return a method's values for a data set, or those for plain arrays."""
    paper = methods.of(ConfigDict({"method": method}))
    file = f"{method}_{dataset}.py"
    nearest = paper.nearest(dataset)
    settings = paper.config(nearest)
    if nearest == dataset:
        return settings, file, []
    settings.data.name = dataset
    file = f"{method}_{nearest}.py"
    said = f"no published setting of {method} for {dataset}: {file} is used"
    return settings, file, [said]


def _text(settings: ConfigDict, card: Mapping[str, Any]) -> list[str]:
    """Let the configuration read the text that the data set has."""
    if card["text"] is None:
        return []  # a method that reads it is refused below
    given = "features" if card["text"]["kind"] == "features" else "bert"
    if settings.text.encoder == given:
        return []
    settings.text.encoder = given
    if given == "features":
        return ["this data set holds text features: no encoder is trained"]
    settings.text.finetune = False
    held = "sentences" if card["text"]["kind"] == "transcript" else "token ids"
    return [
        f"{settings.method} reads word vectors; this data set holds {held}, which a "
        "frozen encoder reads instead"
    ]


def _make_small(settings: ConfigDict) -> str:
    selection = settings.selection
    selection.max_epochs = min(selection.max_epochs, SMALL_EPOCHS)
    selection.early_stop = min(selection.early_stop, SMALL_STOP)
    frozen = settings.text.encoder == "bert" and settings.text.weights != "random"
    if frozen:
        settings.text.finetune = False
    said = "the text encoder is frozen, " if frozen else ""
    return (
        f"small budget: {said}at most {selection.max_epochs} epochs, "
        f"{selection.early_stop} without a better one"
    )
