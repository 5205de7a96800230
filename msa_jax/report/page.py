"""Put tables, sentences and figures together into one page and one markdown file."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msa_jax import methods
from msa_jax.evaluation.metric_names import units
from msa_jax.report import (
    class_figures,
    figures,
    modality_use,
    rendering,
    representation,
    sample_paths,
    samples,
    steps,
    tables,
    u_labels,
)
from msa_jax.report.drawing import MODALITY_COLOURS, STYLE, to_png, to_svg
from msa_jax.report.reading import Run, read


@dataclass(frozen=True)
class Drawn:
    """A figure with its words: a section title, a caption, an alternative text."""

    name: str
    title: str
    caption: str
    alt: str
    figure: Any
    sentences: tuple[str, ...] = ()


def write_report(workdir: Path, beside: Path | None = None) -> Path:
    """Read a work directory, write the report beside its files (see `report.write`)."""
    import matplotlib

    run = read(workdir)
    other = None if beside is None else read(beside)
    if other is not None:
        representation.require_comparable(run, other)
    parts = samples.parts(run)
    with matplotlib.rc_context(STYLE):
        drawn = list(draw(run, other))
        png = {f"figures/{d.name}.png": to_png(d.figure) for d in drawn}
        svg = {d.name: to_svg(d.figure, d.name, d.alt) for d in drawn}
        if (paths := samples.draw(run, parts)) is not None:
            png["figures/sample_paths.png"] = to_png(paths)
    content = describe(run) | {
        "samples": parts,
        "colours": MODALITY_COLOURS,
        "box": sample_paths.BOX,
    }
    texts = {
        "report.md": rendering.render("report.md.j2", content | {"figures": drawn}),
        "report.html": rendering.render(
            "report.html.j2", content | {"figures": drawn}, svg
        ),
    }
    files = png | {name: text.encode() for name, text in texts.items()}
    rendering.write(workdir, files)
    return workdir / "report.html"


def draw(run: Run, beside: Run | None = None) -> Iterator[Drawn]:
    """Draw every figure that the run's files allow, in reading order.

    Args:
        run: the run.
        beside: another run, whose fused representation is drawn, too.
    """
    seeds = run.results["seeds"]
    selected = run.results.get("selected_epoch") or {}
    dot = "A dot marks the epoch whose parameters were kept."
    if (history := run.history) is not None:
        if history.train or "loss" in history.valid:
            yield Drawn(
                "loss",
                "Loss",
                "Mean loss per epoch, by part and seed, in the unit of the loss "
                f"(label units for L1). A line ends where its seed stopped. {dot}",
                "Line charts of the parts of the loss over epochs, one line per seed",
                figures.loss_curves(history, seeds, selected),
            )
    if run.steps is not None and steps.worth_drawing(run.steps):
        yield Drawn(
            "loss_steps",
            "Losses over training steps",
            steps.caption(run.steps, run.config),
            "Line charts of the parts of the loss over steps, one line per seed",
            steps.curves(run.steps, seeds),
            tuple(steps.sentences(run.steps)),
        )
    if history is not None:
        curves = figures.metric_curves(
            history, seeds, selected, run.results["metrics_kind"]
        )
        if curves is not None:
            yield Drawn(
                "valid_metrics",
                "Metrics on the validation split",
                f"After each epoch, by seed. {dot}",
                "Line charts of validation metrics over epochs, one line per seed",
                curves,
            )
    if run.predictions is not None and not run.predictions.scores:
        yield _draw_classes(run)
    elif run.predictions is not None:
        shown = min(len(seeds), figures.SCATTER_PANELS)
        which = "" if shown == len(seeds) else f" (the first {shown} of {len(seeds)})"
        yield Drawn(
            "scatter",
            "Predicted against true",
            f"Test split, n = {run.predictions.label.size}, one panel per seed{which}. "
            "On the dashed line prediction and label are equal; a flatter cloud means "
            "that strong sentiment is underrated.",
            "Scatter plots of predicted against true scores on the test split",
            figures.scatter(run.predictions, seeds),
        )
    if representation.can_draw(run):
        runs = [run] if beside is None else [run, beside]
        several = len(representation.drawn_features(runs)) > 1
        yield Drawn(
            "embedding",
            "t-SNE of each modality's and the fused representation"
            if several
            else "t-SNE of the fused representation",
            representation.caption(runs),
            "Clouds of training samples in two dimensions, coloured by their label",
            representation.figure(runs),
            tuple(representation.sentences(runs)),
        )
    if run.u_labels is not None:
        yield from _draw_u_labels(run, seeds, selected)


def _draw_classes(run: Run) -> Drawn:
    assert run.predictions is not None
    kind, n = run.results["metrics_kind"], len(run.predictions.label)
    if kind == "emotion":
        return Drawn(
            "emotions",
            "Emotion by emotion",
            f"Test split, n = {n}. WA is the mean of sensitivity and specificity; "
            "where an emotion is rare, “absent” for every sample has a high accuracy "
            "and a WA of 50.",
            "Dot plots of weighted accuracy and accuracy of six emotions by seed",
            class_figures.emotion_dots(run.results),
            tuple(class_figures.emotion_sentences(run.results)),
        )
    seeds = tables.count(len(run.results["seeds"]), "seed")
    return Drawn(
        "confusion",
        "Which class was taken for which",
        f"Test split, n = {n}, {seeds} together: how many samples of each true class "
        "(row) got which answer (column). The stronger the colour, the larger the "
        "share of its row.",
        "Confusion matrix of true and answered classes on the test split",
        class_figures.confusion(run.predictions, kind),
        tuple(class_figures.confusion_sentences(run.predictions, kind)),
    )


def _draw_u_labels(run: Run, seeds: list, selected: dict) -> Iterator[Drawn]:
    u = run.u_labels
    assert u is not None
    yield Drawn(
        "u_label_distributions",
        "Generated unimodal labels (u-labels) over epochs",
        f"Distribution over the {u.label.size} training samples, all seeds together: "
        "the stronger the colour, the more labels lie there (one scale for all "
        "panels). A strong band at the edge is labels that were clipped.",
        "Heat maps of the distribution of u-labels over epochs, per modality",
        u_labels.distributions(u),
    )
    yield Drawn(
        "u_label_snapshots",
        "Generated unimodal labels (u-labels) at a few epochs",
        f"Histograms over the {u.label.size} training samples, all seeds together, one "
        "row per modality. In grey the human m-labels, where every u-label starts.",
        "Histograms of the u-labels at a few epochs, one row per modality",
        u_labels.snapshots(u),
    )
    yield Drawn(
        "u_label_shifts",
        "How far the u-labels moved from the multimodal label (m-label)",
        "Mean over training samples of the distance of u-label and m-label, in label "
        "units. Zero means that nothing was generated yet. A seed that has stopped "
        "keeps its last value.",
        "Line charts of the mean distance of u-labels and m-label over epochs",
        u_labels.shifts(u, seeds),
    )
    if u.unimodal_label is not None:
        yield Drawn(
            "u_label_correlations",
            "Do the u-labels find the true unimodal sentiment?",
            "This data set knows the true sentiment of each modality; the method never "
            "sees it. The dashed line is what the m-label reaches on its own: only "
            "above it does label generation add anything. The sentences judge each "
            "seed at the epoch it kept.",
            "Line charts of the correlation of u-labels with the true sentiments",
            u_labels.correlations(u, seeds),
            tuple(u_labels.sentences(u, seeds, selected)),
        )


def describe(run: Run) -> dict[str, Any]:
    """Collect everything of a report that is not a figure."""
    results = run.results
    history = run.history
    empty = 0.0 if history is None else float(history.empty_classes.sum())
    absent = {
        "history.jsonl": history,
        "predictions_test.npz": run.predictions,
        "config.json": run.config,
    }
    config = run.config
    return {
        "method": methods.title(results["method"]),
        "dataset": results["dataset"],
        "seeds": results["seeds"],
        "selection": results.get("selection", ""),
        "headline": tables.headline(results),
        "metrics": tables.metrics_of(results),
        "test": tables.result_rows(results),
        "valid": tables.result_rows(results, "valid") if results.get("valid") else [],
        "units": units(results["metrics_kind"]),
        "interval": tables.INTERVAL if len(results["seeds"]) > 1 else "",
        "emotions": tables.emotion_table(results),
        "against": tables.baseline_sentences(results),
        "use": modality_use.section(results),
        "warnings": tables.warnings(results, empty),
        "notes": tables.notes(results),
        "u_labels": tables.u_label_tables(results),
        "facts": tables.facts(results, methods.reading(config or {})),
        "config": None if config is None else json.dumps(config, indent=2),
        "absent": [name for name, part in absent.items() if part is None],
    }
