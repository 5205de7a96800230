"""The page of a results table or a comparison, from table.json alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msa_jax.evaluation.results_table import (
    SCHEMA,
    Baseline,
    Cell,
    Measure,
    Part,
    Table,
    baselines_of,
    measures_of,
)
from msa_jax.evaluation.wording import NOTHING, form, form_interval, minus
from msa_jax.ground.errors import UserError
from msa_jax.report import (
    latex,
    rendering,
    samples,
    table_figures,
    table_rows,
    table_sentences,
)
from msa_jax.report.page import draw as draw_run
from msa_jax.report.rendering import Drawn
from msa_jax.runs.finished import Run, open_folder

SINGLE_SAMPLES = "sample_paths"  # a figure that is not of `page.draw`
_TILES = 4
_WIDE = 7  # columns from which a table is printed on a page turned sideways


def write_table(folder: Path, table: Table) -> Path:
    """Write everything that is made of a table.

    table.html (one page that needs no other file), table.md, table.tex, table.csv,
    methods.txt and figures/.

    Args:
        folder: where; it is made if need be.
        table: what table.json holds (docs/tables.md).

    Returns: the path of table.html.
    Raises: UserError if it is of another schema, or the files cannot be written.
    """
    if table.get("schema") != SCHEMA:
        raise UserError(
            f"{folder}: a table of schema {table.get('schema')}, this version reads "
            f"{SCHEMA}; make it anew"
        )
    with rendering.style():
        own = rendering.printed(draw(table))
        drawn, undrawn = paper_figures(table)
        of_paper = rendering.printed(drawn)
    content = content_of(table) | {
        "figures": own.drawn,
        "of_paper": of_paper.drawn,
        "undrawn": undrawn,
    }
    texts = {
        "table.tex": rendering.render("table.tex.j2", latex.tabulars(table)),
        "table.csv": table_rows.as_csv(table),
        "methods.txt": table["methods_paragraph"].strip() + "\n",
    }
    others = own.png | of_paper.png | {n: text.encode() for n, text in texts.items()}
    svg = own.svg | of_paper.svg
    return rendering.write_page(folder, "table", content, svg, others)


def draw(table: Table) -> Iterator[Drawn]:
    """Draw every figure that the table allows, in reading order, part by part."""
    for place, part in enumerate(table["parts"]):
        several = len(table["parts"]) > 1
        end = f"_{place + 1}" if several else ""
        where = f": {part['title']}" if several and part["title"] else ""
        trivial = baselines_of(table, part)
        for name, title, caption, alt, figures in _figures(table, part, trivial):
            for i, figure in enumerate(figures):
                more, so_far = (f"_{i + 1}", ", continued") if i else ("", "")
                yield Drawn(
                    name + end + more, title + so_far + where, caption, alt, figure
                )


def _figures(
    table: Table, part: Part, trivial: list[Baseline]
) -> Iterator[tuple[str, str, str, str, list[Any]]]:
    warning = table_rows.not_comparable(table)
    stop = f" {warning}" if warning else ""
    metrics = ", ".join(column.title for column in measures_of(part))
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
        f"Differences to “{table['against']}”",
        "Paired by seed: the row's value minus that of the reference. Thick: 95 % "
        "interval over seeds; thin: over test samples. The p-value is the larger of "
        "the two Holm-corrected ones; significant means that both are below .05.",
        f"Dot plots of the differences to {table['against']} with intervals, in "
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
    curves = part.get("learning", table.get("learning", {}))
    yield (
        "learning",
        "Learning curves",
        "Loss on the validation split after each epoch, a panel per row, a line per "
        "seed; all panels have one scale. A dot marks the epoch that was selected.",
        "Line charts of the validation loss over epochs, a panel per row",
        table_figures.learning(curves, [row["name"] for row in part["rows"]]),
    )


def paper_figures(table: Table) -> tuple[list[Drawn], list[str]]:
    """Draw the figures of the paper from the runs that the table names.

    Returns: the figures, and a sentence for each that could not be drawn.
    """
    wanted: dict[tuple[str, str | None], list[str]] = {}
    for asked in table["figures"]:
        runs = asked["run"], asked.get("beside")
        wanted.setdefault(runs, []).append(asked["name"])
    made, undrawn = [], []
    for (folder, beside), names in wanted.items():
        try:
            run = open_folder(Path(folder))
            other = None if beside is None else open_folder(Path(beside))
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


def content_of(table: Table) -> dict[str, Any]:
    """Collect everything of the page that is not a figure."""
    return {
        "title": table["title"],
        "comparison": table["kind"] == "comparison",
        "where": _where(table),
        "answer": table_sentences.answer(table),
        "not_comparable": table_rows.not_comparable(table),
        "warnings": [
            line
            for line in table_sentences.warnings(table)
            if line != table_rows.not_comparable(table)
        ],
        "notes": table["notes"],
        "seeds": table["seeds"],
        "against": table["against"],
        "tiles": tiles(table),
        "tables": [
            {
                "title": part["title"],
                "caption": table_sentences.caption(table, part),
                "reading": table_sentences.how_to_read(table, part),
                "heads": table_rows.heads(part),
                "groups": table_rows.groups(table, part),
                "wide": len(part["columns"]) >= _WIDE,
                "facts": table_sentences.row_facts(part),
            }
            for part in table["parts"]
        ],
        "verdicts": table_sentences.verdict_counts(table)
        if table["comparable"]
        else [],
        "significant": table_sentences.significant_sentences(table),
        "others": table_sentences.other_sentences(table),
        "terms": table_sentences.TERMS,
        "methods": table["methods_paragraph"],
        "facts": table_sentences.facts(table),
        "glossary": table_sentences.glossary(table),
    }


def _where(table: Table) -> str:
    """Say which table, data set and budget this is, in one line."""
    pieces = [table["source"], table["dataset"]]
    pieces += [f"{table['budget']} budget"] if table["budget"] else []
    return " · ".join(piece for piece in pieces if piece)


def tiles(table: Table) -> list[dict[str, str]]:
    """Return the few numbers of the main row that stand on top."""
    for part in table["parts"]:
        for row in part["rows"]:
            if row["name"] == table["main"] and table_rows.ran(row):
                pairs = zip(measures_of(part), row["cells"], strict=True)
                return [_tile(table, *pair) for pair in list(pairs)[:_TILES]]
    return []


def _tile(table: Table, column: Measure, cell: Cell) -> dict[str, str]:
    interval = form_interval(column, cell["ci_seeds"])
    lines = [] if interval == NOTHING else [f"95 % {interval}"]
    if cell["published"] is not None and table["comparable"]:
        lines.append(f"published\N{NO-BREAK SPACE}{minus(cell['published'])}")
    return {
        "title": column.title,
        "better": "lower" if column.lower_is_better else "higher",
        "value": form(column, cell["mean"]),
        "sd": ""
        if cell["mean"] is None or cell["sd"] is None
        else f"± {form(column, cell['sd'])}",
        "note": "; ".join(lines),
    }
