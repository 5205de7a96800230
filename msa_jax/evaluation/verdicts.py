"""What may be said, in words, of a cell's numbers: plain, and never too much."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from msa_jax.evaluation.results_table import Interval, Measure, Verdict
from msa_jax.evaluation.statistics import ALPHA, seeds_needed
from msa_jax.evaluation.wording import amount, form, p_value


def verdict(
    measure: Measure,
    cell: Mapping[str, Any] | None,
    published: str | None,
    not_comparable: str = "",
) -> Verdict:
    """Compare a cell with the value that was published for it.

    The published value is a rounded one: all that it may stand for, half a unit of its
    last digit either way, is held against the bootstrap interval over seeds. That
    covers our runs only; how far the published value would repeat is not known, so
    that no verdict is a test. Where Student's t interval, wider for few seeds, holds a
    value that the bootstrap interval does not, the text says so.

    Args:
        measure: the column.
        cell: with per_seed, mean, ci_seeds and ci_student; None: not run.
        published: as printed.
        not_comparable: see `compare.cells`.

    Returns: kind and text: not_run, no_published, other_data, inside, lower, higher,
        or no_interval where one seed, or a seed without a value, decides nothing.
    """
    if cell is None:
        return _said("not_run", "not run")
    if published is None:
        return _said("no_published", "no published value")
    if not_comparable:
        return _said("other_data", f"not comparable: {not_comparable}")
    if cell["mean"] is None:
        lost = [seed for seed, value in cell["per_seed"].items() if value is None]
        return _said("no_interval", f"ours has no mean: {lost_seeds(lost)}")
    low, high = printed_range(published, measure.percent)
    value = (low + high) / 2
    gap, interval = cell["mean"] - value, cell["ci_seeds"]
    if interval is None:
        told = "as published"
        if not low <= cell["mean"] <= high:
            told = f"{_side(gap)} by {amount(measure, abs(gap))}"
        return _said("no_interval", f"one seed, so no interval: ours is {told}")
    if interval[0] <= high and low <= interval[1]:
        return _said("inside", "published value inside our interval")
    kind = _side(gap)
    better = (gap < 0) == measure.lower_is_better
    ends = sorted(abs(end - value) for end in interval)
    text = (
        f"ours is {kind} by {amount(measure, abs(gap))} ({_span(measure, ends)}), the "
        f"{'better' if better else 'worse'} side"
    )
    wide = cell["ci_student"]
    if wide[0] <= high and low <= wide[1]:
        text += (
            f"; Student's t interval of {len(cell['per_seed'])} seeds, wider, includes "
            "the published value"
        )
    return _said(kind, text)


def difference_text(measure: Measure, found: Mapping[str, Any], tests: int) -> str:
    """Say what a tested difference shows; "better" and "worse" only if significant.

    Args:
        measure: the column.
        found: the `against` object without its text; its difference is known.
        tests: rows in Holm's correction.
    """
    gap = found["difference"]
    spans = [
        f"{name} {_span(measure, found[key], True)}"
        for name, key in (("seeds", "ci_seeds"), ("samples", "ci_samples"))
        if found[key] is not None
    ]
    within = f" ({', '.join(spans)})" if spans else ""
    if found["significant"]:
        better = (gap < 0) == measure.lower_is_better
        size = amount(measure, abs(gap))
        text = f"{'better' if better else 'worse'} by {size}{within}"
    else:
        text = f"no difference shown: {amount(measure, gap, signed=True)}{within}"
    chances = [
        f"{p_value(found[key])} over {name}"
        for name, key in (("seeds", "p_seeds_holm"), ("samples", "p_samples_holm"))
        if found[key] is not None
    ]
    if chances:
        text += f"; p = {' and '.join(chances)}"
        text += f" (Holm over {tests} rows)" if tests > 1 else ""
    return f"{text}; {found['warning']}" if found["warning"] else text


def too_few(seeds: int, least: float | None, tests: int) -> str:
    """Warn if no outcome of the test over seeds could have been significant.

    Args:
        seeds: that the row and the reference have in common.
        least: the smallest p that they and Holm's correction allow.
        tests: rows in Holm's correction.

    Returns: "" if one could; or the least p and the seeds that it takes.
    """
    if seeds < 2:
        return "one seed in common: no test over seeds"
    if least is None or least < ALPHA:
        return ""
    holms = f" (Holm over {tests} rows)" if tests > 1 else ""
    return (
        f"{seeds} seeds cannot show a difference: p is at least {p_value(least)}"
        f"{holms}, it takes {seeds_needed(tests)} seeds"
    )


def lost_seeds(seeds: Sequence[Any]) -> str:
    """Say which seeds gave no value."""
    names = ", ".join(str(seed) for seed in seeds)
    return f"seed{'s' if len(seeds) > 1 else ''} {names} gave no value"


def printed_range(printed: str, percent: bool) -> tuple[float, float]:
    """Return the least and the largest value that is printed so, in natural units.

    >>> printed_range("0.730", False)
    (0.7295, 0.7305)
    """
    value = Decimal(printed)
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # `table_spec` takes finite numbers only
    half, unit = Decimal(5).scaleb(exponent - 1), 100 if percent else 1
    return float((value - half) / unit), float((value + half) / unit)


def _span(measure: Measure, ends: Interval, signed: bool = False) -> str:
    return " to ".join(form(measure, end, signed=signed) for end in ends or ())


def _side(gap: float) -> str:
    return "lower" if gap < 0 else "higher"


def _said(kind: str, text: str) -> Verdict:
    return {"kind": kind, "text": text}
