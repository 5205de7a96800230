"""Figures and templates into pages, and pages into files that are never half there."""

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msa_jax.ground import files
from msa_jax.ground.errors import UserError
from msa_jax.report.drawing import STYLE, to_png, to_svg


class Drawn(NamedTuple):
    """A figure with its words: a section title, a caption, an alternative text."""

    name: str
    title: str
    caption: str
    alt: str
    figure: Any
    sentences: tuple[str, ...] = ()


class Printed(NamedTuple):
    """Drawn figures in both forms: PNG files, and SVG by name for a page."""

    drawn: list[Drawn]
    png: dict[str, bytes]
    svg: dict[str, str]


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw in the look of all figures."""
    import matplotlib

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A row may be named in any script; the page's own font has what this one lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield


def printed(figures: Iterable[Drawn]) -> Printed:
    """Draw figures, inside `style`."""
    drawn = list(figures)
    return Printed(
        drawn,
        {f"figures/{d.name}.png": to_png(d.figure) for d in drawn},
        {d.name: to_svg(d.figure, d.name, d.alt) for d in drawn},
    )


def write_page(
    folder: Path,
    page: str,
    content: Mapping[str, Any],
    svg: Mapping[str, str],
    others: Mapping[str, bytes],
) -> Path:
    """Write PAGE.html, which needs no other file, PAGE.md and all that belongs to it.

    Args:
        folder: where; it is made if need be, and figures/ in it.
        page: "report"; the templates are called so.
        content: what they may use.
        svg: figures by name.
        others: name in the folder -> contents of other files.

    Returns: the path of PAGE.html.
    Raises:
        UserError: a file cannot be written; each is written in one stroke.
    """
    texts = {
        f"{page}.html": render(f"{page}.html.j2", content, svg),
        f"{page}.md": render(f"{page}.md.j2", content),
    }
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        pages = {name: text.encode() for name, text in texts.items()}
        for name, data in {**others, **pages}.items():
            files.write(folder / name, data)
    except OSError as error:
        raise UserError(f"cannot write the page: {error}") from error
    return folder / f"{page}.html"


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
