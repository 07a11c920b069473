"""Sums over many rows in double-word arithmetic, whose value does not depend on how the rows are split.

A block of values is split at one power of two into high parts, which add up without any rounding, and low parts, whose
rounding errors are 2⁻³⁵ of those of the plain sum or less (Rump, Ogita, Oishi, "Accurate floating-point summation",
SIAM J. Sci. Comput. 31 (2008), section 3). What is left is added to the sums of other blocks by TwoSum.
"""

from __future__ import annotations

import math

import numpy as np

from softgrad._formulas.compensated import plus, two_sum
from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import silent

LARGEST_EXPONENT = 1000
"""Of values that are split; the sum of larger ones is a plain sum."""


def zeros(*shape: int) -> Array:
    """Sums of nothing: high and low words along the first axis."""
    return np.zeros((2, *shape))


@silent
def added(a: Array, b: Array) -> Array:
    """The sums of two sets of values."""
    plain = a[0] + b[0]
    high, low = plus((a[0], a[1]), (b[0], b[1]))
    finite = np.isfinite(plain)
    return np.stack([np.where(finite, high, plain), np.where(finite, low, 0.0)])


@silent
def summed(values: Array) -> Array:
    """Sums over the last axis, of one row after the other: each stays in the processor's cache."""
    rows = values.reshape(math.prod(values.shape[:-1]), values.shape[-1])
    high, low = np.empty(len(rows)), np.empty(len(rows))
    for i, row in enumerate(rows):
        parts = _split(row)
        high[i], low[i] = (part.sum() for part in parts)
    return _normalized(*(part.reshape(values.shape[:-1]) for part in (high, low)))


@silent
def grouped(places: Array, values: Array, size: int) -> Array:
    """Sums of the values at each place in [0, size)."""
    high, low = (np.bincount(places, part, size) for part in _split(values))
    return _normalized(high, low)


def _split(values: Array) -> tuple[Array, Array]:
    """Values as multiples of one power of two, few enough for their sum to be exact, and what is left."""
    largest = max(values.max(initial=0.0), -values.min(initial=0.0))
    if not largest < np.inf:
        return values, np.zeros_like(values)
    exponent = int(np.frexp(largest)[1]) + values.size.bit_length() + 1
    offset = np.ldexp(1.5, min(exponent, LARGEST_EXPONENT))
    high = values + offset
    high -= offset
    return high, values - high


def _normalized(high: Array, low: Array) -> Array:
    total, error = two_sum(high, low)
    return np.stack([total, np.where(np.isfinite(total), error, 0.0)])
