"""Single samples: those on which modalities disagree most, their labels and scores.

Source: Self-MM, Figure 5; SUGRM, Table 5.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from msa_jax.evaluation.wording import NOTHING, decimal, listed
from msa_jax.ground.names import MODALITIES, TARGETS
from msa_jax.report import sample_paths
from msa_jax.report.drawing import mean_over
from msa_jax.report.u_labels import recorded_at
from msa_jax.runs.finished import Run, Samples

TRAIN_SHOWN, TEST_SHOWN = 12, 6
LONGEST_TEXT = 320  # characters


@dataclass(frozen=True)
class Said:
    """What one source says of a sample.

    cells: value and spread over seeds, per target; used: the source can say something
    of that target, whatever the sample.
    """

    name: str
    cells: list[tuple[str, str]]
    used: list[bool]


@dataclass(frozen=True)
class Shown:
    """One sample as it is printed; `path` is None where nothing was generated."""

    number: int
    id: str
    text: str
    rows: list[Said]
    path: sample_paths.Path | None


@dataclass(frozen=True)
class Part:
    """The samples of one split.

    rule: how they were chosen; reading: what is shown of them; targets: the columns.
    """

    split: str
    title: str
    rule: str
    reading: str
    targets: tuple[str, ...]
    shown: list[Shown]


def widest(values: np.ndarray, names: np.ndarray, count: int) -> np.ndarray:
    """Choose the samples on which some scores of the same thing lie furthest apart.

    Args:
        values: [s, k, n], k scores of a sample under seed s. A seed in which a score
            is not finite does not count for that sample.
        names: [n], ids; the smaller one comes first where two samples tie.
        count: how many at most; samples without any distance are never chosen.

    Returns: places of the samples, widest first.
    """
    spread = mean_over(np.ptp(values.astype(np.float64), axis=1), axis=0)
    order = np.lexsort((names, -spread))  # NaN comes last
    return order[spread[order] > 0][:count]


def parts(run: Run) -> list[Part]:
    """Return what can be shown of the run's samples: train, test, or nothing."""
    found = []
    if run.u_labels is not None and "train" in run.samples:
        found.append(_train(run, run.samples["train"]))
    if "test" in run.samples:
        found.append(_test(run, run.samples["test"]))
    return found


def _train(run: Run, samples: Samples) -> Part:
    u, seeds = run.u_labels, run.results["seeds"]
    assert u is not None
    at = recorded_at(u.epoch, seeds, run.results.get("selected_epoch") or {})
    labels = u.value[at, np.arange(len(seeds))]  # [s, m, n]
    chosen = widest(labels[:, 1:], samples.id, TRAIN_SHOWN)
    paths = sample_paths.paths_of(u, chosen, at)
    shown = []
    for number, (i, path) in enumerate(zip(chosen, paths, strict=True), 1):
        rows = [_given(samples, i, TARGETS)]
        values = [labels[:, k, i] if k else None for k in range(len(TARGETS))]
        rows.append(_row("generated", values))
        rows.append(_predicted(run, samples, i, TARGETS))
        shown.append(_shown(number, samples, i, rows, path))
    total, over = len(samples.label), _over(len(seeds))
    title = "Samples on which the modalities disagree most"
    if not shown:
        rule = (
            f"At the epoch {_whose(seeds)} the u-labels of all {total} training "
            "samples were the same for every modality: nothing had been generated "
            "yet, so no sample can be shown."
        )
        return Part("train", title, rule, "", TARGETS, shown)
    rule = (
        f"The {len(shown)} of {total} training samples with the largest spread between "
        "the u-labels of text, audio and vision: largest minus smallest at the epoch "
        f"{_whose(seeds)}{over}; ties in the order of ids."
    )
    true = samples.unimodal_label is not None
    reading = (
        f"{_rows(samples)} “Generated”: u-labels at that epoch. “Predicted”: by the "
        f"parameters kept, which have learnt these samples.{_spread(seeds)} "
        "Curves: u-labels over epochs, one scale for all samples; dashed: the label M; "
        + ("thin: single seeds; " if len(seeds) > 1 else "")
        + ("diamonds: true unimodal labels; " if true else "")
        + f"rings: the epoch {_whose(seeds)}.{_source(samples)}"
    )
    return Part("train", title, rule, reading, TARGETS, shown)


