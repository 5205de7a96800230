"""Statistics over seeds, safe to write as JSON."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def summarise(per_seed: Sequence[float | None]) -> dict[str, Any]:
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


def json_safe(value: Any) -> Any:
    """Replace NaN and infinities by None and NumPy values by Python's, recursively."""
    match value:
        case dict():
            return {str(key): json_safe(item) for key, item in value.items()}
        case list() | tuple():
            return [json_safe(item) for item in value]
        case np.ndarray() | np.generic():
            return json_safe(value.tolist())
        case float():
            return value if math.isfinite(value) else None
        case _:
            return value
