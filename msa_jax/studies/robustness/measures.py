"""How robustness is put into one number: percentage drop, area under a curve."""

import math
from collections.abc import Sequence

import numpy as np


def drop(full: float, value: float, *, lower_is_better: bool) -> float:
    """Return by how many percent a metric is worse than with whole input.

    100 (full - value) / full where higher is better. Where lower is better, as MAE,
    the rise: 100 (value - full) / full; so above 0 is worse for every metric.

    Returns: NaN where the metric of the whole input is not above 0 (a correlation can
        be below): a share of it says nothing.

    Source: UCRN, section 4.4, of accuracies. The paper gives none of MAE; ours.
    """
    if not full > 0:
        return math.nan
    worse = value - full if lower_is_better else full - value
    return 100 * worse / full


def area(severity: Sequence[float], value: Sequence[float]) -> float:
    """Return the area under a curve, divided by its width: the mean over severities.

    By the trapezoid rule; in the unit of `value`. The order of severities does not
    matter, but each must be given once.
    """
    x, y = np.asarray(severity, float), np.asarray(value, float)
    order = np.argsort(x)
    x, y = x[order], y[order]
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))
