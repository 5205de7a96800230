"""The result table for the terminal."""

from typing import Any

from rich.table import Table

from msa_jax.experiment.baselines import (
    ALL_ABSENT,
    BAG_OF_WORDS,
    FROZEN_TEXT,
    LOGISTIC_BAG,
    LOGISTIC_TEXT,
    MAJORITY,
    MEAN,
)
from msa_jax.report.tables import form, form_interval, metrics_of, over

# Column heads narrow enough for 80 columns with three seeds.
SHORT = {
    MEAN: "train\nmean",
    BAG_OF_WORDS: "ridge\nwords",
    FROZEN_TEXT: "ridge\ntext",
    MAJORITY: "major-\nity",
    ALL_ABSENT: "all\nabsent",
    LOGISTIC_BAG: "logist.\nwords",
    LOGISTIC_TEXT: "logist.\ntext",
}
REGRESSION = (
    "Acc and F1 in percent, MAE and Corr in natural units",
    "mean of train, ridge on a bag of words, ridge on frozen text features",
)
LOGISTIC = "logistic regression on a bag of words, on frozen text features"
CLASSES = ("Acc and F1 in percent", f"the majority class, {LOGISTIC}")
CAPTIONS = {
    "mosi": REGRESSION,
    "sims": REGRESSION,
    "emotion": (
        "everything in percent; WA is the mean of sensitivity and specificity",
        f"“absent” for everything, {LOGISTIC}",
    ),
}
SEEDS_SHOWN = 5  # more would not fit 100 columns


def results_table(results: dict[str, Any]) -> Table:
    """Make the table of a run's test metrics, at most 100 columns wide.

    The legacy F1 values, and accuracy and F1 of single emotions, are left to
    results.json and the report.
    """
    units, trivial = CAPTIONS.get(results["metrics_kind"], CLASSES)
    seeds = results["seeds"]
    baselines = list((results.get("baselines") or {}).items())[:3]
    shown = seeds if len(seeds) <= SEEDS_SHOWN else []
    table = Table(
        title=f"{results['method']} on {results['dataset']}, test, {over(len(seeds))}",
        caption=f"{units}; trivial baselines: {trivial}" if baselines else units,
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
    for name, _ in baselines:
        short = SHORT.get(name, "\n".join(name.split()))
        table.add_column(short, justify="right", style="italic", no_wrap=True)
    for metric in metrics_of(results):
        if "legacy" in metric.key:
            continue
        cell = results["test"][metric.key]
        row = [metric.title, form(metric, cell.get("mean"))]
        if len(seeds) > 1:
            row.append(form(metric, cell.get("sd")))
            row.append(form_interval(metric, cell.get("ci95")))
        row += [form(metric, value) for value in cell["per_seed"][: len(shown)]]
        row += [form(metric, values.get(metric.key)) for _, values in baselines]
        table.add_row(*row)
    return table
