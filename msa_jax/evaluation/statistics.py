"""Statistics over seeds and test samples: summaries, intervals, tests by resampling.

What they say: docs/statistics.md. Everything is deterministic: each call starts from
the same constant, and the order of the samples, or of the values of seeds, does not
change a number.
"""

import gc
import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np

from msa_jax.evaluation import metrics
from msa_jax.ground.files import json_safe

LEVEL = 0.95  # of intervals
ALPHA = 0.05  # of tests
RESAMPLES = 9_999  # one less than ten thousand: p-values are multiples of 1e-4
GENERATOR = 20_260_101  # where every call's random numbers start
SIGNS = 99_999  # choices of signs tried: all of them up to 16 seeds
_MOST_UNDEFINED = 0.01  # share of resamples without a value that are left out
_AT_ONCE = 1 << 21  # counts held in memory
_DIGITS = 10  # means that agree in so many decimals tie; metrics' steps are above 1e-6

Interval = tuple[float, float]
PerSeed = Sequence[float] | np.ndarray


class SeedTest(NamedTuple):
    """A sign-flip test's two-sided p-value, and the smallest it could have been."""

    p: float
    smallest_p: float


class Summary(TypedDict):
    """A metric over seeds; None is not known (`summarise`)."""

    per_seed: list[float | None]
    mean: float | None
    sd: float | None
    ci95: list[float] | None


