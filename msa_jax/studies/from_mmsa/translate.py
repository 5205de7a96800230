"""MMSA's configuration of a method and a data set, as a configuration of ours."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict, FrozenConfigDict

from msa_jax.config import fields
from msa_jax.ground.errors import UserError, near
from msa_jax.methods import PAPERS, check
from msa_jax.methods.mmsa_fields import Meaning
from msa_jax.methods.paper import PLAIN, Paper


class Translation(NamedTuple):
    """A configuration, and where each of its values comes from.

    config: ours.
    words: what `paper.config` was asked for.
    taken: field of ours -> the field of MMSA's that says it.
    without_effect: field of MMSA's -> why nothing here follows it.
    """

    config: ConfigDict
    words: str
    taken: dict[str, str]
    without_effect: dict[str, str]


def paper_of(model: str) -> Paper:
    """Return the method that MMSA calls so.

    Raises:
        UserError: it is not among those that can be brought along.
    """
    known = [name for name, paper in PAPERS.items() if paper.mmsa]
    if model not in known:
        raise UserError(
            f"--model {model}: not yet; what can come along from MMSA: "
            f"{', '.join(known)}{near(model, known)}"
        )
    return PAPERS[model]


def default(paper: Paper, dataset: str) -> ConfigDict:
    """Return a method with the values that MMSA itself has for a data set.

    Raises:
        UserError: those are not known here.
    """
    if dataset not in paper.datasets() or dataset == PLAIN:
        raise UserError(
            f"{paper.name}: MMSA's values for {dataset} are not known here; give its "
            "configuration, --config config_regression.json"
        )
    return paper.config(_words(paper, dataset))


def translate(file: Path, model: str, dataset: str) -> Translation:
    """Translate what a config_regression.json says.

    Args:
        file: of MMSA, version 2, or one like it.
        model: as MMSA calls it: "tfn".
        dataset: likewise: "mosi".

    Raises:
        UserError: the file is another one, or says what no configuration here means;
            one line that names the field.
    """
    paper = paper_of(model)
    table = paper.mmsa.fields if paper.mmsa else {}
    given = _flat(_chosen(_read(file), file, model, dataset))
    if unknown := sorted(given.keys() - table.keys()):
        raise UserError(
            f"{file}: {_shown(unknown[0], given)}: no field that MMSA's {model} reads "
            f"is called so{near(unknown[0], table)}; take it out"
        )
    wanted = {name for name, meaning in table.items() if meaning.paths}
    if lacking := sorted(wanted - given.keys()):
        raise UserError(f"{file}: lacks {', '.join(lacking)}, which {model} reads")
    words = _words(paper, dataset)
    config = paper.config(words)
    config.data.name = dataset
    taken: dict[str, str] = {}
    without_effect: dict[str, str] = {}
    for name, value in given.items():
        meaning = table[name]
        value = _ours(f"{file}: {_shown(name, given)}", model, meaning, value)
        if not meaning.paths:
            without_effect[name] = meaning.why
        for path in meaning.paths:
            taken[path] = name
            before = fields.get(config, path)
            try:
                fields.change(config, {path: value})
            except UserError:
                raise UserError(
                    f"{file}: {_shown(name, given)}: of another type than {before!r}, "
                    f"which {path} is by default"
                ) from None
    try:
        check(FrozenConfigDict(config))
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    return Translation(config, words, taken, without_effect)


def no_effect(found: Translation) -> list[str]:
    """Return a line for each reason why fields of MMSA's have no effect here.

    A list of which nothing has any is one field.
    """
    partly = {_without_number(name) for name in found.taken.values()}
    by_reason: dict[str, dict[str, None]] = {}
    for name, why in found.without_effect.items():
        stem = _without_number(name)
        by_reason.setdefault(why, {})[name if stem in partly else stem] = None
    return [f"{', '.join(names)}: {why}" for why, names in by_reason.items()]


def source(found: Translation, file: Path) -> str:
    """Write a translation as a config file.

    Args:
        found: from `translate`.
        file: what was translated.
    """
    config = found.config
    values = "\n".join(
        f'            "{path}": {fields.get(config, path)!r},  # {name}'
        for path, name in found.taken.items()
    )
    void = "\n".join(f"    {line}" for line in no_effect(found))
    title = f"{PAPERS[config.method].title} on {config.data.name}"
    return f'''"""{title} as MMSA's {_quoted(file.name)} sets it.

Written by `python -m msa_jax.from_mmsa`. Fields of MMSA's without effect here:

{_quoted(void)}
"""

from msa_jax.methods import PAPERS


def get_config():
    """Return the configuration."""
    config = PAPERS["{config.method}"].config("{found.words}")
    config.data.name = {json.dumps(config.data.name)}
    config.update_from_flattened_dict(
        {{
{values}
        }}
    )
    return config
'''


def _ours(where: str, model: str, meaning: Meaning, value: Any) -> Any:
    """Return what a value of MMSA's is here; refuse what it cannot be."""
    if meaning.values is None:
        return value
    for theirs, ours in meaning.values.items():
        if type(theirs) is type(value) and theirs == value:
            return ours
    known = " or ".join(json.dumps(theirs) for theirs in meaning.values)
    why = f": {meaning.why}" if meaning.why else ""
    raise UserError(f"{where}: of {model} only {known} is known here{why}")


def _without_number(name: str) -> str:
    """Return the name of the list that an entry is of."""
    return re.sub(r"\.\d+$", "", name)


def _quoted(text: str) -> str:
    """Return text that neither ends a docstring nor escapes in it."""
    return text.replace("\\", "/").replace('"""', "'''")


def _words(paper: Paper, dataset: str) -> str:
    """Return what to ask `paper.config` for: values for the data set, the variant."""
    variant = paper.mmsa.variant if paper.mmsa else ""
    own = dataset if dataset in paper.datasets() else ""
    return "+".join(filter(None, (own, variant)))


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise UserError(f"{file}: nested too deeply") from None
    except ValueError as error:
        raise UserError(
            f"{file}: not JSON ({error}); MMSA 2 has a config_regression.json"
        ) from None


def _chosen(whole: Any, file: Path, model: str, dataset: str) -> dict[str, Any]:
    """Merge the parts of a file as MMSA does, later ones before earlier ones."""
    of_model = _part(whole, file, model)
    if "debugParams" in of_model:
        raise UserError(
            f"{file}: MMSA's choices for tuning; give its config_regression.json"
        )
    common = _part(of_model, file, "commonParams", model)
    own = _part(of_model, file, "datasetParams", model)
    of_dataset = _part(own, file, dataset, f"{model}.datasetParams")
    data = _part(whole, file, "datasetCommonParams")
    forms = _part(data, file, dataset, "datasetCommonParams")
    aligned = common.get("need_data_aligned") and "aligned" in forms
    form = _part(forms, file, "aligned" if aligned else "unaligned", dataset)
    return form | common | of_dataset


def _part(whole: Any, file: Path, name: str, of: str = "") -> dict[str, Any]:
    """Return one table of a file, which must be there."""
    part = whole.get(name) if isinstance(whole, dict) else None
    if not isinstance(part, dict):
        near_by = near(name, whole) if isinstance(whole, dict) else ""
        where = f"{of}." if of else ""
        raise UserError(f"{file}: has no table {where}{name}{near_by}")
    return part


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Take tables and lists apart: {"a": [1, {"b": 2}]} -> {"a.0": 1, "a.1.b": 2}."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, list) and value:
            value = {str(i): item for i, item in enumerate(value)}
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def _shown(name: str, given: Mapping[str, Any]) -> str:
    return f"{name} = {json.dumps(given[name])[:80]}"
