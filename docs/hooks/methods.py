"""A page per method, from what `PAPER`, its card and its module say.

A hook of mkdocs (mkdocs.yml). Nothing here knows a method: one that is added to
`msa_jax.methods.PAPERS` has a page.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
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
    sections = [
        {
            "title": f"`{name}`: {owner.__name__}" if name else "At the top",
            "about": about(owner),
            "fields": fields.of(owner, name),
        }
        for name, owner in COMMON
    ]
    return TEMPLATE.render(sections=sections)


def method(paper: Paper) -> str:
    """Return the page of one method."""
    module = sys.modules[paper.sections["model"].__module__]
    card = cli.own_configs() / f"{paper.name}.py"
    common = {f.path for name, owner in COMMON for f in fields.of(owner, name)}
    return TEMPLATE.render(
        paper=paper,
        card=ast.get_docstring(ast.parse(card.read_text("utf-8"))),
        about=about(module),
        reads=reads(paper.config()),
        padding=paper.reads_padding(paper.config()),
        datasets=paper.datasets(),
        differing=differing(paper),
        variants={word: changes(paper, word) for word in paper.variants},
        own=[f for f in paper.fields() if f.path not in common],
        files=files_of(paper, module),
    )


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


def about(owner: Any) -> str:
    """Return a docstring; its list of names, "width: of a modality", as a list."""
    text = inspect.getdoc(owner) or ""
    return re.sub(r"^([a-z_]+): ", r"- `\1`: ", text, flags=re.MULTILINE)


def differing(paper: Paper) -> Iterator[tuple[str, Any, list[Any]]]:
    """Yield field, default and the data sets' values, where one is another."""
    configs = [dict(cli.fields(paper.config(name))) for name in paper.datasets()]
    for f in paper.fields():
        values = [config[f.path][1] for config in configs]
        own = f.path not in ("method", "data.name")
        if own and any(value != f.default for value in values):
            yield f.path, f.default, values


def changes(paper: Paper, word: str) -> Mapping[str, Any]:
    """Return what a variant changes; on one data set alone: "mosei: field"."""
    found = dict(paper.variants[word])
    for name, changed in paper.data.items():
        dataset, _, variant = name.partition("+")
        if variant == word:
            found |= {f"{dataset}: {path}": v for path, v in changed.items()}
    return found


def value(given: Any) -> str:
    """Return a value as a cell."""
    if given is None or given == "":
        return "" if given is None else '`""`'
    if not isinstance(given, tuple):
        return f"`{given}`"
    numbers = len(given) > 2 and all(isinstance(one, int) for one in given)
    if numbers and given == (*range(given[0], given[-1] + 1),):
        return f"{given[0]} to {given[-1]}"
    return f"`{','.join(map(str, given))}`"


def environment() -> jinja2.Environment:
    """Return what fills in the template of a page."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["value"] = value
    return made


TEMPLATE = environment().get_template("methods.md.j2")
