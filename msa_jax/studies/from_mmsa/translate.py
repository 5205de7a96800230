"""MMSA's configuration of a method and a data set, as a configuration of ours."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict, FrozenConfigDict

from msa_jax.config import fields
from msa_jax.config.cli import near
from msa_jax.ground.errors import UserError
from msa_jax.methods import PAPERS, check
from msa_jax.methods.paper import Paper


class Translation(NamedTuple):
    """A configuration, and where each of its values comes from.

    config: ours.
    words: what `paper.config` was asked for.
    taken: field of ours -> its value, and the field of MMSA's that says it.
    without_effect: field of MMSA's -> its value, and why nothing here follows it.
    """

    config: ConfigDict
    words: str
    taken: dict[str, tuple[Any, str]]
    without_effect: dict[str, tuple[Any, str]]


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
    if dataset not in paper.datasets():
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
    taken: dict[str, tuple[Any, str]] = {}
    without_effect: dict[str, tuple[Any, str]] = {}
    for name, value in given.items():
        meaning = table[name]
        if meaning.values is not None:
            same = [v for v in meaning.values if (type(v), v) == (type(value), value)]
            if not same:
                known = " or ".join(json.dumps(v) for v in meaning.values)
                why = f": {meaning.why}" if meaning.why else ""
                raise UserError(
                    f"{file}: {_shown(name, given)}: {model} can only have {known} here"
                    f"{why}"
                )
            value = meaning.values[same[0]]
        if meaning.paths:
            taken |= dict.fromkeys(meaning.paths, (value, name))
        else:
            without_effect[name] = value, meaning.why
    words = _words(paper, dataset)
    config = paper.config(words)
    config.data.name = dataset
    for path, (value, name) in taken.items():
        try:
            fields.change(config, {path: value})
        except UserError:
            raise UserError(
                f"{file}: {_shown(name, given)}: of another type than {path}, which is "
                f"{fields.get(config, path)!r} by default"
            ) from None
    check(FrozenConfigDict(config))
    return Translation(config, words, taken, without_effect)


def source(found: Translation, file: Path) -> str:
    """Write a translation as a config file.

    Args:
        found: from `translate`.
        file: what was translated.
    """
    values = "\n".join(
        f"            {path!r}: {value!r},  # {name}"
        for path, (value, name) in found.taken.items()
    )
    void = "\n".join(
        f"    {name} = {json.dumps(value)}: {why}"
        for name, (value, why) in found.without_effect.items()
    )
    config = found.config
    title = f"{PAPERS[config.method].title} on {config.data.name}"
    return f'''"""{title} as MMSA's {_quoted(file.name)} sets it.

Written by `python -m msa_jax.from_mmsa`. Fields of MMSA's without effect here:

{_quoted(void)}
"""

from msa_jax.methods import PAPERS


def get_config():
    """Return the configuration."""
    config = PAPERS[{config.method!r}].config({found.words!r})
    config.data.name = {config.data.name!r}
    config.update_from_flattened_dict(
        {{
{values}
        }}
    )
    return config
'''


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