def summarise(per_seed: Sequence[float | None]) -> Summary:
    """Summarise one metric over independent seeds.

    Returns: per_seed; mean; sd, the sample standard deviation (ddof 1); ci95, the
    Student t interval of the mean over seeds. It covers the randomness of training
    (initialisation, order, dropout), not the choice of test samples.
    sd and ci95 are None for one seed. A seed without a finite value is None in
    per_seed, and then mean, sd and ci95 are None too: a mean over the seeds that
    survived would flatter the method.
    """
    values = np.asarray([math.nan if v is None else v for v in per_seed], np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError("a summary needs the values of at least one seed")
    known = bool(np.isfinite(values).all())
    n = values.size
    mean = float(values.mean()) if known else None
    sd = float(values.std(ddof=1)) if known and n > 1 else None
    ci95 = None
    if mean is not None and sd is not None:
        from scipy.stats import t  # slow to import

        half = float(t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
        ci95 = [mean - half, mean + half]
    return {"per_seed": json_safe(values), "mean": mean, "sd": sd, "ci95": ci95}


def smallest_sign_flip_p(seeds: int) -> float:
    """Return the smallest two-sided p-value of a paired sign-flip test on n seeds."""
    return min(1.0, 2.0 / 2.0**seeds)


def iqm(per_seed: PerSeed) -> float:
    """Return the mean of the middle half: a quarter of the seeds is cut at each end.

    With n seeds, floor(n / 4) are cut at each end, none below four. NaN if any is NaN.

    Source: Agarwal et al. 2021 (rliable).
    """
    from scipy.stats import trim_mean

    return float(trim_mean(np.asarray(per_seed, np.float64), 0.25))


def interval_over_seeds(per_seed: PerSeed) -> Interval | None:
    """Return the 95 % BCa bootstrap interval of the mean over seeds.

    It covers the randomness of training, not the choice of test samples, and is too
    narrow for few seeds (docs/statistics.md has the numbers). Where BCa is not
    defined (seeds that are all equal) it is the percentile interval.

    Returns: None for less than two seeds, or if any has no finite value.

    Source: Efron 1987, by scipy.
    """
    from scipy.stats import DegenerateDataWarning, bootstrap

    values = np.sort(np.asarray(per_seed, np.float64))
    if values.size < 2 or not np.isfinite(values).all():
        return None
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
            warnings.simplefilter("ignore", DegenerateDataWarning)
            found = bootstrap(
                (values,),
                _mean,
                n_resamples=RESAMPLES,
                confidence_level=LEVEL,
                method=method,
                rng=np.random.default_rng(GENERATOR),
            ).confidence_interval
        if math.isfinite(found.low) and math.isfinite(found.high):
            break
    return float(found.low), float(found.high)


def interval_over_samples(
    kind: str,
    label: np.ndarray,
    prediction: np.ndarray,
    minus: np.ndarray | None = None,
) -> dict[str, Interval | None]:
    """Return 95 % percentile bootstrap intervals over test samples of every metric.

    A resample draws n of the n test samples with replacement, the same for all seeds
    (and for both systems); its value is the metric's mean over seeds. So the interval
    covers the choice of test samples, with the trained networks as they are.

    Args:
        kind: as `metrics.score` takes it.
        label: [n], or of emotions [n, 6].
        prediction: [s, n], or logits [s, n, k].
        minus: answers of another system with the same seeds: the interval is that of
            `prediction`'s metric minus this one's.

    Returns: metric -> interval; None for all if any prediction is not finite, and
        for a metric that more than 1 % of the resamples leave undefined (a rare
        class, a constant prediction); fewer are left out.

    Source: Efron 1979, by scipy.
    """
    from scipy.stats import DegenerateDataWarning, bootstrap

    systems = [prediction] if minus is None else [prediction, minus]
    label, stacked = _sorted(label, np.stack(systems))
    n = len(label)
    if not np.isfinite(stacked).all():
        return dict.fromkeys(_metrics(kind, label, stacked))
    matrix, split = _matrix(metrics.terms(kind, stacked, label))
    keys = _metrics(kind, label, stacked)

    def statistic(drawn: np.ndarray, axis: int) -> np.ndarray:
        starts = n * np.arange(len(drawn))[:, None]
        places = (drawn.astype(np.int64) + starts).ravel()
        counts = np.bincount(places, minlength=drawn.size).reshape(-1, n)
        found = metrics.values(kind, split(counts @ matrix))
        return np.stack([_difference(found[key]) for key in keys])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # seen to below
        drawn = bootstrap(
            (np.arange(n),),
            statistic,
            n_resamples=RESAMPLES,
            batch=max(1, _AT_ONCE // n),
            vectorized=True,
            axis=-1,
            confidence_level=LEVEL,
            method="percentile",
            rng=np.random.default_rng(GENERATOR),
        ).bootstrap_distribution
    return {key: _percentiles(row) for key, row in zip(keys, drawn, strict=True)}


def paired_seeds_test(a: PerSeed, b: PerSeed) -> SeedTest:
    """Test whether two systems' values at the same seeds differ in the mean.

    Under the null hypothesis each seed's difference is as likely as its negative: the
    statistic is its mean under all 2**n choices of signs, so that no p-value below
    2 / 2**n exists. Above 16 seeds 99 999 random choices stand for all.

    Args:
        a: a metric per seed.
        b: the other system's, the same seeds in the same order.

    Returns: p is NaN if a value is not finite.

    Source: Fisher 1935, by scipy.stats.permutation_test.
    """
    from scipy.stats import permutation_test

    gaps = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    n = gaps.size
    smallest = max(smallest_sign_flip_p(n), 2 / (1 + SIGNS))
    if n == 0 or not np.isfinite(gaps).all():
        return SeedTest(math.nan, smallest)
    if n == 1:  # scipy wants two
        return SeedTest(1.0, smallest)
    found = permutation_test(
        (np.sort(gaps),),
        _mean,
        permutation_type="samples",
        n_resamples=SIGNS,
        batch=1 << 14,
        rng=np.random.default_rng(GENERATOR),
    )
    return SeedTest(float(found.pvalue), smallest)


def paired_samples_test(
    kind: str, label: np.ndarray, a: np.ndarray, b: np.ndarray
) -> dict[str, float | None]:
    """Test whether two systems' metrics differ on test samples like these.

    Under the null hypothesis it does not matter which system gave which of a sample's
    two answers. Each of 9 999 rounds swaps them for a random half of the samples, the
    same for all seeds; p = (1 + rounds with a difference as large) / (1 + rounds), a
    difference being that of the metric's means over seeds, in absolute value.

    Args:
        kind: as `metrics.score` takes it.
        label: [n], or of emotions [n, 6].
        a: [s, n], or logits [s, n, k].
        b: the other system's, with the same seeds in the same order.

    Returns: metric -> p; None where the metric is undefined or a prediction not
        finite. A round that leaves the metric undefined counts as a large difference.

    Source: Noreen 1989, Yeh 2000 ("approximate randomization"). It is
        scipy.stats.permutation_test with permutation_type "samples", alternative
        "two-sided" of a symmetric statistic; own code, because that permutes one
        statistic's samples at a time, and metrics share theirs.
    """
    label, stacked = _sorted(label, np.stack([a, b]))
    keys = _metrics(kind, label, stacked)
    if not np.isfinite(stacked).all():
        return dict.fromkeys(keys)
    terms = metrics.terms(kind, stacked, label)
    whole = {name: term.sum(axis=-1)[None] for name, term in terms.items()}
    matrix, split = _matrix(
        {name: term[:1] - term[1:] for name, term in terms.items() if len(term) == 2}
    )

    def differences(swapped: np.ndarray) -> dict[str, np.ndarray]:
        sums = dict(whole)
        for name, moved in split(swapped @ matrix).items():
            sums[name] = whole[name] + np.concatenate([-moved, moved], axis=1)
        found = metrics.values(kind, sums)
        return {key: _difference(found[key]) for key in keys}

    n = len(label)
    observed = differences(np.zeros((1, n)))
    larger = dict.fromkeys(keys, 0)
    rng, left = np.random.default_rng(GENERATOR), RESAMPLES
    while left:
        rounds = min(left, max(1, _AT_ONCE // n))
        left -= rounds
        swapped = rng.integers(0, 2, (rounds, n), dtype=np.uint8).astype(np.float64)
        for key, found in differences(swapped).items():
            smaller = np.abs(found) < np.abs(observed[key]) - 10**-_DIGITS
            larger[key] += int(np.sum(~smaller))
    return {
        key: (1 + larger[key]) / (1 + RESAMPLES)
        if np.isfinite(observed[key]).all()
        else None
        for key in keys
    }


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for having made all of these tests; None stays None.

    Source: Holm 1979, by statsmodels.
    """
    from statsmodels.stats.multitest import multipletests  # slow

    known = [value for value in p if value is not None]
    if len(known) < 2:
        return list(p)
    gc.freeze()  # statsmodels collects garbage in every call: half a second beside jax
    try:
        adjusted = iter(np.asarray(multipletests(known, method="holm")[1]).tolist())
    finally:
        gc.unfreeze()
    return [None if value is None else next(adjusted) for value in p]


def seeds_needed(tests: int = 1) -> int:
    """Return how many seeds let a sign-flip test reach p < .05 after Holm.

    Args:
        tests: rows that are tested against one, all with that many seeds.
    """
    seeds = 1
    while tests * smallest_sign_flip_p(seeds) >= ALPHA:
        seeds += 1
    return seeds


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Average; equal means of other values, as of accuracies, then tie to the bit."""
    return np.round(np.mean(values, axis=axis), _DIGITS)


def _sorted(label: np.ndarray, stacked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order samples by their values: the file's order then decides nothing.

    Args:
        label: [n, ...].
        stacked: [systems, s, n, ...].
    """
    n = len(label)
    answers = np.moveaxis(stacked, 2, 0).reshape(n, -1)
    order = np.lexsort(np.column_stack([answers, label.reshape(n, -1)]).T)
    return label[order], stacked[:, :, order]


def _matrix(terms: metrics.Values):
    """Lay terms out as [n, columns]; return also what takes sums [r, columns] apart."""
    columns = [term.reshape(-1, term.shape[-1]) for term in terms.values()]
    ends = np.cumsum([len(block) for block in columns])[:-1]
    matrix = np.ascontiguousarray(np.concatenate(columns).T)

    def split(sums: np.ndarray) -> metrics.Values:
        return {
            name: block.reshape(len(block), *term.shape[:-1])
            for (name, term), block in zip(
                terms.items(), np.split(sums, ends, axis=1), strict=True
            )
        }

    return matrix, split


def _metrics(kind: str, label: np.ndarray, stacked: np.ndarray) -> list[str]:
    """Name the metrics of a kind."""
    one = metrics.terms(kind, np.zeros_like(stacked[:1, :1, :1]), label[:1])
    return list(metrics.values(kind, {k: v.sum(axis=-1) for k, v in one.items()}))


def _difference(value: np.ndarray) -> np.ndarray:
    """Average [r, systems, s] over seeds; of two, the first minus the second."""
    mean = value.mean(axis=-1)
    return mean[:, 0] - mean[:, 1] if mean.shape[1] == 2 else mean[:, 0]


def _percentiles(drawn: np.ndarray) -> Interval | None:
    known = drawn[np.isfinite(drawn)]
    if known.size < (1 - _MOST_UNDEFINED) * drawn.size:
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
