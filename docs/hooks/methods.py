"""A page per method, from what `PAPER`, its card and its module say.

A hook of mkdocs (mkdocs.yml). Nothing here knows a method: one that is added to
`msa_jax.methods.PAPERS` has a page.
"""

import ast
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from msa_jax import methods
from msa_jax.config import cli, fields, reads
from msa_jax.config.sections import COMMON
from msa_jax.methods import PAPERS
from msa_jax.methods.paper import Paper

ROOT = Path(__file__).parents[2]
SETTINGS = "methods/settings.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages into the navigation."""
    (section,) = (entry for entry in config.nav or () if "Methods" in entry)
    pages = [f"methods/{name}.md" for name in PAPERS]
    section["Methods"] = ["methods/index.md", SETTINGS, *pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    pages = {f"methods/{name}.md": method(paper) for name, paper in PAPERS.items()}
    pages |= {"methods/index.md": overview(), SETTINGS: settings()}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def overview() -> str:
    """Return the page that lists them."""
    table = methods.table().replace("](configs/", "](").replace(".py)", ".md)")
    after = f"Fields that all have: [Settings of every run]({Path(SETTINGS).name})."
    return f"# Methods\n\n{table}\n\n{after}\n"


def settings() -> str:
    """Return the page of the fields that every run has."""
    lines = ["# Settings of every run", "", "`--config.FIELD=VALUE`, with any method."]
    lines += ["A method's own values of these fields stand on its page.", ""]
    for owner in dict.fromkeys(owner for _, owner in COMMON):
        section = next(name for name, known in COMMON if known is owner)
        title = f"`{section}`" if section else "At the top"
        lines += [f"## {title}: {owner.__name__}", "", *prose(owner), ""]
        lines += [*of_fields(fields.of(owner, section)), ""]
    return "\n".join(lines)


def method(paper: Paper) -> str:
    """Return the page of one method."""
    card, module = card_of(paper), sys.modules[paper.sections["model"].__module__]
    config = paper.config()
    common = {f.path for name, owner in COMMON for f in fields.of(owner, name)}
    own = [f for f in paper.fields() if f.path not in common]
    padding = paper.reads_padding(config)
    facts = {
        "Paper": paper.cite,
        "Answers (`config.task`)": code(paper.tasks),
        "Reads": ", ".join(reads(config)),
        "Data sets it has values for": code(paper.datasets()),
        "Reads padding of text": f"yes, by `{padding}`" if padding else "no",
        "Epochs are chosen by": paper.selects_on,
        "Trained parameters, as published": ", ".join(
            f"{count:,} ({words})" for words, count in paper.parameters.items()
        ),
        "Weights and configurations of MMSA come along": "yes" if paper.mmsa else "no",
        "Files": code(files_of(paper, module)),
    }
    lines = [
        f"# {paper.title}",
        "",
        card,
        "",
        "## At a glance",
        "",
        "| | |",
        "|---|---|",
    ]
    lines += [f"| {name} | {said} |" for name, said in facts.items() if said]
    lines += ["", "## What the code says", "", *prose(module), ""]
    lines += ["## Values per data set", "", "Blank where it is the default.", ""]
    lines += [*of_datasets(paper), ""]
    if paper.variants:
        lines += ["## Variants", "", "After a colon, joined by `+`.", ""]
        lines += ["| variant | changes |", "|---|---|"]
        for word in paper.variants:
            lines.append(f"| `{word}` | {changes(of_variant(paper, word))} |")
    lines += [
        "",
        "## Its own fields",
        "",
        "`--config.FIELD=VALUE`; fields that every run",
    ]
    lines += ["has: [Settings of every run](settings.md).", "", *of_fields(own)]
    return "\n".join(lines) + "\n"


def card_of(paper: Paper) -> str:
    """Return the words of its card."""
    path = cli.own_configs() / f"{paper.name}.py"
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def files_of(paper: Paper, module: Any) -> list[str]:
    """Return where it lies, and the reference arrays that it is held against."""
    source = Path(inspect.getfile(module)).relative_to(ROOT)
    stems = {paper.name, paper.name.replace("_", "")}
    arrays = sorted((ROOT / "tests" / "goldens").glob("*.npz"))
    named = [p for p in arrays if stems & {p.stem, p.stem.split("_")[0]}]
    own = [f"configs/{paper.name}.py", str(source)]
    if len(named) < 2:
        return own + [f"tests/goldens/{path.name}" for path in named]
    return own + [f"tests/goldens/{named[0].stem.split('_')[0]}_*.npz"]


def prose(owner: Any) -> list[str]:
    """Return a docstring; its list of names, "width: of a modality", as a list."""
    text = inspect.getdoc(owner) or ""
    return re.sub(r"^([a-z_]+): ", r"- `\1`: ", text, flags=re.MULTILINE).splitlines()


def of_fields(of: Any) -> list[str]:
    """Return a table of fields."""
    lines = ["| field | default | may be | what |", "|---|---|---|---|"]
    for f in of:
        may_be = f.allowed().replace("|", "\\|")
        lines.append(f"| `{f.path}` | {value(f.default)} | {may_be} | {f.about} |")
    return lines


def flat(config: Any) -> dict[str, Any]:
    """Return dotted field -> value."""
    leaves = dict(cli.fields(config))
    return {path: v for path, (_, v) in leaves.items() if not hasattr(v, "items")}


def of_datasets(paper: Paper) -> list[str]:
    """Return a table of the fields that differ from the defaults, per data set."""
    names = paper.datasets()
    configs = {name: flat(paper.config(name)) for name in names}
    defaults = flat(fields.defaults(paper.fields()))
    skipped = ("method", "data.name")
    rows = [
        path
        for path in defaults
        if path not in skipped
        and any(config[path] != defaults[path] for config in configs.values())
    ]
    lines = [
        f"| field | default | {' | '.join(names)} |",
        "|---" * (len(names) + 2) + "|",
    ]
    for path in rows:
        default = defaults[path]
        found = (configs[name][path] for name in names)
        cells = ["" if v == default else value(v) for v in found]
        lines.append(f"| `{path}` | {value(default)} | {' | '.join(cells)} |")
    return lines


def of_variant(paper: Paper, word: str) -> Mapping[str, Any]:
    """Return what a variant changes; on one data set alone: "mosei: field"."""
    found = dict(paper.variants[word])
    for name, changed in paper.data.items():
        dataset, _, variant = name.partition("+")
        if variant == word:
            found |= {f"{dataset}: {path}": v for path, v in changed.items()}
    return found


def changes(changed: Mapping[str, Any]) -> str:
    """Return changed fields as one cell."""
    said = [f"`{path}` = {value(v)}" for path, v in changed.items()]
    return "<br>".join(said) or "nothing: the default"


def value(given: Any) -> str:
    """Return a value as a cell."""
    if isinstance(given, tuple) and len(given) > 2 and isinstance(given[0], int):
        if given == tuple(range(given[0], given[-1] + 1)):
            return f"{given[0]} to {given[-1]}"
    listed = ",".join(map(str, given)) if isinstance(given, tuple) else given
    return "" if listed is None else f"`{listed}`" if f"{listed}" else '`""`'


def code(names: Any) -> str:
    """Return names as a cell."""
    return ", ".join(f"`{name}`" for name in names)
