"""What a search leaves: tune.json, and its winner as a command and a config file.

There is no test in it.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from msa_jax.evaluation.wording import count, span
from msa_jax.report.tune_page import Budget, Trial, ranked

RESULTS = "tune.json"
SELECTION = (
    "Score of a trial: the mean over seeds of its lowest validation loss ({loss}, mean "
    "over {mean}). The lowest score wins; of equal ones the first trial."
)

_HEAD = '''"""{title}

    python -m msa_jax.main --config {path}

Every field as it was in the search, but for the seeds: those of the search's config
file. Written by `python -m msa_jax.tune`.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config():
    """Return the configuration."""
    c = ConfigDict()
'''


def collect(
    search: dict[str, Any],
    lines: Sequence[Trial],
    planned: int,
    combinations: int | None,
    programs: int,
    loss: str,
) -> dict[str, Any]:
    """Return what tune.json holds, but for the winner's commands and provenance.

    Args:
        search: see `ledger.open_search`.
        lines: of the finished trials, from the ledger.
        planned: trials of this search.
        combinations: points of the space; None: it has a range.
        programs: compiled for the planned trials.
        loss: what the validation loss is called.
    """
    config = search["config"]
    trials = sorted(lines, key=lambda line: line["trial"])
    best = ranked(trials)[:1]
    seeds = list(config["seeds"])
    return {
        "schema": 1,
        "method": config["method"],
        "task": config["task"],
        "dataset": config["data"]["name"],
        "seeds": seeds,
        "loss": loss,
        "selection": SELECTION.format(
            loss=loss, mean=config["selection"]["valid_mean"]
        ),
        "search": search["search"],
        "search_seed": search["search_seed"],
        "space": search["space"],
        "budget": budget(trials, planned, combinations, programs, len(seeds)),
        "best": dict(best[0]) if best and best[0]["score"] is not None else None,
        "trials": trials,
        "warnings": _warnings(search),
        "config": config,
    }


def budget(
    trials: Sequence[Trial],
    planned: int,
    combinations: int | None,
    programs: int,
    seeds: int,
) -> Budget:
    """Count what the search cost; say it in a sentence."""
    epochs = sum(sum(line["epochs_run"].values()) for line in trials)
    seconds = sum(line["seconds"] for line in trials)
    tried = len(trials)
    if combinations is None:
        of = f"{count(tried, 'trial')} of a space with ranges"
    else:
        of = f"{tried} of {count(combinations, 'combination')}"
    each = f"{count(seeds, 'seed')} each"
    return {
        "trials": tried,
        "planned": max(planned, tried),
        "combinations": combinations,
        "programs": programs,
        "epochs": epochs,
        "seconds": seconds,
        "sentence": f"{of}, {each}, {epochs} epochs, {span(seconds)}",
    }


def _warnings(search: dict[str, Any]) -> list[str]:
    """Say where trials are not scored by quite the same rule."""
    searched = {field for axis in search["space"] for field in axis["fields"]}
    batches = search["config"]["selection"]["valid_mean"] == "batches"
    if batches and "optim.batch_size" in searched:
        return [
            "The validation loss is the mean of batch means (selection.valid_mean), "
            "whose last batch is shorter: scores of different optim.batch_size are not "
            "means over quite the same weights. --config.selection.valid_mean=samples "
            "makes them so."
        ]
    return []


def command(config: str, values: Mapping[str, Any]) -> str:
    """Return the command that trains a configuration, ready to paste into a shell.

    Args:
        config: the config file as typed.
        values: dotted field -> value; those that are None are the file's own.
    """
    flags = [f"--config.{k}={v}" for k, v in values.items() if v is not None]
    words = ["python -m msa_jax.main --config " + shlex.quote(config)]
    return " \\\n    ".join(words + [shlex.quote(flag) for flag in flags])


def config_file(config: ConfigDict, title: str, path: str) -> str:
    """Return a config file that builds a configuration, all fields and types.

    Args:
        config: the configuration.
        title: the first sentence of the file.
        path: where it will lie.
    """
    said = [text.replace("\\", "/").replace('"', "'") for text in (title, path)]
    head = _HEAD.format(title=said[0], path=shlex.quote(said[1]))
    return f"{head}{_body(config, 'c')}\n    return c\n"


def _body(config: ConfigDict, name: str) -> str:
    lines = []
    for key in config:
        value, place = config[key], f"{name}.{key}"
        if isinstance(value, ConfigDict):
            lines += [f"    {place} = ConfigDict()", _body(value, place)]
        elif value is None:
            kind = config.get_type(key).__name__
            lines.append(f"    {place} = placeholder({kind})")
        else:
            lines.append(f"    {place} = {value!r}")
    return "\n".join(lines)
