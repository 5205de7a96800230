"""Put tables, sentences and figures together into one page and one markdown file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msa_jax.methods as methods
from msa_jax.evaluation.metric_names import units
from msa_jax.evaluation.wording import count
from msa_jax.report import (
    class_figures,
    figures,
    modality_use,
    rendering,
    representation,
    run_tables,
    sample_paths,
    samples,
    steps,
    u_labels,
)
from msa_jax.report.drawing import MODALITY_COLOURS, to_png
from msa_jax.report.rendering import Drawn
from msa_jax.runs.finished import Run, open_folder


def write_run_page(workdir: Path, beside: Path | None = None) -> Path:
    """Write a run's report beside its files; see `report.write_report`."""
    run = open_folder(workdir)
    other = None if beside is None else open_folder(beside)
    if other is not None:
        representation.require_comparable(run, other)
    parts = samples.parts(run)
    with rendering.style():
        figures = rendering.printed(draw(run, other))
        png = figures.png
        if (paths := samples.draw(run, parts)) is not None:
            png = png | {"figures/sample_paths.png": to_png(paths)}
    content = content_of(run) | {
        "figures": figures.drawn,
        "samples": parts,
        "colours": MODALITY_COLOURS,
        "box": sample_paths.BOX,
    }
    return rendering.write_page(workdir, "report", content, figures.svg, png)


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
    seeds = count(len(run.results["seeds"]), "seed")
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


def content_of(run: Run) -> dict[str, Any]:
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
    metrics = run_tables.metrics_of(results["metrics_kind"], results["test"])
    return {
        "method": methods.title(results["method"]),
        "dataset": results["dataset"],
        "seeds": results["seeds"],
        "selection": results.get("selection", ""),
        "headline": run_tables.headline(results),
        "metrics": metrics,
        "glossary": [(m.title, m.meaning) for m in metrics],
        "test": run_tables.result_rows(results),
        "valid": run_tables.result_rows(results, "valid")
        if results.get("valid")
        else [],
        "units": units(results["metrics_kind"]),
        "interval": run_tables.INTERVAL if len(results["seeds"]) > 1 else "",
        "emotions": run_tables.emotion_table(results),
        "against": run_tables.baseline_sentences(results),
        "use": modality_use.section(results),
        "warnings": run_tables.warnings(results, empty),
        "notes": run_tables.notes(results),
        "u_labels": run_tables.u_label_tables(results),
        "facts": run_tables.facts(results, methods.reading(config or {})),
        "config": None if config is None else json.dumps(config, indent=2),
        "absent": [name for name, part in absent.items() if part is None],
    }
