"""Templates into text, and text into files that are never half there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msa_jax.ground.errors import UserError
from msa_jax.ground.files import write as write_file


def render(
    template: str, content: Mapping[str, Any], svg: Mapping[str, str] | None = None
) -> str:
    """Fill a template of this package.

    Args:
        template: its file name; in .html.j2 all content is escaped.
        content: what the template may use; a name that it lacks is an error.
        svg: figures by name, our own drawings, put into HTML as they are.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("msa_jax.report", package_path=""),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = markdown_cell
    inline = {name: Markup(text) for name, text in (svg or {}).items()}
    return environment.get_template(template).render(**content, svg=inline)


def markdown_cell(text: Any) -> str:
    """Keep a text inside its table cell, and from being read as markup."""
    one_line = " ".join(str(text).split())
    for character in "\\|*_`<[":
        one_line = one_line.replace(character, "\\" + character)
    return one_line


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a page and all that belongs to it, each file in one stroke.

    Args:
        folder: where; it is made if need be, and figures/ in it.
        files: name in the folder -> contents.

    Raises:
        UserError: it cannot be written.
    """
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_file(folder / name, data)
    except OSError as error:
        raise UserError(f"cannot write the page: {error}") from error
