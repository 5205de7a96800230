"""Answers of several runs -> cells of a table: values, differences, verdicts.

What the numbers mean and when they say nothing: docs/statistics.md. The shape of the
cells: docs/tables.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from msa_jax.evaluation import statistics, verdicts
from msa_jax.evaluation.metrics import score
from msa_jax.evaluation.results_table import Cell, Measure, make_cell
from msa_jax.evaluation.statistics import ALPHA, summarise
from msa_jax.ground.errors import UserError
from msa_jax.ground.files import json_safe

_FEW = 3  # rows that a warning names one by one


class Answers(NamedTuple):
    """What one row answered on the test split.

    name: of the row; in a table the name it has there counts.
    seeds: of the runs, each once.
    label: truth, [n]; of emotions intensities [n, 6].
    prediction: scores [s, n]; of classes and emotions logits [s, n, k]. A seed that
        diverged may hold values that are not finite.
    kind: of metrics, as `metrics.score` takes it.
    id: names of the samples [n], if known; answers are paired by sample only where
        labels and ids agree.
    """

    name: str
    seeds: tuple[int, ...]
    label: np.ndarray
    prediction: np.ndarray
    kind: str
    id: np.ndarray | None = None


def cells(
    rows: Mapping[str, Answers | None],
    columns: Sequence[Measure],
    against: str = "",
    published: Mapping[str, Sequence[str | None]] | None = None,
    mmsa: Mapping[str, Sequence[str | None]] | None = None,
    not_comparable: str = "",
) -> dict[str, list[Cell]]:
    """Compute the cells of a table, one per row and column.

    Args:
        rows: row -> its answers; None: not run (yet). All of one metrics kind.
        columns: of that kind.
        against: the row that the others are tested against; "": no tests. Seeds pair
            by number. If it was not run, nothing is tested.
        published: row -> values as printed, by `Measure.index`.
        mmsa: the same as MMSA reproduced them.
        not_comparable: why published values cannot be compared with ours (other data,
            other text encoder, small budget), as the end of a sentence; "": they can.

    Returns: row -> its cells in the order of `columns`,
        ready for JSON. Deterministic; neither the order of samples nor that of seeds
        changes a number.

    Raises:
        UserError: rows of different metrics kinds, or a column that theirs lacks.
        ValueError: other shapes, a seed that stands twice, or labels that are not
            finite.
    """
    known = {
        name: _by_seed(row._replace(name=name))
        for name, row in rows.items()
        if row is not None
    }
    _require_one_kind(known)
    scores = {name: _scores(row) for name, row in known.items()}
    table: dict[str, list[Any]] = {}
    for name in rows:
        row, printed = known.get(name), (published or {}).get(name)
        summaries = {} if row is None else _summaries(row, scores[name], columns)
        table[name] = [
            make_cell(
                measure.index,
                verdicts.verdict(
                    measure,
                    summaries.get(measure.key),
                    _at(printed, measure),
                    not_comparable,
                ),
                _at(printed, measure),
                _at((mmsa or {}).get(name), measure),
                **summaries.get(measure.key, {}),
            )
            for measure in columns
        ]
    if against in known:
        others = [name for name in known if name != against]
        of_row = {
            name: _differences(
                known[name], known[against], scores[name], scores[against], columns
            )
            for name in others
        }
        judged = [[of_row[name][i] for name in others] for i in range(len(columns))]
        smallest = [tuple(test["smallest_p"] for test in column) for column in judged]
        # Holm's values fall with every p: these are the least that can come out. They
        # are mostly the same for all columns, and statsmodels is slow.
        least = {p: statistics.holm(p) for p in dict.fromkeys(smallest)}
        for number, (measure, column) in enumerate(zip(columns, judged, strict=True)):
            _judge(measure, column, least[smallest[number]])
            for name, difference in zip(others, column, strict=True):
                table[name][number]["against"] = difference
    return json_safe(table)


def warnings_of(table: Mapping[str, Sequence[Cell]]) -> list[str]:
    """Return what a reader must be told of the cells of a table as a whole.

    Rows with seeds that gave no value, and tests that too few seeds, or too many rows
    for the seeds, keep from ever being significant.

    Args:
        table: what `cells` returned.
    """
    told, few = [], {}
    for name, row in table.items():
        lost = {s for c in row for s, v in c["per_seed"].items() if v is None}
        if lost:
            seeds = verdicts.lost_seeds(sorted(lost, key=int))
            told.append(f"“{name}”: {seeds} in at least one column, so it has no mean.")
        tests = [cell["against"] for cell in row if cell["against"] is not None]
        for said in dict.fromkeys(test["warning"] for test in tests):
            few.setdefault((tests[0]["row"], said), []).append(name)
    tested = sum(map(len, few.values()))
    for (reference, said), names in few.items():
        if said:
            every = len(names) == tested > _FEW
            which = "every row" if every else ", ".join(f"“{n}”" for n in names)
            told.append(f"{which} against “{reference}”: {said}.")
    return [line[0].upper() + line[1:] for line in told]


def _by_seed(row: Answers) -> Answers:
    """Check a row and put its seeds in order, so that theirs decides nothing."""
    prediction, label = np.asarray(row.prediction), np.asarray(row.label)
    shape = (len(row.seeds), len(label))
    if prediction.shape[:2] != shape or not row.seeds or not len(label):
        raise ValueError(
            f"row {row.name!r}: {shape[0]} seeds and {shape[1]} labels need "
            f"predictions [{shape[0]}, {shape[1]}, ...], got {prediction.shape}"
        )
    if len(set(row.seeds)) < len(row.seeds):
        raise ValueError(f"row {row.name!r}: a seed stands twice in {row.seeds}")
    order = np.argsort(row.seeds)
    seeds = tuple(int(row.seeds[i]) for i in order)
    return row._replace(seeds=seeds, prediction=prediction[order], label=label)


def _require_one_kind(rows: Mapping[str, Answers]) -> None:
    kinds = {row.kind: name for name, row in rows.items()}
    if len(kinds) > 1:
        (kind, name), (other, another) = list(kinds.items())[:2]
        raise UserError(
            f"{name!r} and {another!r} cannot stand in one table: their metrics are "
            f"those of {kind!r} and {other!r}"
        )


def _scores(row: Answers) -> dict[str, np.ndarray]:
    """Return metric -> a value per seed, as results.json has them."""
    each = [score(row.kind, prediction, row.label) for prediction in row.prediction]
    return {key: np.asarray([scores[key] for scores in each]) for key in each[0]}


def _summaries(
    row: Answers, scores: Mapping[str, np.ndarray], columns: Sequence[Measure]
) -> dict[str, dict[str, Any]]:
    """Return metric -> the part of a cell that its own row decides."""
    samples = statistics.interval_over_samples(row.kind, row.label, row.prediction)
    summaries = {}
    for measure in columns:
        key = measure.key
        if key not in scores:
            raise UserError(
                f"column {measure.title!r}: {row.name!r} has no metric {key!r}; those "
                f"of {row.kind!r} are {', '.join(scores)}"
            )
        summary = summarise(scores[key].tolist())
        per_seed = zip(map(str, row.seeds), summary["per_seed"], strict=True)
        summaries[key] = {
            "per_seed": dict(per_seed),
            "mean": summary["mean"],
            "sd": summary["sd"],
            "iqm": statistics.iqm(scores[key]),
            "ci_seeds": statistics.interval_over_seeds(scores[key]),
            "ci_student": summary["ci95"],
            "ci_samples": samples[key],
        }
    return summaries


def _differences(
    row: Answers,
    reference: Answers,
    scores: Mapping[str, np.ndarray],
    reference_scores: Mapping[str, np.ndarray],
    columns: Sequence[Measure],
) -> list[dict[str, Any]]:
    """Return an `against` object per column, without what other rows decide."""
    common = [seed for seed in row.seeds if seed in reference.seeds]
    in_row = [row.seeds.index(seed) for seed in common]
    in_reference = [reference.seeds.index(seed) for seed in common]
    empty = dict.fromkeys(
        ("difference", "ci_seeds", "ci_samples", "p_seeds", "p_samples", "smallest_p")
    )
    start = {"row": reference.name, "n_seeds": len(common), **empty}
    if not common or not _same_samples(row, reference):
        why = "no seed in common" if not common else "other test samples"
        return [start | {"text": f"{why}: nothing is compared"} for _ in columns]
    answers = row.prediction[in_row], reference.prediction[in_reference]
    samples = statistics.interval_over_samples(row.kind, row.label, *answers)
    p_samples = statistics.paired_samples_test(row.kind, row.label, *answers)
    differences = []
    for measure in columns:
        ours = scores[measure.key][in_row]
        theirs = reference_scores[measure.key][in_reference]
        gaps = ours - theirs
        if not np.isfinite(gaps).all():
            lost = [s for s, gap in zip(common, gaps, strict=True) if gap != gap]
            why = f"{verdicts.lost_seeds(lost)} in this row or in the reference"
            differences.append(start | {"text": f"{why}: nothing is compared"})
            continue
        test = statistics.paired_seeds_test(ours, theirs)
        several = len(common) > 1
        differences.append(
            start
            | {
                "difference": float(np.mean(gaps)),
                "ci_seeds": statistics.interval_over_seeds(gaps),
                "ci_samples": samples[measure.key],
                "p_seeds": test.p if several else None,
                "p_samples": p_samples[measure.key],
                "smallest_p": test.smallest_p if several else None,
            }
        )
    return differences


def _judge(
    measure: Measure, column: Sequence[dict[str, Any]], least: Sequence[float | None]
) -> None:
    """Add to the differences of one column what they decide together.

    Args:
        measure: the column.
        column: its `against` objects, of one row each; completed in place.
        least: the smallest p over seeds that Holm's correction leaves of each, if all
            rows have the smallest they can have.
    """
    for name in ("p_seeds", "p_samples"):
        adjusted = statistics.holm([one[name] for one in column])
        for one, p in zip(column, adjusted, strict=True):
            one[f"{name}_holm"] = p
    tests = sum(p is not None for p in least)
    for one, smallest in zip(column, least, strict=True):
        both = one["p_seeds_holm"], one["p_samples_holm"]
        one["significant"] = all(p is not None and p < ALPHA for p in both)
        one["warning"] = ""
        if one["difference"] is not None:
            seeds = one["n_seeds"]
            one["warning"] = verdicts.too_few(seeds, smallest, tests)
            one["text"] = verdicts.difference_text(measure, one, tests)


def _same_samples(a: Answers, b: Answers) -> bool:
    named = a.id is not None and b.id is not None
    return np.array_equal(a.label, b.label) and (
        not named or np.array_equal(np.asarray(a.id), np.asarray(b.id))
    )


def _at(printed: Sequence[str | None] | None, measure: Measure) -> str | None:
    return None if printed is None else printed[measure.index]
