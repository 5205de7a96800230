"""The result table for the terminal."""

from collections.abc import Iterable, Sequence

from rich.table import Table

import msa_jax.methods as methods
from msa_jax.evaluation import baselines
from msa_jax.evaluation.metric_names import units
from msa_jax.evaluation.wording import form, form_interval, over
from msa_jax.report.run_tables import metrics_of
from msa_jax.runs.finished import Results

# Column heads narrow enough for 80 columns with three seeds, and what they stand for;
# first the constant, then those that are worth beating.
SHOWN = {
    baselines.MEAN: ("train\nmean", "mean of train"),
    baselines.ALL_ABSENT: ("all\nabsent", "“absent” for everything"),
    baselines.MAJORITY: ("major-\nity", "the majority class"),
    baselines.FROZEN_TEXT: ("ridge\ntext", "ridge on frozen text features"),
    baselines.LOGISTIC_TEXT: (
        "logist.\ntext",
        "logistic regression on frozen text features",
    ),
    baselines.BOOSTING: ("boost.\nall", "gradient boosting on all modalities"),
    baselines.BAG_OF_WORDS: ("ridge\nwords", "ridge on a bag of words"),
    baselines.LOGISTIC_BAG: (
        "logist.\nwords",
        "logistic regression on a bag of words",
    ),
}
CONSTANTS = (baselines.MEAN, baselines.ALL_ABSENT, baselines.MAJORITY)
BASELINES_SHOWN = 3
SEEDS_SHOWN = 5  # more would not fit 100 columns


def results_table(results: Results) -> Table:
    """Make the table of a run's test metrics, at most 100 columns wide.

    The legacy F1 values, and accuracy and F1 of single emotions, are left to
    results.json and the report.
    """
    seeds, trivial = results["seeds"], results.get("baselines") or {}
    names = chosen(trivial)
    shown = seeds if len(seeds) <= SEEDS_SHOWN else []
    method = methods.title(results["method"])
    table = Table(
        title=f"{method} on {results['dataset']}, test, {over(len(seeds))}",
        caption=" Trivial baselines: ".join(
            [units(results["metrics_kind"]), *_said(names)]
        ),
        title_justify="left",
        caption_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    table.add_column("", no_wrap=True)
    table.add_column("mean", justify="right", style="bold", no_wrap=True)
    if len(seeds) > 1:
        table.add_column("sd", justify="right", no_wrap=True)
        table.add_column("95 % interval", justify="right", no_wrap=True)
    for seed in shown:
        table.add_column(str(seed), justify="right", style="dim", no_wrap=True)
    for name in names:
        head = SHOWN[name][0]
        table.add_column(head, justify="right", style="italic", no_wrap=True)
    for metric in metrics_of(results["metrics_kind"], results["test"]):
        if "legacy" in metric.key:
            continue
        cell = results["test"][metric.key]
        row = [metric.title, form(metric, cell.get("mean"))]
        if len(seeds) > 1:
            row.append(form(metric, cell.get("sd")))
            row.append(form_interval(metric, cell.get("ci95")))
        row += [form(metric, value) for value in cell["per_seed"][: len(shown)]]
        row += [form(metric, trivial[name].get(metric.key)) for name in names]
        table.add_row(*row)
    return table


def chosen(trivial: Iterable[str]) -> list[str]:
    """Return the baselines to show: a constant and the first others of `SHOWN`."""
    there = [name for name in SHOWN if name in set(trivial)]
    constant = [name for name in there if name in CONSTANTS][:1]
    others = [name for name in there if name not in CONSTANTS]
    return (constant + others)[:BASELINES_SHOWN]


def _said(names: Sequence[str]) -> list[str]:
    return [", ".join(SHOWN[name][1] for name in names)] if names else []
