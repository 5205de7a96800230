"""The page of a results table or a comparison, from table.json alone."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msa_jax.ground.errors import UserError
from msa_jax.report import (
    latex,
    rendering,
    samples,
    table_csv,
    table_figures,
    table_rows,
    table_sentences,
)
from msa_jax.report.drawing import STYLE, to_png, to_svg
from msa_jax.report.page import Drawn
from msa_jax.report.page import draw as draw_run
from msa_jax.report.reading import Run, read

SCHEMA = 1  # of table.json
SINGLE_SAMPLES = "sample_paths"  # a figure that is not of `page.draw`
_TILES = 4
_WIDE = 7  # columns from which a table is printed on a page turned sideways


def write(folder: Path, found: dict[str, Any]) -> Path:
    """Write everything that is made of a table.

    table.html (one page that needs no other file), table.md, table.tex, table.csv,
    methods.txt and figures/.

    Args:
        folder: where; it is made if need be.
        found: what table.json holds (docs/tables.md).

    Returns: the path of table.html.
    Raises: UserError if it is of another schema, or the files cannot be written.
    """
    import matplotlib

    if found.get("schema") != SCHEMA:
        raise UserError(
            f"{folder}: a table of schema {found.get('schema')}, this version reads "
            f"{SCHEMA}; make it anew"
        )
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A row may be named in any script; the page's own font has what this one lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        drawn = list(draw(found))
        of_paper, undrawn = paper_figures(found)
        every = [*drawn, *of_paper]
        png = {f"figures/{d.name}.png": to_png(d.figure) for d in every}
        svg = {d.name: to_svg(d.figure, d.name, d.alt) for d in every}
    content = describe(found) | {
        "figures": drawn,
        "of_paper": of_paper,
        "undrawn": undrawn,
    }
    texts = {
        "table.html": rendering.render("table.html.j2", content, svg),
        "table.md": rendering.render("table.md.j2", content),
        "table.tex": rendering.render("table.tex.j2", latex.describe(found)),
        "table.csv": table_csv.write(found),
        "methods.txt": found["methods_paragraph"].strip() + "\n",
    }
    files = png | {name: text.encode() for name, text in texts.items()}
    rendering.write(folder, files)
    return folder / "table.html"


def draw(found: dict[str, Any]) -> Iterator[Drawn]:
    """Draw every figure that the table allows, in reading order, part by part."""
    for place, part in enumerate(found["parts"]):
        several = len(found["parts"]) > 1
        end = f"_{place + 1}" if several else ""
        where = f": {part['title']}" if several and part["title"] else ""
        trivial = table_rows.baselines(found, part)
        for name, title, caption, alt, figures in _figures(found, part, trivial):
            for i, figure in enumerate(figures):
                more, so_far = (f"_{i + 1}", ", continued") if i else ("", "")
                yield Drawn(
                    name + end + more, title + so_far + where, caption, alt, figure
                )


def _figures(
    found: dict[str, Any], part: dict[str, Any], trivial: list[dict[str, Any]]
) -> Iterator[tuple[str, str, str, str, list[Any]]]:
    warning = table_sentences.not_comparable(found)
    stop = f" {warning}" if warning else ""
    metrics = ", ".join(column["title"] for column in part["columns"])
    published = any(c["published"] for row in part["rows"] for c in row["cells"])
    diamond = " Open diamonds: published values." if published else ""
    lines = (
        " Dashed lines: trivial baselines; those too far away to be drawn are named "
        "below the axis."
        if trivial
        else ""
    )
    yield (
        "values",
        "Every seed",
        "Test split. Small dots are seeds, large dots their mean with its 95 % "
        "interval over seeds (thick: bootstrap; thin: Student's t, cut where it is far "
        f"wider); a lost seed gave no finite value.{diamond}{lines}{stop}",
        f"Dot plots of {metrics}: seeds, mean and interval of every row",
        table_figures.values(part, trivial),
    )
    yield (
        "differences",
        f"Differences to “{found['against']}”",
        "Paired by seed: the row's value minus that of the reference. Thick: 95 % "
        "interval over seeds; thin: over test samples. The p-value is the larger of "
        "the two Holm-corrected ones; significant means that both are below .05.",
        f"Dot plots of the differences to {found['against']} with intervals, in "
        f"{metrics}",
        table_figures.differences(part),
    )
    yield (
        "uses_audio_vision",
        "Does it use audio and vision?",
        "What a metric loses when audio and vision of the test samples are shuffled "
        "across samples, mean over seeds with its 95 % interval. To the right of zero "
        "it gets worse without them; at zero the network does not use them.",
        "Dot plots of what metrics lose when audio and vision are shuffled",
        table_figures.uses_audio_vision(part),
    )
    curves = part.get("learning", found.get("learning", {}))
    yield (
        "learning",
        "Learning curves",
        "Loss on the validation split after each epoch, a panel per row, a line per "
        "seed; all panels have one scale. A dot marks the epoch that was selected.",
        "Line charts of the validation loss over epochs, a panel per row",
        table_figures.learning(curves, [row["name"] for row in part["rows"]]),
    )


def paper_figures(found: dict[str, Any]) -> tuple[list[Drawn], list[str]]:
    """Draw the figures of the paper from the runs that the table names.

    Returns: the figures, and a sentence for each that could not be drawn.
    """
    wanted: dict[tuple[str, str | None], list[str]] = {}
    for asked in found["figures"]:
        runs = asked["run"], asked.get("beside")
        wanted.setdefault(runs, []).append(asked["name"])
    made, undrawn = [], []
    for (folder, beside), names in wanted.items():
        try:
            run = read(Path(folder))
            other = None if beside is None else read(Path(beside))
            there = {d.name: d for d in draw_run(run, other)}
            if SINGLE_SAMPLES in names and (drawn := _single_samples(run)):
                there[SINGLE_SAMPLES] = drawn
        except UserError as error:
            undrawn.append(f"{', '.join(names)}: {error}")
            continue
        for name in names:
            if (drawn := there.get(name)) is None:
                undrawn.append(f"{name}: {folder} has no such figure")
                continue
            runs = f"Run: {folder}" + (f", beside {beside}" if beside else "")
            made.append(
                Drawn(
                    f"paper_{len(made) + 1}_{name}",
                    drawn.title,
                    f"{drawn.caption} {runs}.",
                    drawn.alt,
                    drawn.figure,
                    drawn.sentences,
                )
            )
    return made, undrawn


def _single_samples(run: Run) -> Drawn | None:
    """Draw the u-labels of the samples on which modalities disagree most."""
    figure = samples.draw(run, samples.parts(run))
    if figure is None:
        return None
    return Drawn(
        SINGLE_SAMPLES,
        "Generated labels of single samples",
        "U-labels over epochs of the training samples on which modalities disagree "
        "most; the texts are in the run's own report.",
        "Line charts of the generated labels of single samples over epochs",
        figure,
    )


def describe(found: dict[str, Any]) -> dict[str, Any]:
    """Collect everything of the page that is not a figure."""
    return {
        "title": found["title"],
        "comparison": found["kind"] == "comparison",
        "where": _where(found),
        "answer": table_sentences.answer(found),
        "not_comparable": table_sentences.not_comparable(found),
        "warnings": [
            line
            for line in table_sentences.warnings(found)
            if line != table_sentences.not_comparable(found)
        ],
        "notes": found["notes"],
        "seeds": found["seeds"],
        "against": found["against"],
        "tiles": tiles(found),
        "tables": [
            {
                "title": part["title"],
                "caption": table_sentences.caption(found, part),
                "reading": table_sentences.how_to_read(found, part),
                "heads": table_rows.heads(part),
                "groups": table_rows.groups(found, part),
                "wide": len(part["columns"]) >= _WIDE,
                "facts": table_sentences.row_facts(part),
            }
            for part in found["parts"]
        ],
        "verdicts": table_sentences.verdict_counts(found)
        if found["comparable"]
        else [],
        "significant": table_sentences.significant_sentences(found),
        "others": table_sentences.other_sentences(found),
        "terms": table_sentences.TERMS,
        "methods": found["methods_paragraph"],
        "facts": table_sentences.facts(found),
        "glossary": table_sentences.glossary(found),
    }


def _where(found: dict[str, Any]) -> str:
    """Say which table, data set and budget this is, in one line."""
    pieces = [found["source"], found["dataset"]]
    pieces += [f"{found['budget']} budget"] if found["budget"] else []
    return " · ".join(piece for piece in pieces if piece)


def tiles(found: dict[str, Any]) -> list[dict[str, str]]:
    """Return the few numbers of the main row that stand on top."""
    for part in found["parts"]:
        for row in part["rows"]:
            if row["name"] == found["main"] and table_rows.ran(row):
                pairs = zip(part["columns"], row["cells"], strict=True)
                return [_tile(found, *pair) for pair in list(pairs)[:_TILES]]
    return []


def _tile(
    found: dict[str, Any], column: dict[str, Any], cell: dict[str, Any]
) -> dict[str, str]:
    interval = table_rows.form_interval(column, cell["ci_seeds"])
    lines = [] if interval == table_rows.NOTHING else [f"95 % {interval}"]
    if cell["published"] is not None and found["comparable"]:
        lines.append(
            f"published\N{NO-BREAK SPACE}{table_rows.minus(cell['published'])}"
        )
    return {
        "title": column["title"],
        "better": "lower" if column["lower_is_better"] else "higher",
        "value": table_rows.form(column, cell["mean"]),
        "sd": ""
        if cell["mean"] is None or cell["sd"] is None
        else f"± {table_rows.form(column, cell['sd'])}",
        "note": "; ".join(lines),
    }
