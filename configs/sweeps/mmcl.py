"""The grids that MMCL's authors searched: config field -> values.

Source: MMCL, appendix A.1. Which point was chosen the paper does not say; rows of
Table 5 that repeat the main result have mu .7, eta 1 and alpha 1.
"""


def get_sweep():
    """Return the grids; every combination is a valid configuration."""
    return {
        "contrast.temperature": (0.05, 0.1, 0.7),
        "weights.uni": (0.6, 0.7, 0.8),
        "weights.sentiment": (0.8, 0.9, 1.0),
        "weights.cross": (0.8, 0.9, 1.0),
        "weights.align": (0.6, 0.75, 0.9),
        "weights.uniform": (0.05, 0.1, 0.2),
        "model.dropout": (0.1, 0.6),
    }
