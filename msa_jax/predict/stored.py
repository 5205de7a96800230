"""Reads how samples become inputs, from a run's or an export's folder."""

from pathlib import Path
from typing import Any

from msa_jax.data import intake
from msa_jax.data.intake import Intake
from msa_jax.evaluation.metric_names import ANSWERS
from msa_jax.ground.errors import UserError
from msa_jax.runs import workdir


def read_intake(folder: Path) -> Intake:
    """Read model.json and tokenizer.json.

    Raises:
        UserError: they are missing, damaged or contradict each other.
    """
    path, tokenizer = folder / workdir.MODEL, folder / workdir.TOKENIZER
    if not path.is_file():
        raise UserError(f"{folder}: no {workdir.MODEL} in there")
    definition = _read_json(tokenizer) if tokenizer.is_file() else None
    found = intake.from_json(_read_json(path), definition, str(path))
    if found.task not in ("sentiment", *ANSWERS):
        raise UserError(f"{path}: task {found.task!r} is not known")
    return found


def _read_json(path: Path) -> Any:
    try:
        return workdir.read_json(path)
    except RecursionError:
        raise UserError(f"{path}: nested too deeply") from None
