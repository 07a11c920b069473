"""Confidence intervals of means of independent draws."""

from __future__ import annotations

import math
from statistics import NormalDist


def quantile(level: float) -> float:
    """How many standard deviations on each side of the mean have the probability `level`."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1; got {level!r}")
    return NormalDist().inv_cdf((1 + level) / 2)


def wilson(share: float, n: float, level: float) -> tuple[float, float]:
    """The interval of a share of n draws (Wilson, J. Amer. Statist. Assoc. 22, 1927), which stays in [0, 1]."""
    z = quantile(level)
    if not n:
        return math.nan, math.nan
    centre, reach = share + z * z / (2 * n), z * math.sqrt(max(0.0, share * (1 - share)) / n + (z / (2 * n)) ** 2)
    scale = 1 + z * z / n
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)


def normal(mean: float, error: float, level: float) -> tuple[float, float]:
    """The interval of a mean that is at least 0, by its standard error."""
    reach = quantile(level) * error
    return max(0.0, mean - reach), mean + reach
