"""The softmax of rows and what every score of them is made of, a few rows at a time, which stay in the cache.

With x_k = m the first of the largest entries of a row, y its label and d = Σ_{j≠k} p_j, which is 1 − p_k,

    −log p_y = log(1 + d/p_k) + (m − x_y)/T        H = log(1 + d/p_k) + Σ_j p_j (m − x_j)/T

Nothing cancels: a loss of 10⁻¹⁸ is one, and both are as exact as the probabilities, which are within 2 ulp of the dtype
of the logits (float32 for half precision).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from softgrad._formulas.namespace import NDArray as Array
from softgrad._formulas.precision import is_half
from softgrad._numpy import softmax as maps
from softgrad.calibration.batches import Batch

CACHED = 2**18
"""Entries that stay in the processor's cache from one pass over them to the next."""

LONGEST_SUM = 2**12
"""Entries of a row that `einsum` sums at once: of more than 8192 it sums parts that depend on the rows before."""


class Rows(NamedTuple):
    """Some rows of a batch."""

    place: slice
    x: Array
    labels: Array
    temperature: Any
    first: Array
    """k."""
    fall: Array
    """m − x_y."""
    p: Array
    """Probabilities, 0 at k."""
    p_first: Array
    p_label: Array
    below: Array
    """m − x_j, 0 where that is infinite."""
    doubt: Array
    """Σ_{j≠k} p_j."""
    gap: Array
    """Σ_j p_j (m − x_j)."""

    @property
    def log_total(self) -> Array:
        """log Σ_j e^((x_j − m)/T)."""
        return np.asarray(np.log1p(np.divide(self.doubt, self.p_first, dtype=np.float64)))

    def scaled(self, values: Array) -> Array:
        """Values over T, 0 where they are."""
        if np.ndim(self.temperature) == 0 and self.temperature == 1:
            return values
        return np.where(values == 0, 0.0, values / np.asarray(self.temperature, np.float64))


def rows_of(batch: Batch) -> Iterator[Rows]:
    """All rows of a batch, in the same memory one after the other."""
    x = batch.rows
    step = max(1, CACHED // max(1, x.shape[-1]))
    dtype = np.dtype(np.float32) if is_half(np, x.dtype) else x.dtype
    p, below = (np.empty((min(step, len(x)), x.shape[-1]), dtype) for _ in range(2))
    for start in range(0, len(x), step):
        place = slice(start, min(start + step, len(x)))
        count = place.stop - start
        temperature = batch.temperature[place] if np.ndim(batch.temperature) else batch.temperature
        yield _rows(
            place, x[place].astype(dtype, copy=False), batch.labels[place], temperature, p[:count], below[:count]
        )


def _rows(place: slice, x: Array, labels: Array, temperature: Any, p: Array, below: Array) -> Rows:
    numbers, first = np.arange(len(x)), x.argmax(axis=-1)
    maps.softmax.into((p,), 1, x, None, temperature)
    p_first, p_label = p[numbers, first], p[numbers, labels]
    p[numbers, first] = 0
    largest = x[numbers, first]
    np.subtract(largest[:, None], x, out=below)
    gap = sums(p, below)
    if np.isnan(gap).any():  # 0 · inf, for entries that are −inf or so far below that the difference overflows
        np.copyto(below, 0, where=np.isinf(below))
        gap = sums(p, below)
    fall = np.subtract(largest, x[numbers, labels], dtype=np.float64 if x.dtype != np.longdouble else None)
    return Rows(place, x, labels, temperature, first, fall, p, p_first, p_label, below, sums(p), gap)


def sums(*factors: Array) -> Array:
    """Sums over rows of an array or of a product of two or three: the same bits for a row in any batch."""
    spelling = {1: "ij->i", 2: "ij,ij->i", 3: "ij,ij,ij->i"}[len(factors)]
    n = factors[0].shape[-1]
    if n <= LONGEST_SUM:
        return np.asarray(np.einsum(spelling, *factors))
    total = np.zeros(len(factors[0]))
    for start in range(0, n, LONGEST_SUM):
        total += np.einsum(spelling, *(factor[:, start : start + LONGEST_SUM] for factor in factors))
    return total
