"""From a method, a data set and a budget to the configuration of a run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from msa_jax import cli, config
from msa_jax.errors import UserError
from msa_jax.experiment.spec import Ours
from msa_jax.types import MODALITIES

ALIASES = {"demo": "synthetic"}  # what people call the built-in set
BUDGETS = ("full", "small")
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
    configs: Path,
    *,
    budget: str = "full",
    task: str = "sentiment",
    aligned: bool | None = None,
    change: Callable[[ConfigDict], None] = lambda settings: None,
) -> Recipe:
    """Put a row's configuration together.

    The method's own file for the data set is taken, `configs/METHOD_DATASET.py`; where
    there is none, the one for plain arrays, `configs/METHOD_mosi_real.py`.

    Args:
        ours: method and changes of the row.
        card: the data card of the data set.
        configs: folder of config files.
        budget: "full": as that file says; "small": the text encoder is frozen, at most
            10 epochs, 3 without a better one: minutes instead of hours.
        task: `config.task`.
        aligned: whether the paper used aligned files; None where that does not matter.
        change: what the user sets on top, before the row's own changes.

    Raises:
        UserError: there is no such config file, no run can use the configuration, or
            the data set lacks what it reads.
    """
    settings, file, differs = _own(ours.method, card["name"], configs)
    settings.task = task
    if aligned and not differs:
        settings.data.aligned = True
    differs += _text(settings, card)
    if budget == "small":
        differs.append(_make_small(settings))
    change(settings)
    for field, value in ours.changes.items():
        set_field(settings, field, value)
    config.check(settings)
    parts = (*MODALITIES, "emotion", "unimodal_label")
    there = {part for part in parts if card.get(part, True) is not None}
    config.require(settings, card["name"], there)
    return Recipe(settings, file, tuple(differs))


def set_field(settings: ConfigDict, field: str, value: Any) -> None:
    """Set a dotted field.

    Raises:
        UserError: the configuration has no such field, or it is of another type.
    """
    *groups, name = field.split(".")
    group = settings
    try:
        for key in groups:
            group = group[key]
        if name not in group:
            raise KeyError(name)
        group[name] = value
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"config.{field} = {value!r}: {settings.method} has no such field, or it "
            "is of another type"
        ) from error


def _own(method: str, dataset: str, configs: Path) -> tuple[ConfigDict, str, list[str]]:
    """Read the method's config file for a data set, or the one for plain arrays."""
    own = configs / f"{method}_{dataset}.py"
    if own.is_file():
        return cli.load_config(str(own)), own.name, []
    plain = configs / f"{method}_mosi_real.py"
    if not plain.is_file():
        raise UserError(
            f"no config file {own} and no {plain.name} beside it: give the folder of "
            "config files with --configs"
        )
    settings = cli.load_config(str(plain))
    settings.data.name = dataset
    said = f"no published setting of {method} for {dataset}: {plain.name} is used"
    return settings, plain.name, [said]


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
