"""Pages of the manual that repeat what is said elsewhere: API, commands, notebooks.

A hook of mkdocs (mkdocs.yml): each `on_...` is called by its name.
"""

import inspect
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LOG = logging.getLogger("mkdocs.hooks.pages")
ROOT = Path(__file__).parents[2]
COPIES = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "launch.md": "launch/README.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    pages = {"api.md": api(), "commands.md": commands()}
    pages |= {name: (ROOT / path).read_text("utf-8") for name, path in COPIES.items()}
    pages["changelog.md"] = f"---\nsearch: {{boost: 0.2}}\n---\n{pages['changelog.md']}"
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        pages[f"notebooks/{path.stem}.md"] = notebook(path)
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Link to the pages of notebooks."""
    made = page.file.generated_by is not None
    return markdown if made else re.sub(r"\.ipynb\)", ".md)", markdown)


def on_page_content(html: str, page: Page, files: Files, **_: Any) -> str:
    """Make a link of "docs/data.md", as docstrings and cards have it."""

    def link(named: re.Match) -> str:
        target = files.get_file_from_path(named[1])
        if target is None:
            LOG.warning("%s names %s, which is no page", page.file.src_uri, named[0])
            return named[0]
        return f'<a href="{target.url_relative_to(page.file)}">{named[0]}</a>'

    return re.sub(r"(?<=[\s(>])docs/([\w/]+\.md)", link, html)


def api() -> str:
    """Return the page of all public names, in the words of their docstrings."""
    import msa_jax as msa
    from msa_jax.data import Dataset

    lines = ["# Python interface", "", "`import msa_jax as msa`: all there is, beside"]
    lines += ["what [From Python and notebooks](python.md) says of it.", ""]
    public = {f"msa.{name}": getattr(msa, name) for name in msa.__all__}
    public["Dataset"] = Dataset
    for name in sorted(public, key=lambda name: (inspect.isclass(public[name]), name)):
        given = public[name]
        target = type(given).__call__ if inspect.ismodule(given) else given
        lines += [f"::: {target.__module__}.{target.__qualname__}", "    options:"]
        lines += [f"      heading: {name}", f"      toc_label: {name}", ""]
    return "\n".join(lines)


def commands() -> str:
    """Return the page of what every command says to --help."""
    from msa_jax import commands

    names = [name for name in commands.commands() if name != "train"]

    def explained(name: str) -> str:
        words = [sys.executable, "-m", f"msa_jax.{name}", "--help"]
        said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        if said.returncode:
            raise RuntimeError(f"{name} --help: {said.stderr}")
        return said.stdout.strip()

    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(explained, names))
    lines = ["# Commands", "", "`msa NAME` is `python -m msa_jax.NAME`; `msa train` is"]
    lines += ["`main`. What each says to `--help`:", ""]
    for name, text in zip(names, texts, strict=True):
        lines += [f"## {name}", "", "```text", text, "```", ""]
    return "\n".join(lines)


def notebook(path: Path) -> str:
    """Return a notebook as a page: its words, and its code."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    parts = list(_cells(cells))
    parts.insert(1, f"[This page as a notebook]({path.name}), also for Colab.")
    return "\n\n".join(parts)


def _cells(cells: list[dict[str, Any]]) -> Iterator[str]:
    for cell in cells:
        text = "".join(cell["source"])
        yield text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"