def _test(run: Run, samples: Samples) -> Part:
    seeds = run.results["seeds"]
    trained = _trained(run, samples)
    modalities = [m for m in MODALITIES if m in trained]
    targets = ("fusion", *modalities)
    total, over = len(samples.label), _over(len(seeds))
    if len(modalities) > 1:
        rows = [TARGETS.index(m) for m in modalities]
        scores = samples.prediction[:, rows]
        what = (
            f"the largest spread between the predictions from {listed(modalities)}: "
            f"largest minus smallest{over}"
        )
    else:
        label = np.broadcast_to(samples.label, samples.prediction[:, 0].shape)
        scores = np.stack([samples.prediction[:, 0], label], axis=1)
        what = f"the largest error of the prediction{over}"
    chosen = widest(scores, samples.id, TEST_SHOWN)
    shown = []
    for number, i in enumerate(chosen, 1):
        rows = [_given(samples, i, targets), _predicted(run, samples, i, targets)]
        shown.append(_shown(number, samples, i, rows, None))
    rule = (
        f"The {len(shown)} of {total} test samples with {what}; ties in the order of "
        "ids. They are not typical of the rest."
    )
    reading = (
        f"{_rows(samples)} “Predicted”: by the parameters kept. Labels are "
        f"generated for training samples only.{_spread(seeds)}{_source(samples)}"
    )
    title = (
        "Test samples on which the predictions disagree most"
        if len(modalities) > 1
        else "Test samples with the largest errors"
    )
    return Part("test", title, rule, reading, targets, shown)


def _shown(
    number: int,
    samples: Samples,
    i: int,
    rows: list[Said],
    path: sample_paths.Path | None,
) -> Shown:
    text = " ".join(str(samples.text[i]).split())
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - 1].rstrip() + "…"
    return Shown(number, str(samples.id[i]), text or NOTHING, rows, path)


def _given(samples: Samples, i: int, targets: tuple[str, ...]) -> Said:
    true = samples.unimodal_label
    values = [
        samples.label[i : i + 1]
        if target == "fusion"
        else None
        if true is None
        else true[i, MODALITIES.index(target)][None]
        for target in targets
    ]
    return _row("label", values)


def _predicted(run: Run, samples: Samples, i: int, targets: tuple[str, ...]) -> Said:
    trained = _trained(run, samples)
    values = [
        samples.prediction[:, TARGETS.index(t), i] if t in trained else None
        for t in targets
    ]
    return _row("predicted", values)


def _trained(run: Run, samples: Samples) -> tuple[str, ...]:
    """Return the targets whose scores mean something: those that had a loss.

    A method may leave out unimodal tasks; the heads are there, but never learnt.
    """
    targets = TARGETS[: samples.prediction.shape[1]]
    history = run.history
    losses = {} if history is None else history.train
    if not any(f"loss_{target}" in losses for target in TARGETS):
        return targets  # unknown
    return tuple(t for t in targets if t == "fusion" or f"loss_{t}" in losses)


def _row(name: str, values: list[np.ndarray | None]) -> Said:
    used = [value is not None for value in values]
    return Said(name, [_cell(value) for value in values], used)


def _cell(values: np.ndarray | None) -> tuple[str, str]:
    """Write the mean over seeds and, of several, their standard deviation."""
    if values is None:
        return NOTHING, ""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return NOTHING, ""
    spread = f"±{finite.std(ddof=1):.2f}" if finite.size > 1 else ""
    return decimal(finite.mean(), 2), spread


def _over(seeds: int) -> str:
    return f", mean over {seeds} seeds" if seeds > 1 else ""


def _whose(seeds: list[int]) -> str:
    return "that was kept" if len(seeds) == 1 else "that each seed kept"


def _spread(seeds: list[int]) -> str:
    if len(seeds) == 1:
        return ""
    return f" Numbers are means over {len(seeds)} seeds, ± their standard deviation."


def _rows(samples: Samples) -> str:
    if samples.unimodal_label is None:
        return "“Label”: the data set's."
    return "“Label”: the data set's, which also knows the true unimodal ones."


def _source(samples: Samples) -> str:
    if not any(samples.text):
        return " This data set holds features in place of words, so no text is shown."
    if samples.decoded:
        return " Texts were put together again from tokens."
    return ""


def draw(run: Run, found: list[Part]) -> Any | None:
    """Draw the paths of all shown training samples as one figure; None if none."""
    paths = [s.path for part in found for s in part.shown if s.path is not None]
    if not paths or run.u_labels is None:
        return None
    return sample_paths.figure(paths, run.u_labels.epoch)
